//! [`UdpSocket`]: datagrams with `await`, for those who do not want protocols.

use std::net::SocketAddr;

use anyloop_api::{
    AddrInfoFlags, Datagrams, Domain, Endpoint, Error, Family, Lookup, LoopRef, Result, Sock,
    SockAddr, SocketKind, Type, port_number,
};

/// A UDP socket. A cheap handle: clones name the same socket.
///
/// One task may be receiving and one sending at a time; a second one is refused with `Usage`.
///
/// ```
/// # fn main() -> anyloop::Result<()> {
/// anyloop::run(async {
///     let server = anyloop::UdpSocket::bind("127.0.0.1:0").await?;
///     let client = anyloop::UdpSocket::connect(server.local_addr()?).await?;
///     client.send("hello").await?;
///     let (data, from) = server.recv_from(1500).await?;
///     server.send_to(data, from).await?;
///     assert_eq!(client.recv(1500).await?, b"hello");
///     Ok(())
/// })?
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct UdpSocket {
    sock: Sock,
}

impl UdpSocket {
    /// A socket that receives at `address`.
    ///
    /// # Errors
    /// `InvalidArg` for an address that makes no sense; resolving or binding: `Os`; outside a running
    /// loop: `Usage`.
    ///
    /// # Cancel safety
    /// Dropping it closes what was opened so far.
    pub async fn bind(address: impl Into<Endpoint>) -> Result<Self> {
        attempt(address.into(), "bind", |sock, address| sock.socket().bind(address)).await
    }

    /// A socket that talks with `address` only, from a port of the system's choice.
    ///
    /// # Errors
    /// As [`UdpSocket::bind`].
    ///
    /// # Cancel safety
    /// Dropping it closes what was opened so far.
    pub async fn connect(address: impl Into<Endpoint>) -> Result<Self> {
        attempt(address.into(), "connect", |sock, address| sock.socket().connect(address)).await
    }

    /// Over a socket that exists already.
    ///
    /// # Errors
    /// `InvalidArg` if it is no datagram socket; `Os`.
    pub fn from_fd(fd: impl Into<std::os::fd::OwnedFd>) -> Result<Self> {
        let sock = Sock::new(fd)?;
        match sock.socket().r#type() {
            Ok(Type::DGRAM) => Ok(Self { sock }),
            _ => Err(Error::invalid_arg("UdpSocket: a datagram socket was expected")),
        }
    }

    /// Talks with `address` only, from now on.
    ///
    /// # Errors
    /// `Os`.
    pub fn connect_to(&self, address: SocketAddr) -> Result<()> {
        let connected = self.sock.socket().connect(&address.into());
        connected.map_err(|error| Error::os(format!("UdpSocket: connecting to {address}"), error))
    }

    /// Sends one datagram, which may be empty.
    ///
    /// # Errors
    /// `Usage` if another send is pending, or outside a running loop; `Os`.
    ///
    /// # Cancel safety
    /// It is sent or not.
    pub async fn send_to(&self, data: impl Into<Vec<u8>>, to: SocketAddr) -> Result<()> {
        let sending = LoopRef::current()?.sock_sendto(&self.sock, data.into(), &to.into());
        sending.await.0.map(drop)
    }

    /// Sends one datagram to the connected address.
    ///
    /// # Errors
    /// As [`UdpSocket::send_to`].
    ///
    /// # Cancel safety
    /// It is sent or not.
    pub async fn send(&self, data: impl Into<Vec<u8>>) -> Result<()> {
        let data = data.into();
        if data.is_empty() {
            // `sock_sendall` has nothing to do for it.
            return self.send_to(data, self.peer_addr()?).await;
        }
        let sending = LoopRef::current()?.sock_sendall(&self.sock, data);
        sending.await.0
    }

    /// Receives one datagram, cut to `size` bytes, and its sender.
    ///
    /// # Errors
    /// `Usage` if another receive is pending, or outside a running loop; `Os`, for instance because an
    /// earlier datagram found nobody at its destination. The socket can be used further.
    ///
    /// # Cancel safety
    /// No datagram is lost.
    pub async fn recv_from(&self, size: usize) -> Result<(Vec<u8>, SocketAddr)> {
        let receiving = LoopRef::current()?.sock_recvfrom(&self.sock, size);
        let (data, from) = receiving.await?;
        Ok((data, internet(from)?))
    }

    /// Receives one datagram from the connected address, cut to `size` bytes.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    ///
    /// # Cancel safety
    /// No datagram is lost.
    pub async fn recv(&self, size: usize) -> Result<Vec<u8>> {
        let receiving = LoopRef::current()?.sock_recvfrom(&self.sock, size);
        receiving.await.map(|(data, _)| data)
    }

    /// Receives one datagram into `buffer`, which comes back with the number of bytes and the sender:
    /// no memory is allocated for it.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    ///
    /// # Cancel safety
    /// No datagram is lost. The buffer is freed if the future is dropped.
    pub async fn recv_from_into(&self, buffer: Vec<u8>) -> (Result<(usize, SocketAddr)>, Vec<u8>) {
        let lp = match LoopRef::current() {
            Ok(lp) => lp,
            Err(error) => return (Err(error), buffer),
        };
        let receiving = lp.sock_recvfrom_into(&self.sock, buffer);
        drop(lp);
        let (received, buffer) = receiving.await;
        (received.and_then(|(count, from)| Ok((count, internet(from)?))), buffer)
    }

    /// Receives the datagrams that wait, at least one and at most as many as `batch` has room for, and
    /// gives it back with their number: by one system call where the kernel offers that, and without
    /// allocating. It pays from three at once on.
    ///
    /// ```
    /// # use anyloop::{Datagrams, Result, UdpSocket};
    /// # fn main() -> Result<()> {
    /// anyloop::run(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let client = UdpSocket::connect(server.local_addr()?).await?;
    ///     let mut seen = 0;
    ///     for _ in 0..3 {
    ///         client.send("hello").await?;
    ///     }
    ///     let mut batch = Datagrams::new(16, 1500);
    ///     while seen < 3 {
    ///         let (received, back) = server.recv_batch(batch).await;
    ///         seen += received?;
    ///         batch = back;
    ///         assert!(batch.iter().all(|(data, from)| data == b"hello" && from.is_some()));
    ///     }
    ///     Ok(())
    /// })?
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    ///
    /// # Cancel safety
    /// No datagram is lost. `batch` is freed if the future is dropped.
    pub async fn recv_batch(&self, batch: Datagrams) -> (Result<usize>, Datagrams) {
        let lp = match LoopRef::current() {
            Ok(lp) => lp,
            Err(error) => return (Err(error), batch),
        };
        let receiving = lp.sock_recvmmsg(&self.sock, batch);
        drop(lp);
        receiving.await
    }

    /// Our address.
    ///
    /// # Errors
    /// `Os`.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        internet(Some(self.sock.local_addr()?))
    }

    /// The connected address.
    ///
    /// # Errors
    /// `Os` if there is none.
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        internet(Some(self.sock.peer_addr()?))
    }

    /// The raw socket: for options (broadcast, multicast groups) through [`Sock::socket`].
    #[must_use]
    pub fn sock(&self) -> &Sock {
        &self.sock
    }
}

fn internet(address: Option<SockAddr>) -> Result<SocketAddr> {
    let address = address.and_then(|address| address.as_socket());
    address.ok_or_else(|| Error::WrongType("UdpSocket: not an Internet address".into()))
}

/// The first of the addresses that works; else the first error.
async fn attempt(
    endpoint: Endpoint,
    operation: &'static str,
    call: impl Fn(&Sock, &SockAddr) -> std::io::Result<()>,
) -> Result<UdpSocket> {
    let mut first = None;
    for address in addresses(endpoint).await? {
        let made = Sock::open(Domain::for_address(address), Type::DGRAM).and_then(|sock| {
            call(&sock, &address.into())
                .map_err(|error| Error::os(format!("UdpSocket: {operation} {address}"), error))?;
            Ok(UdpSocket { sock })
        });
        match made {
            Ok(socket) => return Ok(socket),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or_else(|| {
        let error = std::io::ErrorKind::AddrNotAvailable.into();
        Error::os(format!("UdpSocket: {operation}: the name has no address"), error)
    }))
}

async fn addresses(endpoint: Endpoint) -> Result<Vec<SocketAddr>> {
    let lp = LoopRef::current()?;
    match endpoint {
        Endpoint::Address(address) => Ok(vec![internet(Some(address))?]),
        Endpoint::Malformed(error) => Err(error.within("UdpSocket")),
        Endpoint::Name { host, port } => {
            let anywhere = matches!(&*host, "" | "*");
            let number = port_number(&port).map_err(|error| error.within("UdpSocket"))?;
            if anywhere && number.is_some() {
                // Nothing to look up.
                let resolving = lp.resolve(None, Some(port), Family::Unspecified);
                drop(lp);
                return resolving.await;
            }
            let lookup = if anywhere {
                Lookup::port(port).flags(AddrInfoFlags::PASSIVE)
            } else {
                Lookup::to(host, port)
            };
            let looking = lp.getaddrinfo(lookup.kind(SocketKind::Datagram));
            drop(lp);
            Ok(looking.await?.into_iter().map(|info| info.address).collect())
        }
        _ => Err(Error::invalid_arg("UdpSocket: an endpoint of an unknown kind")),
    }
}
