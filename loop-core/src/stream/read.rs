//! Reading: from readiness (pull) or from the engine's chunks (push), in order, never while paused.

use std::io;

use anyloop_api::{AnyProtocol, BufferedProtocol, Error, EventLoop, Panic, Protocol};

use super::recv::{recv, recv_into};
use super::{
    ANNOUNCE, CLOSING, EOF, HANGUP, HELD, LARGE, LOST, MADE, OFFERED, PAUSED, READABLE, RECEIVING,
    Stream,
};
use crate::base::BaseLoop;
use crate::driver::{Chunk, Fd, Readiness, RecvEnd, Trigger};
use crate::scratch::READ_SIZE;

/// Reads of one connection per event, so that a loud peer cannot starve the others.
const READS_PER_EVENT: usize = 4;

/// Where the engine could push, messages from this size on are pulled instead: one copy less, and better
/// caching, outweigh the system call …
const PULL_FROM: usize = 8 * 1024;
/// … until so many reads in a row brought less than this.
const PUSH_BELOW: usize = 2 * 1024;
const PUSH_AFTER: u8 = 64;

impl Stream {
    pub(super) fn wants_data(&self) -> bool {
        self.flags.get() & (MADE | PAUSED | EOF | CLOSING | LOST) == MADE
    }

    /// Starts the engine's receiving, if it is wanted and not in force.
    pub(super) fn receive(&self, base: &BaseLoop) {
        let in_force = self.has(RECEIVING) || self.socket.is_registered();
        if in_force || !self.wants_data() || self.has(HELD) {
            return;
        }
        if self.has(LARGE) {
            return self.register(base);
        }
        let Some(socket) = self.socket() else { return };
        match base.with_driver(|driver| driver.recv_start(socket, self.socket.key())) {
            Ok(()) => self.set(RECEIVING),
            Err(error) => self.force(Some(Error::os("starting to receive", error))),
        }
    }

    /// What still comes is held, or thrown away if the connection is closing.
    pub(super) fn stop_receiving(&self) {
        let Some(base) = self.voice.base().upgrade() else { return };
        if self.has(RECEIVING)
            && let Some(socket) = self.socket()
        {
            base.with_driver(|driver| driver.recv_stop(socket, self.socket.key()));
        }
        self.update_interest();
    }

    pub(super) fn pause(&self) {
        if !self.has(CLOSING | PAUSED | LOST) {
            self.set(PAUSED);
            self.stop_receiving();
        }
    }

    pub(super) fn resume(&self) {
        if !self.has(PAUSED) || self.has(CLOSING | LOST) {
            return;
        }
        self.clear(PAUSED);
        let Some(base) = self.voice.base().upgrade() else { return };
        // What is there already is delivered in the next iteration, never from inside this call.
        if self.has(HELD) || (self.has(READABLE) && self.socket.is_registered()) {
            base.requeue_readable(self.socket.key());
        } else if self.pushed() {
            self.receive(&base);
        }
        self.update_interest();
    }

    /// From push to pull: what the engine has received comes first, then `receive` is called again.
    fn pull(&self, base: &BaseLoop) {
        if let Some(socket) = self.socket() {
            self.set(LARGE);
            self.small_reads.set(0);
            base.with_driver(|driver| driver.recv_stop(socket, self.socket.key()));
        }
    }

    /// Notes the size of a read, and goes from pull to push if there were many small ones.
    #[inline]
    pub(super) fn note_size(&self, base: &BaseLoop, count: usize) {
        if self.has(LARGE) {
            self.note_size_of_large(base, count);
        }
    }

    fn note_size_of_large(&self, base: &BaseLoop, count: usize) {
        let small = if count < PUSH_BELOW { self.small_reads.get().saturating_add(1) } else { 0 };
        self.small_reads.set(small);
        if small == PUSH_AFTER && self.socket.deregister(base).is_ok() {
            self.clear(LARGE | READABLE | ANNOUNCE | OFFERED);
            self.receive(base);
        }
    }

    // --- from readiness ---

    pub(super) fn on_ready(&self, base: &BaseLoop, readiness: Readiness) {
        if readiness.closed {
            self.set(HANGUP);
        }
        if readiness.readable || readiness.closed {
            self.set(READABLE);
        }
        // Reading comes first: a write that finds the connection broken ends it, and what the peer had
        // sent before would be lost (TR-13).
        if self.has(HELD) {
            self.deliver_held(base);
        } else {
            self.read(base);
        }
        if readiness.writable {
            if base.state().interrupted() {
                // The loop stops here, and may run again (LIFE-18).
                return base.requeue_writable(self.socket.key());
            }
            self.flush();
        }
    }

    /// Reads until drained or until others should have a turn.
    pub(super) fn read(&self, base: &BaseLoop) {
        for _ in 0..READS_PER_EVENT {
            if !self.wants_data() || !self.has(READABLE) || !self.socket.is_registered() {
                return;
            }
            // Where the end may be near, it is found here.
            if self.has(ANNOUNCE | OFFERED) && !self.has(HANGUP) {
                if self.offer(base) {
                    return;
                }
                if base.state().interrupted() {
                    break;
                }
            }
            let (Some(socket), Some(protocol)) = (self.socket(), self.voice.protocol()) else {
                return;
            };
            let read = match protocol {
                AnyProtocol::Plain(protocol) => self.read_shared(base, &*protocol, socket),
                AnyProtocol::Buffered(protocol) => self.read_into(base, &*protocol, socket),
            };
            match read {
                None => return,
                Some(Ok((0, _))) => {
                    self.clear(READABLE);
                    return self.on_eof();
                }
                // A short read drained the socket, unless the end may be behind it.
                Some(Ok((count, room))) => {
                    if count < room && !self.has(HANGUP) {
                        self.clear(READABLE);
                        self.note_size(base, count);
                        return;
                    }
                }
                Some(Err(error)) => {
                    self.clear(READABLE);
                    if error.kind() != io::ErrorKind::WouldBlock {
                        self.force(Some(Error::os("reading from a connection", error)));
                    }
                    return;
                }
            }
            if base.state().interrupted() {
                break;
            }
        }
        if self.wants_data() && self.has(READABLE) && base.caps().trigger == Trigger::Edge {
            base.requeue_readable(self.socket.key());
        }
    }

    /// One read into the loop's buffer: how much came, and how much could have.
    fn read_shared(
        &self,
        base: &BaseLoop,
        protocol: &dyn Protocol,
        socket: Fd,
    ) -> Option<io::Result<(usize, usize)>> {
        let mut scratch = base.take_scratch();
        let count = recv(socket, scratch.bytes());
        if let Ok(count @ 1..) = count {
            let piece = &scratch.bytes()[..count];
            self.call_in(base, "data_received panicked", || protocol.data_received(piece));
        }
        base.give_scratch(scratch);
        Some(count.map(|count| (count, READ_SIZE)))
    }

    /// One read into the protocol's buffer. `None` if the protocol did not want it after all.
    fn read_into(
        &self,
        base: &BaseLoop,
        protocol: &dyn BufferedProtocol,
        socket: Fd,
    ) -> Option<io::Result<(usize, usize)>> {
        let mut buffer = self.get_buffer(base, protocol, READ_SIZE)?;
        if !self.wants_data() {
            self.give_back(base, protocol, buffer, 0);
            return None;
        }
        let room = buffer.len().min(READ_SIZE);
        let count = recv_into(base, socket, &mut buffer[..room]);
        self.give_back(base, protocol, buffer, *count.as_ref().unwrap_or(&0));
        Some(count.map(|count| (count, room)))
    }

    // --- from the engine ---

    pub(super) fn on_data(&self, base: &BaseLoop, chunk: &Chunk) {
        let large = chunk.len() >= PULL_FROM && self.has(RECEIVING) && !self.has(LARGE);
        if large && base.caps().trigger == Trigger::Edge {
            self.pull(base);
        }
        if self.wants_data() && !self.has(HELD) {
            self.deliver(base, chunk);
        } else {
            self.hold(chunk);
        }
    }

    pub(super) fn on_recv_ended(&self, base: &BaseLoop, reason: RecvEnd) {
        self.clear(RECEIVING);
        let end = match reason {
            RecvEnd::Eof => None,
            RecvEnd::Error(error) => Some(error),
            RecvEnd::Stopped | RecvEnd::Exhausted => return self.receive(base),
        };
        if self.wants_data() && !self.has(HELD) {
            self.on_end(end);
        } else if !self.has(CLOSING | LOST | EOF) {
            self.held(|held| held.end = Some(end));
        }
    }

    // --- to the protocol ---

    fn get_buffer(
        &self,
        base: &BaseLoop,
        protocol: &dyn BufferedProtocol,
        hint: usize,
    ) -> Option<Vec<u8>> {
        let buffer = self.call_in(base, "get_buffer panicked", || protocol.get_buffer(hint))?;
        if buffer.is_empty() {
            // As an error raised by the method (TR-35).
            let panic = Panic::new(Box::new("get_buffer returned an empty buffer"));
            let report = self.report("get_buffer returned an empty buffer", panic.clone());
            base.call_exception_handler(report);
            self.force(Some(Error::Panicked(panic)));
            return None;
        }
        Some(buffer)
    }

    /// The buffer goes back to the protocol it came from, whichever is the current one by now.
    fn give_back(
        &self,
        base: &BaseLoop,
        protocol: &dyn BufferedProtocol,
        buffer: Vec<u8>,
        filled: usize,
    ) {
        let updated = || protocol.buffer_updated(buffer, filled);
        self.call_in(base, "buffer_updated panicked", updated);
    }

    /// Hands received bytes to the protocol, in pieces of the promised size.
    fn deliver(&self, base: &BaseLoop, data: &[u8]) {
        let mut rest = data;
        while !rest.is_empty() {
            if !self.wants_data() {
                return self.hold(rest);
            }
            if base.state().interrupted() {
                // The loop stops here, and may run again (LIFE-18).
                base.requeue_readable(self.socket.key());
                return self.hold(rest);
            }
            let Some(protocol) = self.voice.protocol() else { return };
            match protocol {
                AnyProtocol::Plain(protocol) => {
                    let (piece, more) = rest.split_at(rest.len().min(READ_SIZE));
                    rest = more;
                    let received = || protocol.data_received(piece);
                    self.call_in(base, "data_received panicked", received);
                }
                AnyProtocol::Buffered(protocol) => {
                    let Some(mut buffer) = self.get_buffer(base, &*protocol, rest.len()) else {
                        return;
                    };
                    if !self.wants_data() {
                        self.give_back(base, &*protocol, buffer, 0);
                        return self.hold(rest);
                    }
                    let (piece, more) = rest.split_at(rest.len().min(buffer.len()));
                    rest = more;
                    buffer[..piece.len()].copy_from_slice(piece);
                    self.give_back(base, &*protocol, buffer, piece.len());
                }
            }
        }
    }

    /// Keeps what arrived while the protocol does not want it; nobody wants it after close.
    fn hold(&self, data: &[u8]) {
        if !self.has(CLOSING | LOST | EOF) {
            self.held(|held| held.data.push_back(data.to_vec()));
        }
    }

    fn deliver_held(&self, base: &BaseLoop) {
        while self.wants_data() {
            if !self.has(HELD) {
                break;
            }
            if base.state().interrupted() {
                return base.requeue_readable(self.socket.key());
            }
            if let Some(data) = self.held(|held| held.data.pop_front()) {
                self.deliver_front(base, &data);
                continue;
            }
            match self.take_held().end {
                Some(end) => self.on_end(end),
                None => break,
            }
        }
        if self.pushed() {
            self.receive(base);
        } else {
            self.read(base);
        }
    }

    /// As `deliver`, but what is not wanted goes back to the front.
    fn deliver_front(&self, base: &BaseLoop, data: &[u8]) {
        let mut behind = self.take_held();
        self.deliver(base, data);
        self.held(|held| {
            held.data.append(&mut behind.data);
            held.end = behind.end;
        });
    }

    fn on_end(&self, end: Option<io::Error>) {
        match end {
            None => self.on_eof(),
            Some(error) => self.force(Some(Error::os("reading from a connection", error))),
        }
    }

    fn on_eof(&self) {
        self.set(EOF);
        match self.call("eof_received panicked", AnyProtocol::eof_received) {
            Some(true) => {
                self.update_interest();
                self.end_if_forgotten();
            }
            Some(false) => self.close_gracefully(),
            None => {}
        }
    }
}
