//! Outgoing connections, and connections handed over by the user.
//!
//! No future in here keeps the loop alive while it waits: a loop that is dropped takes them along.

mod attempt;
mod race;
mod unix;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};

use anyloop_api::{
    AnyProtocol, Connect, Error, ErrorGroup, EventLoop, ProtocolFactory, Result, Snapshot,
    Transport,
};
use socket2::{Domain, Socket, Type};

use self::race::Plan;
pub(crate) use self::unix::create_unix_connection;
use crate::base::BaseLoop;
use crate::begin;
use crate::sockets;
use crate::stream::Stream;

const NAME: &str = "create_connection";

/// `create_connection`.
pub(crate) async fn create_connection(
    base: Weak<BaseLoop>,
    factory: ProtocolFactory,
    mut to: Connect,
) -> Result<(Transport, AnyProtocol)> {
    if let Some(error) = to.malformed.take() {
        return Err(error.within(NAME));
    }
    drop(open(&base, NAME)?);
    let named = to.host.is_some() || to.port.is_some();
    let ways = [named, to.addresses.is_some(), to.sock.is_some()];
    match ways.into_iter().filter(|given| *given).count() {
        0 => {
            return Err(Error::invalid_arg(
                "create_connection: neither host/port nor a socket given",
            ));
        }
        1 => {}
        _ => {
            return Err(Error::invalid_arg(
                "create_connection: host/port, addresses and a socket exclude each other",
            ));
        }
    }
    let socket = match to.sock.take() {
        Some(fd) => adopt(fd, NAME)?,
        None => connect_any(&base, &mut to).await?,
    };
    attach(&base, factory, socket, NAME).await
}

/// `connect_accepted_socket`.
pub(crate) async fn connect_accepted_socket(
    base: Weak<BaseLoop>,
    factory: ProtocolFactory,
    sock: OwnedFd,
) -> Result<(Transport, AnyProtocol)> {
    const NAME: &str = "connect_accepted_socket";
    let socket = adopt(sock, NAME)?;
    attach(&base, factory, socket, NAME).await
}

/// The loop, if it is still there and open.
pub(crate) fn open(base: &Weak<BaseLoop>, operation: &'static str) -> Result<Rc<BaseLoop>> {
    let base = base
        .upgrade()
        .ok_or_else(|| Error::closed(format!("{operation}: the event loop is gone")))?;
    base.state().check_open(operation)?;
    Ok(base)
}

/// Makes a stream socket of the user's fit for the loop.
pub(crate) fn adopt(fd: OwnedFd, operation: &'static str) -> Result<Socket> {
    let socket = Socket::from(fd);
    if !socket.r#type().is_ok_and(|kind| kind == Type::STREAM) {
        return Err(Error::invalid_arg(format!("{operation}: a stream socket was expected")));
    }
    let fail = |error| Error::os(format!("{operation}: O_NONBLOCK"), error);
    socket.set_nonblocking(true).map_err(fail)?;
    if socket.local_addr().is_ok_and(|address| address.as_socket().is_some()) {
        // Whoever refuses is not TCP, and has no Nagle's algorithm to switch off (TR-38).
        let _ = socket.set_tcp_nodelay(true);
    }
    Ok(socket)
}

/// The same for a local one (UNIX-04).
pub(crate) fn adopt_unix(fd: OwnedFd, operation: &'static str) -> Result<Socket> {
    let socket = adopt(fd, operation)?;
    if sockets::domain(&socket).is_ok_and(|domain| domain == Domain::UNIX) {
        return Ok(socket);
    }
    Err(Error::invalid_arg(format!("{operation}: a local stream socket was expected")))
}

/// Makes the protocol and the transport; returns after `connection_made` (CONN-11).
pub(crate) async fn attach(
    base: &Weak<BaseLoop>,
    factory: ProtocolFactory,
    socket: Socket,
    operation: &'static str,
) -> Result<(Transport, AnyProtocol)> {
    drop(open(base, operation)?);
    let protocol = begin::make(|| factory())?;
    let stream = {
        let base = open(base, operation)?;
        Stream::open(&base, socket, None, protocol.clone(), Snapshot::current(), None)?
    };
    Ok((begin::begin(base.clone(), stream, operation).await?, protocol))
}

/// Resolves, and tries the addresses until one connects.
async fn connect_any(base: &Weak<BaseLoop>, to: &mut Connect) -> Result<Socket> {
    let addresses = match to.addresses.take() {
        Some(mut addresses) => {
            addresses.retain(|address| to.family.admits(address.ip()));
            addresses
        }
        None => {
            let (host, port) = (to.host.take(), to.port.take());
            let resolving = open(base, NAME)?.resolve(host, port, to.family);
            resolving.await?
        }
    };
    if addresses.is_empty() {
        let error = io::ErrorKind::AddrNotAvailable.into();
        return Err(Error::os("create_connection: there is no address to connect to", error));
    }
    let local = match to.local_addr.take() {
        Some((host, port)) => {
            let resolving =
                open(base, NAME)?.resolve(Some(host), Some(port.to_string()), to.family);
            Some(resolving.await?)
        }
        None => None,
    };
    let delay = to.happy_eyeballs_delay;
    let first = to.interleave.unwrap_or_else(|| delay.is_some().into());
    let plan = Plan { addresses: race::interleave(addresses, first), local, delay };
    race::run(base, plan).await?.map_err(|errors| combine(errors, to.all_errors))
}

/// One error as it is, equal ones as one, different ones as one that names each (CONN-03).
fn combine(mut errors: Vec<Error>, all: bool) -> Error {
    if all {
        return ErrorGroup::new("create_connection: every attempt failed", errors).into();
    }
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    if texts.windows(2).all(|pair| pair[0] == pair[1]) {
        return errors.swap_remove(0);
    }
    let code = errors[0].raw_os_error();
    let (source, shared) = match code {
        Some(code) if errors.iter().all(|error| error.raw_os_error() == Some(code)) => {
            let source = io::Error::from_raw_os_error(code);
            let shared = format!(": {source}");
            (source, shared)
        }
        _ => (io::Error::other("for different reasons"), String::new()),
    };
    // What they share is said once, at the end.
    let texts: Vec<&str> =
        texts.iter().map(|text| text.strip_suffix(&*shared).unwrap_or(text)).collect();
    Error::os(format!("create_connection: every attempt failed: {}", texts.join("; ")), source)
}
