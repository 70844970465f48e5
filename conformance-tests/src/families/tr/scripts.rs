//! Random scripts of writes, pauses, runs and reads: whatever the order, every byte arrives, and a
//! connection never stands still while somebody reads at its other end.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;

use anyloop_api::Transport;
use fastrand::Rng;

use crate::families::prelude::*;
use crate::tools::{Author, author, one_of, or_nothing, pattern, random_scripts, socket_pair};

/// So much is written at most, each way.
const MOST: usize = 1_000_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    Now(Act),
    /// In a callback of the next run.
    Inside(Act),
    /// One iteration.
    Run,
    /// The loop sleeps, and the peer reads until it has everything.
    Drain,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Ours(author::Act),
    TheyWrite(usize),
    TheyRead(usize),
}

impl Step {
    fn random(rng: &mut Rng) -> Self {
        match rng.u8(..10) {
            0..3 => Self::Now(Act::random(rng)),
            3..7 => Self::Inside(Act::random(rng)),
            7..9 => Self::Run,
            _ => Self::Drain,
        }
    }
}

impl Act {
    fn random(rng: &mut Rng) -> Self {
        const SIZES: [usize; 6] = [1, 300, 5_000, 9_000, 70_000, 300_000];
        match rng.u8(..12) {
            0..9 => Self::Ours(author::Act::random(rng)),
            9 => Self::TheyWrite(one_of(rng, &SIZES)),
            _ => Self::TheyRead(one_of(rng, &SIZES)),
        }
    }
}

/// A connection and its peer.
struct Play {
    author: Author,
    transport: Transport,
    far: UnixStream,
    bytes: Rc<Vec<u8>>,
    they_wrote: Cell<usize>,
    they_read: RefCell<Vec<u8>>,
}

impl Play {
    fn new(lp: &LoopRef, bytes: &Rc<Vec<u8>>, buffered: bool) -> Result<Rc<Self>, Failure> {
        let (near, far) = socket_pair()?;
        let author = Author::new(bytes);
        let record = author.record();
        let transport =
            if buffered { record.attach_buffered(lp, near) } else { record.attach(lp, near) }?;
        run_once(lp)?;
        Ok(Rc::new(Self {
            author,
            transport,
            far,
            bytes: bytes.clone(),
            they_wrote: Cell::default(),
            they_read: RefCell::default(),
        }))
    }

    fn act(&self, act: Act) -> io::Result<()> {
        match act {
            Act::Ours(act) => self.author.act(act),
            Act::TheyWrite(size) => {
                let at = self.they_wrote.get();
                let piece = &self.bytes[at..self.bytes.len().min(at + size)];
                self.they_wrote.set(at + or_nothing((&self.far).write(piece))?);
            }
            Act::TheyRead(size) => {
                let mut piece = vec![0; size];
                let count = or_nothing((&self.far).read(&mut piece))?;
                self.they_read.borrow_mut().extend_from_slice(&piece[..count]);
            }
        }
        Ok(())
    }

    /// Nothing but the peer's reading, and what follows from it, wakes the loop.
    fn drain(&self, lp: &LoopRef) -> Outcome {
        // What is to be done in a callback is done before.
        run_once(lp)?;
        while self.they_read.borrow().len() < self.author.written() {
            let (mut far, remote) = (self.far.try_clone()?, lp.remote());
            let (had, written) = (self.they_read.borrow().len(), self.author.counter());
            let reader = thread::spawn(move || {
                let read = (|| {
                    far.set_nonblocking(false)?;
                    far.set_read_timeout(Some(ms(5_000)))?;
                    let (mut got, mut piece) = (Vec::new(), vec![0; 1 << 16]);
                    while had + got.len() < written.load(Ordering::Acquire) {
                        let count = far.read(&mut piece)?;
                        got.extend_from_slice(&piece[..count]);
                    }
                    far.set_nonblocking(true)?;
                    Ok::<_, io::Error>(got)
                })();
                remote.stop();
                read
            });
            lp.run_forever()?;
            let got = join(reader)?.map_err(|error| self.stands_still(&error))?;
            self.they_read.borrow_mut().extend(got);
        }
        Ok(())
    }

    fn stands_still(&self, error: &io::Error) -> Failure {
        let (written, buffered) = (self.author.written(), self.transport.get_write_buffer_size());
        Failure::new(format!("{buffered} of {written} bytes stand still ({error})"))
    }

    fn finish(&self, lp: &LoopRef) -> Outcome {
        self.author.act(author::Act::Encore(0));
        self.drain(lp)?;
        self.transport.resume_reading();
        let record = self.author.record();
        record.until_received(lp, self.they_wrote.get())?;
        self.transport.close();
        record.until_lost(lp)?;
        ensure_is!(record.error(), None);
        let they_read = self.they_read.borrow();
        ensure_eq!(they_read.len(), self.author.written(), "bytes at the peer");
        ensure!(self.bytes.starts_with(&they_read), "the peer got other bytes than were written");
        ensure_eq!(record.received(), self.they_wrote.get(), "bytes from the peer");
        ensure!(self.bytes.starts_with(&record.bytes()), "other bytes came from the peer");
        let events = record.events();
        let flow = events.iter().filter(|event| ["pause", "resume"].contains(&event.as_str()));
        let alternate = flow.zip(["pause", "resume"].iter().cycle()).all(|(is, due)| is == due);
        ensure!(alternate, "callbacks: {events:?}");
        Ok(())
    }
}

fn play(cx: &Context, bytes: &Rc<Vec<u8>>, buffered: bool, script: &[Step]) -> Outcome {
    let lp = cx.new_loop()?;
    let play = Play::new(&lp, bytes, buffered)?;
    for step in script {
        match *step {
            Step::Now(act) => play.act(act)?,
            Step::Inside(act) => {
                let play = play.clone();
                // If it fails, bytes are missing at the end.
                lp.call_soon(move || drop(play.act(act)))?;
            }
            Step::Run => run_once(&lp)?,
            Step::Drain => play.drain(&lp)?,
        }
    }
    play.finish(&lp)
}

pub(super) fn any_order_of_writes_reads_and_runs(cx: &Context) -> Outcome {
    let bytes = Rc::new(pattern(MOST));
    random_scripts(Step::random, |number, script| play(cx, &bytes, number % 2 == 1, script))
}
