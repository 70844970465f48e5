//! Writing by the engine: what one iteration writes is collected, as long as it is little, and leaves by
//! one send before the next poll. One send is in flight at a time; its bytes count as buffered (FLOW-11).

use std::io;

use anyloop_api::Error;

use super::{CLOSING, DIRTY, EOF, EOF_WANTED, FULL, LOST, PAUSED, Stream, TRANSFER, WriteBuffer};
use crate::base::BaseLoop;
use crate::driver::{Event, LazySend};

impl Stream {
    #[inline]
    pub(super) fn mark_dirty(&self, base: &BaseLoop) {
        if !self.has(DIRTY)
            && self.in_flight.get() == 0
            && let Some(this) = self.this.upgrade()
        {
            self.set(DIRTY);
            base.mark_dirty(this);
        }
    }

    /// Before a poll: lends what is buffered to the engine. Whether lazily, so that `on_lazily_sent` follows.
    pub(crate) fn flush_deferred(&self, base: &BaseLoop) -> bool {
        self.clear(DIRTY);
        if self.in_flight.get() > 0 || self.has(LOST) {
            return false;
        }
        let mut out = self.out.borrow_mut();
        let len = out.len();
        if len > 0 && !self.is_due() {
            let Some(socket) = self.socket() else { return false };
            let WriteBuffer { bytes, head } = &mut *out;
            if base.with_driver(|driver| driver.send_lazily(socket, bytes, *head)) {
                *head = 0;
                self.clear(FULL);
                self.in_flight.set(len);
                return true;
            }
        }
        let WriteBuffer { bytes, head } = std::mem::take(&mut *out);
        drop(out);
        if len > 0 {
            self.lend_to_engine(base, bytes, head);
        } else {
            // It was sent at the end of a run.
            base.give_buffer(bytes);
            self.after_progress();
        }
        false
    }

    /// Whether something is to follow when all is sent.
    fn is_due(&self) -> bool {
        self.has(CLOSING | EOF_WANTED | EOF | PAUSED | TRANSFER) || self.is_writing_paused()
    }

    /// At the end of a run, with no poll to follow: sends what the kernel takes, and calls nobody.
    pub(crate) fn flush_at_rest(&self) {
        self.clear(DIRTY);
        let Some(base) = self.voice.base().upgrade() else { return };
        if self.in_flight.get() == 0 && !self.has(LOST) {
            // An error is found again by the next run.
            let _ = self.send_buffered();
            self.mark_dirty(&base);
        }
    }

    fn lend_to_engine(&self, base: &BaseLoop, bytes: Vec<u8>, offset: usize) {
        let Some(socket) = self.socket() else { return };
        let len = bytes.len() - offset;
        self.clear(FULL);
        let key = self.socket.key();
        match base.with_driver(|driver| driver.send(socket, key, bytes, offset)) {
            Ok(()) => {
                self.in_flight.set(len);
            }
            Err(bytes) => {
                // It cannot take it now: by system call, and the rest in the next iteration.
                let mut out = WriteBuffer { bytes, head: offset };
                out.push(std::mem::take(&mut *self.out.borrow_mut()).rest());
                *self.out.borrow_mut() = out;
                self.in_flight.set(0);
                self.flush();
                if self.out.borrow().len() > 0
                    && !self.has(LOST)
                    && let Some(this) = self.this.upgrade()
                {
                    base.soon(move || this.flush_again());
                }
            }
        }
    }

    /// What the engine did not take goes to it once more.
    fn flush_again(&self) {
        let Some(base) = self.voice.base().upgrade() else { return };
        if self.in_flight.get() == 0 && !self.has(LOST) && self.out.borrow().len() > 0 {
            let out = std::mem::take(&mut *self.out.borrow_mut());
            self.lend_to_engine(&base, out.bytes, out.head);
        }
    }

    /// A lazy send is over. If it did not go through, or something was to follow after all, an event says so
    /// in its turn: nobody is called from here.
    pub(crate) fn on_lazily_sent(&self, base: &BaseLoop, sent: LazySend) -> Option<Event> {
        let LazySend { buffer, result } = sent;
        let all = matches!(result, Ok(count) if count == self.in_flight.get());
        if !self.has(LOST) && (!all || self.is_due() || self.out.borrow().len() > 0) {
            return Some(Event::Sent { key: self.socket.key(), buffer, result });
        }
        self.in_flight.set(0);
        base.give_buffer(buffer);
        None
    }

    pub(super) fn on_sent(&self, base: &BaseLoop, buffer: Vec<u8>, result: io::Result<usize>) {
        let lent = self.in_flight.take();
        if self.has(LOST) {
            return base.give_buffer(buffer);
        }
        match result {
            Err(error) => {
                base.give_buffer(buffer);
                self.force(Some(Error::os("writing to a connection", error)));
            }
            Ok(count) => {
                let sent = buffer.len() - lent + count;
                if sent < buffer.len() {
                    self.lend_to_engine(base, buffer, sent);
                } else {
                    base.give_buffer(buffer);
                    if self.out.borrow().len() > 0 {
                        self.mark_dirty(base);
                    }
                }
                self.after_progress();
            }
        }
    }
}
