//! One connect in progress: watched for writability; dropping it closes the socket.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::{Rc, Weak};

use anyloop_api::{Dump, Error, EventLoopExt, LoopFuture, Result};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::base::BaseLoop;
use crate::driver::{Event, Interest, Key, Readiness};
use crate::lend::lend;
use crate::sockets;
use crate::sources::Source;

/// Wakes the race when something happened to one of its attempts.
#[derive(Default)]
pub(super) struct Bell(RefCell<Option<LoopFuture<()>>>);

impl Bell {
    pub(super) fn ring(&self) {
        if let Some(waiting) = self.0.take() {
            waiting.set_unless_done(Ok(()));
        }
    }

    /// Completes when the bell rings after this call.
    pub(super) fn listen(&self, base: &BaseLoop) -> LoopFuture<()> {
        let waiting = base.create_future();
        *self.0.borrow_mut() = Some(waiting.clone());
        waiting
    }
}

pub(super) struct Attempt(Rc<Watch>);

struct Watch {
    base: Weak<BaseLoop>,
    key: Key,
    address: SocketAddr,
    socket: RefCell<Option<Socket>>,
    /// By what it was decided.
    decided: Cell<Option<Readiness>>,
    bell: Rc<Bell>,
}

/// How a connect begins.
pub(super) enum Begun {
    Connected(Socket),
    Pending(Attempt),
}

impl Attempt {
    /// Begins to connect to `address`, from one of `local` if they are given.
    pub(super) fn begin(
        base: &Rc<BaseLoop>,
        address: SocketAddr,
        local: Option<&[SocketAddr]>,
        bell: &Rc<Bell>,
    ) -> Result<Begun> {
        let domain = Domain::for_address(address);
        let socket = sockets::open(domain, Type::STREAM, Some(Protocol::TCP))
            .map_err(|error| fail(address, error))?;
        // Whoever refuses it will refuse to connect, too (TR-38).
        let _ = socket.set_tcp_nodelay(true);
        if let Some(local) = local {
            bind_local(&socket, address, local)?;
        }
        match socket.connect(&address.into()) {
            Ok(()) => Ok(Begun::Connected(socket)),
            Err(error) if in_progress(&error) => {
                let attempt = Self::watch(base, address, socket, bell.clone())
                    .map_err(|error| fail(address, error))?;
                Ok(Begun::Pending(attempt))
            }
            Err(error) => Err(fail(address, error)),
        }
    }

    fn watch(
        base: &Rc<BaseLoop>,
        address: SocketAddr,
        socket: Socket,
        bell: Rc<Bell>,
    ) -> io::Result<Self> {
        base.own(socket.as_raw_fd(), "create_connection").map_err(io::Error::from)?;
        let key = base.sources.reserve();
        let fd = lend(&socket);
        let watch = Rc::new(Watch {
            base: base.weak(),
            key,
            address,
            socket: RefCell::new(Some(socket)),
            decided: Cell::new(None),
            bell,
        });
        base.sources.fill(key, watch.clone());
        let attempt = Self(watch);
        base.with_driver(|driver| driver.register(fd, key, Interest::WRITE))?;
        Ok(attempt)
    }

    /// Whether it has succeeded or failed.
    pub(super) fn is_decided(&self) -> bool {
        self.0.decided.get().is_some()
    }

    /// The connected socket, or why there is none.
    pub(super) fn finish(self) -> Result<Socket> {
        let address = self.0.address;
        let hung_up = self.0.decided.get().is_some_and(|readiness| readiness.closed);
        let socket = self.0.release().ok_or_else(|| Error::closed("create_connection"))?;
        let ended = match socket.take_error() {
            Ok(None) if hung_up => connected(&socket),
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(error),
        };
        ended.map_err(|error| fail(address, error))?;
        Ok(socket)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        drop(self.0.release());
    }
}

impl Watch {
    /// Stops watching and gives the socket out, once.
    fn release(&self) -> Option<Socket> {
        let socket = self.socket.take()?;
        if let Some(base) = self.base.upgrade() {
            let _ = base.with_driver(|driver| driver.deregister(lend(&socket), self.key));
            base.sources.disown(socket.as_raw_fd());
            base.sources.remove(self.key);
        }
        Some(socket)
    }
}

impl Source for Watch {
    fn on_event(self: Rc<Self>, event: Event) {
        let Event::Ready { readiness, .. } = event else { return };
        let decided = {
            let socket = self.socket.borrow();
            let Some(socket) = &*socket else { return };
            // Writable too early happens: neither connected nor failed yet.
            readiness.closed || (readiness.writable && connected(socket).is_ok())
        };
        if decided {
            self.decided.set(Some(readiness));
            self.bell.ring();
        }
    }

    fn abandon(&self) {
        drop(self.release());
    }

    fn describe(&self) -> String {
        format!("connecting to {}", self.address)
    }

    fn list(&self, dump: &mut Dump) {
        dump.operations.push(self.describe());
    }
}

fn fail(address: SocketAddr, error: io::Error) -> Error {
    Error::os(format!("create_connection: connecting to {address}"), error)
}

/// Fails if there is no peer. A connect that could not even begin (`EAGAIN` may say that, too) leaves a socket
/// that has hung up without an error.
fn connected(socket: &Socket) -> io::Result<()> {
    match socket.peer_addr() {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(error),
        _ => Ok(()),
    }
}

fn in_progress(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::INPROGRESS | Errno::AGAIN | Errno::INTR))
}

/// Only local addresses of the attempt's family count (CONN-06).
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

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: ([u8; 4], u16) = ([127, 0, 0, 1], 9);
    /// For documentation; no machine has it.
    const NOBODYS: ([u8; 4], u16) = ([192, 0, 2, 1], 0);
    const OURS: ([u8; 4], u16) = ([127, 0, 0, 1], 0);
    const OTHER_FAMILY: ([u16; 8], u16) = ([0, 0, 0, 0, 0, 0, 0, 1], 0);

    fn bind(local: &[SocketAddr]) -> Result<SocketAddr> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        bind_local(&socket, PEER.into(), local)?;
        Ok(socket.local_addr().ok().and_then(|address| address.as_socket()).expect("it is bound"))
    }

    #[test]
    fn the_first_local_address_that_can_be_bound_is_used() -> Result<()> {
        let second = SocketAddr::from(([127, 0, 0, 2], 0));
        let bound = bind(&[OTHER_FAMILY.into(), NOBODYS.into(), OURS.into(), second])?;
        assert_eq!(bound.ip().to_string(), "127.0.0.1");
        Ok(())
    }

    #[test]
    fn none_that_can_be_bound_is_an_error() {
        let error = bind(&[NOBODYS.into(), OTHER_FAMILY.into()]).expect_err("nobody has it");
        assert!(error.to_string().contains("local address 192.0.2.1:0"), "{error}");
        assert_eq!(error.raw_os_error(), Some(Errno::ADDRNOTAVAIL.raw_os_error()), "{error}");
    }

    #[test]
    fn none_of_the_family_is_an_error_that_says_so() {
        for local in [&[][..], &[OTHER_FAMILY.into()]] {
            let error = bind(local).expect_err("there is none");
            assert!(matches!(error, Error::Os(_)), "{error:?}");
            assert!(error.to_string().contains("no local address of the family"), "{error}");
        }
    }
}
