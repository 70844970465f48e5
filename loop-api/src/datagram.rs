//! Datagram endpoints: the protocol, the transport, and the options of `create_datagram_endpoint`.
//!
//! ```text
//! connection_made ─▶ (datagram_received | error_received)* ─▶ connection_lost
//!                    pause_writing / resume_writing in between, always paired
//! ```

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};

use socket2::SockAddr;

use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::extra_info::ExtraInfo;
use crate::net::Family;

/// What an application does with datagrams. Methods take `&self`, as those of
/// [`Protocol`](crate::Protocol).
///
/// ```
/// use anyloop_api::{DatagramProtocol, DatagramTransport, SockAddr};
/// use std::cell::OnceCell;
///
/// /// Sends back what it receives.
/// #[derive(Default)]
/// struct Echo(OnceCell<DatagramTransport>);
///
/// impl DatagramProtocol for Echo {
///     fn connection_made(&self, transport: DatagramTransport) {
///         let _ = self.0.set(transport);
///     }
///
///     fn datagram_received(&self, data: &[u8], from: Option<&SockAddr>) {
///         if let Some(transport) = self.0.get() {
///             let _ = transport.sendto(data, from);
///         }
///     }
/// }
/// ```
pub trait DatagramProtocol: Any {
    /// The endpoint stands; called once, first.
    fn connection_made(&self, transport: DatagramTransport) {
        let _ = transport;
    }

    /// One datagram, which may be empty; from nobody if the sender has no address (a local socket
    /// without a name).
    fn datagram_received(&self, data: &[u8], from: Option<&SockAddr>) {
        let _ = (data, from);
    }

    /// Sending or receiving failed, for instance because an earlier datagram found nobody at its
    /// destination. The endpoint goes on.
    fn error_received(&self, error: Error) {
        let _ = error;
    }

    /// The endpoint is gone, with the error that ended it, if one did. Called once, last.
    fn connection_lost(&self, error: Option<Error>) {
        let _ = error;
    }

    /// What waits to be sent rose above the high-water mark.
    fn pause_writing(&self) {}

    /// It fell to the low-water mark.
    fn resume_writing(&self) {}
}

/// Makes the protocol of an endpoint.
pub type DatagramFactory = Rc<dyn Fn() -> Rc<dyn DatagramProtocol>>;

/// What a datagram transport provides; users hold a [`DatagramTransport`].
pub trait RawDatagramTransport: fmt::Debug {
    /// See [`DatagramTransport::close`].
    fn close(&self);
    /// See [`DatagramTransport::abort`].
    fn abort(&self);
    /// See [`DatagramTransport::is_closing`].
    fn is_closing(&self) -> bool;
    /// See [`DatagramTransport::sendto`].
    ///
    /// # Errors
    /// As there.
    fn sendto(&self, data: &[u8], to: Option<&SockAddr>) -> Result<()>;
    /// See [`DatagramTransport::get_write_buffer_size`].
    fn get_write_buffer_size(&self) -> usize;
    /// See [`DatagramTransport::get_write_buffer_limits`].
    fn get_write_buffer_limits(&self) -> (usize, usize);
    /// See [`DatagramTransport::set_write_buffer_limits`].
    ///
    /// # Errors
    /// `InvalidArg` unless `high ≥ low`.
    fn set_write_buffer_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<()>;
    /// See [`DatagramTransport::set_protocol`].
    fn set_protocol(&self, protocol: Rc<dyn DatagramProtocol>);
    /// See [`DatagramTransport::get_protocol`].
    fn get_protocol(&self) -> Option<Rc<dyn DatagramProtocol>>;
    /// See [`DatagramTransport::get_extra_info`].
    fn extra_info(&self, name: &str) -> Option<ExtraInfo>;
    /// For downcasts by the loop that made it.
    fn as_any(&self) -> &dyn Any;
}

/// A datagram endpoint as its user sees it; a cheap handle, clones name the same endpoint.
#[derive(Clone)]
pub struct DatagramTransport(Rc<dyn RawDatagramTransport>);

impl DatagramTransport {
    /// Wraps an implementation; called by loops.
    #[must_use]
    pub fn new(raw: Rc<dyn RawDatagramTransport>) -> Self {
        Self(raw)
    }

    /// The implementation.
    #[must_use]
    pub fn raw(&self) -> &Rc<dyn RawDatagramTransport> {
        &self.0
    }

    /// A handle that does not keep it alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakDatagramTransport {
        WeakDatagramTransport(Rc::downgrade(&self.0))
    }

    /// Stops receiving, sends what waits, then calls `connection_lost(None)`. Idempotent.
    pub fn close(&self) {
        self.0.close();
    }

    /// Drops what waits and closes as soon as possible.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Whether `close` or `abort` was called or the endpoint is gone.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    /// Sends one datagram, which may be empty, at once, or queues it whole. Never waits; discarded if the
    /// endpoint is closing.
    ///
    /// An endpoint with a remote address takes no other address than that one. One without needs an
    /// address; a name has to be resolved before, with
    /// [`getaddrinfo`](crate::EventLoop::getaddrinfo).
    ///
    /// Failures of the operating system go to [`DatagramProtocol::error_received`].
    ///
    /// # Errors
    /// `InvalidArg` for a wrong or a missing address.
    pub fn sendto(&self, data: impl AsRef<[u8]>, to: Option<&SockAddr>) -> Result<()> {
        self.0.sendto(data.as_ref(), to)
    }

    /// What waits to be sent: the length of each datagram and a few bytes more.
    #[must_use]
    pub fn get_write_buffer_size(&self) -> usize {
        self.0.get_write_buffer_size()
    }

    /// The water marks, `(low, high)`.
    #[must_use]
    pub fn get_write_buffer_limits(&self) -> (usize, usize) {
        self.0.get_write_buffer_limits()
    }

    /// Sets the water marks, as
    /// [`Transport::set_write_buffer_limits`](crate::Transport::set_write_buffer_limits).
    ///
    /// # Errors
    /// `InvalidArg` unless `high ≥ low`.
    pub fn set_write_buffer_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<()> {
        self.0.set_write_buffer_limits(high, low)
    }

    /// Hands the endpoint to another protocol, from the next callback on.
    pub fn set_protocol(&self, protocol: Rc<dyn DatagramProtocol>) {
        self.0.set_protocol(protocol);
    }

    /// The current protocol; `None` after the end.
    #[must_use]
    pub fn get_protocol(&self) -> Option<Rc<dyn DatagramProtocol>> {
        self.0.get_protocol()
    }

    /// Metadata by asyncio's names: `"socket"`, `"sockname"`, `"peername"`. Addresses outlive the
    /// endpoint.
    #[must_use]
    pub fn get_extra_info(&self, name: &str) -> Option<ExtraInfo> {
        self.0.extra_info(name)
    }

    /// Our address, if it is an Internet address.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.get_extra_info("sockname")?.address()?.as_socket()
    }

    /// The remote address, if the endpoint has one and it is an Internet address.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.get_extra_info("peername")?.address()?.as_socket()
    }
}

impl fmt::Debug for DatagramTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names an endpoint without keeping it alive.
#[derive(Clone)]
pub struct WeakDatagramTransport(Weak<dyn RawDatagramTransport>);

impl WeakDatagramTransport {
    /// The handle, if the endpoint still exists.
    #[must_use]
    pub fn upgrade(&self) -> Option<DatagramTransport> {
        self.0.upgrade().map(DatagramTransport)
    }
}

impl fmt::Debug for WeakDatagramTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakDatagramTransport")
    }
}

/// What kind of datagram endpoint is wanted. Contradictions are refused by the creating call, before any
/// socket is made (UDP-14).
///
/// The port of a closed endpoint may be taken by another one at once; so that nobody can listen in on
/// one that is open, reuse of addresses is not offered.
///
/// ```
/// use anyloop_api::DatagramEndpoint;
/// let server = DatagramEndpoint::local("127.0.0.1:0");
/// let client = DatagramEndpoint::remote("localhost:53");
/// let shouting = DatagramEndpoint::local("0.0.0.0:0").allow_broadcast(true);
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct DatagramEndpoint {
    /// Where to receive.
    pub local_addr: Option<Endpoint>,
    /// Where to send; nobody else is heard.
    pub remote_addr: Option<Endpoint>,
    /// Restricts resolution; alone it makes an endpoint that is not bound yet.
    pub family: Family,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
    /// `SO_BROADCAST`. With a remote address that one is not connected to, but is where datagrams go by
    /// default.
    pub allow_broadcast: bool,
    /// An existing datagram socket instead of all this; owned from the call on.
    pub sock: Option<OwnedFd>,
}

impl DatagramEndpoint {
    /// Receives at `address`.
    #[must_use]
    pub fn local(address: impl Into<Endpoint>) -> Self {
        Self { local_addr: Some(address.into()), ..Self::default() }
    }

    /// Talks with `address` only.
    #[must_use]
    pub fn remote(address: impl Into<Endpoint>) -> Self {
        Self { remote_addr: Some(address.into()), ..Self::default() }
    }

    /// Over a socket that exists already.
    #[must_use]
    pub fn socket(sock: impl Into<OwnedFd>) -> Self {
        Self { sock: Some(sock.into()), ..Self::default() }
    }

    /// Also receives at `address`.
    #[must_use]
    pub fn with_local(mut self, address: impl Into<Endpoint>) -> Self {
        self.local_addr = Some(address.into());
        self
    }

    /// Talks with `address` only.
    #[must_use]
    pub fn with_remote(mut self, address: impl Into<Endpoint>) -> Self {
        self.remote_addr = Some(address.into());
        self
    }

    /// Also gives a socket; together with anything else it is refused.
    #[must_use]
    pub fn with_socket(mut self, sock: impl Into<OwnedFd>) -> Self {
        self.sock = Some(sock.into());
        self
    }

    /// See [`DatagramEndpoint::family`].
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// See [`DatagramEndpoint::reuse_port`].
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// See [`DatagramEndpoint::allow_broadcast`].
    #[must_use]
    pub fn allow_broadcast(mut self, on: bool) -> Self {
        self.allow_broadcast = on;
        self
    }
}
