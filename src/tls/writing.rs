//! Writing: encrypted at once while the transport below takes it, else kept as plaintext.
//!
//! What is queued is the plaintext that waits here and the ciphertext that waits below (TLS-10). The marks
//! of the transport below are never above ours, so that whenever we are waiting it has something to tell.

use std::cell::RefCell;
use std::io::Write;

use anyloop_api::{AnyProtocol, Result, write_buffer_limits};

use super::layer::{Layer, State, WRITE_HIGH};

/// So much is encrypted at a time, before we ask whether the transport below wants more.
const PIECE: usize = 64 * 1024;
/// The high-water mark of the transport below, unless ours are lower.
const BELOW_HIGH: usize = 64 * 1024;
/// From this write to a dead connection on, a warning is logged (asyncio's number).
const DEAD_WRITES: u8 = 5;

thread_local! {
    /// Memory for ciphertext on its way to the transport below; gone when the thread ends, as in `reading.rs`.
    static CIPHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Layer {
    /// Sends or queues plaintext; after close it is discarded (TLS-16).
    pub(super) fn put(&self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        if self.is_over() {
            return self.count_dead_write();
        }
        let waiting = self.backlog.borrow().len() > 0 || self.below_writing_paused.get();
        let sent =
            if waiting || self.state.get() == State::Handshake { 0 } else { self.encrypt(data) };
        if sent < data.len() && !self.is_over() {
            self.backlog.borrow_mut().push(&data[sent..]);
        }
        self.control_writing();
    }

    /// Whether nothing more can be written.
    pub(super) fn is_over(&self) -> bool {
        let below_over = self.below.get().is_some_and(|below| below.is_closing());
        self.state.get() > State::Wrapped || below_over
    }

    fn count_dead_write(&self) {
        if self.state.get() == State::Closed {
            let writes = self.dead_writes.get().saturating_add(1);
            self.dead_writes.set(writes);
            if writes >= DEAD_WRITES {
                self.warn("writing to a connection that is lost");
            }
        }
    }

    /// Encrypts and sends while the transport below wants more: how much.
    fn encrypt(&self, data: &[u8]) -> usize {
        let mut sent = 0;
        for piece in data.chunks(PIECE) {
            if self.below_writing_paused.get() {
                break;
            }
            let written = self.session.borrow_mut().writer().write(piece);
            // There is no limit to what a session takes.
            sent += written.unwrap_or(0);
            self.send();
        }
        sent
    }

    /// Gives what the session has to say to the transport below.
    pub(super) fn send(&self) {
        if !self.session.borrow().wants_write() {
            return;
        }
        let mut cipher = CIPHER.try_with(RefCell::take).unwrap_or_default();
        let mut session = self.session.borrow_mut();
        while session.wants_write() {
            if session.write_tls(&mut cipher).is_err() {
                break;
            }
        }
        drop(session);
        let written = self.below.get().map_or(Ok(()), |below| below.write(&cipher));
        cipher.clear();
        let _ = CIPHER.try_with(|kept| kept.replace(cipher));
        if let Err(error) = written {
            // Somebody has half-closed the transport below, or sends a file over it.
            self.abort_with(Some(error));
        }
    }

    /// The transport below wants more.
    pub(super) fn flush(&self) {
        if matches!(self.state.get(), State::Wrapped | State::Flushing) {
            let mut backlog = self.backlog.take();
            if backlog.len() > 0 {
                let sent = self.encrypt(backlog.as_slice());
                backlog.skip(sent);
                let came = self.backlog.replace(backlog);
                self.backlog.borrow_mut().push(came.as_slice());
            }
        }
        self.control_writing();
        if self.state.get() == State::Flushing && self.backlog.borrow().len() == 0 {
            self.say_goodbye();
        }
    }

    pub(super) fn queued(&self) -> usize {
        let below = self.below.get().map_or(0, |below| below.get_write_buffer_size());
        self.backlog.borrow().len() + below
    }

    /// Tells the protocol to pause or to go on, if it does not know.
    pub(super) fn control_writing(&self) {
        if !matches!(self.state.get(), State::Wrapped | State::Flushing) {
            return;
        }
        let queued = self.queued();
        if queued > self.high.get() && !self.writing_paused.replace(true) {
            self.tell("pause_writing panicked", AnyProtocol::pause_writing);
        } else if queued <= self.low.get() && self.writing_paused.replace(false) {
            self.tell("resume_writing panicked", AnyProtocol::resume_writing);
        }
    }

    pub(super) fn set_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<()> {
        let neither = high.is_none() && low.is_none();
        let high = if neither { Some(WRITE_HIGH) } else { high };
        let (high, low) = write_buffer_limits(high, low)?;
        self.high.set(high);
        self.low.set(low);
        self.share_limits();
        self.control_writing();
        Ok(())
    }

    /// Gives the transport below marks that fit ours.
    pub(super) fn share_limits(&self) {
        let high = BELOW_HIGH.min(self.low.get());
        if let Some(below) = self.below.get() {
            // The high mark is not below the low one.
            let _ = below.set_write_buffer_limits(Some(high), Some(high / 4));
        }
    }
}
