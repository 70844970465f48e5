//! Writing: at once if the kernel has room, else from a buffer, with the water marks of flow control.
//! With an engine, what is little leaves as in `engine.rs`.

use std::io::IoSlice;

use anyloop_api::{AnyProtocol, Error, EventLoop, Report, Result};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, Shutdown, send, sendmsg, shutdown};

use super::{CLOSING, ENGINE, EOF_SENT, EOF_WANTED, FULL, LOST, Stream, TRANSFER};
use crate::base::BaseLoop;
use crate::returns::retry_on_intr;
use crate::sockets::SEND_FLAGS;

/// Up to so much may wait for the end of the iteration; more is sent at once: copying it would cost more
/// than the system call.
const DEFERRABLE: usize = 8 * 1024;
/// From this write to a dead connection on, a warning is logged (asyncio's number).
const DEAD_WRITES: u8 = 5;

/// Calls again what a signal interrupted; zero if the kernel has no room.
fn attempt(call: impl FnMut() -> rustix::io::Result<usize>) -> rustix::io::Result<usize> {
    match retry_on_intr(call) {
        Err(Errno::AGAIN) => Ok(0),
        done => done,
    }
}

#[cold]
fn broken(error: Errno) -> Error {
    Error::os("writing to a connection", error.into())
}

/// Bytes that the kernel has not taken yet.
#[derive(Default)]
pub(crate) struct WriteBuffer {
    pub(super) bytes: Vec<u8>,
    pub(super) head: usize,
}

impl WriteBuffer {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    pub(crate) fn push(&mut self, data: &[u8]) {
        // Reclaim the sent part when it outweighs the rest: amortised O(1) per byte (TR-40).
        if self.head > 0 && self.head >= self.len() {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
        self.bytes.extend_from_slice(data);
    }

    pub(crate) fn sent(&mut self, count: usize) {
        self.head += count;
    }
}

impl Stream {
    pub(super) fn pending(&self) -> usize {
        self.out.borrow().len() + self.in_flight.get()
    }

    /// The checks of every write. `Ok(false)`: discard.
    #[inline]
    fn writable(&self, len: usize) -> Result<bool> {
        if self.has(EOF_WANTED | TRANSFER | CLOSING | LOST) {
            return self.writable_at_all(len);
        }
        Ok(len > 0)
    }

    #[cold]
    fn writable_at_all(&self, len: usize) -> Result<bool> {
        if self.has(EOF_WANTED) {
            return Err(Error::usage("write: write_eof was called on this transport"));
        }
        if self.has(TRANSFER) && !self.has(CLOSING) {
            return Err(Error::usage("write: a file is being sent over this transport"));
        }
        if len > 0 && self.has(LOST) {
            self.count_dead_write();
        }
        Ok(len > 0 && !self.has(CLOSING))
    }

    fn count_dead_write(&self) {
        let writes = self.rare(|rare| {
            rare.dead_writes = rare.dead_writes.saturating_add(1);
            rare.dead_writes
        });
        if writes >= DEAD_WRITES
            && let Some(base) = self.voice.base().upgrade()
        {
            let report = Report::warning("writing to a connection that is lost");
            base.call_exception_handler(report.transport(self.transport()));
        }
    }

    pub(super) fn write_bytes(&self, data: &[u8]) -> Result<()> {
        if !self.writable(data.len())? {
            return Ok(());
        }
        self.put(data);
        Ok(())
    }

    /// Sends or queues bytes, without the checks of a write.
    pub(super) fn put(&self, data: &[u8]) {
        if self.defers(data.len()) {
            self.defer(data);
        } else if let Some(sent) = self.write_at_once(data) {
            if sent < data.len() {
                self.queue(|out| out.push(&data[sent..]));
            }
        } else if !self.has(CLOSING) {
            self.queue(|out| out.push(data));
        }
    }

    /// The same without a copy of what cannot be sent at once.
    pub(super) fn write_owned(&self, data: Vec<u8>) -> Result<()> {
        if data.len() <= DEFERRABLE || self.pending() > 0 {
            return self.write_bytes(&data);
        }
        if !self.writable(data.len())? {
            return Ok(());
        }
        let head = self.write_at_once(&data).unwrap_or(0);
        if head < data.len() && !self.has(CLOSING) {
            self.queue(|out| *out = WriteBuffer { bytes: data, head });
        }
        Ok(())
    }

    /// Whether a write may wait for the end of the iteration: with an engine, as long as little waits.
    fn defers(&self, len: usize) -> bool {
        self.has(ENGINE) && self.pending() + len <= DEFERRABLE.min(self.limits().1)
    }

    /// Tries to send what is buffered and then `data`, in order, by one system call: how much of `data`
    /// the kernel took. `None` if something is ahead of it that cannot be sent now, or if the attempt
    /// ended the connection.
    fn write_at_once(&self, data: &[u8]) -> Option<usize> {
        if self.in_flight.get() > 0 || self.has(FULL) {
            return None;
        }
        let ahead = self.out.borrow().len();
        let sent = if ahead == 0 { self.send(data) } else { self.send_behind(data) };
        let sent = match sent {
            Ok(sent) => sent,
            Err(error) => {
                self.force(Some(broken(error)));
                return None;
            }
        };
        if sent < ahead + data.len() {
            self.set(FULL);
        }
        if ahead > 0 {
            self.out.borrow_mut().sent(sent.min(ahead));
        }
        sent.checked_sub(ahead)
    }

    /// One non-blocking send; zero if the kernel has no room.
    fn send(&self, data: &[u8]) -> rustix::io::Result<usize> {
        let Some(socket) = self.socket() else { return Ok(0) };
        attempt(|| send(socket, data, SEND_FLAGS))
    }

    /// The same for what is buffered, and `data`.
    fn send_behind(&self, data: &[u8]) -> rustix::io::Result<usize> {
        let Some(socket) = self.socket() else { return Ok(0) };
        let out = self.out.borrow();
        let parts = [IoSlice::new(out.rest()), IoSlice::new(data)];
        attempt(|| sendmsg(socket, &parts, &mut SendAncillaryBuffer::default(), SEND_FLAGS))
    }

    fn buffer(&self, base: &BaseLoop, push: impl FnOnce(&mut WriteBuffer)) {
        let mut out = self.out.borrow_mut();
        if out.bytes.capacity() == 0 {
            out.bytes = base.take_buffer();
        }
        push(&mut out);
    }

    /// What waits is below the high-water mark.
    fn defer(&self, data: &[u8]) {
        if !self.has(CLOSING)
            && let Some(base) = self.voice.base().upgrade()
        {
            self.buffer(&base, |out| out.push(data));
            self.mark_dirty(&base);
        }
    }

    fn queue(&self, push: impl FnOnce(&mut WriteBuffer)) {
        let Some(base) = self.voice.base().upgrade() else { return };
        self.buffer(&base, push);
        if self.has(ENGINE) {
            self.mark_dirty(&base);
        } else {
            self.update_interest();
        }
        self.maybe_pause();
    }

    // --- readiness ---

    /// The kernel has room: sends what is buffered until it has none.
    pub(super) fn flush(&self) {
        if self.in_flight.get() > 0 {
            return;
        }
        if self.out.borrow().len() > 0 {
            match self.send_buffered() {
                Ok(()) => self.after_progress(),
                Err(error) => self.force(Some(broken(error))),
            }
        }
    }

    /// Sends until the kernel has no room. `FULL` is only ever set while something is left.
    pub(super) fn send_buffered(&self) -> rustix::io::Result<()> {
        self.clear(FULL);
        let mut out = self.out.borrow_mut();
        while out.len() > 0 {
            match self.send(out.rest())? {
                0 => {
                    self.set(FULL);
                    break;
                }
                count => out.sent(count),
            }
        }
        Ok(())
    }

    // --- what follows ---

    /// Some bytes left: resume, half-close or finish, whatever is due.
    pub(super) fn after_progress(&self) {
        self.maybe_resume();
        if self.pending() == 0 && !self.has(LOST) {
            if self.has(TRANSFER) && !self.has(CLOSING) {
                // The file comes next; what follows the last byte waits until it is sent.
                self.update_interest();
                return self.wake_transfer();
            }
            if let Some(base) = self.voice.base().upgrade() {
                let out = std::mem::take(&mut *self.out.borrow_mut());
                base.give_buffer(out.bytes);
            }
            if self.has(EOF_WANTED) {
                self.send_eof();
            }
            if self.has(CLOSING) {
                return self.schedule_lost(None);
            }
            self.end_if_forgotten();
        }
        self.update_interest();
    }

    pub(super) fn send_eof(&self) {
        if !self.has(EOF_SENT) {
            self.set(EOF_SENT);
            if let Some(socket) = self.socket() {
                // A connection that is gone already will say so when it is read.
                let _ = shutdown(socket, Shutdown::Write);
            }
        }
    }

    pub(super) fn maybe_pause(&self) {
        if !self.has(LOST | TRANSFER) && self.should_pause() {
            self.tell("pause_writing panicked", AnyProtocol::pause_writing);
        }
    }

    fn maybe_resume(&self) {
        if !self.has(LOST | TRANSFER) && self.should_resume() {
            self.tell("resume_writing panicked", AnyProtocol::resume_writing);
        }
    }
}
