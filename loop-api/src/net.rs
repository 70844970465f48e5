//! Where to connect to and where to listen: the options of `create_connection` and `create_server`.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::error::{Error, Result};

/// Restricts name resolution to one address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Family {
    /// Any.
    #[default]
    Unspecified,
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

impl Family {
    /// Whether an address of `ip` is of this family.
    #[must_use]
    pub const fn admits(self, ip: IpAddr) -> bool {
        matches!(
            (self, ip),
            (Self::Unspecified, _) | (Self::Inet, IpAddr::V4(_)) | (Self::Inet6, IpAddr::V6(_))
        )
    }
}

/// Splits `"host:port"`, `"[v6]:port"`; the port may be a service name.
///
/// # Errors
/// `InvalidArg` naming the text.
pub fn split_host_port(text: &str) -> Result<(String, String)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:"),
        None => text.rsplit_once(':').filter(|(host, _)| !host.contains(':')),
    }
    .filter(|(_, port)| !port.is_empty())
    .ok_or_else(|| {
        Error::invalid_arg(format!("address {text:?} does not parse: want HOST:PORT"))
    })?;
    Ok((host.into(), port.into()))
}

/// The number that a port is given as, or nothing for the name of a service. Resolvers are not asked: some of
/// them take the lower half of what is too large.
///
/// # Errors
/// `InvalidArg` for a number that is none of a port.
pub fn port_number(port: &str) -> Result<Option<u16>> {
    match port.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(Error::invalid_arg(format!("port {port} is not between 0 and 65535")))
        }
        Err(_) => Ok(None),
    }
}

/// Where and how to connect. Contradictions are refused by the connecting call, before any I/O
/// (CONN-01).
///
/// ```
/// use anyloop_api::Connect;
/// let a = Connect::to("localhost", 8080);
/// let b = Connect::from("127.0.0.1:8080");
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Connect {
    /// Host name or literal address.
    pub host: Option<String>,
    /// Port number or service name.
    pub port: Option<String>,
    /// A text that did not parse, for the connecting call to refuse.
    pub malformed: Option<Error>,
    /// Resolved addresses instead of host and port.
    pub addresses: Option<Vec<SocketAddr>>,
    /// An existing stream socket instead of an address; owned from the call on.
    pub sock: Option<OwnedFd>,
    /// Restricts resolution.
    pub family: Family,
    /// Bind the local end to this address first.
    pub local_addr: Option<(String, u16)>,
    /// Start the next attempt after this long without waiting for the previous to fail (RFC 8305).
    pub happy_eyeballs_delay: Option<Duration>,
    /// How many addresses of the first family come before alternating; 1 when happy eyeballs is on.
    pub interleave: Option<usize>,
    /// Report every failure in a group instead of one combined error.
    pub all_errors: bool,
}

impl Connect {
    /// To a host and port.
    #[must_use]
    pub fn to(host: impl Into<String>, port: impl ToString) -> Self {
        Self { host: Some(host.into()), port: Some(port.to_string()), ..Self::default() }
    }

    /// To the first of these that answers, in this order: for programs with a resolver of their own.
    #[must_use]
    pub fn to_any(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { addresses: Some(addresses.into_iter().collect()), ..Self::default() }
    }

    /// Over a socket that is connected already.
    #[must_use]
    pub fn socket(sock: impl Into<OwnedFd>) -> Self {
        Self { sock: Some(sock.into()), ..Self::default() }
    }

    /// Restricts resolution to one family.
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// Also gives a socket; together with a host it is refused.
    #[must_use]
    pub fn with_socket(mut self, sock: impl Into<OwnedFd>) -> Self {
        self.sock = Some(sock.into());
        self
    }

    /// Binds the local end first.
    #[must_use]
    pub fn local_addr(mut self, host: impl Into<String>, port: u16) -> Self {
        self.local_addr = Some((host.into(), port));
        self
    }

    /// See [`Connect::happy_eyeballs_delay`].
    #[must_use]
    pub fn happy_eyeballs_delay(mut self, delay: Duration) -> Self {
        self.happy_eyeballs_delay = Some(delay);
        self
    }

    /// See [`Connect::interleave`].
    #[must_use]
    pub fn interleave(mut self, first: usize) -> Self {
        self.interleave = Some(first);
        self
    }

    /// See [`Connect::all_errors`].
    #[must_use]
    pub fn all_errors(mut self, on: bool) -> Self {
        self.all_errors = on;
        self
    }
}

impl From<&str> for Connect {
    fn from(text: &str) -> Self {
        match split_host_port(text) {
            Ok((host, port)) => Self { host: Some(host), port: Some(port), ..Self::default() },
            Err(error) => Self { malformed: Some(error), ..Self::default() },
        }
    }
}

impl From<&String> for Connect {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<String> for Connect {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<SocketAddr> for Connect {
    fn from(address: SocketAddr) -> Self {
        Self::to(host_of(address), address.port())
    }
}

impl<H: Into<String>> From<(H, u16)> for Connect {
    fn from((host, port): (H, u16)) -> Self {
        Self::to(host, port)
    }
}

fn host_of(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        other => other.ip().to_string(),
    }
}

/// Where and how to listen.
///
/// ```
/// use anyloop_api::Bind;
/// let everywhere = Bind::any(8080);
/// let some = Bind::to("localhost", 0).backlog(16);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Bind {
    /// Hosts to bind; none, or an empty one, means all interfaces.
    pub hosts: Vec<String>,
    /// Port number or service name; `None` or `0` picks a free one.
    pub port: Option<String>,
    /// A text that did not parse, or a list without a host, for the binding call to refuse.
    pub malformed: Option<Error>,
    /// Whether an address was given at all.
    pub has_address: bool,
    /// An existing socket, bound or listening, instead of an address; owned from the call on.
    pub sock: Option<OwnedFd>,
    /// Restricts resolution.
    pub family: Family,
    /// Length of the kernel's queue of unaccepted connections.
    pub backlog: u32,
    /// `SO_REUSEADDR`; on unless switched off.
    pub reuse_address: bool,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
    /// `SO_KEEPALIVE` on the listener, inherited by connections.
    pub keep_alive: bool,
    /// Begin serving inside the call.
    pub start_serving: bool,
}

impl Default for Bind {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            port: None,
            malformed: None,
            has_address: false,
            sock: None,
            family: Family::Unspecified,
            backlog: 100,
            reuse_address: true,
            reuse_port: false,
            keep_alive: false,
            start_serving: true,
        }
    }
}

impl Bind {
    /// One host and a port. An empty host, or `*`, means all interfaces.
    #[must_use]
    pub fn to(host: impl Into<String>, port: impl ToString) -> Self {
        Self::hosts([host.into()], port)
    }

    /// All interfaces.
    #[must_use]
    pub fn any(port: impl ToString) -> Self {
        Self { port: Some(port.to_string()), has_address: true, ..Self::default() }
    }

    /// Several hosts, one port. An empty host, or `*`, means all interfaces; a list without a host is refused.
    #[must_use]
    pub fn hosts<H: Into<String>>(hosts: impl IntoIterator<Item = H>, port: impl ToString) -> Self {
        let hosts: Vec<String> = hosts.into_iter().map(Into::into).collect();
        let malformed = hosts.is_empty().then(|| {
            Error::invalid_arg("a list without a host is given; Bind::any means all interfaces")
        });
        let port = Some(port.to_string());
        Self { hosts, port, malformed, has_address: true, ..Self::default() }
    }

    /// A socket that exists already.
    #[must_use]
    pub fn socket(sock: impl Into<OwnedFd>) -> Self {
        Self { sock: Some(sock.into()), ..Self::default() }
    }

    /// Also gives a socket; together with an address it is refused.
    #[must_use]
    pub fn with_socket(mut self, sock: impl Into<OwnedFd>) -> Self {
        self.sock = Some(sock.into());
        self
    }

    /// Restricts resolution to one family.
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// See [`Bind::backlog`].
    #[must_use]
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// See [`Bind::reuse_address`].
    #[must_use]
    pub fn reuse_address(mut self, on: bool) -> Self {
        self.reuse_address = on;
        self
    }

    /// See [`Bind::reuse_port`].
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// See [`Bind::keep_alive`].
    #[must_use]
    pub fn keep_alive(mut self, on: bool) -> Self {
        self.keep_alive = on;
        self
    }

    /// See [`Bind::start_serving`].
    #[must_use]
    pub fn start_serving(mut self, on: bool) -> Self {
        self.start_serving = on;
        self
    }
}

impl From<&str> for Bind {
    fn from(text: &str) -> Self {
        match split_host_port(text) {
            Ok((host, port)) => Self::to(host, port),
            Err(error) => Self { malformed: Some(error), ..Self::default() },
        }
    }
}

impl From<&String> for Bind {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<String> for Bind {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<SocketAddr> for Bind {
    fn from(address: SocketAddr) -> Self {
        Self::to(host_of(address), address.port())
    }
}

impl<H: Into<String>> From<(H, u16)> for Bind {
    fn from((host, port): (H, u16)) -> Self {
        Self::to(host, port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_kind() {
        let text = "[::1]:http".to_owned();
        for to in [Connect::from(&text), Connect::from(&*text), Connect::from(text.clone())] {
            assert_eq!((to.host.as_deref(), to.port.as_deref()), (Some("::1"), Some("http")));
        }
        for at in [Bind::from(&text), Bind::from(&*text), Bind::from(text.clone())] {
            assert_eq!((at.hosts.len(), at.port.as_deref()), (1, Some("http")));
        }
    }
}
