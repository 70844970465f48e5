//! The two addresses of a connection. They outlive it (TR-36).

use std::net::SocketAddr;

use socket2::SockAddr;

use super::Stream;

/// An address in few bytes: a [`SockAddr`] has room for the longest there is.
#[derive(Default)]
pub(super) enum Name {
    #[default]
    Unknown,
    Internet(SocketAddr),
    Other(Box<SockAddr>),
}

impl Name {
    pub(super) fn new(address: Option<SockAddr>) -> Self {
        let Some(address) = address else { return Self::Unknown };
        match address.as_socket() {
            Some(address) => Self::Internet(address),
            None => Self::Other(Box::new(address)),
        }
    }

    pub(super) fn get(&self) -> Option<SockAddr> {
        match self {
            Self::Unknown => None,
            Self::Internet(address) => Some((*address).into()),
            Self::Other(address) => Some((**address).clone()),
        }
    }
}

impl Stream {
    /// Our own address: asked for when somebody wants it or the connection ends, and remembered.
    pub(super) fn own_name(&self) -> Option<SockAddr> {
        self.rare(|rare| {
            if let Name::Unknown = rare.own_name {
                let asked = self.socket.with(|socket| socket.local_addr().ok());
                rare.own_name = Name::new(asked.flatten());
            }
            rare.own_name.get()
        })
    }
}
