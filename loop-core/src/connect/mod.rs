//! Outgoing connections, and connections handed over by the user.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::{Rc, Weak};

use anyloop_api::{
    AnyProtocol, Connect, Error, ErrorGroup, EventLoop, EventLoopExt, LoopFuture, ProtocolFactory,
    RawTransport, Report, Result, Snapshot, Transport,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::base::BaseLoop;
use crate::driver::{Event, Interest, Key};
use crate::lend::lend;
use crate::sources::Source;
use crate::stream::Stream;

/// `create_connection`.
pub(crate) async fn create_connection(
    base: Weak<BaseLoop>,
    factory: ProtocolFactory,
    mut to: Connect,
) -> Result<(Transport, AnyProtocol)> {
    const NAME: &str = "create_connection";
    if let Some(error) = to.malformed.take() {
        return Err(error);
    }
    let addressed = to.host.is_some() || to.port.is_some();
    let socket = match (to.sock.take(), addressed) {
        (Some(_), true) => {
            return Err(Error::invalid_arg(
                "create_connection: host/port and a socket can not be given at the same time",
            ));
        }
        (None, false) => {
            return Err(Error::invalid_arg(
                "create_connection: neither host/port nor a socket given",
            ));
        }
        (Some(fd), false) => {
            let socket = Socket::from(fd);
            check_stream(&socket, NAME)?;
            socket
                .set_nonblocking(true)
                .map_err(|error| Error::os("create_connection: O_NONBLOCK", error))?;
            socket
        }
        (None, true) => {
            let base = open(&base, NAME)?;
            connect_any(&base, &to).await?
        }
    };
    let base = open(&base, NAME)?;
    attach(&base, factory, socket, NAME).await
}

/// `connect_accepted_socket`.
pub(crate) async fn connect_accepted_socket(
    base: Weak<BaseLoop>,
    factory: ProtocolFactory,
    sock: OwnedFd,
) -> Result<(Transport, AnyProtocol)> {
    const NAME: &str = "connect_accepted_socket";
    let socket = Socket::from(sock);
    check_stream(&socket, NAME)?;
    socket.set_nonblocking(true).map_err(|error| Error::os("O_NONBLOCK", error))?;
    let base = open(&base, NAME)?;
    attach(&base, factory, socket, NAME).await
}

fn open(base: &Weak<BaseLoop>, operation: &'static str) -> Result<Rc<BaseLoop>> {
    let base = base
        .upgrade()
        .ok_or_else(|| Error::closed(format!("{operation}: the event loop is gone")))?;
    base.state().check_open(operation)?;
    Ok(base)
}

pub(crate) fn check_stream(socket: &Socket, operation: &str) -> Result<()> {
    match socket.r#type() {
        Ok(kind) if kind == Type::STREAM => Ok(()),
        Ok(_) => Err(Error::invalid_arg(format!("{operation}: a stream socket was expected"))),
        Err(error) => Err(Error::os(format!("{operation}: getsockopt(SO_TYPE)"), error)),
    }
}

/// Makes the protocol and the transport; returns after `connection_made` (CONN-11).
async fn attach(
    base: &Rc<BaseLoop>,
    factory: ProtocolFactory,
    socket: Socket,
    operation: &'static str,
) -> Result<(Transport, AnyProtocol)> {
    if let Ok(Some(_)) = socket.local_addr().map(|address| address.as_socket()) {
        socket
            .set_tcp_nodelay(true)
            .map_err(|error| Error::os(format!("{operation}: TCP_NODELAY"), error))?;
    }
    let made = base.guard(
        || factory(),
        |panic| Report::new("the protocol factory of a connection panicked").exception(panic),
    );
    let protocol = made.map_err(Error::Panicked)?;
    let stream = Stream::open(base, socket, protocol.clone(), Snapshot::current(), None)?;
    let abandoned = Abandoned(Some(stream.clone()));
    let begun = base.create_future::<Transport>();
    {
        let begun = begun.clone();
        base.soon(move || {
            // The user's handle, held until the caller has it.
            let transport = stream.transport();
            stream.begin();
            begun.set_unless_done(Ok(transport));
        });
    }
    let transport = begun.await?;
    abandoned.keep();
    Ok((transport, protocol))
}

/// Closes the connection of a call that was cancelled meanwhile (CONN-07, -08).
struct Abandoned(Option<Rc<Stream>>);

impl Abandoned {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            stream.abort();
        }
    }
}

/// Tries every address in order until one connects (CONN-02).
async fn connect_any(base: &Rc<BaseLoop>, to: &Connect) -> Result<Socket> {
    let addresses = base.resolve(to.host.clone(), to.port.clone(), to.family).await?;
    let local = match &to.local_addr {
        Some((host, port)) => {
            Some(base.resolve(Some(host.clone()), Some(port.to_string()), to.family).await?)
        }
        None => None,
    };
    if addresses.is_empty() {
        return Err(Error::os(
            "create_connection: getaddrinfo returned no address",
            io::ErrorKind::AddrNotAvailable.into(),
        ));
    }
    let mut errors = Vec::new();
    for address in interleave(addresses, to.interleave.unwrap_or(0)) {
        match connect_one(base, address, local.as_deref()).await {
            Ok(socket) => return Ok(socket),
            Err(error) => errors.push(error),
        }
    }
    Err(combine(errors, to.all_errors))
}

/// Alternates between the families after `first` addresses of the first one (RFC 8305).
fn interleave(addresses: Vec<SocketAddr>, first: usize) -> Vec<SocketAddr> {
    if first == 0 {
        return addresses;
    }
    let lead = addresses[0].is_ipv6();
    let (mine, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == lead);
    let (mut mine, mut other) = (mine.into_iter(), other.into_iter());
    let mut mixed: Vec<_> = mine.by_ref().take(first - 1).collect();
    loop {
        let pair = (mine.next(), other.next());
        mixed.extend(pair.0);
        mixed.extend(pair.1);
        if pair == (None, None) {
            return mixed;
        }
    }
}

/// CONN-03.
fn combine(mut errors: Vec<Error>, all: bool) -> Error {
    if all {
        return ErrorGroup::new("create_connection: every attempt failed", errors).into();
    }
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let codes: Vec<_> = errors.iter().map(Error::raw_os_error).collect();
    if errors.len() == 1 || codes.windows(2).all(|pair| pair[0] == pair[1] && pair[0].is_some()) {
        return errors.swap_remove(0);
    }
    Error::os(
        format!("create_connection: every attempt failed: {}", texts.join(", ")),
        io::ErrorKind::ConnectionRefused.into(),
    )
}

async fn connect_one(
    base: &Rc<BaseLoop>,
    address: SocketAddr,
    local: Option<&[SocketAddr]>,
) -> Result<Socket> {
    let fail = |error| Error::os(format!("create_connection: connecting to {address}"), error);
    let domain = Domain::for_address(address);
    let socket =
        Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP)).map_err(fail)?;
    if let Some(local) = local {
        bind_local(&socket, address, local)?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => return Ok(socket),
        Err(error) if in_progress(&error) => {}
        Err(error) => return Err(fail(error)),
    }
    let attempt = Attempt::start(base, socket).map_err(fail)?;
    attempt.done.clone().await?;
    let socket = attempt.finish();
    match socket.take_error() {
        Ok(None) => Ok(socket),
        Ok(Some(error)) | Err(error) => Err(fail(error)),
    }
}

fn in_progress(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::INPROGRESS | Errno::AGAIN | Errno::INTR))
}

/// CONN-06: only local addresses of the attempt's family.
fn bind_local(socket: &Socket, address: SocketAddr, local: &[SocketAddr]) -> Result<()> {
    let mut last = None;
    for candidate in local.iter().filter(|local| local.is_ipv4() == address.is_ipv4()) {
        match socket.bind(&(*candidate).into()) {
            Ok(()) => return Ok(()),
            Err(error) => {
                last = Some(Error::os(
                    format!("create_connection: binding the local address {candidate}"),
                    error,
                ));
            }
        }
    }
    Err(last.unwrap_or_else(|| {
        Error::os(
            format!("create_connection: no local address of the family of {address}"),
            io::ErrorKind::AddrNotAvailable.into(),
        )
    }))
}

/// A connect in progress: watched for writability; dropping it closes the socket.
struct Attempt {
    base: Weak<BaseLoop>,
    key: Key,
    socket: RefCell<Option<Socket>>,
    done: LoopFuture<()>,
    registered: Cell<bool>,
}

struct Pending(Rc<Attempt>);

impl std::ops::Deref for Pending {
    type Target = Attempt;

    fn deref(&self) -> &Attempt {
        &self.0
    }
}

impl Attempt {
    fn start(base: &Rc<BaseLoop>, socket: Socket) -> io::Result<Pending> {
        base.sources.own(socket.as_raw_fd(), "create_connection").map_err(io::Error::from)?;
        let key = base.sources.reserve();
        let fd = lend(&socket);
        let attempt = Rc::new(Self {
            base: base.weak(),
            key,
            socket: RefCell::new(Some(socket)),
            done: base.create_future(),
            registered: Cell::new(true),
        });
        base.sources.fill(key, attempt.clone());
        let pending = Pending(attempt);
        base.with_driver(|driver| driver.register(fd, key, Interest::WRITE))?;
        Ok(pending)
    }

    /// Stops watching and gives the socket out.
    fn release(&self) -> Option<Socket> {
        let socket = self.socket.borrow_mut().take()?;
        if let Some(base) = self.base.upgrade() {
            if self.registered.replace(false) {
                let _ = base.with_driver(|driver| driver.deregister(lend(&socket), self.key));
            }
            base.sources.disown(socket.as_raw_fd());
            base.sources.remove(self.key);
        }
        Some(socket)
    }
}

impl Pending {
    fn finish(self) -> Socket {
        self.0.release().expect("an attempt is finished once")
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        drop(self.0.release());
    }
}

impl Source for Attempt {
    fn on_event(self: Rc<Self>, event: Event) {
        let Event::Ready { readiness, .. } = event else { return };
        if !(readiness.writable || readiness.closed) {
            return;
        }
        let decided = {
            let socket = self.socket.borrow();
            let Some(socket) = &*socket else { return };
            // Writable too early happens: neither connected nor failed yet.
            let peer = socket.peer_addr();
            readiness.closed
                || !peer.is_err_and(|error| error.kind() == io::ErrorKind::NotConnected)
        };
        if decided {
            self.done.set_unless_done(Ok(()));
        }
    }

    fn abandon(&self) {
        drop(self.release());
    }

    fn describe(&self) -> String {
        "connect in progress".into()
    }
}
