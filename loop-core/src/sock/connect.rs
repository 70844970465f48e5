//! Connecting, and accepting.

use std::io;
use std::os::fd::AsFd;
use std::rc::Weak;

use anyloop_api::{
    Direction, Domain, Endpoint, Error, EventLoopExt, Family, Result, Sock, SockAddr, SocketKind,
    Type,
};
use rustix::io::Errno;
use socket2::Socket;

use super::Operation;
use crate::base::BaseLoop;
use crate::resolve::resolve;
use crate::sockaddr;
use crate::sockets;

pub(crate) async fn accept(base: Weak<BaseLoop>, sock: Sock) -> Result<(Sock, SockAddr)> {
    let operation = Operation::begin(base, &sock, Direction::Receive, "sock_accept")?;
    let (fd, peer) = operation.retry(|sock| sockets::accept(sock.as_fd())).await?;
    let peer = peer.and_then(sockaddr::from_kernel).unwrap_or_else(sockaddr::unnamed);
    Ok((Sock::from_nonblocking(Socket::from(fd)), peer))
}

pub(crate) async fn connect(base: Weak<BaseLoop>, sock: Sock, to: Endpoint) -> Result<()> {
    const NAME: &str = "sock_connect";
    let operation = Operation::begin(base, &sock, Direction::Send, NAME)?;
    let to = address(&operation, to).await?;
    let fail = |error| Error::os(format!("{NAME}: connecting to {}", sockaddr::text(&to)), error);
    let socket = operation.sock().socket();
    match socket.connect(&to) {
        Ok(()) => return Ok(()),
        // It takes its time, also when it was begun by a call that was cancelled or interrupted.
        Err(error)
            if [Errno::INPROGRESS, Errno::ALREADY, Errno::INTR].iter().any(|e| is(&error, *e)) => {}
        Err(error) => return Err(fail(error)),
    }
    loop {
        operation.ready().await?;
        if let Some(error) = socket.take_error().map_err(fail)? {
            return Err(fail(error));
        }
        match socket.peer_addr() {
            Ok(_) => return Ok(()),
            // Neither connected nor failed: woken too early.
            Err(error) if is(&error, Errno::NOTCONN) => {}
            Err(error) => return Err(fail(error)),
        }
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    Errno::from_io_error(error) == Some(errno)
}

/// Resolves a name with the family and type of the socket (SOCK-08).
async fn address(operation: &Operation, to: Endpoint) -> Result<SockAddr> {
    let (host, port) = match to {
        Endpoint::Address(address) => return Ok(address),
        Endpoint::Name { host, port } => (host, port),
        Endpoint::Malformed(error) => return Err(error.within("sock_connect")),
        _ => return Err(Error::invalid_arg("sock_connect: an endpoint of an unknown kind")),
    };
    let socket = operation.sock().socket();
    let family = match sockets::domain(socket).map_err(|error| operation.fail(error))? {
        Domain::IPV4 => Family::Inet,
        Domain::IPV6 => Family::Inet6,
        _ => {
            return Err(Error::invalid_arg(
                "sock_connect: a host and port for a socket that is no Internet socket",
            ));
        }
    };
    let kind = match socket.r#type().map_err(|error| operation.fail(error))? {
        Type::DGRAM => SocketKind::Datagram,
        _ => SocketKind::Stream,
    };
    let lp = operation.base()?.handle();
    // Without a host Python means this one.
    let host = if host.is_empty() { "localhost".into() } else { host };
    let found = resolve(lp, Some(host.clone()), Some(port.clone()), family, kind).await?;
    let first = found.first().ok_or_else(|| {
        let what = format!("sock_connect: no address for {host}:{port}");
        Error::os(what, io::ErrorKind::AddrNotAvailable.into())
    })?;
    Ok((*first).into())
}
