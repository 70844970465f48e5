//! The stream transport: one connected socket and its protocol.
//!
//! Reading is *pushed* by the driver's engine (lent chunks) where there is one, and *pulled* by
//! readiness and `recv` into the loop's shared buffer where there is none. Writing tries the system
//! call at once; with an engine, small writes of one iteration leave together, before the next poll.
//!
//! ```text
//!  open ──close()──▶ flushing ──buffer empty──▶ lost scheduled ──▶ connection_lost, descriptor closed
//!    └───abort(), error──────────────────────▶
//! ```
//!
//! No internal borrow is held while the protocol is called: every method may call back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};

use anyloop_api::{
    AnyProtocol, Error, ExtraInfo, Panic, RawTransport, Report, Result, Snapshot, SocketView,
    Transport, WeakTransport, write_buffer_limits,
};
use rustix::net::{RecvFlags, SendFlags};
use socket2::{SockAddr, Socket};

use crate::base::{BaseLoop, READ_SIZE};
use crate::driver::{Chunk, Event, Interest, Key, Readiness, RecvEnd, Trigger};
use crate::lend::lend;
use crate::server::ServerState;
use crate::sources::Source;

/// Reads of one connection per event, so that a loud peer cannot starve the others.
const READS_PER_EVENT: usize = 4;
/// Up to this size a write may wait for the end of the iteration; larger ones are sent at once.
const DEFERRABLE: usize = 32 * 1024;
/// From this write to a dead connection on, a warning is logged (asyncio's number).
const DEAD_WRITES: u8 = 5;

/// `connection_made` was called.
const MADE: u16 = 1;
/// The kernel had something to read when we last looked (edge-triggered readiness).
const READABLE: u16 = 1 << 1;
/// A hang-up or half-close was seen: only `EAGAIN` or zero end a read.
const HANGUP: u16 = 1 << 2;
const PAUSED: u16 = 1 << 3;
/// The peer's end of stream was handled.
const EOF: u16 = 1 << 4;
const CLOSING: u16 = 1 << 5;
/// `connection_lost` is scheduled or was called.
const LOST: u16 = 1 << 6;
/// `write_eof` was called.
const EOF_WANTED: u16 = 1 << 7;
const EOF_SENT: u16 = 1 << 8;
const WRITING_PAUSED: u16 = 1 << 9;
/// The engine is receiving.
const RECEIVING: u16 = 1 << 10;
/// In the loop's list of streams to flush.
const DIRTY: u16 = 1 << 11;
/// Registered for readiness.
const REGISTERED: u16 = 1 << 12;

/// Bytes that the kernel has not taken yet.
#[derive(Default)]
struct WriteBuffer {
    bytes: Vec<u8>,
    head: usize,
}

impl WriteBuffer {
    fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    fn push(&mut self, data: &[u8]) {
        // Reclaim the sent part when it outweighs the rest: amortised O(1) per byte (TR-40).
        if self.head > 0 && self.head >= self.len() {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
        self.bytes.extend_from_slice(data);
    }

    fn sent(&mut self, count: usize) {
        self.head += count;
    }
}

/// What arrived while reading was paused.
#[derive(Default)]
struct Held {
    data: VecDeque<Vec<u8>>,
    end: Option<Option<io::Error>>,
}

#[derive(Default)]
struct Names {
    sockname: Option<SockAddr>,
    peername: Option<SockAddr>,
}

pub(crate) struct Stream {
    this: Weak<Self>,
    base: Weak<BaseLoop>,
    key: Key,
    socket: RefCell<Option<Rc<Socket>>>,
    protocol: RefCell<Option<AnyProtocol>>,
    user: RefCell<WeakTransport>,
    context: Snapshot,
    flags: Cell<u16>,
    dead_writes: Cell<u8>,
    interest: Cell<Interest>,
    out: RefCell<WriteBuffer>,
    /// Bytes lent to the engine, and how many of that buffer it has sent before.
    in_flight: Cell<usize>,
    sent_before: Cell<usize>,
    high: Cell<usize>,
    low: Cell<usize>,
    held: RefCell<Option<Box<Held>>>,
    names: RefCell<Option<Box<Names>>>,
    server: Option<(Rc<ServerState>, usize)>,
}

impl Stream {
    /// Takes a connected, non-blocking socket into the loop's care.
    pub(crate) fn open(
        base: &Rc<BaseLoop>,
        socket: Socket,
        protocol: AnyProtocol,
        context: Snapshot,
        server: Option<Rc<ServerState>>,
    ) -> Result<Rc<Self>> {
        use std::os::fd::AsRawFd;
        base.sources.own(socket.as_raw_fd(), "creating a transport")?;
        let key = base.sources.reserve();
        let stream = Rc::new_cyclic(|this: &Weak<Self>| Self {
            this: this.clone(),
            base: base.weak(),
            key,
            socket: RefCell::new(Some(Rc::new(socket))),
            protocol: RefCell::new(Some(protocol)),
            user: RefCell::default(),
            context,
            flags: Cell::new(0),
            dead_writes: Cell::new(0),
            interest: Cell::new(Interest::NONE),
            out: RefCell::default(),
            in_flight: Cell::new(0),
            sent_before: Cell::new(0),
            high: Cell::new(64 * 1024),
            low: Cell::new(16 * 1024),
            held: RefCell::default(),
            names: RefCell::default(),
            server: server.map(|server| {
                let index = server.attach(this.clone());
                (server, index)
            }),
        });
        base.sources.fill(key, stream.clone());
        Ok(stream)
    }

    /// `connection_made`, then reading begins (TR-01).
    pub(crate) fn begin(&self) {
        let Some(base) = self.base.upgrade() else { return };
        let transport = self.transport();
        self.set(MADE);
        if let Some(protocol) = self.protocol() {
            let made = || self.context.clone().run(|| protocol.connection_made(transport));
            // The connection stays up (TR-05).
            let _ = base.guard(made, |panic| self.report("connection_made panicked", panic));
        }
        if !self.has(LOST) {
            self.start_io(&base);
        }
    }

    fn start_io(&self, base: &Rc<BaseLoop>) {
        if self.engine(base) {
            self.receive(base);
            return;
        }
        let Some(socket) = self.socket() else { return };
        let interest = match base.caps().trigger {
            Trigger::Edge => Interest::BOTH,
            Trigger::Level => self.wanted(),
        };
        let registered =
            base.with_driver(|driver| driver.register(lend(&*socket), self.key, interest));
        match registered {
            Ok(()) => {
                self.set(REGISTERED);
                self.interest.set(interest);
            }
            Err(error) => self.force(Some(Error::os("registering a transport", error))),
        }
    }

    // --- small things ---

    fn has(&self, flag: u16) -> bool {
        self.flags.get() & flag != 0
    }

    fn set(&self, flag: u16) {
        self.flags.set(self.flags.get() | flag);
    }

    fn clear(&self, flag: u16) {
        self.flags.set(self.flags.get() & !flag);
    }

    fn socket(&self) -> Option<Rc<Socket>> {
        self.socket.borrow().clone()
    }

    fn protocol(&self) -> Option<AnyProtocol> {
        self.protocol.borrow().clone()
    }

    /// Receiving and sending are the driver's: only if it does both.
    fn engine(&self, base: &BaseLoop) -> bool {
        let caps = base.caps();
        caps.recv && caps.send
    }

    /// The one user handle; made anew when the user has none.
    pub(crate) fn transport(&self) -> Transport {
        if let Some(transport) = self.user.borrow().upgrade() {
            return transport;
        }
        let this = self.this.upgrade().expect("a stream is asked through its Rc");
        let transport = Transport::new(this);
        *self.user.borrow_mut() = transport.downgrade();
        transport
    }

    fn report(&self, what: &'static str, panic: Panic) -> Report {
        let mut report = Report::new(what).exception(panic).transport(self.transport());
        report.protocol = self.protocol();
        report
    }

    /// Calls the protocol in the connection's context; a panic is reported and ends the connection
    /// (TR-08). `None`: it did.
    fn call<R>(&self, what: &'static str, f: impl FnOnce(&AnyProtocol) -> R) -> Option<R> {
        let base = self.base.upgrade()?;
        let protocol = self.protocol()?;
        let call = || self.context.clone().run(|| f(&protocol));
        match base.guard(call, |panic| self.report(what, panic)) {
            Ok(value) => Some(value),
            Err(panic) => {
                self.force(Some(Error::Panicked(panic)));
                None
            }
        }
    }

    /// The same for callbacks whose panic leaves the connection alone (FLOW-09).
    fn tell(&self, what: &'static str, f: impl FnOnce(&AnyProtocol)) {
        let (Some(base), Some(protocol)) = (self.base.upgrade(), self.protocol()) else { return };
        let call = || self.context.clone().run(|| f(&protocol));
        let _ = base.guard(call, |panic| self.report(what, panic));
    }

    // --- reading ---

    fn wants_data(&self) -> bool {
        self.flags.get() & (MADE | PAUSED | EOF | CLOSING | LOST) == MADE
    }

    fn wanted(&self) -> Interest {
        Interest { readable: self.wants_data(), writable: self.out.borrow().len() > 0 }
    }

    /// A level-triggered driver is told what we wait for; an edge-triggered one was told everything.
    fn update_interest(&self) {
        let Some(base) = self.base.upgrade() else { return };
        if !self.has(REGISTERED) || base.caps().trigger == Trigger::Edge {
            return;
        }
        let (wanted, Some(socket)) = (self.wanted(), self.socket()) else { return };
        if wanted != self.interest.replace(wanted) {
            let modified =
                base.with_driver(|driver| driver.modify(lend(&*socket), self.key, wanted));
            if let Err(error) = modified {
                self.force(Some(Error::os("modifying a transport's interest", error)));
            }
        }
    }

    /// Starts the engine's receiving, if it is wanted and not in force.
    fn receive(&self, base: &BaseLoop) {
        if self.has(RECEIVING) || !self.wants_data() || self.held.borrow().is_some() {
            return;
        }
        let Some(socket) = self.socket() else { return };
        match base.with_driver(|driver| driver.recv_start(lend(&*socket), self.key)) {
            Ok(()) => self.set(RECEIVING),
            Err(error) => self.force(Some(Error::os("starting to receive", error))),
        }
    }

    fn stop_receiving(&self) {
        let Some(base) = self.base.upgrade() else { return };
        if self.has(RECEIVING)
            && let Some(socket) = self.socket()
        {
            base.with_driver(|driver| driver.recv_stop(lend(&*socket), self.key));
        }
        self.update_interest();
    }

    fn on_ready(&self, readiness: Readiness) {
        if readiness.closed {
            self.set(HANGUP);
        }
        if readiness.readable {
            self.set(READABLE);
        }
        if readiness.writable {
            self.flush();
        }
        let Some(base) = self.base.upgrade() else { return };
        if self.held.borrow().is_some() {
            self.deliver_held(&base);
        } else if self.has(READABLE) && self.has(REGISTERED) {
            self.read(&base);
        }
    }

    /// Pull mode: reads until drained or until others should have a turn.
    fn read(&self, base: &BaseLoop) {
        for _ in 0..READS_PER_EVENT {
            if !self.wants_data() {
                return;
            }
            let (Some(socket), Some(protocol)) = (self.socket(), self.protocol()) else { return };
            let (count, room) = match protocol {
                AnyProtocol::Plain(_) => {
                    let mut scratch = base.take_scratch();
                    let count = recv(&socket, scratch.bytes());
                    if let Ok(count @ 1..) = count {
                        self.deliver(&scratch.bytes()[..count]);
                    }
                    base.give_scratch(scratch);
                    (count, READ_SIZE)
                }
                AnyProtocol::Buffered(protocol) => {
                    let Some(mut buffer) = self.get_buffer(&*protocol, READ_SIZE) else { return };
                    let count = recv(&socket, &mut buffer);
                    let room = buffer.len();
                    let filled = *count.as_ref().unwrap_or(&0);
                    self.call("buffer_updated panicked", |_| {
                        protocol.buffer_updated(buffer, filled);
                    });
                    (count, room)
                }
            };
            match count {
                Ok(0) => {
                    self.clear(READABLE);
                    self.on_eof();
                    return;
                }
                Ok(count) if count < room && !self.has(HANGUP) => {
                    self.clear(READABLE);
                    return;
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.clear(READABLE);
                    return;
                }
                Err(error) => {
                    self.clear(READABLE);
                    self.force(Some(Error::os("reading from a connection", error)));
                    return;
                }
            }
        }
        if self.wants_data() && base.caps().trigger == Trigger::Edge {
            base.requeue_readable(self.key);
        }
    }

    fn get_buffer(
        &self,
        protocol: &dyn anyloop_api::BufferedProtocol,
        hint: usize,
    ) -> Option<Vec<u8>> {
        let buffer = self.call("get_buffer panicked", |_| protocol.get_buffer(hint))?;
        if buffer.is_empty() {
            let base = self.base.upgrade()?;
            // As an error raised by the method (TR-35).
            let panic = Panic::new(Box::new("get_buffer returned an empty buffer"));
            let report = self.report("get_buffer returned an empty buffer", panic.clone());
            anyloop_api::EventLoop::call_exception_handler(&*base, report);
            self.force(Some(Error::Panicked(panic)));
            return None;
        }
        Some(buffer)
    }

    /// Hands received bytes to the protocol, in pieces of the promised size.
    fn deliver(&self, data: &[u8]) {
        let mut rest = data;
        while !rest.is_empty() {
            if !self.wants_data() {
                self.hold(rest);
                return;
            }
            let Some(protocol) = self.protocol() else { return };
            match protocol {
                AnyProtocol::Plain(protocol) => {
                    let (piece, more) = rest.split_at(rest.len().min(READ_SIZE));
                    rest = more;
                    self.call("data_received panicked", |_| protocol.data_received(piece));
                }
                AnyProtocol::Buffered(protocol) => {
                    let Some(mut buffer) = self.get_buffer(&*protocol, rest.len()) else { return };
                    let (piece, more) = rest.split_at(rest.len().min(buffer.len()));
                    rest = more;
                    buffer[..piece.len()].copy_from_slice(piece);
                    self.call("buffer_updated panicked", |_| {
                        protocol.buffer_updated(buffer, piece.len());
                    });
                }
            }
        }
    }

    /// Keeps what arrived while the protocol does not want it (TR-32); nobody wants it after close.
    fn hold(&self, data: &[u8]) {
        if self.flags.get() & (CLOSING | LOST | EOF) == 0 {
            let mut held = self.held.borrow_mut();
            held.get_or_insert_default().data.push_back(data.to_vec());
        }
    }

    fn on_data(&self, chunk: &Chunk) {
        if self.wants_data() && self.held.borrow().is_none() {
            self.deliver(chunk);
        } else {
            self.hold(chunk);
        }
    }

    fn on_recv_ended(&self, base: &BaseLoop, reason: RecvEnd) {
        self.clear(RECEIVING);
        let end = match reason {
            RecvEnd::Eof => None,
            RecvEnd::Error(error) => Some(error),
            RecvEnd::Stopped | RecvEnd::Exhausted => {
                self.receive(base);
                return;
            }
        };
        if self.wants_data() && self.held.borrow().is_none() {
            self.on_end(end);
        } else if self.flags.get() & (CLOSING | LOST | EOF) == 0 {
            self.held.borrow_mut().get_or_insert_default().end = Some(end);
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
        if self.engine(base) {
            self.receive(base);
        } else if self.has(READABLE) {
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
        if let Some(keep_open) = self.call("eof_received panicked", AnyProtocol::eof_received) {
            if keep_open { self.update_interest() } else { self.close() }
        }
    }

    // --- writing ---

    fn pending(&self) -> usize {
        self.out.borrow().len() + self.in_flight.get()
    }

    /// The checks of every write. `Ok(false)`: discard.
    fn writable(&self, len: usize) -> Result<bool> {
        if self.has(EOF_WANTED) {
            return Err(Error::usage("write: write_eof was called on this transport"));
        }
        if self.has(CLOSING) {
            if self.has(LOST) {
                let writes = self.dead_writes.get().saturating_add(1);
                self.dead_writes.set(writes);
                if writes == DEAD_WRITES
                    && let Some(base) = self.base.upgrade()
                {
                    let report = Report::warning("writing to a connection that is lost");
                    anyloop_api::EventLoop::call_exception_handler(
                        &*base,
                        report.transport(self.transport()),
                    );
                }
            }
            return Ok(false);
        }
        Ok(len > 0)
    }

    fn write_bytes(&self, data: &[u8]) -> Result<()> {
        if !self.writable(data.len())? {
            return Ok(());
        }
        let Some(base) = self.base.upgrade() else { return Ok(()) };
        let mut rest = data;
        if self.pending() == 0 && !self.defers(&base, data.len()) {
            match self.send_now(data) {
                Ok(count) => rest = &data[count..],
                Err(error) => {
                    self.force(Some(error));
                    return Ok(());
                }
            }
        }
        if !rest.is_empty() {
            self.queue(&base, |out| out.push(rest));
        }
        Ok(())
    }

    /// Whether a write may wait for the end of the iteration: with an engine, if it is small.
    fn defers(&self, base: &BaseLoop, len: usize) -> bool {
        self.engine(base) && self.has(MADE) && len <= DEFERRABLE && len <= self.high.get()
    }

    fn queue(&self, base: &BaseLoop, push: impl FnOnce(&mut WriteBuffer)) {
        {
            let mut out = self.out.borrow_mut();
            if out.bytes.capacity() == 0 {
                out.bytes = base.take_buffer();
            }
            push(&mut out);
        }
        if self.engine(base) {
            self.mark_dirty(base);
        } else {
            self.update_interest();
        }
        self.maybe_pause();
    }

    fn mark_dirty(&self, base: &BaseLoop) {
        if !self.has(DIRTY)
            && self.in_flight.get() == 0
            && let Some(this) = self.this.upgrade()
        {
            self.set(DIRTY);
            base.mark_dirty(this);
        }
    }

    /// One non-blocking send; zero if the kernel has no room.
    fn send_now(&self, data: &[u8]) -> Result<usize> {
        let Some(socket) = self.socket() else { return Ok(0) };
        loop {
            match rustix::net::send(&*socket, data, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => return Ok(count),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS) => return Ok(0),
                Err(error) => return Err(Error::os("writing to a connection", error.into())),
            }
        }
    }

    /// Readiness: sends what is buffered until the kernel has no room.
    fn flush(&self) {
        loop {
            let sent = {
                let out = self.out.borrow();
                if out.len() == 0 {
                    return;
                }
                self.send_now(out.rest())
            };
            match sent {
                Ok(0) => return self.after_progress(),
                Ok(count) => {
                    self.out.borrow_mut().sent(count);
                    if self.out.borrow().len() == 0 {
                        return self.after_progress();
                    }
                }
                Err(error) => return self.force(Some(error)),
            }
        }
    }

    /// Before a poll: lends what is buffered to the engine.
    pub(crate) fn flush_deferred(&self) {
        self.clear(DIRTY);
        let Some(base) = self.base.upgrade() else { return };
        if self.in_flight.get() > 0 || self.has(LOST) || self.out.borrow().len() == 0 {
            return;
        }
        let out = std::mem::take(&mut *self.out.borrow_mut());
        self.lend_to_engine(&base, out.bytes, out.head);
    }

    fn lend_to_engine(&self, base: &BaseLoop, bytes: Vec<u8>, offset: usize) {
        let Some(socket) = self.socket() else { return };
        let len = bytes.len() - offset;
        match base.with_driver(|driver| driver.send(lend(&*socket), self.key, bytes, offset)) {
            Ok(()) => {
                self.in_flight.set(len);
                self.sent_before.set(offset);
            }
            Err(bytes) => {
                // Out of slots: by system call, and what does not fit in the next iteration.
                let mut behind = std::mem::take(&mut *self.out.borrow_mut());
                let mut out = WriteBuffer { bytes, head: offset };
                out.push(behind.rest());
                behind.bytes.clear();
                *self.out.borrow_mut() = out;
                self.in_flight.set(0);
                self.flush();
                if self.out.borrow().len() > 0 && !self.has(LOST) {
                    let Some(this) = self.this.upgrade() else { return };
                    base.soon(move || this.flush_deferred());
                }
            }
        }
    }

    fn on_sent(&self, base: &BaseLoop, buffer: Vec<u8>, result: io::Result<usize>) {
        let before = self.sent_before.get();
        self.in_flight.set(0);
        match result {
            Err(error) => {
                base.give_buffer(buffer);
                self.force(Some(Error::os("writing to a connection", error)));
            }
            Ok(_) if self.has(LOST) => base.give_buffer(buffer),
            Ok(count) if before + count < buffer.len() => {
                self.lend_to_engine(base, buffer, before + count);
                self.after_progress();
            }
            Ok(_) => {
                base.give_buffer(buffer);
                if self.out.borrow().len() > 0 {
                    self.mark_dirty(base);
                }
                self.after_progress();
            }
        }
    }

    /// Some bytes left: resume, half-close or finish, whatever is due.
    fn after_progress(&self) {
        self.maybe_resume();
        if self.pending() > 0 || self.has(LOST) {
            return self.update_interest();
        }
        if let Some(base) = self.base.upgrade() {
            let out = std::mem::take(&mut *self.out.borrow_mut());
            base.give_buffer(out.bytes);
        }
        self.update_interest();
        if self.has(EOF_WANTED) {
            self.send_eof();
        }
        if self.has(CLOSING) {
            self.schedule_lost(None);
        }
    }

    fn send_eof(&self) {
        if !self.has(EOF_SENT) {
            self.set(EOF_SENT);
            if let Some(socket) = self.socket() {
                // A connection that is gone already will say so when it is read.
                let _ = socket.shutdown(Shutdown::Write);
            }
        }
    }

    fn maybe_pause(&self) {
        if self.pending() > self.high.get() && !self.has(WRITING_PAUSED) && !self.has(LOST) {
            self.set(WRITING_PAUSED);
            self.tell("pause_writing panicked", AnyProtocol::pause_writing);
        }
    }

    fn maybe_resume(&self) {
        if self.has(WRITING_PAUSED) && self.pending() <= self.low.get() && !self.has(LOST) {
            self.clear(WRITING_PAUSED);
            self.tell("resume_writing panicked", AnyProtocol::resume_writing);
        }
    }

    // --- the end ---

    /// Drops what is buffered and ends the connection, with the error that did it.
    pub(crate) fn force(&self, error: Option<Error>) {
        if self.has(LOST) {
            return;
        }
        let was_closing = self.has(CLOSING);
        self.set(CLOSING);
        if !was_closing {
            self.stop_receiving();
        }
        drop(std::mem::take(&mut *self.out.borrow_mut()));
        self.in_flight.set(0);
        self.schedule_lost(error);
    }

    fn schedule_lost(&self, error: Option<Error>) {
        let (Some(base), Some(this)) = (self.base.upgrade(), self.this.upgrade()) else { return };
        if self.has(LOST) {
            return;
        }
        self.set(LOST);
        base.soon(move || this.finish(error));
    }

    /// `connection_lost`, once; then the descriptor is closed, whatever the protocol did (TR-26).
    fn finish(&self, error: Option<Error>) {
        if self.has(MADE) {
            self.tell("connection_lost panicked", |protocol| protocol.connection_lost(error));
        }
        self.release();
        let protocol = self.protocol.borrow_mut().take();
        drop(protocol);
        drop(self.held.borrow_mut().take());
        if let Some((server, index)) = &self.server {
            server.detach(*index);
        }
    }

    fn release(&self) {
        use std::os::fd::AsRawFd;
        let Some(socket) = self.socket.borrow_mut().take() else { return };
        if self.user.borrow().upgrade().is_some() {
            self.remember_names(&socket);
        }
        let Some(base) = self.base.upgrade() else { return };
        base.sources.disown(socket.as_raw_fd());
        // Views hold the socket weakly, so this is the only owner.
        if let Ok(socket) = Rc::try_unwrap(socket) {
            base.with_driver(|driver| driver.close(OwnedFd::from(socket), self.key));
        }
        base.sources.remove(self.key);
    }

    /// Addresses outlive the connection (TR-36).
    fn remember_names(&self, socket: &Socket) {
        let mut names = self.names.borrow_mut();
        let names = names.get_or_insert_default();
        if names.sockname.is_none() {
            names.sockname = socket.local_addr().ok();
        }
        if names.peername.is_none() {
            names.peername = socket.peer_addr().ok();
        }
    }
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

impl Source for Stream {
    fn on_event(self: Rc<Self>, event: Event) {
        let Some(base) = self.base.upgrade() else { return };
        match event {
            Event::Ready { readiness, .. } => self.on_ready(readiness),
            Event::Data { chunk, .. } => self.on_data(&chunk),
            Event::RecvEnded { reason, .. } => self.on_recv_ended(&base, reason),
            Event::Sent { buffer, result, .. } => self.on_sent(&base, buffer, result),
            Event::Accepted { .. } | Event::AcceptEnded { .. } => {}
        }
    }

    fn abandon(&self) {
        self.set(CLOSING | LOST);
        self.release();
        let protocol = self.protocol.borrow_mut().take();
        let out = std::mem::take(&mut *self.out.borrow_mut());
        drop((protocol, out));
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

impl RawTransport for Stream {
    fn close(&self) {
        if self.has(CLOSING) {
            return;
        }
        self.set(CLOSING);
        self.stop_receiving();
        if self.pending() == 0 {
            self.schedule_lost(None);
        }
    }

    fn abort(&self) {
        self.force(None);
    }

    fn is_closing(&self) -> bool {
        self.has(CLOSING)
    }

    fn write(&self, data: &[u8]) -> Result<()> {
        self.write_bytes(data)
    }

    fn write_vec(&self, data: Vec<u8>) -> Result<()> {
        if data.len() < DEFERRABLE || self.pending() > 0 {
            return self.write_bytes(&data);
        }
        if !self.writable(data.len())? {
            return Ok(());
        }
        let Some(base) = self.base.upgrade() else { return Ok(()) };
        match self.send_now(&data) {
            Ok(count) if count == data.len() => {}
            Ok(head) => self.queue(&base, |out| *out = WriteBuffer { bytes: data, head }),
            Err(error) => self.force(Some(error)),
        }
        Ok(())
    }

    fn write_eof(&self) -> Result<()> {
        if self.has(CLOSING | EOF_WANTED) {
            return Ok(());
        }
        self.set(EOF_WANTED);
        if self.pending() == 0 {
            self.send_eof();
        }
        Ok(())
    }

    fn can_write_eof(&self) -> bool {
        true
    }

    fn pause_reading(&self) {
        if !self.has(CLOSING | PAUSED | LOST) {
            self.set(PAUSED);
            self.stop_receiving();
        }
    }

    fn resume_reading(&self) {
        if !self.has(PAUSED) || self.has(CLOSING | LOST) {
            return;
        }
        self.clear(PAUSED);
        let Some(base) = self.base.upgrade() else { return };
        // What is there already is delivered in the next iteration, never from inside this call.
        if self.held.borrow().is_some() || (self.has(READABLE) && self.has(REGISTERED)) {
            base.requeue_readable(self.key);
        } else if self.engine(&base) {
            self.receive(&base);
        }
        self.update_interest();
    }

    fn is_reading(&self) -> bool {
        !self.has(PAUSED | CLOSING | EOF)
    }

    fn get_write_buffer_size(&self) -> usize {
        self.pending()
    }

    fn get_write_buffer_limits(&self) -> (usize, usize) {
        (self.low.get(), self.high.get())
    }

    fn set_write_buffer_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<()> {
        let (high, low) = write_buffer_limits(high, low)?;
        self.high.set(high);
        self.low.set(low);
        self.maybe_pause();
        Ok(())
    }

    fn set_protocol(&self, protocol: AnyProtocol) {
        if !self.has(LOST) {
            let old = self.protocol.borrow_mut().replace(protocol);
            drop(old);
        }
    }

    fn get_protocol(&self) -> AnyProtocol {
        self.protocol().unwrap_or_else(|| AnyProtocol::plain(Gone))
    }

    fn extra_info(&self, name: &str) -> Option<ExtraInfo> {
        let socket = self.socket();
        if name == "socket" {
            let view = socket.as_ref().map_or_else(SocketView::closed, SocketView::new);
            return Some(ExtraInfo::Socket(view));
        }
        if let Some(socket) = &socket {
            self.remember_names(socket);
        }
        let names = self.names.borrow();
        let names = names.as_ref()?;
        match name {
            "sockname" => names.sockname.clone().map(ExtraInfo::Address),
            "peername" => names.peername.clone().map(ExtraInfo::Address),
            _ => None,
        }
    }

    fn handle_dropped(&self) {
        // While data may arrive or leave, the loop keeps the connection going for its protocol.
        // Paused or at its end, with nothing to send, nobody could ever touch it again (TR-39).
        let stuck = self.has(MADE) && self.has(PAUSED | EOF) && !self.has(CLOSING);
        if !stuck || self.pending() > 0 {
            return;
        }
        let Some(base) = self.base.upgrade() else { return };
        self.force(None);
        let text = format!("an open transport was dropped: {self:?}");
        anyloop_api::EventLoop::call_exception_handler(&*base, Report::warning(text));
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// What `get_protocol` answers after the end.
struct Gone;

impl anyloop_api::Protocol for Gone {}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use std::os::fd::AsRawFd;
        f.write_str("<StreamTransport")?;
        match &*self.socket.borrow() {
            Some(socket) => write!(f, " fd={}", socket.as_raw_fd())?,
            None => f.write_str(" closed")?,
        }
        if self.has(CLOSING) && !self.has(LOST) {
            f.write_str(" closing")?;
        }
        let reading = if self.is_reading() { "reading" } else { "not reading" };
        write!(f, " {reading}, {} bytes to write>", self.pending())
    }
}
