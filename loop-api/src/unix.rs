//! Local stream sockets: the options of `create_unix_connection` and `create_unix_server`.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::endpoint::Endpoint;

/// Where to connect to, locally.
///
/// ```
/// use anyloop_api::UnixConnect;
/// let file = UnixConnect::from("/run/my.sock");
/// let hidden = UnixConnect::abstract_name("my");
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct UnixConnect {
    /// The server's path or abstract name.
    pub path: Option<Endpoint>,
    /// An existing local stream socket instead; owned from the call on.
    pub sock: Option<OwnedFd>,
}

impl UnixConnect {
    /// To a socket in the file system.
    #[must_use]
    pub fn path(path: impl AsRef<Path>) -> Self {
        Self { path: Some(Endpoint::path(path)), ..Self::default() }
    }

    /// To a socket outside the file system (Linux).
    #[must_use]
    pub fn abstract_name(name: impl AsRef<[u8]>) -> Self {
        Self { path: Some(Endpoint::abstract_name(name)), ..Self::default() }
    }

    /// Over a socket that is connected already.
    #[must_use]
    pub fn socket(sock: impl Into<OwnedFd>) -> Self {
        Self { sock: Some(sock.into()), ..Self::default() }
    }

    /// Also gives a socket; together with a path it is refused.
    #[must_use]
    pub fn with_socket(mut self, sock: impl Into<OwnedFd>) -> Self {
        self.sock = Some(sock.into());
        self
    }
}

/// Where and how to listen, locally.
///
/// ```
/// use anyloop_api::UnixBind;
/// let file = UnixBind::from("/run/my.sock").backlog(16);
/// let hidden = UnixBind::abstract_name("my");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct UnixBind {
    /// The path or abstract name.
    pub path: Option<Endpoint>,
    /// An existing socket, bound or listening, instead; owned from the call on.
    pub sock: Option<OwnedFd>,
    /// Length of the kernel's queue of unaccepted connections.
    pub backlog: u32,
    /// Remove the socket's file when the server is closed, if it is still the same.
    pub cleanup_socket: bool,
    /// Begin serving inside the call.
    pub start_serving: bool,
}

impl Default for UnixBind {
    fn default() -> Self {
        Self { path: None, sock: None, backlog: 100, cleanup_socket: true, start_serving: true }
    }
}

impl UnixBind {
    /// In the file system. A socket that is there already is replaced, whoever uses it; any other
    /// file is left alone.
    #[must_use]
    pub fn path(path: impl AsRef<Path>) -> Self {
        Self { path: Some(Endpoint::path(path)), ..Self::default() }
    }

    /// Outside the file system (Linux).
    #[must_use]
    pub fn abstract_name(name: impl AsRef<[u8]>) -> Self {
        Self { path: Some(Endpoint::abstract_name(name)), ..Self::default() }
    }

    /// A socket that exists already.
    #[must_use]
    pub fn socket(sock: impl Into<OwnedFd>) -> Self {
        Self { sock: Some(sock.into()), ..Self::default() }
    }

    /// Also gives a socket; together with a path it is refused.
    #[must_use]
    pub fn with_socket(mut self, sock: impl Into<OwnedFd>) -> Self {
        self.sock = Some(sock.into());
        self
    }

    /// See [`UnixBind::backlog`].
    #[must_use]
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// See [`UnixBind::cleanup_socket`].
    #[must_use]
    pub fn cleanup_socket(mut self, on: bool) -> Self {
        self.cleanup_socket = on;
        self
    }

    /// See [`UnixBind::start_serving`].
    #[must_use]
    pub fn start_serving(mut self, on: bool) -> Self {
        self.start_serving = on;
        self
    }
}

macro_rules! from_paths {
    ($options:ty: $($path:ty),+) => {
        $(impl From<$path> for $options {
            fn from(path: $path) -> Self {
                Self::path(path)
            }
        })+
    };
}

from_paths!(UnixConnect: &str, String, &String, &Path, PathBuf, &PathBuf);
from_paths!(UnixBind: &str, String, &String, &Path, PathBuf, &PathBuf);

/// Who is at the other end of a local connection, as the kernel saw it when they connected; the extra
/// info named `"peercred"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The process.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

impl Credentials {
    /// Called by loops.
    #[must_use]
    pub const fn new(pid: i32, uid: u32, gid: u32) -> Self {
        Self { pid, uid, gid }
    }
}
