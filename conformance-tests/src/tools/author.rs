//! One end of a connection in a random script: it writes a text that everybody knows, piece by piece.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyloop_api::Transport;
use fastrand::Rng;

use super::protocols::{Record, Script};
use super::scripts::one_of;

/// What the user of a transport may do.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// By one of three methods, so much.
    Write(u8, usize),
    /// The next `resume_writing` writes so much.
    Encore(usize),
    /// The high-water mark.
    Limits(usize),
    /// `pause_reading`.
    Pause,
    /// `resume_reading`.
    Resume,
}

impl Act {
    /// One of them.
    pub fn random(rng: &mut Rng) -> Self {
        const SIZES: [usize; 7] = [1, 300, 5_000, 9_000, 16_385, 70_000, 300_000];
        let size = one_of(rng, &SIZES);
        match rng.u8(..9) {
            0..4 => Self::Write(rng.u8(..3), size),
            4..6 => Self::Encore(size),
            6 => Self::Limits(one_of(rng, &[0, 1, 10_000, 65_536, 400_000])),
            7 => Self::Pause,
            _ => Self::Resume,
        }
    }
}

/// A protocol that writes the text.
pub struct Author {
    record: Record,
    text: Rc<Text>,
    encore: Rc<Cell<usize>>,
}

struct Text {
    bytes: Rc<Vec<u8>>,
    /// How much of it; for other threads, too.
    written: Arc<AtomicUsize>,
}

impl Author {
    /// One who has written nothing.
    #[must_use]
    pub fn new(bytes: &Rc<Vec<u8>>) -> Self {
        let text = Rc::new(Text { bytes: bytes.clone(), written: Arc::default() });
        let encore = Rc::new(Cell::new(0));
        let (theirs, more) = (text.clone(), encore.clone());
        let script = Script::new()
            .resume(move |record| theirs.go_on(&record.transport(), 0, more.take()))
            // Their end is not ours.
            .eof(|_| true);
        Self { record: script.record(), text, encore }
    }

    /// What happened to the protocol.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// How much was written.
    #[must_use]
    pub fn written(&self) -> usize {
        self.text.written.load(Ordering::Acquire)
    }

    /// Where it is counted.
    #[must_use]
    pub fn counter(&self) -> Arc<AtomicUsize> {
        self.text.written.clone()
    }

    /// Does something with the transport.
    pub fn act(&self, act: Act) {
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

impl fmt::Debug for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Author({} bytes)", self.written())
    }
}

impl Text {
    /// Writes what comes next; nothing when everything was written.
    fn go_on(&self, transport: &Transport, way: u8, size: usize) {
        let at = self.written.load(Ordering::Acquire);
        let piece = &self.bytes[at..self.bytes.len().min(at + size)];
        self.written.store(at + piece.len(), Ordering::Release);
        // Nothing has ended the connection.
        let _ = match way {
            0 => transport.write(piece),
            1 => transport.write_vec(piece.to_vec()),
            _ => transport.writelines(&[&piece[..piece.len() / 3], &piece[piece.len() / 3..]]),
        };
    }
}
