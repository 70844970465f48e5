//! Reading: from readiness (pull) or from the engine's chunks (push), in order, never while paused.

use std::collections::VecDeque;
use std::io;

use anyloop_api::{AnyProtocol, BufferedProtocol, Error, EventLoop, Panic};
use rustix::net::RecvFlags;
use socket2::Socket;

use super::{
    ANNOUNCE, CLOSING, EOF, HANGUP, LARGE, LOST, MADE, OFFERED, PAUSED, READABLE, RECEIVING, Stream,
};
use crate::base::{BaseLoop, READ_SIZE, Scratch};
use crate::driver::{Chunk, Readiness, RecvEnd, Trigger};
use crate::lend::lend;

/// Reads of one connection per event, so that a loud peer cannot starve the others.
const READS_PER_EVENT: usize = 4;

/// A buffer of at least this size is worth another read by itself when it was filled.
const WORTH_A_READ: usize = 16 * 1024;

/// Where the engine could push, messages from this size on are pulled instead: one copy less, and better
/// caching, outweigh the system call …
const PULL_FROM: usize = 8 * 1024;
/// … until so many reads in a row brought less than this.
const PUSH_BELOW: usize = 2 * 1024;
const PUSH_AFTER: u8 = 64;

/// What arrived while nobody wanted it (TR-32).
#[derive(Default)]
pub(super) struct Held {
    data: VecDeque<Vec<u8>>,
    end: Option<Option<io::Error>>,
}

impl Stream {
    pub(super) fn wants_data(&self) -> bool {
        self.flags.get() & (MADE | PAUSED | EOF | CLOSING | LOST) == MADE
    }

    /// Starts the engine's receiving, if it is wanted and not in force.
    pub(super) fn receive(&self, base: &BaseLoop) {
        let in_force = self.has(RECEIVING) || self.socket.is_registered();
        if in_force || !self.wants_data() || self.held.borrow().is_some() {
            return;
        }
        if self.has(LARGE) {
            return self.register(base);
        }
        let Some(socket) = self.socket() else { return };
        match base.with_driver(|driver| driver.recv_start(lend(&*socket), self.socket.key())) {
            Ok(()) => self.set(RECEIVING),
            Err(error) => self.force(Some(Error::os("starting to receive", error))),
        }
    }

    /// What still comes is held, or thrown away if the connection is closing.
    pub(super) fn stop_receiving(&self) {
        let Some(base) = self.base.upgrade() else { return };
        if self.has(RECEIVING)
            && let Some(socket) = self.socket()
        {
            base.with_driver(|driver| driver.recv_stop(lend(&*socket), self.socket.key()));
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
        let Some(base) = self.base.upgrade() else { return };
        // What is there already is delivered in the next iteration, never from inside this call.
        if self.held.borrow().is_some() || (self.has(READABLE) && self.socket.is_registered()) {
            base.requeue_readable(self.socket.key());
        } else if self.pushed(&base) {
            self.receive(&base);
        }
        self.update_interest();
    }

    /// From push to pull: what the engine has received comes first, then `receive` is called again.
    fn pull(&self, base: &BaseLoop) {
        if let Some(socket) = self.socket() {
            self.set(LARGE);
            self.small_reads.set(0);
            base.with_driver(|driver| driver.recv_stop(lend(&*socket), self.socket.key()));
        }
    }

    /// Notes the size of a read, and goes from pull to push if there were many small ones.
    fn note_size(&self, base: &BaseLoop, count: usize) {
        if !self.has(LARGE) {
            return;
        }
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
        if self.held.borrow().is_some() {
            self.deliver_held(base);
        } else {
            self.read(base);
        }
        if readiness.writable {
            self.flush();
        }
    }

    /// Reads until drained or until others should have a turn.
    fn read(&self, base: &BaseLoop) {
        for _ in 0..READS_PER_EVENT {
            if !self.wants_data() || !self.has(READABLE) || !self.socket.is_registered() {
                return;
            }
            // Where the end may be near, it is found here.
            if self.has(ANNOUNCE | OFFERED) && !self.has(HANGUP) && self.offer(base) {
                return;
            }
            let (Some(socket), Some(protocol)) = (self.socket(), self.voice.protocol()) else {
                return;
            };
            let read = match protocol {
                AnyProtocol::Plain(_) => self.read_shared(base, &socket),
                AnyProtocol::Buffered(protocol) => self.read_into(base, &*protocol, &socket),
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

    // --- on demand, from readiness ---

    /// Tells the protocol that there is something to read, if it asked for that. True: somebody is going
    /// to take it. An offer runs out, so that what nobody takes is read all the same (TR-10, TR-13).
    fn offer(&self, base: &BaseLoop) -> bool {
        if self.has(OFFERED) {
            return true;
        }
        self.clear(ANNOUNCE);
        let wanted = self.call("readable panicked", AnyProtocol::readable) == Some(true);
        if wanted && let Some(this) = self.this.upgrade() {
            self.set(OFFERED);
            self.offered_at.set(base.offered(this));
        }
        wanted
    }

    /// Takes what was offered.
    pub(super) fn read_offered(&self, buffer: &mut [u8]) -> Option<usize> {
        let base = self.base.upgrade()?;
        let may = self.has(OFFERED) && self.wants_data() && self.has(READABLE);
        if !may || buffer.is_empty() {
            return None;
        }
        let socket = self.socket()?;
        let room = buffer.len().min(READ_SIZE);
        match recv_into(&base, &socket, &mut buffer[..room]) {
            Ok(0) => {
                // Told in its turn, not from inside of this call.
                self.clear(OFFERED);
                self.set(HANGUP);
                base.requeue_readable(self.socket.key());
                None
            }
            Ok(count) if count < room => {
                self.clear(OFFERED);
                if self.has(HANGUP) {
                    base.requeue_readable(self.socket.key());
                } else {
                    self.clear(READABLE);
                    self.note_size(&base, count);
                }
                Some(count)
            }
            Ok(count) => {
                // With large buffers the rest may be taken likewise, as long as the offer stands.
                if count < WORTH_A_READ {
                    self.clear(OFFERED);
                    self.read(&base);
                }
                Some(count)
            }
            Err(error) => {
                self.clear(OFFERED | READABLE);
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.force(Some(Error::os("reading from a connection", error)));
                }
                None
            }
        }
    }

    /// The offer runs out if it was made before the last poll, which was number `poll`: what was not taken
    /// is read in this iteration.
    pub(crate) fn withdraw(&self, base: &BaseLoop, poll: Option<u32>) {
        if self.has(OFFERED) && poll != Some(self.offered_at.get()) {
            self.clear(OFFERED);
            base.requeue_readable(self.socket.key());
        }
    }

    /// One read into the loop's buffer: how much came, and how much could have.
    fn read_shared(&self, base: &BaseLoop, socket: &Socket) -> Option<io::Result<(usize, usize)>> {
        let mut scratch = base.take_scratch();
        let count = recv(socket, scratch.bytes());
        if let Ok(count @ 1..) = count {
            self.deliver(&scratch.bytes()[..count]);
        }
        base.give_scratch(scratch);
        Some(count.map(|count| (count, READ_SIZE)))
    }

    /// One read into the protocol's buffer. `None` if the protocol did not want it after all.
    fn read_into(
        &self,
        base: &BaseLoop,
        protocol: &dyn BufferedProtocol,
        socket: &Socket,
    ) -> Option<io::Result<(usize, usize)>> {
        let mut buffer = self.get_buffer(protocol, READ_SIZE)?;
        if !self.wants_data() {
            self.give_back(protocol, buffer, 0);
            return None;
        }
        let room = buffer.len().min(READ_SIZE);
        let count = recv_into(base, socket, &mut buffer[..room]);
        self.give_back(protocol, buffer, *count.as_ref().unwrap_or(&0));
        Some(count.map(|count| (count, room)))
    }

    // --- from the engine ---

    pub(super) fn on_data(&self, base: &BaseLoop, chunk: &Chunk) {
        let large = chunk.len() >= PULL_FROM && self.has(RECEIVING) && !self.has(LARGE);
        if large && base.caps().trigger == Trigger::Edge {
            self.pull(base);
        }
        if self.wants_data() && self.held.borrow().is_none() {
            self.deliver(chunk);
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
        if self.wants_data() && self.held.borrow().is_none() {
            self.on_end(end);
        } else if !self.has(CLOSING | LOST | EOF) {
            self.held.borrow_mut().get_or_insert_default().end = Some(end);
        }
    }

    // --- to the protocol ---

    fn get_buffer(&self, protocol: &dyn BufferedProtocol, hint: usize) -> Option<Vec<u8>> {
        let buffer = self.call("get_buffer panicked", |_| protocol.get_buffer(hint))?;
        if buffer.is_empty() {
            let base = self.base.upgrade()?;
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
    fn give_back(&self, protocol: &dyn BufferedProtocol, buffer: Vec<u8>, filled: usize) {
        self.call("buffer_updated panicked", |_| protocol.buffer_updated(buffer, filled));
    }

    /// Hands received bytes to the protocol, in pieces of the promised size.
    fn deliver(&self, data: &[u8]) {
        let mut rest = data;
        while !rest.is_empty() {
            if !self.wants_data() {
                return self.hold(rest);
            }
            let Some(protocol) = self.voice.protocol() else { return };
            match protocol {
                AnyProtocol::Plain(protocol) => {
                    let (piece, more) = rest.split_at(rest.len().min(READ_SIZE));
                    rest = more;
                    self.call("data_received panicked", |_| protocol.data_received(piece));
                }
                AnyProtocol::Buffered(protocol) => {
                    let Some(mut buffer) = self.get_buffer(&*protocol, rest.len()) else { return };
                    if !self.wants_data() {
                        self.give_back(&*protocol, buffer, 0);
                        return self.hold(rest);
                    }
                    let (piece, more) = rest.split_at(rest.len().min(buffer.len()));
                    rest = more;
                    buffer[..piece.len()].copy_from_slice(piece);
                    self.give_back(&*protocol, buffer, piece.len());
                }
            }
        }
    }

    /// Keeps what arrived while the protocol does not want it; nobody wants it after close.
    fn hold(&self, data: &[u8]) {
        if !self.has(CLOSING | LOST | EOF) {
            let mut held = self.held.borrow_mut();
            held.get_or_insert_default().data.push_back(data.to_vec());
        }
    }

    fn deliver_held(&self, base: &BaseLoop) {
        while self.wants_data() {
            let (data, end) = {
                let mut slot = self.held.borrow_mut();
                let Some(held) = &mut *slot else { break };
                let data = held.data.pop_front();
                let end = if data.is_none() { slot.take().and_then(|held| held.end) } else { None };
                (data, end)
            };
            match (data, end) {
                (Some(data), _) => self.deliver_front(&data),
                (None, Some(end)) => self.on_end(end),
                (None, None) => break,
            }
        }
        if self.pushed(base) {
            self.receive(base);
        } else {
            self.read(base);
        }
    }

    /// As `deliver`, but what is not wanted goes back to the front.
    fn deliver_front(&self, data: &[u8]) {
        let mut behind = self.held.borrow_mut().take();
        self.deliver(data);
        let mut slot = self.held.borrow_mut();
        match (&mut *slot, &mut behind) {
            (Some(returned), Some(behind)) => {
                returned.data.append(&mut behind.data);
                returned.end = behind.end.take();
            }
            (slot @ None, behind) => *slot = behind.take(),
            (Some(_), None) => {}
        }
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

/// Reads into memory that is not ours. Where the kernel's copy would be slow (see [`Scratch`]) the detour
/// over the shared buffer is several times faster. Large allocations are such memory.
fn recv_into(base: &BaseLoop, socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    let slow = (1..32).contains(&(buffer.as_ptr().addr() % Scratch::PAGE));
    if !slow || buffer.len() < Scratch::PAGE {
        return recv(socket, buffer);
    }
    let mut scratch = base.take_scratch();
    let room = buffer.len();
    let count = recv(socket, &mut scratch.bytes()[..room]);
    if let Ok(count) = count {
        buffer[..count].copy_from_slice(&scratch.bytes()[..count]);
    }
    base.give_scratch(scratch);
    count
}

fn recv(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((count, _)) => return Ok(count),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
