//! Name lookup: what `getaddrinfo` and `getnameinfo` are asked, and what they answer.

use std::fmt;
use std::net::SocketAddr;
use std::ops::BitOr;

use crate::net::Family;

/// What a socket is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketKind {
    /// Anything.
    #[default]
    Unspecified,
    /// A stream of bytes: TCP.
    Stream,
    /// Datagrams: UDP.
    Datagram,
    /// Raw packets.
    Raw,
}

/// What [`EventLoop::getaddrinfo`](crate::EventLoop::getaddrinfo) is to look up: a host, a port or
/// both, narrowed by hints.
///
/// ```
/// use anyloop_api::{AddrInfoFlags, Family, Lookup, SocketKind};
/// let lookup = Lookup::to("localhost", "http").family(Family::Inet).kind(SocketKind::Stream);
/// let literal = Lookup::host("::1").flags(AddrInfoFlags::NUMERIC_HOST);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lookup {
    /// Host name or literal address; none means this machine.
    pub host: Option<String>,
    /// Port number or service name; none means 0.
    pub port: Option<String>,
    /// Only addresses of this family.
    pub family: Family,
    /// Only for sockets of this kind; otherwise each address comes once per kind.
    pub kind: SocketKind,
    /// Only for this protocol (`IPPROTO_…`); 0 means any.
    pub protocol: i32,
    /// How to look.
    pub flags: AddrInfoFlags,
}

impl Lookup {
    /// A host and a port.
    #[must_use]
    pub fn to(host: impl Into<String>, port: impl ToString) -> Self {
        Self::host(host).with_port(port)
    }

    /// A host alone.
    #[must_use]
    pub fn host(host: impl Into<String>) -> Self {
        Self { host: Some(host.into()), ..Self::default() }
    }

    /// A port alone: of this machine, or, with [`AddrInfoFlags::PASSIVE`], of all its interfaces.
    #[must_use]
    pub fn port(port: impl ToString) -> Self {
        Self::default().with_port(port)
    }

    fn with_port(self, port: impl ToString) -> Self {
        Self { port: Some(port.to_string()), ..self }
    }

    /// See [`Lookup::family`](field@Lookup::family).
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// See [`Lookup::kind`](field@Lookup::kind).
    #[must_use]
    pub fn kind(mut self, kind: SocketKind) -> Self {
        self.kind = kind;
        self
    }

    /// See [`Lookup::protocol`](field@Lookup::protocol).
    #[must_use]
    pub fn protocol(mut self, protocol: i32) -> Self {
        self.protocol = protocol;
        self
    }

    /// Adds flags.
    #[must_use]
    pub fn flags(mut self, flags: AddrInfoFlags) -> Self {
        self.flags = self.flags | flags;
        self
    }
}

/// One answer of `getaddrinfo`: what to make a socket of, and where to connect or bind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AddrInfo {
    /// For which kind of socket.
    pub kind: SocketKind,
    /// For which protocol (`IPPROTO_…`).
    pub protocol: i32,
    /// The host's real name, in the first answer, if [`AddrInfoFlags::CANONICAL_NAME`] was given.
    pub canonical_name: Option<String>,
    /// The address; it knows its family.
    pub address: SocketAddr,
}

impl AddrInfo {
    /// Made by loops.
    #[must_use]
    pub const fn new(address: SocketAddr, kind: SocketKind, protocol: i32) -> Self {
        Self { kind, protocol, canonical_name: None, address }
    }

    /// The family of its address.
    #[must_use]
    pub const fn family(&self) -> Family {
        if self.address.is_ipv4() { Family::Inet } else { Family::Inet6 }
    }
}

macro_rules! flags {
    ($(#[$doc:meta])* $name:ident { $($(#[$flag_doc:meta])* $flag:ident = $bit:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name(u8);

        impl $name {
            $($(#[$flag_doc])* pub const $flag: Self = Self(1 << $bit);)+

            /// None of them.
            pub const NONE: Self = Self(0);

            /// Whether all of `flags` are set.
            #[must_use]
            pub const fn contains(self, flags: Self) -> bool {
                self.0 & flags.0 == flags.0
            }
        }

        impl BitOr for $name {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let names = [$((Self::$flag, stringify!($flag))),+];
                let set = names.into_iter().filter(|(flag, _)| self.contains(*flag));
                let set: Vec<_> = set.map(|(_, name)| name).collect();
                write!(f, "{}({})", stringify!($name), set.join(" | "))
            }
        }
    };
}

flags! {
    /// How `getaddrinfo` looks.
    AddrInfoFlags {
        /// Addresses to listen on: without a host, all interfaces (`AI_PASSIVE`).
        PASSIVE = 0;
        /// Ask for the host's real name (`AI_CANONNAME`).
        CANONICAL_NAME = 1;
        /// The host is a literal address; nothing is asked of a server (`AI_NUMERICHOST`).
        NUMERIC_HOST = 2;
        /// The port is a number (`AI_NUMERICSERV`).
        NUMERIC_PORT = 3;
        /// With [`Family::Inet6`], IPv4 addresses in IPv6 form if there are no others
        /// (`AI_V4MAPPED`).
        V4_MAPPED = 4;
        /// With `V4_MAPPED`, those as well as the others (`AI_ALL`).
        ALL = 5;
        /// Only families of which this machine has an address (`AI_ADDRCONFIG`).
        ADDRESS_CONFIGURED = 6;
    }
}

flags! {
    /// How `getnameinfo` looks.
    NameInfoFlags {
        /// The address as text instead of a name (`NI_NUMERICHOST`).
        NUMERIC_HOST = 0;
        /// The port as a number instead of a service name (`NI_NUMERICSERV`).
        NUMERIC_PORT = 1;
        /// Only the first part of the names of this network's hosts (`NI_NOFQDN`).
        NO_DOMAIN = 2;
        /// No name is an error (`NI_NAMEREQD`).
        NAME_REQUIRED = 3;
        /// The name of the datagram service, where it differs (`NI_DGRAM`).
        DATAGRAM = 4;
    }
}

/// Why a lookup failed, in the resolver's own terms. Inside [`Error::Os`](crate::Error::Os).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupError {
    code: i32,
    message: String,
}

impl LookupError {
    /// With the resolver's code (`EAI_…`) and its text for it; made by loops.
    #[must_use]
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The resolver's code: the platform's `EAI_NONAME` and so on.
    #[must_use]
    pub const fn code(&self) -> i32 {
        self.code
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LookupError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_combine_and_name_themselves() {
        let both = AddrInfoFlags::PASSIVE | AddrInfoFlags::NUMERIC_PORT;
        assert!(both.contains(AddrInfoFlags::PASSIVE) && both.contains(AddrInfoFlags::NONE));
        assert!(!both.contains(AddrInfoFlags::PASSIVE | AddrInfoFlags::ALL));
        assert_eq!(format!("{both:?}"), "AddrInfoFlags(PASSIVE | NUMERIC_PORT)");
        assert_eq!(format!("{:?}", NameInfoFlags::NONE), "NameInfoFlags()");
    }

    #[test]
    fn flags_add_up() {
        let lookup = Lookup::port(80).flags(AddrInfoFlags::PASSIVE).flags(AddrInfoFlags::ALL);
        assert_eq!(lookup.flags, AddrInfoFlags::ALL | AddrInfoFlags::PASSIVE);
        assert_eq!((lookup.host, lookup.port.as_deref()), (None, Some("80")));
    }
}
