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

mod end;
mod engine;
mod names;
mod offer;
mod rare;
mod raw;
mod read;
mod recv;
mod transfer;
mod write;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};

use anyloop_api::{
    AnyProtocol, Error, Panic, RawTransport, Report, Result, Snapshot, Transport, WeakTransport,
};
use socket2::{SockAddr, Socket};

use self::names::Name;
use self::rare::Rare;
pub(crate) use self::transfer::Transfer;
pub(crate) use self::write::WriteBuffer;
use crate::base::BaseLoop;
use crate::begin::Begin;
use crate::descriptor::Descriptor;
use crate::driver::{Event, Fd, Interest, Key, Readiness};
use crate::server::ServerState;
use crate::sources::Source;
use crate::voice::Voice;

/// `connection_made` was called.
const MADE: u32 = 1;
/// The kernel had something to read when we last looked (edge-triggered readiness).
const READABLE: u32 = 1 << 1;
/// A hang-up or half-close was seen: only `EAGAIN` or zero end a read.
const HANGUP: u32 = 1 << 2;
const PAUSED: u32 = 1 << 3;
/// The peer's end of stream was handled.
const EOF: u32 = 1 << 4;
const CLOSING: u32 = 1 << 5;
/// `connection_lost` is scheduled or was called.
const LOST: u32 = 1 << 6;
/// `write_eof` was called.
const EOF_WANTED: u32 = 1 << 7;
const EOF_SENT: u32 = 1 << 8;
/// The engine is receiving.
const RECEIVING: u32 = 1 << 9;
/// In the loop's list of streams to flush.
const DIRTY: u32 = 1 << 10;
/// The kernel had no room when we last wrote.
const FULL: u32 = 1 << 11;
/// What arrives next is to be announced, not delivered.
const ANNOUNCE: u32 = 1 << 12;
/// It was announced, and may be taken.
const OFFERED: u32 = 1 << 13;
/// The engine receives for others; this one's messages are large, and read from readiness.
const LARGE: u32 = 1 << 14;
/// A file is being sent: nobody else may write.
const TRANSFER: u32 = 1 << 15;
/// Something arrived while nobody wanted it.
const HELD: u32 = 1 << 16;
/// The driver receives and sends: only if it does both.
const ENGINE: u32 = 1 << 17;

pub(crate) struct Stream {
    this: Weak<Self>,
    socket: Descriptor<Socket>,
    voice: Voice<AnyProtocol>,
    user: Cell<WeakTransport>,
    flags: Cell<u32>,
    /// The number of the poll after which the last offer was made; it is compared with the next few only.
    offered_at: Cell<u16>,
    /// Small reads in a row while `LARGE` is set.
    small_reads: Cell<u8>,
    /// How much of the last offer was taken, by full reads.
    taken: Cell<u8>,
    out: RefCell<WriteBuffer>,
    /// Bytes lent to the engine: the end of a buffer, of which it has sent before what is in front.
    in_flight: Cell<usize>,
    rare: Cell<Option<Box<Rare>>>,
    /// Asked for at the beginning, for a reset makes the kernel forget it.
    peer: Name,
    /// Until it is lost: the server's factory may lead back to whoever holds the transport.
    server: Cell<Option<(Rc<ServerState>, usize)>>,
}

impl Stream {
    /// Takes a connected, non-blocking socket into the loop's care; asks for its peer if that is not known.
    pub(crate) fn open(
        base: &Rc<BaseLoop>,
        socket: Socket,
        peer: Option<SockAddr>,
        protocol: AnyProtocol,
        context: Snapshot,
        server: Option<Rc<ServerState>>,
    ) -> Result<Rc<Self>> {
        let peer = Name::new(peer.or_else(|| socket.peer_addr().ok()));
        let caps = base.caps();
        let flags = if caps.recv && caps.send { ENGINE } else { 0 };
        let socket = Descriptor::own(base, socket, "creating a transport")?;
        let stream = Rc::new_cyclic(|this: &Weak<Self>| Self {
            this: this.clone(),
            socket,
            voice: Voice::within(base.weak(), protocol, context),
            user: Cell::default(),
            flags: Cell::new(flags),
            offered_at: Cell::new(0),
            small_reads: Cell::new(0),
            taken: Cell::new(0),
            out: RefCell::default(),
            in_flight: Cell::new(0),
            rare: Cell::default(),
            peer,
            server: Cell::new(server.map(|server| {
                let index = server.attach(this.clone());
                (server, index)
            })),
        });
        base.sources.fill(stream.socket.key(), stream.clone());
        Ok(stream)
    }

    /// `connection_made`, then reading begins (TR-01).
    pub(crate) fn begin(&self) {
        let Some(base) = self.voice.base().upgrade() else { return };
        if self.has(LOST) {
            // Whoever wanted the connection has given it up before it began.
            return;
        }
        let transport = self.transport();
        self.set(MADE);
        // A panic leaves the connection up (TR-05).
        self.tell("connection_made panicked", |protocol| protocol.connection_made(transport));
        if !self.has(LOST) {
            self.start_io(&base);
        }
    }

    fn start_io(&self, base: &BaseLoop) {
        if self.has(ENGINE) {
            self.receive(base);
        } else {
            self.register(base);
        }
    }

    fn register(&self, base: &BaseLoop) {
        if let Err(error) = self.socket.register(base, Interest::BOTH, || self.wanted()) {
            self.force(Some(Error::os("registering a transport", error)));
        }
    }

    fn has(&self, flag: u32) -> bool {
        self.flags.get() & flag != 0
    }

    fn set(&self, flag: u32) {
        self.flags.set(self.flags.get() | flag);
    }

    fn clear(&self, flag: u32) {
        self.flags.set(self.flags.get() & !flag);
    }

    /// The socket, until user code is called.
    fn socket(&self) -> Option<Fd> {
        self.socket.lent()
    }

    /// Whether what arrives is pushed by the engine (else it is pulled when readiness says so).
    fn pushed(&self) -> bool {
        self.has(ENGINE) && !self.socket.is_registered()
    }

    /// The user's handle, if there is one.
    fn user(&self) -> Option<Transport> {
        let user = self.user.take();
        let transport = user.upgrade();
        self.user.set(user);
        transport
    }

    /// The one user handle; made anew when the user has none.
    pub(crate) fn transport(&self) -> Transport {
        if let Some(transport) = self.user() {
            return transport;
        }
        let this = self.this.upgrade().expect("a stream is asked through its Rc");
        let transport = Transport::new(this);
        self.user.set(transport.downgrade());
        transport
    }

    fn wanted(&self) -> Interest {
        Interest { readable: self.wants_data(), writable: self.out.borrow().len() > 0 }
    }

    fn update_interest(&self) {
        let Some(base) = self.voice.base().upgrade() else { return };
        if let Err(error) = self.socket.update(&base, || self.wanted()) {
            self.force(Some(Error::os("modifying a transport's interest", error)));
        }
    }

    fn report(&self, what: &'static str, panic: Panic) -> Report {
        let mut report = Report::new(what).exception(panic).transport(self.transport());
        report.protocol = self.voice.protocol();
        report
    }

    /// Calls the protocol in the connection's context; a panic is reported and ends the connection
    /// (TR-08). `None`: it did.
    fn call<R>(&self, what: &'static str, f: impl FnOnce(&AnyProtocol) -> R) -> Option<R> {
        let (base, protocol) = (self.voice.base().upgrade()?, self.voice.protocol()?);
        self.call_in(&base, what, || f(&protocol))
    }

    /// The same for a protocol that is at hand.
    fn call_in<R>(&self, base: &BaseLoop, what: &'static str, f: impl FnOnce() -> R) -> Option<R> {
        match self.voice.run(base, f, |panic| self.report(what, panic)) {
            Ok(value) => Some(value),
            Err(panic) => {
                self.force(Some(Error::Panicked(panic)));
                None
            }
        }
    }

    /// The same for callbacks whose panic leaves the connection alone (FLOW-09).
    fn tell(&self, what: &'static str, f: impl FnOnce(&AnyProtocol)) {
        let _ = self.voice.call(f, |panic| self.report(what, panic));
    }
}

impl Begin for Stream {
    type Handle = Transport;

    fn handle(&self) -> Transport {
        self.transport()
    }

    fn begin(&self) {
        Self::begin(self);
    }

    fn abandon(&self) {
        self.force(None);
    }
}

impl Source for Stream {
    fn on_readiness(self: Rc<Self>, _: Key, readiness: Readiness) {
        let Some(base) = self.voice.base().upgrade() else { return };
        self.on_ready(&base, readiness);
    }

    fn on_event(self: Rc<Self>, event: Event) {
        let Some(base) = self.voice.base().upgrade() else { return };
        match event {
            Event::Ready { readiness, .. } => self.on_ready(&base, readiness),
            Event::Data { chunk, .. } => self.on_data(&base, &chunk),
            Event::RecvEnded { reason, .. } => self.on_recv_ended(&base, reason),
            Event::Sent { buffer, result, .. } => self.on_sent(&base, buffer, result),
            Event::Accepted { .. } | Event::AcceptEnded { .. } | Event::Read { .. } => {}
        }
    }

    fn abandon(&self) {
        self.give_up();
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }

    fn is_open(&self) -> bool {
        !self.has(CLOSING | LOST)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<StreamTransport{}", self.socket)?;
        if self.has(CLOSING) && !self.has(LOST) {
            f.write_str(" closing")?;
        }
        let reading = match (self.is_reading(), self.has(EOF)) {
            (_, true) => "at the end of the stream",
            (true, false) => "reading",
            (false, false) => "not reading",
        };
        write!(f, " {reading}, {} bytes to write>", self.pending())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an idle connection costs beside its protocol, under 512 bytes in all: this, the counts
    /// before it, the socket, the user's handle and the places in the tables.
    #[test]
    fn an_idle_stream_is_small() {
        assert!(size_of::<Stream>() <= 216, "{} bytes", size_of::<Stream>());
    }
}
