//! Datagram endpoints.
//!
//! Receiving takes turns: a few datagrams per iteration, however many there are (UDP-19). Sending tries
//! the system call at once and queues whole datagrams behind it, in order. Errors of the operating
//! system are told to the protocol and change nothing, unless they say that the descriptor itself is no
//! good any more.

mod open;
mod receive;
mod send;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};

use anyloop_api::{
    DatagramProtocol, DatagramTransport, Domain, Error, EventLoop, ExtraInfo, Panic,
    RawDatagramTransport, Report, Result, SockAddr, SocketView,
};
use rustix::io::Errno;
use socket2::Socket;

pub(crate) use self::open::create_datagram_endpoint;
use self::receive::Held;
use self::send::Outgoing;
use crate::base::BaseLoop;
use crate::begin::Begin;
use crate::descriptor::Descriptor;
use crate::driver::{Event, Interest, Readiness};
use crate::flow::Flow;
use crate::sockets;
use crate::sources::Source;
use crate::voice::Voice;

/// `connection_made` was called.
const MADE: u8 = 1;
/// The kernel had something to read when we last looked (edge-triggered readiness).
const READABLE: u8 = 1 << 1;
const CLOSING: u8 = 1 << 2;
/// `connection_lost` is scheduled or was called.
const LOST: u8 = 1 << 3;
/// An attempt to send is scheduled.
const RETRYING: u8 = 1 << 4;
/// Several datagrams waited together when we last looked.
const MANY: u8 = 1 << 5;

pub(crate) struct Datagram {
    this: Weak<Self>,
    base: Weak<BaseLoop>,
    socket: Descriptor<Socket>,
    voice: Voice<Rc<dyn DatagramProtocol>>,
    flags: Cell<u8>,
    held: Cell<Held>,
    out: Outgoing,
    flow: Flow,
    dead_writes: Cell<u8>,
    /// Where datagrams go if nothing else is said, and the only place where they may go.
    remote: Option<SockAddr>,
    /// The kernel knows that too.
    connected: bool,
    /// No datagram is longer than those of the Internet.
    internet: bool,
    /// Nothing tells when another local socket has room again; only trying does.
    blind: bool,
    /// Our address, when the socket is closed.
    sockname: RefCell<Option<SockAddr>>,
}

impl Datagram {
    /// Takes a non-blocking socket into the loop's care.
    fn open(
        base: &Rc<BaseLoop>,
        socket: Socket,
        remote: Option<SockAddr>,
        protocol: Rc<dyn DatagramProtocol>,
    ) -> Result<Rc<Self>> {
        let connected = socket.peer_addr().is_ok();
        let domain = sockets::domain(&socket).ok();
        let internet = matches!(domain, Some(Domain::IPV4 | Domain::IPV6));
        let socket = Descriptor::own(base, socket, "create_datagram_endpoint")?;
        let endpoint = Rc::new_cyclic(|this: &Weak<Self>| Self {
            this: this.clone(),
            base: base.weak(),
            socket,
            voice: Voice::new(base.weak(), protocol),
            flags: Cell::new(0),
            held: Cell::new(None),
            out: Outgoing::default(),
            flow: Flow::default(),
            dead_writes: Cell::new(0),
            remote,
            connected,
            internet,
            blind: domain == Some(Domain::UNIX) && !connected,
            sockname: RefCell::new(None),
        });
        base.sources.fill(endpoint.socket.key(), endpoint.clone());
        Ok(endpoint)
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.get() & flag != 0
    }

    fn set(&self, flag: u8) {
        self.flags.set(self.flags.get() | flag);
    }

    fn clear(&self, flag: u8) {
        self.flags.set(self.flags.get() & !flag);
    }

    fn socket(&self) -> Option<Rc<Socket>> {
        self.socket.get()
    }

    // --- watching ---

    fn watch(&self, base: &BaseLoop) {
        // Each attempt in vain makes a blind socket writable anew: it would be tried without end.
        let edge = Interest { readable: true, writable: !self.blind };
        if let Err(error) = self.socket.register(base, edge, || self.wanted()) {
            self.fatal(Error::os("watching a datagram endpoint", error));
        }
    }

    fn wants_data(&self) -> bool {
        self.flags.get() & (MADE | CLOSING | LOST) == MADE
    }

    fn wanted(&self) -> Interest {
        Interest {
            readable: self.wants_data(),
            writable: !self.out.is_empty() && !self.blind && !self.has(LOST),
        }
    }

    fn update_interest(&self) {
        let Some(base) = self.base.upgrade() else { return };
        if let Err(error) = self.socket.update(&base, || self.wanted()) {
            self.fatal(Error::os("watching a datagram endpoint", error));
        }
    }

    // --- receiving ---

    fn on_ready(&self, base: &BaseLoop, readiness: Readiness) {
        if readiness.readable || readiness.closed {
            self.set(READABLE);
            self.receive(base);
        }
        if readiness.writable {
            self.flush(base);
        }
    }

    // --- the protocol ---

    /// A panic is reported and changes nothing (UDP-10).
    fn tell(&self, what: &'static str, f: impl FnOnce(&Rc<dyn DatagramProtocol>)) {
        let _ = self.voice.call(f, |panic| self.report(what, panic));
    }

    fn report(&self, what: &'static str, panic: Panic) -> Report {
        Report::new(what).exception(panic).socket(format!("{self:?}"))
    }

    /// UDP-07, -09.
    fn on_error(&self, operation: &'static str, error: Errno) {
        let gone = [Errno::BADF, Errno::NOTSOCK, Errno::FAULT].contains(&error);
        let error = Error::os(operation, error.into());
        if gone {
            self.fatal(error);
        } else {
            self.tell("error_received panicked", |protocol| protocol.error_received(error));
        }
    }

    // --- the end ---

    /// The endpoint cannot go on.
    fn fatal(&self, error: Error) {
        if self.has(LOST) {
            return;
        }
        if let Some(base) = self.base.upgrade() {
            base.call_exception_handler(
                Report::new("a datagram endpoint failed")
                    .exception(error.clone())
                    .socket(format!("{self:?}")),
            );
        }
        self.force(Some(error));
    }

    fn set_closing(&self) {
        self.set(CLOSING);
        self.socket.closing(&self.base);
    }

    /// Drops what waits and ends the endpoint, with the error that did it.
    fn force(&self, error: Option<Error>) {
        if self.has(LOST) {
            return;
        }
        self.set_closing();
        self.out.clear();
        self.schedule_lost(error);
    }

    fn schedule_lost(&self, error: Option<Error>) {
        let (Some(base), Some(this)) = (self.base.upgrade(), self.this.upgrade()) else { return };
        if self.has(LOST) {
            return;
        }
        self.set(LOST);
        self.update_interest();
        base.soon(move || this.finish(error));
    }

    /// `connection_lost`, once; then the descriptor is closed, whatever the protocol did.
    fn finish(&self, error: Option<Error>) {
        if self.has(MADE) {
            self.tell("connection_lost panicked", |protocol| protocol.connection_lost(error));
        }
        self.release();
        self.voice.end();
    }

    fn release(&self) {
        drop(self.held.take());
        if let Some(socket) = self.socket() {
            *self.sockname.borrow_mut() = socket.local_addr().ok();
        }
        self.socket.close(&self.base);
    }
}

impl Begin for Datagram {
    type Handle = DatagramTransport;

    fn handle(&self) -> DatagramTransport {
        DatagramTransport::new(self.this.upgrade().expect("an endpoint is asked through its Rc"))
    }

    fn begin(&self) {
        let Some(base) = self.base.upgrade() else { return };
        if self.has(LOST) {
            return;
        }
        let transport = self.handle();
        self.set(MADE);
        self.tell("connection_made panicked", |protocol| protocol.connection_made(transport));
        if !self.has(LOST) {
            self.watch(&base);
        }
    }

    fn abandon(&self) {
        self.force(None);
    }
}

impl Source for Datagram {
    fn on_event(self: Rc<Self>, event: Event) {
        if let (Some(base), Event::Ready { readiness, .. }) = (self.base.upgrade(), event) {
            self.on_ready(&base, readiness);
        }
    }

    fn abandon(&self) {
        self.set(CLOSING | LOST);
        self.release();
        self.voice.end();
        self.out.clear();
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }

    fn is_open(&self) -> bool {
        !self.has(CLOSING | LOST)
    }
}

impl RawDatagramTransport for Datagram {
    fn close(&self) {
        if self.has(CLOSING) {
            return;
        }
        self.set_closing();
        if self.out.is_empty() {
            self.schedule_lost(None);
        } else {
            self.update_interest();
        }
    }

    fn abort(&self) {
        self.force(None);
    }

    fn is_closing(&self) -> bool {
        self.has(CLOSING)
    }

    fn sendto(&self, data: &[u8], to: Option<&SockAddr>) -> Result<()> {
        self.send(data, to)
    }

    fn get_write_buffer_size(&self) -> usize {
        self.out.size()
    }

    fn get_write_buffer_limits(&self) -> (usize, usize) {
        self.flow.limits()
    }

    fn set_write_buffer_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<()> {
        self.flow.set_limits(high, low)?;
        self.maybe_pause();
        Ok(())
    }

    fn set_protocol(&self, protocol: Rc<dyn DatagramProtocol>) {
        self.voice.replace(protocol);
    }

    fn get_protocol(&self) -> Option<Rc<dyn DatagramProtocol>> {
        self.voice.protocol()
    }

    fn extra_info(&self, name: &str) -> Option<ExtraInfo> {
        let socket = self.socket();
        match name {
            "socket" => {
                let view = socket.as_ref().map_or_else(SocketView::closed, SocketView::new);
                Some(ExtraInfo::Socket(view))
            }
            "sockname" => {
                let name = match socket {
                    Some(socket) => socket.local_addr().ok(),
                    None => self.sockname.borrow().clone(),
                };
                name.map(ExtraInfo::Address)
            }
            "peername" if self.connected => self.remote.clone().map(ExtraInfo::Address),
            _ => None,
        }
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl fmt::Debug for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<DatagramTransport")?;
        write!(f, "{}", self.socket)?;
        if let Some(remote) = &self.remote {
            write!(f, " to {}", crate::sockaddr::text(remote))?;
        }
        if self.has(CLOSING) && !self.has(LOST) {
            f.write_str(" closing")?;
        }
        write!(f, ", {} bytes to send>", self.out.size())
    }
}
