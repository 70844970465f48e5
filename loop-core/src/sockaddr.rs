//! Socket addresses as system calls give them, made into those of the contract.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;

use anyloop_api::{Credentials, Endpoint, Error, Result, SockAddr};
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix};
use socket2::Socket;

/// `None` for families other than Internet and local ones.
pub(crate) fn from_kernel(address: SocketAddrAny) -> Option<SockAddr> {
    if address.address_family() == AddressFamily::UNIX {
        let address = SocketAddrUnix::try_from(address).ok()?;
        let bytes = match (abstract_name(&address), address.path_bytes()) {
            // An unnamed address may come with its terminating zero.
            (Some(name), _) if !name.is_empty() => [&[0], name].concat(),
            (None, Some(path)) => path.to_vec(),
            _ => Vec::new(),
        };
        return SockAddr::unix(OsStr::from_bytes(&bytes)).ok();
    }
    SocketAddr::try_from(address).ok().map(SockAddr::from)
}

#[cfg(target_os = "linux")]
fn abstract_name(address: &SocketAddrUnix) -> Option<&[u8]> {
    address.abstract_name()
}

/// Other systems have names in the file system only.
#[cfg(not(target_os = "linux"))]
fn abstract_name(_: &SocketAddrUnix) -> Option<&[u8]> {
    None
}

/// The address of a local socket without a name.
pub(crate) fn unnamed() -> SockAddr {
    SockAddr::unix("").expect("an empty path is an unnamed address")
}

/// The address of a local socket that the user named.
pub(crate) fn local(named: Endpoint, operation: &str) -> Result<SockAddr> {
    match named {
        Endpoint::Address(address) if address.is_unix() => Ok(address),
        Endpoint::Malformed(error) => Err(error.within(operation)),
        _ => Err(Error::invalid_arg(format!("{operation}: a path was expected"))),
    }
}

/// Of the peer of a local connection.
#[cfg(target_os = "linux")]
pub(crate) fn credentials(socket: &Socket) -> Option<Credentials> {
    if crate::sockets::domain(socket).ok()? != anyloop_api::Domain::UNIX {
        return None;
    }
    let found = rustix::net::sockopt::socket_peercred(socket).ok()?;
    let pid = found.pid.as_raw_nonzero().get();
    Some(Credentials::new(pid, found.uid.as_raw(), found.gid.as_raw()))
}

/// Other systems tell in other ways.
#[cfg(not(target_os = "linux"))]
pub(crate) fn credentials(_: &Socket) -> Option<Credentials> {
    None
}

/// For messages: `127.0.0.1:80`, `"/run/x.sock"`.
pub(crate) fn text(address: &SockAddr) -> String {
    match (address.as_socket(), address.as_pathname(), address.as_abstract_namespace()) {
        (Some(address), _, _) => address.to_string(),
        (_, Some(path), _) => format!("{path:?}"),
        (_, _, Some(name)) => format!("{:?} (abstract)", String::from_utf8_lossy(name)),
        _ if address.is_unnamed() => "an unnamed socket".into(),
        _ => format!("{address:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn local_addresses_keep_their_kind() {
        let path = from_kernel(SocketAddrUnix::new("/tmp/x").unwrap().into()).unwrap();
        assert_eq!(path.as_pathname(), Some(Path::new("/tmp/x")));
        let name = SocketAddrUnix::new_abstract_name(b"a\0b").unwrap();
        let name = from_kernel(name.into()).unwrap();
        assert_eq!(name.as_abstract_namespace(), Some(&b"a\0b"[..]));
        assert!(from_kernel(SocketAddrUnix::new_unnamed().into()).unwrap().is_unnamed());
        assert!(unnamed().is_unnamed());
    }
}
