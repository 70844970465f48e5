//! The two addresses of a connection. They outlive it (TR-36).

use std::cell::RefCell;
use std::net::SocketAddr;

use socket2::{SockAddr, Socket};

/// The peer's address is asked for at the beginning, for a reset makes the kernel forget it; our own when
/// somebody wants it or the connection ends.
pub(super) struct Names {
    peer: Name,
    own: RefCell<Name>,
}

/// An address in few bytes: a [`SockAddr`] has room for the longest there is.
pub(super) enum Name {
    Unknown,
    Internet(SocketAddr),
    Other(Box<SockAddr>),
}

impl Name {
    fn new(address: Option<SockAddr>) -> Self {
        let Some(address) = address else { return Self::Unknown };
        match address.as_socket() {
            Some(address) => Self::Internet(address),
            None => Self::Other(Box::new(address)),
        }
    }

    fn get(&self) -> Option<SockAddr> {
        match self {
            Self::Unknown => None,
            Self::Internet(address) => Some((*address).into()),
            Self::Other(address) => Some((**address).clone()),
        }
    }
}

impl Names {
    pub(super) fn of(socket: &Socket) -> Self {
        Self { peer: Name::new(socket.peer_addr().ok()), own: RefCell::new(Name::Unknown) }
    }

    pub(super) fn peer(&self) -> Option<SockAddr> {
        self.peer.get()
    }

    /// Asks the socket, if there still is one, and remembers the answer.
    pub(super) fn own(&self, socket: Option<&Socket>) -> Option<SockAddr> {
        let mut own = self.own.borrow_mut();
        if let (Name::Unknown, Some(socket)) = (&*own, socket) {
            *own = Name::new(socket.local_addr().ok());
        }
        own.get()
    }
}
