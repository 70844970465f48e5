//! Addresses as users write them: ready-made, by name, or by path.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use socket2::SockAddr;

use crate::error::{Error, Result};
use crate::net::split_host_port;

/// Where a socket is to be bound or connected: an address, a name to resolve, or the path of a local
/// socket.
///
/// A value that makes no sense is kept, and refused by the call that gets it.
///
/// ```
/// use anyloop_api::Endpoint;
/// use std::net::{Ipv4Addr, SocketAddr};
/// use std::path::Path;
///
/// let address = Endpoint::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)));
/// let name = Endpoint::from("localhost:domain");
/// let path = Endpoint::from(Path::new("/run/my.sock"));
/// let hidden = Endpoint::abstract_name("my");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Endpoint {
    /// An address.
    Address(SockAddr),
    /// A host (empty: any or this one) and a port or service.
    Name {
        /// Name or literal address.
        host: String,
        /// Number or service.
        port: String,
    },
    /// What did not parse, with the reason.
    Malformed(Error),
}

impl Endpoint {
    /// A host and a port.
    #[must_use]
    pub fn name(host: impl Into<String>, port: impl ToString) -> Self {
        Self::Name { host: host.into(), port: port.to_string() }
    }

    /// A local socket in the file system. A path that begins with a zero byte is an abstract name.
    #[must_use]
    pub fn path(path: impl AsRef<Path>) -> Self {
        match local_address(path.as_ref()) {
            Ok(address) => Self::Address(address),
            Err(error) => Self::Malformed(error),
        }
    }

    /// A local socket outside the file system (Linux).
    #[must_use]
    pub fn abstract_name(name: impl AsRef<[u8]>) -> Self {
        let mut bytes = vec![0];
        bytes.extend_from_slice(name.as_ref());
        Self::path(OsStr::from_bytes(&bytes))
    }
}

/// The address of a path or, after a zero byte, of an abstract name.
fn local_address(path: &Path) -> Result<SockAddr> {
    if path.as_os_str().is_empty() {
        return Err(Error::invalid_arg("the path of a local socket must not be empty"));
    }
    let bytes = path.as_os_str().as_bytes();
    if bytes[0] != 0 && bytes.contains(&0) {
        return Err(Error::invalid_arg(format!("a path cannot have a zero byte: {path:?}")));
    }
    SockAddr::unix(path).map_err(|_| {
        Error::invalid_arg(format!("the path of a local socket is too long: {path:?}"))
    })
}

impl From<SockAddr> for Endpoint {
    fn from(address: SockAddr) -> Self {
        Self::Address(address)
    }
}

impl From<&SockAddr> for Endpoint {
    fn from(address: &SockAddr) -> Self {
        Self::Address(address.clone())
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address.into())
    }
}

impl From<&str> for Endpoint {
    fn from(text: &str) -> Self {
        match (text.parse::<SocketAddr>(), split_host_port(text)) {
            (Ok(address), _) => address.into(),
            (_, Ok((host, port))) => Self::Name { host, port },
            (_, Err(error)) => Self::Malformed(error),
        }
    }
}

impl From<&String> for Endpoint {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<String> for Endpoint {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl<H: Into<String>> From<(H, u16)> for Endpoint {
    fn from((host, port): (H, u16)) -> Self {
        Self::name(host, port)
    }
}

impl From<&Path> for Endpoint {
    fn from(path: &Path) -> Self {
        Self::path(path)
    }
}

impl From<PathBuf> for Endpoint {
    fn from(path: PathBuf) -> Self {
        Self::path(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_an_address_or_a_name() {
        let Endpoint::Address(address) = Endpoint::from("127.0.0.1:80") else { panic!() };
        assert_eq!(address.as_socket(), "127.0.0.1:80".parse().ok());
        let Endpoint::Name { host, port } = Endpoint::from("localhost:http") else { panic!() };
        assert_eq!((&*host, &*port), ("localhost", "http"));
        assert!(matches!(Endpoint::from("localhost"), Endpoint::Malformed(Error::InvalidArg(_))));
    }

    #[test]
    fn a_path_is_checked() {
        let Endpoint::Address(address) = Endpoint::path("/tmp/x") else { panic!() };
        assert_eq!(address.as_pathname(), Some(Path::new("/tmp/x")));
        for bad in [String::new(), "x".repeat(108), "a\0b".into()] {
            let endpoint = Endpoint::path(bad);
            assert!(matches!(endpoint, Endpoint::Malformed(Error::InvalidArg(_))), "{endpoint:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_name_is_no_path() {
        let Endpoint::Address(address) = Endpoint::abstract_name("x") else { panic!() };
        assert_eq!(address.as_pathname(), None);
        assert_eq!(address.as_abstract_namespace(), Some(&b"x"[..]));
    }
}
