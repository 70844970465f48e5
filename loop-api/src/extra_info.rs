//! What a transport tells about itself, and a view of its socket.

use std::any::Any;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::{Rc, Weak};

use socket2::{Domain, SockAddr, Socket};

use crate::error::{Error, Result};
use crate::pipe::PipeView;
use crate::unix::Credentials;

/// A value from [`Transport::get_extra_info`](crate::Transport::get_extra_info).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ExtraInfo {
    /// A socket address.
    Address(SockAddr),
    /// A restricted view of the socket.
    Socket(SocketView),
    /// A view of the descriptor of a pipe.
    Pipe(PipeView),
    /// Who is at the other end of a local connection.
    Credentials(Credentials),
    /// Text (a cipher, say).
    Text(String),
    /// A number (a descriptor, a process id).
    Number(i64),
    /// Bytes (a certificate, say).
    Bytes(Vec<u8>),
    /// Something of a type that the transport's documentation names.
    Object(Rc<dyn Any>),
}

impl ExtraInfo {
    /// The address, if it is one.
    #[must_use]
    pub fn address(&self) -> Option<&SockAddr> {
        match self {
            Self::Address(address) => Some(address),
            _ => None,
        }
    }

    /// The socket, if it is one.
    #[must_use]
    pub fn socket(&self) -> Option<&SocketView> {
        match self {
            Self::Socket(socket) => Some(socket),
            _ => None,
        }
    }

    /// The credentials, if it is them.
    #[must_use]
    pub fn credentials(&self) -> Option<Credentials> {
        match self {
            Self::Credentials(credentials) => Some(*credentials),
            _ => None,
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes, if it is them.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The object, if it is one and a `T`.
    #[must_use]
    pub fn object<T: Any>(&self) -> Option<Rc<T>> {
        match self {
            Self::Object(object) => object.clone().downcast().ok(),
            _ => None,
        }
    }

    /// The pipe, if it is one.
    #[must_use]
    pub fn pipe(&self) -> Option<&PipeView> {
        match self {
            Self::Pipe(pipe) => Some(pipe),
            _ => None,
        }
    }
}

/// A view of a socket that belongs to a transport or server: options and addresses, no reading,
/// writing, closing or detaching (TR-37). After the owner closed it there is no descriptor any more.
#[derive(Clone, Debug)]
pub struct SocketView {
    socket: Weak<Socket>,
}

impl SocketView {
    /// A view of `socket`; called by loops.
    #[must_use]
    pub fn new(socket: &Rc<Socket>) -> Self {
        Self { socket: Rc::downgrade(socket) }
    }

    /// A view of a socket that is closed already.
    #[must_use]
    pub const fn closed() -> Self {
        Self { socket: Weak::new() }
    }

    /// The descriptor number; `None` once closed.
    #[must_use]
    pub fn fileno(&self) -> Option<RawFd> {
        self.socket.upgrade().map(|socket| socket.as_raw_fd())
    }

    /// Our address.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn local_addr(&self) -> Result<SockAddr> {
        self.with("getsockname", |socket| socket.local_addr())
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn peer_addr(&self) -> Result<SockAddr> {
        self.with("getpeername", |socket| socket.peer_addr())
    }

    /// Shuts one or both directions down.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn shutdown(&self, how: std::net::Shutdown) -> Result<()> {
        self.with("shutdown", |socket| socket.shutdown(how))
    }

    /// A duplicate that the caller owns.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn dup(&self) -> Result<Socket> {
        self.with("dup", |socket| {
            let fd = socket.as_fd().try_clone_to_owned()?;
            Ok(Socket::from(fd))
        })
    }

    /// Whether Nagle's algorithm is off.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn nodelay(&self) -> Result<bool> {
        self.with("getsockopt(TCP_NODELAY)", |socket| socket.tcp_nodelay())
    }

    /// Turns Nagle's algorithm off or on.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn set_nodelay(&self, on: bool) -> Result<()> {
        self.with("setsockopt(TCP_NODELAY)", |socket| socket.set_tcp_nodelay(on))
    }

    /// Whether keep-alive probes are sent.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn keepalive(&self) -> Result<bool> {
        self.with("getsockopt(SO_KEEPALIVE)", |socket| socket.keepalive())
    }

    /// Turns keep-alive probes on or off.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn set_keepalive(&self, on: bool) -> Result<()> {
        self.with("setsockopt(SO_KEEPALIVE)", |socket| socket.set_keepalive(on))
    }

    /// Whether `SO_REUSEADDR` is set.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn reuse_address(&self) -> Result<bool> {
        self.with("getsockopt(SO_REUSEADDR)", |socket| socket.reuse_address())
    }

    /// Whether `SO_REUSEPORT` is set.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn reuse_port(&self) -> Result<bool> {
        self.with("getsockopt(SO_REUSEPORT)", |socket| socket.reuse_port())
    }

    /// Whether an IPv6 socket takes IPv6 only.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn only_v6(&self) -> Result<bool> {
        self.with("getsockopt(IPV6_V6ONLY)", |socket| socket.only_v6())
    }

    /// The kernel's buffer for sending, in bytes.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn send_buffer_size(&self) -> Result<usize> {
        self.with("getsockopt(SO_SNDBUF)", |socket| socket.send_buffer_size())
    }

    /// Changes the kernel's buffer for sending.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn set_send_buffer_size(&self, size: usize) -> Result<()> {
        self.with("setsockopt(SO_SNDBUF)", |socket| socket.set_send_buffer_size(size))
    }

    /// The kernel's buffer for receiving, in bytes.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn recv_buffer_size(&self) -> Result<usize> {
        self.with("getsockopt(SO_RCVBUF)", |socket| socket.recv_buffer_size())
    }

    /// Changes the kernel's buffer for receiving.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn set_recv_buffer_size(&self, size: usize) -> Result<()> {
        self.with("setsockopt(SO_RCVBUF)", |socket| socket.set_recv_buffer_size(size))
    }

    /// The address family.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn domain(&self) -> Result<Domain> {
        self.with("getsockname", |socket| Ok(socket.local_addr()?.domain()))
    }

    fn with<T>(
        &self,
        operation: &'static str,
        f: impl FnOnce(&Socket) -> std::io::Result<T>,
    ) -> Result<T> {
        let Some(socket) = self.socket.upgrade() else {
            return Err(Error::closed(format!("{operation}: the socket is closed")));
        };
        f(&socket).map_err(|error| Error::os(operation, error))
    }
}
