//! Random scripts of arrivals, reads and cancellations: every byte is read once, in order, and nobody
//! waits for what is there.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use fastrand::Rng;

use super::super::prelude::*;
use super::{StreamReader, StreamWriter, attach};
use crate::tools::{one_of, or_nothing, pattern, random_scripts, socket_pair};

cases! {
    STREAM_11 => no_order_of_reads_loses_anything;
}

/// So much the peer writes at most.
const MOST: usize = 500_000;
const SIZES: [usize; 5] = [1, 30, 700, 5_000, 70_000];

#[derive(Clone, Copy, Debug)]
enum Step {
    TheyWrite(usize),
    /// In a callback of the next run.
    TheyWriteInside(usize),
    /// A task begins to read, if none does.
    Read(How),
    Cancel,
    /// One iteration.
    Run,
    /// The peer writes, piece by piece, while the loop sleeps in between.
    Drain(usize),
}

#[derive(Clone, Copy, Debug)]
enum How {
    Some(usize),
    Into(usize),
    Exactly(usize),
    Until(u8),
}

impl Step {
    fn random(rng: &mut Rng) -> Self {
        let size = one_of(rng, &SIZES);
        match rng.u8(..16) {
            0..3 => Self::TheyWrite(size),
            3..5 => Self::TheyWriteInside(size),
            5..9 => Self::Read(match rng.u8(..4) {
                0 => How::Some(size),
                1 => How::Into(size),
                2 => How::Exactly(size),
                _ => How::Until(rng.u8(..)),
            }),
            9..11 => Self::Cancel,
            11..15 => Self::Run,
            _ => Self::Drain(size),
        }
    }
}

/// A reader, its peer, and what was read.
struct Play {
    reader: StreamReader,
    writer: StreamWriter,
    far: UnixStream,
    bytes: Rc<Vec<u8>>,
    told: Cell<usize>,
    got: Rc<RefCell<Vec<u8>>>,
    task: RefCell<Option<Task<()>>>,
}

async fn read(reader: StreamReader, how: How, got: Rc<RefCell<Vec<u8>>>) {
    let read = match how {
        How::Some(n) => reader.read(n).await,
        How::Into(n) => {
            let mut piece = vec![0; n];
            reader.read_into(&mut piece).await.map(|count| piece[..count].to_vec())
        }
        How::Exactly(n) => reader.read_exact(n).await,
        How::Until(byte) => reader.read_until(&[[byte]]).await,
    };
    // One that went past the limit has read nothing.
    got.borrow_mut().extend(read.unwrap_or_default());
}

impl Play {
    fn new(lp: &LoopRef, bytes: &Rc<Vec<u8>>, limit: usize) -> Result<Rc<Self>, Failure> {
        let (near, far) = socket_pair()?;
        let (reader, writer) = attach(lp, near, limit)?;
        Ok(Rc::new(Self {
            reader,
            writer,
            far,
            bytes: bytes.clone(),
            told: Cell::default(),
            got: Rc::default(),
            task: RefCell::default(),
        }))
    }

    fn they_write(&self, size: usize) -> io::Result<()> {
        let at = self.told.get();
        let piece = &self.bytes[at..self.bytes.len().min(at + size)];
        self.told.set(at + or_nothing((&self.far).write(piece))?);
        Ok(())
    }

    fn begin_to_read(&self, lp: &LoopRef, how: How) -> Outcome {
        let mut task = self.task.borrow_mut();
        if task.as_ref().is_none_or(Task::done) {
            *task = Some(lp.create_task(read(self.reader.clone(), how, self.got.clone()))?);
        }
        Ok(())
    }

    fn cancel(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.cancel();
        }
    }

    /// Nothing but the peer's writing wakes the loop.
    fn drain(&self, lp: &LoopRef, size: usize) -> Outcome {
        self.cancel();
        run_times(lp, 2)?;
        let (mut far, at) = (self.far.try_clone()?, self.told.get());
        let rest = self.bytes[at..self.bytes.len().min(at + size)].to_vec();
        let told = at + rest.len();
        self.told.set(told);
        let writer = thread::spawn(move || {
            far.set_nonblocking(false)?;
            for piece in rest.chunks(1 + rest.len() / 4) {
                far.write_all(piece)?;
                thread::yield_now();
            }
            far.set_nonblocking(true)
        });
        let (reader, got) = (self.reader.clone(), self.got.clone());
        let reading = lp.create_task(async move {
            while got.borrow().len() < told {
                let piece = reader.read(5_000).await?;
                ensure!(!piece.is_empty(), "the end of the stream");
                got.borrow_mut().extend(piece);
            }
            Ok::<_, Failure>(())
        })?;
        lp.run_until_done(&reading)??;
        Ok(join(writer)??)
    }

    fn finish(&self, lp: &LoopRef) -> Outcome {
        self.drain(lp, 1)?;
        self.far.shutdown(Shutdown::Write)?;
        let reader = self.reader.clone();
        let rest = lp.run_until_complete(async move { reader.read_to_end().await })??;
        ensure_eq!(rest.len(), 0, "bytes that nobody has written");
        let got = self.got.borrow();
        ensure_eq!(got.len(), self.told.get(), "bytes that were read");
        ensure!(self.bytes.starts_with(&got), "other bytes were read than were written");
        self.writer.close();
        Ok(())
    }
}

fn play(lp: &LoopRef, play: &Rc<Play>, script: &[Step]) -> Outcome {
    for step in script {
        match *step {
            Step::TheyWrite(size) => play.they_write(size)?,
            Step::TheyWriteInside(size) => {
                let play = play.clone();
                // If it fails, so does the next one outside.
                lp.call_soon(move || drop(play.they_write(size)))?;
            }
            Step::Read(how) => play.begin_to_read(lp, how)?,
            Step::Cancel => play.cancel(),
            Step::Run => run_once(lp)?,
            Step::Drain(size) => play.drain(lp, size)?,
        }
    }
    play.finish(lp)
}

fn no_order_of_reads_loses_anything(cx: &Context) -> Outcome {
    let bytes = Rc::new(pattern(MOST));
    random_scripts(Step::random, |number, script| {
        let lp = cx.new_loop()?;
        let limit = [64, 1_000, 65_536][number as usize % 3];
        play(&lp, &Play::new(&lp, &bytes, limit)?, script)?;
        lp.close()?;
        Ok(())
    })
}
