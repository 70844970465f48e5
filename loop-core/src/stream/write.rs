//! Writing: at once if the kernel has room, else from a buffer, with the water marks of flow control.
//!
//! With an engine, what one iteration writes is collected, as long as it is little, and leaves by one
//! send before the next poll. One send is in flight at a time; its bytes count as buffered (FLOW-11).

use std::io::{self, IoSlice};

use anyloop_api::{AnyProtocol, Error, EventLoop, Report, Result};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, send, sendmsg, shutdown};

use super::{
    CLOSING, DIRTY, ENGINE, EOF, EOF_SENT, EOF_WANTED, FULL, LOST, PAUSED, Stream, TRANSFER,
};
use crate::base::BaseLoop;
use crate::driver::{Event, LazySend};

/// Up to so much may wait for the end of the iteration; more is sent at once: copying it would cost more
/// than the system call.
const DEFERRABLE: usize = 8 * 1024;
/// From this write to a dead connection on, a warning is logged (asyncio's number).
const DEAD_WRITES: u8 = 5;

const FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

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
    bytes: Vec<u8>,
    head: usize,
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
        if !self.defers(data.len())
            && let Some(sent) = self.write_at_once(data)
        {
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
        attempt(|| send(socket, data, FLAGS))
    }

    /// The same for what is buffered, and `data`.
    fn send_behind(&self, data: &[u8]) -> rustix::io::Result<usize> {
        let Some(socket) = self.socket() else { return Ok(0) };
        let out = self.out.borrow();
        let parts = [IoSlice::new(out.rest()), IoSlice::new(data)];
        attempt(|| sendmsg(socket, &parts, &mut SendAncillaryBuffer::default(), FLAGS))
    }

    fn queue(&self, push: impl FnOnce(&mut WriteBuffer)) {
        let Some(base) = self.voice.base().upgrade() else { return };
        {
            let mut out = self.out.borrow_mut();
            if out.bytes.capacity() == 0 {
                out.bytes = base.take_buffer();
            }
            push(&mut out);
        }
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
    fn send_buffered(&self) -> rustix::io::Result<()> {
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

    // --- engine ---

    fn mark_dirty(&self, base: &BaseLoop) {
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
        let WriteBuffer { bytes, head } = std::mem::take(&mut *self.out.borrow_mut());
        if head == bytes.len() {
            // It was sent at the end of a run.
            base.give_buffer(bytes);
            self.after_progress();
            return false;
        }
        if self.is_due() {
            self.lend_to_engine(base, bytes, head);
            return false;
        }
        let Some(socket) = self.socket() else { return false };
        let len = bytes.len() - head;
        match base.with_driver(|driver| driver.send_lazily(socket, bytes, head)) {
            Ok(()) => {
                self.clear(FULL);
                self.in_flight.set(len);
                true
            }
            Err(bytes) => {
                self.lend_to_engine(base, bytes, head);
                false
            }
        }
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

    // --- what follows ---

    /// Some bytes left: resume, half-close or finish, whatever is due.
    pub(super) fn after_progress(&self) {
        self.maybe_resume();
        if self.pending() == 0 && !self.has(LOST) {
            if self.has(TRANSFER) && !self.has(CLOSING) {
                // The file comes next; what follows the last byte waits until it is sent.
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
