//! Random scripts about transports and the other ends of their descriptors: whatever the order of writes,
//! pauses, runs and reads, every byte arrives, and nothing stands still while somebody reads.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::thread;

use anyloop_api::LoopRef;
use fastrand::Rng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::Shutdown;

use super::author::{Act, Author};
use super::running::{join, run_once};
use super::scripts::{Step, one_of};
use super::sockets::or_nothing;
use crate::case::{Failure, Outcome};

/// What we do, or they.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// To the transports.
    Ours(Act),
    /// So much, or what there is room for.
    TheyWrite(usize),
    /// So much, or what is there.
    TheyRead(usize),
    /// They write no more, if that can be told.
    TheyEnd,
}

impl Deed {
    /// One of them.
    pub fn random(rng: &mut Rng) -> Self {
        const SIZES: [usize; 6] = [1, 300, 5_000, 9_000, 70_000, 300_000];
        match rng.u8(..60) {
            0..44 => Self::Ours(Act::random(rng)),
            44..49 => Self::TheyWrite(one_of(rng, &SIZES)),
            49 => Self::TheyEnd,
            _ => Self::TheyRead(one_of(rng, &SIZES)),
        }
    }
}

/// A transport that is written to, one that is read from (which may be the same), and the other ends.
pub struct Play {
    writer: Rc<Author>,
    reader: Rc<Author>,
    from_us: File,
    to_us: File,
    text: Rc<Vec<u8>>,
    they_wrote: Cell<usize>,
    they_ended: Cell<bool>,
    they_read: RefCell<Vec<u8>>,
}

impl Play {
    /// Of authors whose transports are made, and of the other ends, which do not block: where our writing
    /// comes out, and where our reading comes from. They write the same text.
    #[must_use]
    pub fn new(
        (writer, from_us): (Rc<Author>, OwnedFd),
        (reader, to_us): (Rc<Author>, OwnedFd),
        text: &Rc<Vec<u8>>,
    ) -> Rc<Self> {
        Rc::new(Self {
            writer,
            reader,
            from_us: from_us.into(),
            to_us: to_us.into(),
            text: text.clone(),
            they_wrote: Cell::default(),
            they_ended: Cell::default(),
            they_read: RefCell::default(),
        })
    }

    /// Plays a script to its end.
    ///
    /// # Errors
    /// What is missing, or too much.
    pub fn play(self: &Rc<Self>, lp: &LoopRef, script: &[Step<Deed>]) -> Outcome {
        let play = self.clone();
        Step::take_all(script, lp, move |deed| play.act(deed), || self.drain(lp))?;
        self.finish(lp)
    }

    fn act(&self, deed: Deed) -> Outcome {
        match deed {
            Deed::Ours(act @ (Act::Pause | Act::Resume)) => self.reader.act(act),
            Deed::Ours(act) => self.writer.act(act),
            Deed::TheyWrite(_) if self.they_ended.get() => {}
            Deed::TheyWrite(size) => {
                let at = self.they_wrote.get();
                let piece = &self.text[at..self.text.len().min(at + size)];
                self.they_wrote.set(at + or_nothing((&self.to_us).write(piece))?);
            }
            Deed::TheyRead(size) => {
                let mut piece = vec![0; size];
                let count = or_nothing((&self.from_us).read(&mut piece))?;
                self.they_read.borrow_mut().extend_from_slice(&piece[..count]);
            }
            Deed::TheyEnd => {
                // A pipe has no half to close.
                if rustix::net::shutdown(&self.to_us, Shutdown::Write).is_ok() {
                    self.they_ended.set(true);
                }
            }
        }
        Ok(())
    }

    /// Nothing but their reading, and what follows from it, wakes the loop.
    fn drain(&self, lp: &LoopRef) -> Outcome {
        // What is to be done in a callback is done before.
        run_once(lp)?;
        while self.they_read.borrow().len() < self.writer.written() {
            let (mut from_us, remote) = (self.from_us.try_clone()?, lp.remote());
            let (had, written) = (self.they_read.borrow().len(), self.writer.counter());
            let reader = thread::spawn(move || {
                let read = (|| {
                    let (mut got, mut piece) = (Vec::new(), vec![0; 1 << 16]);
                    while had + got.len() < written.load(Ordering::Acquire) {
                        wait_for_more(&from_us)?;
                        let count = from_us.read(&mut piece)?;
                        got.extend_from_slice(&piece[..count]);
                    }
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
        let buffered = self.writer.record().transport().get_write_buffer_size();
        let written = self.writer.written();
        Failure::new(format!("{buffered} of {written} bytes stand still ({error})"))
    }

    fn finish(&self, lp: &LoopRef) -> Outcome {
        self.writer.act(Act::Encore(0));
        self.drain(lp)?;
        self.reader.act(Act::Resume);
        let (here, there) = (self.writer.record(), self.reader.record());
        there.until_received(lp, self.they_wrote.get())?;
        if self.they_ended.get() {
            there.until(lp, |record| record.count("eof") == 1)?;
        }
        for record in [here, there] {
            record.transport().close();
            record.until_lost(lp)?;
            ensure_is!(record.error(), None);
        }
        let they_read = self.they_read.borrow();
        ensure_eq!(they_read.len(), self.writer.written(), "bytes that came out");
        ensure!(self.text.starts_with(&they_read), "other bytes came out than were written");
        ensure_eq!(there.received(), self.they_wrote.get(), "bytes that came in");
        ensure!(self.text.starts_with(&there.bytes()), "other bytes came in");
        ensure_eq!(there.count("eof"), usize::from(self.they_ended.get()), "ends of the stream");
        let events = here.events();
        let flow = events.iter().filter(|event| ["pause", "resume"].contains(&event.as_str()));
        let alternate = flow.zip(["pause", "resume"].iter().cycle()).all(|(is, due)| is == due);
        ensure!(alternate, "callbacks: {events:?}");
        Ok(())
    }
}

impl fmt::Debug for Play {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Play({:?}, {} bytes from them)", self.writer, self.they_wrote.get())
    }
}

/// Waits until there is something to read.
fn wait_for_more(file: &File) -> io::Result<()> {
    let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
    match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&patience))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}
