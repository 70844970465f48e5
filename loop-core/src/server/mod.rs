//! Servers: listening sockets, what they accept, and who waits for their end.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::time::Duration;

use anyloop_api::{
    Bind, Error, EventLoop, EventLoopExt, LocalBoxFuture, LoopFuture, LoopRef, ProtocolFactory,
    RawServer, RawTransport, Report, Result, Server, Snapshot, SocketView, catch_cancel,
};
use rustix::net::SocketFlags;
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};

use crate::base::BaseLoop;
use crate::driver::{Event, Interest, Key, Trigger};
use crate::lend::lend;
use crate::sources::Source;
use crate::stream::Stream;

/// How long accepting pauses when descriptors or memory run out (asyncio's number).
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// A server: shared by its listeners and its connections.
pub(crate) struct ServerState {
    this: Weak<Self>,
    base: Weak<BaseLoop>,
    factory: ProtocolFactory,
    context: Snapshot,
    backlog: u32,
    listeners: RefCell<Vec<Rc<Listener>>>,
    clients: RefCell<Slab<Weak<Stream>>>,
    serving: Cell<bool>,
    closed: Cell<bool>,
    waiters: RefCell<Vec<LoopFuture<()>>>,
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

    fn maybe_wake(&self) {
        if self.closed.get() && self.clients.borrow().is_empty() {
            let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
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

    /// One connection from the kernel: a protocol of its own, or a report (SRV-17).
    fn accepted(&self, fd: OwnedFd) {
        let (Some(base), Some(this)) = (self.base.upgrade(), self.this.upgrade()) else { return };
        let make = || self.context.clone().run(|| (self.factory)());
        let failed = |panic| {
            Report::new("the protocol factory of a server panicked")
                .exception(panic)
                .socket(format!("{:?}", self))
        };
        let Ok(protocol) = base.guard(make, failed) else { return };
        let context = self.context.clone();
        match Stream::open(&base, Socket::from(fd), protocol, context, Some(this)) {
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
        let listeners = std::mem::take(&mut *self.listeners.borrow_mut());
        for listener in listeners {
            listener.close();
        }
        if let Some(forever) = self.forever.borrow_mut().take() {
            forever.set_unless_done(Ok(()));
        }
        self.maybe_wake();
    }

    fn close_clients(&self) {
        self.each_client(RawTransport::close);
    }

    fn abort_clients(&self) {
        self.each_client(RawTransport::abort);
    }

    fn wait_closed(&self) -> LocalBoxFuture<Result<()>> {
        let (Some(this), Some(base)) = (self.this.upgrade(), self.base.upgrade()) else {
            return Box::pin(async { Ok(()) });
        };
        Box::pin(async move {
            if this.closed.get() && this.clients.borrow().is_empty() {
                return Ok(());
            }
            let waiter = base.create_future::<()>();
            this.waiters.borrow_mut().push(waiter.clone());
            drop(base);
            let waited = waiter.await;
            this.waiters.borrow_mut().retain(|waiter| !waiter.done());
            waited
        })
    }

    fn start_serving(&self) -> Result<()> {
        if self.closed.get() {
            return Err(Error::usage("start_serving: the server is closed"));
        }
        if !self.serving.replace(true) {
            for listener in &*self.listeners.borrow() {
                listener.start(self.backlog)?;
            }
        }
        Ok(())
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
            let Some(lp) = this.get_loop() else { return Ok(()) };
            let forever = lp.create_future::<()>();
            *this.forever.borrow_mut() = Some(forever.clone());
            let ended = Ended(this.clone());
            let served = catch_cancel(forever).await;
            drop(ended);
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

/// `serve_forever` ended, in whatever way.
struct Ended(Rc<ServerState>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.forever.borrow_mut().take();
    }
}

impl fmt::Debug for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.sockets().iter().filter_map(|s| s.local_addr().ok()).collect();
        write!(f, "<Server")?;
        for address in addresses {
            match address.as_socket() {
                Some(address) => write!(f, " {address}")?,
                None => write!(f, " {address:?}")?,
            }
        }
        let clients = self.clients.borrow().len();
        write!(f, " serving={} closed={}", self.serving.get(), self.closed.get())?;
        write!(f, " clients={clients}>")
    }
}

/// One listening socket.
struct Listener {
    this: Weak<Self>,
    server: Weak<ServerState>,
    /// Keeps the server alive while it serves (SRV-25).
    alive: RefCell<Option<Rc<ServerState>>>,
    base: Weak<BaseLoop>,
    key: Cell<Option<Key>>,
    socket: RefCell<Option<Rc<Socket>>>,
    backlog: Cell<u32>,
    /// Descriptors ran out; a timer will start us again.
    resting: Cell<bool>,
}

impl Listener {
    fn view(&self) -> Option<SocketView> {
        self.socket.borrow().as_ref().map(SocketView::new)
    }

    fn socket(&self) -> Option<Rc<Socket>> {
        self.socket.borrow().clone()
    }

    fn start(self: &Rc<Self>, backlog: u32) -> Result<()> {
        let (Some(base), Some(socket)) = (self.base.upgrade(), self.socket()) else {
            return Ok(());
        };
        let length = i32::try_from(backlog).unwrap_or(i32::MAX);
        socket.listen(length).map_err(|error| Error::os("start_serving: listen", error))?;
        let key = base.sources.reserve();
        self.key.set(Some(key));
        self.backlog.set(backlog);
        base.sources.fill(key, self.clone());
        *self.alive.borrow_mut() = self.server.upgrade();
        let started = base.with_driver(|driver| {
            if driver.caps().accept {
                driver.accept_start(lend(&*socket), key)
            } else {
                driver.register(lend(&*socket), key, Interest::READ)
            }
        });
        started.map_err(|error| Error::os("start_serving: watching the socket", error))
    }

    fn close(&self) {
        let Some(socket) = self.socket.borrow_mut().take() else { return };
        let server = self.alive.borrow_mut().take();
        if let Some(base) = self.base.upgrade() {
            base.sources.disown(socket.as_raw_fd());
            if let (Some(key), Ok(socket)) = (self.key.take(), Rc::try_unwrap(socket)) {
                base.with_driver(|driver| driver.close(OwnedFd::from(socket), key));
                base.sources.remove(key);
            }
        }
        drop(server);
    }

    /// Readiness: takes what is queued, at most backlog + 1 (SRV-18).
    fn accept_ready(&self) {
        let (Some(base), Some(key)) = (self.base.upgrade(), self.key.get()) else { return };
        for _ in 0..=self.backlog.get() {
            if self.resting.get() {
                return;
            }
            let (Some(socket), Some(server)) = (self.socket(), self.server.upgrade()) else {
                return;
            };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::accept_with(&*socket, flags) {
                Ok(fd) => {
                    drop(socket);
                    server.accepted(fd);
                }
                Err(rustix::io::Errno::AGAIN) => return,
                Err(error) => {
                    drop(socket);
                    if !self.tolerate(io::Error::from(error)) {
                        return;
                    }
                }
            }
        }
        if base.caps().trigger == Trigger::Edge {
            base.requeue_readable(key);
        }
    }

    /// True if the next connection can be taken at once; else accepting rests for a while, and the
    /// reason is reported once (SRV-19, SRV-20).
    fn tolerate(&self, error: io::Error) -> bool {
        use rustix::io::Errno;
        let errno = Errno::from_io_error(&error);
        let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        if !errno.is_some_and(|errno| exhausted.contains(&errno)) {
            let gone = [
                Errno::INTR,
                Errno::CONNABORTED,
                Errno::PROTO,
                Errno::NETDOWN,
                Errno::NETUNREACH,
                Errno::HOSTDOWN,
                Errno::HOSTUNREACH,
                Errno::NOPROTOOPT,
                Errno::OPNOTSUPP,
                Errno::PERM,
            ];
            if errno.is_some_and(|errno| gone.contains(&errno)) {
                return true;
            }
        }
        self.rest(error);
        false
    }

    fn rest(&self, error: io::Error) {
        let (Some(base), Some(this)) = (self.base.upgrade(), self.this.upgrade()) else { return };
        if self.resting.replace(true) {
            return;
        }
        if base.caps().trigger == Trigger::Level {
            self.set_interest(&base, Interest::NONE);
        }
        base.call_exception_handler(
            Report::new("accepting failed; trying again in a second")
                .exception(Error::os("accept", error))
                .socket(self.server.upgrade().map_or_else(String::new, |s| format!("{s:?}"))),
        );
        let _ = base.call_later(ACCEPT_RETRY, move || this.wake_up());
    }

    fn set_interest(&self, base: &BaseLoop, interest: Interest) {
        if let (Some(socket), Some(key)) = (self.socket(), self.key.get()) {
            let _ = base.with_driver(|driver| driver.modify(lend(&*socket), key, interest));
        }
    }

    fn wake_up(&self) {
        self.resting.set(false);
        let (Some(base), Some(key)) = (self.base.upgrade(), self.key.get()) else { return };
        if base.caps().accept {
            self.restart(&base);
            return;
        }
        if base.caps().trigger == Trigger::Level {
            self.set_interest(&base, Interest::READ);
        }
        base.requeue_readable(key);
    }

    fn restart(&self, base: &BaseLoop) {
        if let (Some(socket), Some(key)) = (self.socket(), self.key.get()) {
            let started = base.with_driver(|driver| driver.accept_start(lend(&*socket), key));
            drop(socket);
            if let Err(error) = started {
                self.rest(error);
            }
        }
    }
}

impl Source for Listener {
    fn on_event(self: Rc<Self>, event: Event) {
        let Some(base) = self.base.upgrade() else { return };
        match event {
            Event::Ready { .. } => self.accept_ready(),
            Event::Accepted { fd, .. } => {
                if let Some(server) = self.server.upgrade() {
                    server.accepted(fd);
                }
            }
            Event::AcceptEnded { error, .. } => {
                let again = error.is_none_or(|error| self.tolerate(error));
                if again {
                    self.restart(&base);
                }
            }
            Event::Data { .. } | Event::RecvEnded { .. } | Event::Sent { .. } => {}
        }
    }

    fn abandon(&self) {
        self.close();
    }

    fn describe(&self) -> String {
        format!("listener of {:?}", self.server.upgrade())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A server that never served.
        if let (Some(socket), Some(base)) = (self.socket.borrow_mut().take(), self.base.upgrade()) {
            base.sources.disown(socket.as_raw_fd());
        }
    }
}

/// `create_server`.
pub(crate) async fn create_server(
    base: Weak<BaseLoop>,
    factory: ProtocolFactory,
    mut at: Bind,
) -> Result<Server> {
    if let Some(error) = at.malformed.take() {
        return Err(error);
    }
    let base = base.upgrade().ok_or_else(|| Error::closed("create_server: the loop is gone"))?;
    base.state().check_open("create_server")?;
    let sockets = match (at.sock.take(), at.has_address) {
        (Some(_), true) => {
            return Err(Error::invalid_arg(
                "create_server: host/port and a socket can not be given at the same time",
            ));
        }
        (None, false) => {
            return Err(Error::invalid_arg("create_server: neither host/port nor a socket given"));
        }
        (Some(fd), false) => {
            let socket = Socket::from(fd);
            crate::connect::check_stream(&socket, "create_server")?;
            socket
                .set_nonblocking(true)
                .map_err(|error| Error::os("create_server: O_NONBLOCK", error))?;
            vec![socket]
        }
        (None, true) => bind_all(&base, &at).await?,
    };
    let server = Rc::new_cyclic(|this| ServerState {
        this: this.clone(),
        base: base.weak(),
        factory,
        context: Snapshot::current(),
        backlog: at.backlog,
        listeners: RefCell::default(),
        clients: RefCell::default(),
        serving: Cell::new(false),
        closed: Cell::new(false),
        waiters: RefCell::default(),
        forever: RefCell::new(None),
    });
    for socket in sockets {
        base.sources.own(socket.as_raw_fd(), "create_server")?;
        server.listeners.borrow_mut().push(Rc::new_cyclic(|this| Listener {
            this: this.clone(),
            server: Rc::downgrade(&server),
            alive: RefCell::new(None),
            base: base.weak(),
            key: Cell::new(None),
            socket: RefCell::new(Some(Rc::new(socket))),
            backlog: Cell::new(at.backlog),
            resting: Cell::new(false),
        }));
    }
    if at.start_serving {
        if let Err(error) = server.start_serving() {
            server.close();
            return Err(error);
        }
        drop(base);
        // As in asyncio, one iteration passes, so that the listener is armed when we return.
        anyloop_api::yield_now().await;
    }
    Ok(Server::new(server))
}

/// Binds every distinct address; on failure none stays bound (SRV-07).
async fn bind_all(base: &Rc<BaseLoop>, at: &Bind) -> Result<Vec<Socket>> {
    let hosts: Vec<Option<String>> =
        if at.hosts.is_empty() { vec![None] } else { at.hosts.iter().cloned().map(Some).collect() };
    let mut addresses = Vec::new();
    for host in hosts {
        for address in base.resolve(host, at.port.clone(), at.family).await? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    let mut sockets = Vec::new();
    let mut unavailable = None;
    for address in addresses {
        match bind_one(address, at) {
            Ok(socket) => sockets.push(socket),
            // No such family or address on this machine: fine as long as another one works (SRV-08).
            Err((error, true)) => unavailable = Some(error),
            Err((error, false)) => return Err(error),
        }
    }
    if sockets.is_empty() {
        return Err(unavailable.unwrap_or_else(|| {
            Error::os("create_server: no address to bind", io::ErrorKind::AddrNotAvailable.into())
        }));
    }
    Ok(sockets)
}

/// The error says whether the address is merely not available here.
fn bind_one(
    address: std::net::SocketAddr,
    at: &Bind,
) -> std::result::Result<Socket, (Error, bool)> {
    use rustix::io::Errno;
    let fail = |operation: &str, error: io::Error, bound: bool| {
        let errno = Errno::from_io_error(&error);
        let missing = if bound {
            errno == Some(Errno::ADDRNOTAVAIL)
        } else {
            errno.is_some_and(|e| [Errno::AFNOSUPPORT, Errno::PROTONOSUPPORT].contains(&e))
        };
        (Error::os(format!("create_server: {operation} {address}"), error), missing)
    };
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))
            .map_err(|error| fail("socket for", error, false))?;
    let options = || {
        if at.reuse_address {
            socket.set_reuse_address(true)?;
        }
        if at.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if at.keep_alive {
            socket.set_keepalive(true)?;
        }
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Inherited by the connections on Linux (TR-38).
        socket.set_tcp_nodelay(true)
    };
    options().map_err(|error| fail("setting options for", error, true))?;
    socket.bind(&address.into()).map_err(|error| fail("binding", error, true))?;
    Ok(socket)
}
