//! `Layer`: TLS between a transport and a protocol (asyncio's `SSLProtocol` and its transport).
//!
//! To the transport below it is the protocol, to the protocol above it is the transport. Nothing here
//! knows what is below: a socket of any loop, or another layer.
//!
//! ```text
//!  handshake ──▶ wrapped ──close(), peer's end──▶ flushing ──all encrypted──▶ shutdown ──▶ closed
//!      │            │                                 │   our close-notify       │  the peer's, or its
//!      └────────────┴── abort(), error, timeout ──────┴──────────────────────────┘  end of stream
//! ```
//!
//! No borrow is held while somebody else is called: every method may call back.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};

use anyloop_api::{
    AnyProtocol, Error, ExtraInfo, LoopRef, Panic, Protocol, Report, Result, Snapshot, TimerHandle,
    Transport, Waiter, WeakLoop, WeakTransport,
};
use rustls::Connection;

use super::options::Tls;
use crate::streams::buffer::Buffer;

/// Above this many bytes queued the protocol is told to pause, unless other marks are set (TLS-10).
pub(super) const WRITE_HIGH: usize = 512 * 1024;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Handshake,
    Wrapped,
    /// Closing: what was written is being sent.
    Flushing,
    /// Our close-notify is said.
    Shutdown,
    /// Over; `connection_lost` follows, or was called.
    Closed,
}

pub(super) struct Layer {
    pub(super) this: Weak<Self>,
    pub(super) lp: WeakLoop,
    pub(super) tls: Tls,
    /// Whom we connect to, for messages.
    pub(super) host: Option<String>,
    pub(super) session: RefCell<Connection>,
    pub(super) below: OnceCell<Transport>,
    above: RefCell<Option<AnyProtocol>>,
    user: RefCell<WeakTransport>,
    context: RefCell<Snapshot>,
    pub(super) state: Cell<State>,
    /// The protocol knows of the connection.
    pub(super) made: Cell<bool>,
    /// Why it ends, if we know better than the transport below.
    pub(super) error: RefCell<Option<Error>>,
    pub(super) timer: Cell<Option<TimerHandle>>,
    pub(super) handshake: Outcome,

    // --- reading ---
    /// Ciphertext for later.
    pub(super) held: RefCell<Buffer>,
    pub(super) reading_paused: Cell<bool>,
    pub(super) below_reading_paused: Cell<bool>,
    /// Somebody is busy with what arrived.
    pub(super) receiving: Cell<bool>,
    /// What makes the rest unreadable; told after what was read before.
    pub(super) broken: RefCell<Option<rustls::Error>>,
    /// The transport below is at the end of its stream.
    pub(super) below_ended: Cell<bool>,
    pub(super) close_notify: Cell<bool>,
    /// Everything of the protocol's was sent when we said goodbye.
    pub(super) all_sent: Cell<bool>,

    // --- writing ---
    /// Plaintext for later.
    pub(super) backlog: RefCell<Buffer>,
    pub(super) writing_paused: Cell<bool>,
    pub(super) below_writing_paused: Cell<bool>,
    pub(super) high: Cell<usize>,
    pub(super) low: Cell<usize>,
    pub(super) dead_writes: Cell<u8>,
}

/// How the handshake ended, and who waits for that.
pub(super) struct Outcome {
    pub(super) result: RefCell<Option<Result<()>>>,
    pub(super) waiter: Rc<Waiter>,
    /// Nobody waits: a failure is reported instead, in debug mode.
    pub(super) unattended: Cell<bool>,
}

impl Layer {
    /// A layer under `above`, to be given to a transport as its protocol.
    pub(super) fn new(
        lp: &WeakLoop,
        tls: Tls,
        host: Option<String>,
        mut session: Connection,
        above: AnyProtocol,
    ) -> Rc<Self> {
        // How much there may be is for our own water marks to say.
        session.set_buffer_limit(None);
        Rc::new_cyclic(|this| Self {
            this: this.clone(),
            lp: lp.clone(),
            tls,
            host,
            session: RefCell::new(session),
            below: OnceCell::new(),
            above: RefCell::new(Some(above)),
            user: RefCell::default(),
            context: RefCell::default(),
            state: Cell::new(State::Handshake),
            made: Cell::new(false),
            error: RefCell::default(),
            timer: Cell::default(),
            handshake: Outcome {
                result: RefCell::default(),
                waiter: Waiter::new("a TLS handshake"),
                unattended: Cell::new(false),
            },
            held: RefCell::default(),
            reading_paused: Cell::new(false),
            below_reading_paused: Cell::new(false),
            receiving: Cell::new(false),
            broken: RefCell::default(),
            below_ended: Cell::new(false),
            close_notify: Cell::new(false),
            all_sent: Cell::new(false),
            backlog: RefCell::default(),
            writing_paused: Cell::new(false),
            below_writing_paused: Cell::new(false),
            high: Cell::new(WRITE_HIGH),
            low: Cell::new(WRITE_HIGH / 4),
            dead_writes: Cell::new(0),
        })
    }

    /// Takes possession of the transport below; the handshake begins.
    pub(super) fn attach(&self, below: Transport) {
        *self.context.borrow_mut() = Snapshot::current();
        if self.below.set(below).is_err() {
            return;
        }
        self.share_limits();
        self.begin_handshake();
    }

    pub(super) fn get_loop(&self) -> Option<LoopRef> {
        self.lp.upgrade()
    }

    /// The one user handle; made anew when the user has none.
    pub(super) fn transport(&self) -> Transport {
        if let Some(transport) = self.user.borrow().upgrade() {
            return transport;
        }
        let this = self.this.upgrade().expect("a layer is asked through its Rc");
        let transport = Transport::new(this);
        *self.user.borrow_mut() = transport.downgrade();
        transport
    }

    pub(super) fn has_user(&self) -> bool {
        self.user.borrow().upgrade().is_some()
    }

    pub(super) fn protocol(&self) -> Option<AnyProtocol> {
        self.above.borrow().clone()
    }

    pub(super) fn replace_protocol(&self, protocol: Option<AnyProtocol>) {
        let old = std::mem::replace(&mut *self.above.borrow_mut(), protocol);
        drop(old);
    }

    /// Whether the protocol is to hear nothing for now.
    pub(super) fn is_held_back(&self) -> bool {
        self.reading_paused.get() && self.state.get() == State::Wrapped
    }

    /// Whom we talk to, for messages.
    pub(super) fn peer(&self) -> String {
        let address = self.below.get().and_then(|below| below.get_extra_info("peername"));
        let address = address.as_ref().and_then(ExtraInfo::address).map(|address| {
            let path = || address.as_pathname().map(|path| path.display().to_string());
            address.as_socket().map(|address| address.to_string()).or_else(path)
        });
        match (address.flatten(), self.host.as_deref()) {
            (Some(address), Some(host)) if !address.starts_with(host) => {
                format!("{host} ({address})")
            }
            (Some(address), _) => address,
            (None, Some(host)) => host.to_owned(),
            (None, None) => "the peer".to_owned(),
        }
    }

    pub(super) fn report(&self, what: &'static str, error: impl Into<Error>) {
        let Some(lp) = self.get_loop() else { return };
        let mut report = Report::new(what).exception(error).transport(self.transport());
        report.protocol = self.protocol();
        lp.call_exception_handler(report);
    }

    /// Calls the protocol; a panic is reported and ends the connection (TR-08). `None`: it did.
    pub(super) fn call<R>(
        &self,
        what: &'static str,
        f: impl FnOnce(&AnyProtocol) -> R,
    ) -> Option<R> {
        match self.guard(what, f)? {
            Ok(value) => Some(value),
            Err(panic) => {
                self.abort_with(Some(Error::Panicked(panic)));
                None
            }
        }
    }

    /// The same for callbacks whose panic leaves the connection alone (FLOW-09).
    pub(super) fn tell(&self, what: &'static str, f: impl FnOnce(&AnyProtocol)) {
        let _ = self.guard(what, f);
    }

    fn guard<R>(
        &self,
        what: &'static str,
        f: impl FnOnce(&AnyProtocol) -> R,
    ) -> Option<Result<R, Panic>> {
        let protocol = self.protocol()?;
        let context = self.context.borrow().clone();
        let called = Panic::catch(|| context.run(|| f(&protocol)));
        Some(called.inspect_err(|panic| {
            if !self.get_loop().is_some_and(|lp| lp.state().resume_panic(panic)) {
                self.report(what, panic.clone());
            }
        }))
    }
}

/// The layer as the protocol of the transport below, which has it for as long as the connection lives.
pub(super) struct Attachment(pub(super) Rc<Layer>);

impl Protocol for Attachment {
    fn connection_made(&self, transport: Transport) {
        self.0.attach(transport);
    }

    fn data_received(&self, data: &[u8]) {
        self.0.receive(data);
    }

    /// How the connection ends is our business: the transport below stays open until then.
    fn eof_received(&self) -> bool {
        self.0.below_ends();
        true
    }

    fn connection_lost(&self, error: Option<Error>) {
        self.0.finish(error);
    }

    fn pause_writing(&self) {
        self.0.below_writing_paused.set(true);
    }

    fn resume_writing(&self) {
        self.0.below_writing_paused.set(false);
        self.0.flush();
    }
}

impl Drop for Attachment {
    /// Also when a loop is closed and nobody is called: the protocol may hold our transport.
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// The layer that is this transport, if it is one.
pub(super) fn of(transport: &Transport) -> Option<Rc<Layer>> {
    let layer: &Layer = transport.raw().as_any().downcast_ref()?;
    layer.this.upgrade()
}

/// For extra info.
pub(super) fn object(value: impl Any) -> ExtraInfo {
    ExtraInfo::Object(Rc::new(value))
}
