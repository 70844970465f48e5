//! Servers: listening sockets, what they accept, and who waits for their end.
//!
//! ```text
//!   Server (user) ──▶ ServerState ◀──▶ Listener ◀── the loop's table
//!                         ▲  └╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌▶ Stream (weak)
//!                         └──────────────────────── Stream
//! ```
//!
//! While it serves, a listener keeps its server alive; closing ends that. The loop's table has a listener until the
//! server is closed or gone.

mod create;
mod listener;
mod unix;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};

use anyloop_api::{
    Error, EventLoop, EventLoopExt, LocalBoxFuture, LoopFuture, LoopRef, ProtocolFactory,
    RawServer, RawTransport, Report, Result, Snapshot, SocketView, catch_cancel,
};
use slab::Slab;
use socket2::{SockAddr, Socket};

pub(crate) use self::create::create_server;
use self::listener::Listener;
use self::unix::SocketFile;
pub(crate) use self::unix::{create_unix_server, remove_stale};
use crate::base::BaseLoop;
use crate::sockaddr;
use crate::stream::Stream;

/// A server: shared by its listeners and its connections.
pub(crate) struct ServerState {
    this: Weak<Self>,
    base: Weak<BaseLoop>,
    /// None once it is over: it may hold what holds the server.
    factory: RefCell<Option<ProtocolFactory>>,
    /// That in which it was told to serve (CTX-06).
    context: RefCell<Snapshot>,
    backlog: u32,
    /// Removed when the server is closed.
    file: RefCell<Option<SocketFile>>,
    listeners: RefCell<Vec<Rc<Listener>>>,
    clients: RefCell<Slab<Weak<Stream>>>,
    /// Connections that wait for their protocol.
    beginning: Cell<usize>,
    serving: Cell<bool>,
    closed: Cell<bool>,
    waiters: RefCell<Slab<LoopFuture<()>>>,
    forever: RefCell<Option<LoopFuture<()>>>,
}

impl ServerState {
    pub(crate) fn attach(&self, stream: Weak<Stream>) -> usize {
        self.clients.borrow_mut().insert(stream)
    }

    /// A connection finished `connection_lost`.
    pub(crate) fn detach(&self, index: usize) {
        self.clients.borrow_mut().try_remove(index);
        self.maybe_wake();
    }

    /// Closed, and the last connection is lost.
    fn ended(&self) -> bool {
        self.closed.get() && self.beginning.get() == 0 && self.clients.borrow().is_empty()
    }

    fn maybe_wake(&self) {
        if self.ended() {
            let waiters: Vec<_> = self.waiters.borrow().iter().map(|(_, w)| w.clone()).collect();
            for waiter in waiters {
                waiter.set_unless_done(Ok(()));
            }
        }
    }

    fn each_client(&self, f: impl Fn(&Stream)) {
        let clients: Vec<_> = self.clients.borrow().iter().map(|(_, c)| c.clone()).collect();
        for client in clients.iter().filter_map(Weak::upgrade) {
            f(&client);
        }
    }

    /// There will be no connection any more.
    fn forget_factory(&self) {
        let factory = self.factory.take();
        if let Some(base) = self.base.upgrade() {
            let report = |panic| {
                Report::new("a destructor panicked while a server was being closed")
                    .exception(panic)
            };
            let _ = base.guard(|| drop(factory), report);
        }
    }

    /// One connection from the kernel, with its peer if accepting told it: a protocol of its own, or a report
    /// (SRV-17).
    fn accepted(&self, fd: OwnedFd, peer: Option<SockAddr>) {
        let (Some(base), Some(this)) = (self.base.upgrade(), self.this.upgrade()) else { return };
        let Some(factory) = self.factory.borrow().clone() else { return };
        let context = self.context.borrow().clone();
        let _beginning = Beginning::of(self);
        let make = || context.clone().run(|| factory());
        let failed = |panic| {
            Report::new("the protocol factory of a server panicked")
                .exception(panic)
                .socket(format!("{self:?}"))
        };
        let Ok(protocol) = base.guard(make, failed) else { return };
        match Stream::open(&base, Socket::from(fd), peer, protocol, context, Some(this)) {
            // The factory has interrupted the run (LIFE-18).
            Ok(stream) if base.state().interrupted() => base.soon(move || stream.begin()),
            Ok(stream) => stream.begin(),
            Err(error) => base.call_exception_handler(
                Report::new("a connection could not be taken into service")
                    .exception(error)
                    .socket(format!("{self:?}")),
            ),
        }
    }
}

impl RawServer for ServerState {
    fn close(&self) {
        if self.closed.replace(true) {
            return;
        }
        self.serving.set(false);
        for listener in self.listeners.take() {
            listener.close();
        }
        if let Some(file) = self.file.take() {
            file.remove();
        }
        if let Some(forever) = self.forever.take() {
            forever.set_unless_done(Ok(()));
        }
        self.maybe_wake();
        self.forget_factory();
    }

    fn close_clients(&self) {
        self.each_client(RawTransport::close);
    }

    fn abort_clients(&self) {
        self.each_client(RawTransport::abort);
    }

    fn wait_closed(&self) -> LocalBoxFuture<Result<()>> {
        let this = self.this.upgrade();
        Box::pin(async move {
            let Some(this) = this else { return Ok(()) };
            if this.ended() {
                return Ok(());
            }
            let Some(waiter) = this.get_loop().map(|lp| lp.create_future::<()>()) else {
                return Ok(());
            };
            let index = this.waiters.borrow_mut().insert(waiter.clone());
            let _waiting = Waiting { server: this, index };
            waiter.await
        })
    }

    fn start_serving(&self) -> Result<()> {
        if self.closed.get() {
            return Err(Error::usage("start_serving: the server is closed"));
        }
        if self.serving.get() {
            return Ok(());
        }
        drop(self.context.replace(Snapshot::current()));
        let started =
            self.listeners.borrow().iter().try_for_each(|listener| listener.start(self.backlog));
        match started {
            Ok(()) => self.serving.set(true),
            // A socket cannot stop listening, and clients of one that does would wait for nobody.
            Err(_) => self.close(),
        }
        started
    }

    fn serve_forever(&self) -> LocalBoxFuture<Result<()>> {
        let this = self.this.upgrade();
        Box::pin(async move {
            let Some(this) = this else { return Ok(()) };
            if this.closed.get() {
                return Err(Error::usage("serve_forever: the server is closed"));
            }
            if this.forever.borrow().is_some() {
                return Err(Error::usage("serve_forever: the server is being served already"));
            }
            this.start_serving()?;
            let Some(forever) = this.get_loop().map(|lp| lp.create_future::<()>()) else {
                return Ok(());
            };
            *this.forever.borrow_mut() = Some(forever.clone());
            let serving = Forever(this.clone());
            let served = catch_cancel(forever).await;
            drop(serving);
            match served {
                Ok(served) => served,
                Err(cancelled) => {
                    this.close();
                    // Idle clients would keep us here for ever.
                    this.close_clients();
                    let _ = this.wait_closed().await;
                    cancelled.resume().await
                }
            }
        })
    }

    fn is_serving(&self) -> bool {
        self.serving.get()
    }

    fn sockets(&self) -> Vec<SocketView> {
        self.listeners.borrow().iter().filter_map(|listener| listener.view()).collect()
    }

    fn get_loop(&self) -> Option<LoopRef> {
        self.base.upgrade().map(|base| base.handle())
    }
}

/// One connection until it is among the clients: the factory may close the server.
struct Beginning<'a>(&'a ServerState);

impl<'a> Beginning<'a> {
    fn of(server: &'a ServerState) -> Self {
        server.beginning.set(server.beginning.get() + 1);
        Self(server)
    }
}

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        self.0.beginning.set(self.0.beginning.get() - 1);
        self.0.maybe_wake();
    }
}

/// One `wait_closed`, while it lasts.
struct Waiting {
    server: Rc<ServerState>,
    index: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let waiter = self.server.waiters.borrow_mut().try_remove(self.index);
        drop(waiter);
    }
}

/// The one `serve_forever`, while it lasts.
struct Forever(Rc<ServerState>);

impl Drop for Forever {
    fn drop(&mut self) {
        self.0.forever.take();
    }
}

impl Drop for ServerState {
    /// One that never served: the loop has its sockets.
    fn drop(&mut self) {
        for listener in self.listeners.take() {
            listener.close();
        }
    }
}

impl fmt::Debug for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.sockets().iter().filter_map(|s| s.local_addr().ok()).collect();
        write!(f, "<Server")?;
        for address in addresses {
            write!(f, " {}", sockaddr::text(&address))?;
        }
        let clients = self.clients.borrow().len();
        write!(f, " serving={} closed={}", self.serving.get(), self.closed.get())?;
        write!(f, " clients={clients}>")
    }
}
