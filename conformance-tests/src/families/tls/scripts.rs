//! Random scripts at both ends of a connection: whatever the order, every byte arrives.

use fastrand::Rng;

use super::*;
use crate::tools::{Script, one_of, pattern, random_scripts};

/// So much is written at most, by each end.
const MOST: usize = 1_000_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    Now(usize, Act),
    /// In a callback of the next run.
    Inside(usize, Act),
    /// One iteration.
    Run,
    /// Both read until they have everything.
    Drain,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    /// By one of three methods.
    Write(u8, usize),
    /// The next `resume_writing` writes so much.
    Encore(usize),
    Limits(usize),
    Pause,
    Resume,
}

impl Step {
    fn random(rng: &mut Rng) -> Self {
        match rng.u8(..10) {
            0..4 => Self::Now(rng.usize(..2), Act::random(rng)),
            4..7 => Self::Inside(rng.usize(..2), Act::random(rng)),
            7..9 => Self::Run,
            _ => Self::Drain,
        }
    }
}

impl Act {
    fn random(rng: &mut Rng) -> Self {
        const SIZES: [usize; 6] = [1, 300, 5_000, 16_385, 70_000, 300_000];
        let size = one_of(rng, &SIZES);
        match rng.u8(..8) {
            0..3 => Self::Write(rng.u8(..3), size),
            3..5 => Self::Encore(size),
            5 => Self::Limits(one_of(rng, &[0, 1, 10_000, 65_536, 400_000])),
            6 => Self::Pause,
            _ => Self::Resume,
        }
    }
}

/// One end, and what it writes.
struct End {
    record: Record,
    text: Rc<Text>,
    encore: Rc<Cell<usize>>,
}

struct Text {
    bytes: Rc<Vec<u8>>,
    written: Cell<usize>,
}

impl Text {
    /// Writes what comes next; nothing when everything was written.
    fn go_on(&self, transport: &Transport, way: u8, size: usize) {
        let at = self.written.get();
        let piece = &self.bytes[at..self.bytes.len().min(at + size)];
        self.written.set(at + piece.len());
        // Nothing has ended the connection.
        let _ = match way {
            0 => transport.write(piece),
            1 => transport.write_vec(piece.to_vec()),
            _ => transport.writelines(&[&piece[..piece.len() / 3], &piece[piece.len() / 3..]]),
        };
    }
}

impl End {
    fn new(bytes: &Rc<Vec<u8>>) -> Self {
        let text = Rc::new(Text { bytes: bytes.clone(), written: Cell::new(0) });
        let encore = Rc::new(Cell::new(0));
        let (more, theirs) = (encore.clone(), text.clone());
        let script =
            Script::new().resume(move |record| theirs.go_on(&record.transport(), 0, more.take()));
        Self { record: script.record(), text, encore }
    }

    fn act(&self, act: Act) {
        let transport = self.record.transport();
        match act {
            Act::Write(way, size) => self.text.go_on(&transport, way, size),
            Act::Encore(size) => self.encore.set(size),
            Act::Limits(high) => {
                let _ = transport.set_write_buffer_limits(Some(high), None);
            }
            Act::Pause => transport.pause_reading(),
            Act::Resume => transport.resume_reading(),
        }
    }
}

/// Nothing but the connection itself wakes the loop.
fn drain(lp: &LoopRef, ends: &[End; 2]) -> Outcome {
    // What is to be done in a callback is done before.
    run_once(lp)?;
    let weak = lp.downgrade();
    let patience = lp.call_later(ms(10_000), move || {
        if let Some(lp) = weak.upgrade() {
            lp.stop();
        }
    })?;
    for end in ends {
        end.record.transport().resume_reading();
    }
    let all_came = |here: usize| ends[here].record.received() == ends[1 - here].text.written.get();
    while !(all_came(0) && all_came(1)) {
        for (end, other) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
            let text = other.text.clone();
            let all = move |record: &Record| record.received() == text.written.get();
            end.record.until(lp, all).map_err(|error| {
                let (came, written) = (end.record.received(), other.text.written.get());
                Failure::new(format!("stands still after {came} of {written} bytes: {error}"))
            })?;
        }
    }
    patience.cancel();
    Ok(())
}

fn play(cx: &Context, bytes: &Rc<Vec<u8>>, buffered: bool, script: &[Step]) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let ends = Rc::new([End::new(bytes), End::new(bytes)]);
    let (near, far) = tcp_pair()?;
    let protocol = |end: &End| if buffered { end.record.buffered() } else { end.record.plain() };
    let accepting = accept(&lp, protocol(&ends[1]), far, authority.server()?)?;
    made(&lp, &dial(&lp, protocol(&ends[0]), near, authority.client()?)?)?;
    made(&lp, &accepting)?;
    for step in script {
        match *step {
            Step::Now(at, act) => ends[at].act(act),
            Step::Inside(at, act) => {
                let ends = ends.clone();
                lp.call_soon(move || ends[at].act(act))?;
            }
            Step::Run => run_once(&lp)?,
            Step::Drain => drain(&lp, &ends)?,
        }
    }
    drain(&lp, &ends)?;
    ends[0].record.transport().close();
    for (end, other) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
        end.record.until_lost(&lp)?;
        ensure_is!(end.record.error(), None);
        ensure_eq!(end.record.received(), other.text.written.get(), "bytes that came");
        ensure!(bytes.starts_with(&end.record.bytes()), "other bytes came");
    }
    lp.close()?;
    Ok(())
}

pub(super) fn any_order_at_both_ends(cx: &Context) -> Outcome {
    let bytes = Rc::new(pattern(MOST));
    random_scripts(Step::random, |number, script| play(cx, &bytes, number % 2 == 1, script))
}
