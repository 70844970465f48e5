//! `create_datagram_endpoint`: checks, resolves, binds and connects.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};

use anyloop_api::{
    DatagramEndpoint, DatagramFactory, DatagramProtocol, DatagramTransport, Domain, Endpoint,
    Error, EventLoopExt, Family, Result, SockAddr, SocketKind, Type,
};
use socket2::Socket;

use super::Datagram;
use crate::base::BaseLoop;
use crate::begin;
use crate::connect::open;
use crate::resolve::resolve;
use crate::server::remove_stale;
use crate::sockaddr;
use crate::sockets;

const NAME: &str = "create_datagram_endpoint";

/// `create_datagram_endpoint`.
pub(crate) async fn create_datagram_endpoint(
    base: Weak<BaseLoop>,
    factory: DatagramFactory,
    mut options: DatagramEndpoint,
) -> Result<(DatagramTransport, Rc<dyn DatagramProtocol>)> {
    drop(open(&base, NAME)?);
    let (socket, remote) = match options.sock.take() {
        Some(fd) => adopt(fd, &options)?,
        None => {
            let candidates = candidates(&base, &mut options).await?;
            first_that_works(&candidates, &options)?
        }
    };
    let protocol = begin::make(|| factory())?;
    let endpoint = Datagram::open(&open(&base, NAME)?, socket, remote, protocol.clone())?;
    Ok((begin::begin(base, endpoint, NAME).await?, protocol))
}

fn adopt(fd: OwnedFd, options: &DatagramEndpoint) -> Result<(Socket, Option<SockAddr>)> {
    let others = options.local_addr.is_some()
        || options.remote_addr.is_some()
        || options.family != Family::Unspecified
        || options.reuse_port
        || options.allow_broadcast;
    if others {
        return Err(Error::invalid_arg(
            "create_datagram_endpoint: a socket can not be given together with other options",
        ));
    }
    let socket = Socket::from(fd);
    match socket.r#type() {
        Ok(Type::DGRAM) => {}
        _ => {
            return Err(Error::invalid_arg(
                "create_datagram_endpoint: a datagram socket was expected",
            ));
        }
    }
    socket
        .set_nonblocking(true)
        .map_err(|error| Error::os(format!("{NAME}: O_NONBLOCK"), error))?;
    let remote = socket.peer_addr().ok().filter(|peer| !peer.is_unnamed());
    Ok((socket, remote))
}

/// One way to make the socket.
struct Candidate {
    domain: Domain,
    local: Option<SockAddr>,
    remote: Option<SockAddr>,
}

/// Every way to make the socket, in order. Local and remote address are of one family (UDP-14).
async fn candidates(
    base: &Weak<BaseLoop>,
    options: &mut DatagramEndpoint,
) -> Result<Vec<Candidate>> {
    let local = addresses(base, options.local_addr.take(), options.family).await?;
    let remote = addresses(base, options.remote_addr.take(), options.family).await?;
    let found: Vec<Candidate> = match (local, remote) {
        (None, None) => {
            let domain = match options.family {
                Family::Inet => Domain::IPV4,
                Family::Inet6 => Domain::IPV6,
                Family::Unspecified => {
                    return Err(Error::invalid_arg(
                        "create_datagram_endpoint: neither an address nor a family given",
                    ));
                }
            };
            return Ok(vec![Candidate { domain, local: None, remote: None }]);
        }
        (Some(local), None) => {
            let candidate = |local: SockAddr| Candidate {
                domain: local.domain(),
                local: Some(local),
                remote: None,
            };
            local.into_iter().map(candidate).collect()
        }
        (None, Some(remote)) => {
            let candidate = |remote: SockAddr| Candidate {
                domain: remote.domain(),
                local: None,
                remote: Some(remote),
            };
            remote.into_iter().map(candidate).collect()
        }
        (Some(local), Some(remote)) => {
            let pairs = remote.iter().flat_map(|remote| {
                let same = local.iter().filter(|local| local.domain() == remote.domain());
                same.map(|local| Candidate {
                    domain: remote.domain(),
                    local: Some(local.clone()),
                    remote: Some(remote.clone()),
                })
            });
            pairs.collect()
        }
    };
    if found.is_empty() {
        return Err(Error::invalid_arg(
            "create_datagram_endpoint: no local and remote address of the same family",
        ));
    }
    Ok(found)
}

/// What an endpoint of the user's means; `None` if there is none.
async fn addresses(
    base: &Weak<BaseLoop>,
    endpoint: Option<Endpoint>,
    family: Family,
) -> Result<Option<Vec<SockAddr>>> {
    let (host, port) = match endpoint {
        None => return Ok(None),
        Some(Endpoint::Malformed(error)) => return Err(error.within(NAME)),
        Some(Endpoint::Address(address)) => {
            let admitted = address.as_socket().is_none_or(|a: SocketAddr| family.admits(a.ip()));
            return Ok(Some(if admitted { vec![address] } else { Vec::new() }));
        }
        Some(Endpoint::Name { host, port }) => (host, port),
        Some(_) => {
            return Err(Error::invalid_arg(format!("{NAME}: an endpoint of an unknown kind")));
        }
    };
    let lp = open(base, NAME)?.handle();
    let found = resolve(lp, Some(host), Some(port), family, SocketKind::Datagram).await?;
    Ok(Some(found.into_iter().map(SockAddr::from).collect()))
}

/// The first error counts if none works; no socket is left (UDP-16).
fn first_that_works(
    candidates: &[Candidate],
    options: &DatagramEndpoint,
) -> Result<(Socket, Option<SockAddr>)> {
    let mut first = None;
    for candidate in candidates {
        match make(candidate, options) {
            Ok(socket) => return Ok((socket, candidate.remote.clone())),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or_else(|| Error::invalid_arg("create_datagram_endpoint: no address")))
}

fn make(candidate: &Candidate, options: &DatagramEndpoint) -> Result<Socket> {
    let fail = |what: String| move |error| Error::os(format!("{NAME}: {what}"), error);
    let socket =
        sockets::open(candidate.domain, Type::DGRAM, None).map_err(fail("a socket".into()))?;
    if options.reuse_port {
        socket.set_reuse_port(true).map_err(fail("SO_REUSEPORT".into()))?;
    }
    if options.allow_broadcast {
        socket.set_broadcast(true).map_err(fail("SO_BROADCAST".into()))?;
    }
    if let Some(local) = &candidate.local {
        let binding = || format!("binding {}", sockaddr::text(local));
        if let Some(path) = local.as_pathname() {
            remove_stale(path).map_err(fail(binding()))?;
        }
        socket.bind(local).map_err(fail(binding()))?;
    }
    if let Some(remote) = &candidate.remote
        && !options.allow_broadcast
    {
        let connecting = format!("connecting to {}", sockaddr::text(remote));
        socket.connect(remote).map_err(fail(connecting))?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For documentation; no machine has it.
    const NOBODYS: ([u8; 4], u16) = ([192, 0, 2, 1], 0);
    const OURS: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

    fn here(local: impl Into<SocketAddr>) -> Candidate {
        Candidate { domain: Domain::IPV4, local: Some(SockAddr::from(local.into())), remote: None }
    }

    /// Nobody can be connected to there.
    fn there() -> Candidate {
        let remote = SockAddr::unix("/nowhere/at/all").expect("a path");
        Candidate { domain: Domain::UNIX, local: None, remote: Some(remote) }
    }

    fn first(candidates: &[Candidate]) -> Result<(Socket, Option<SockAddr>)> {
        first_that_works(candidates, &DatagramEndpoint::local(SocketAddr::from(OURS)))
    }

    #[test]
    fn the_next_is_tried_if_one_cannot_be_bound_or_connected() -> Result<()> {
        let second = here(([127, 0, 0, 2], 0));
        let (socket, remote) = first(&[here(NOBODYS), there(), here(OURS), second])?;
        let bound = socket.local_addr().ok().and_then(|address| address.as_socket());
        assert_eq!(bound.map(|address| address.ip().to_string()).as_deref(), Some("127.0.0.1"));
        assert!(remote.is_none(), "the address of one that failed");
        Ok(())
    }

    #[test]
    fn the_remote_address_is_that_of_the_one_that_works() -> Result<()> {
        let listening = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
        listening.bind(&SocketAddr::from(OURS).into()).expect("a free port");
        let at = listening.local_addr().expect("it is bound");
        let works = Candidate { domain: Domain::IPV4, local: None, remote: Some(at.clone()) };
        let (socket, remote) = first(&[there(), works])?;
        assert_eq!(socket.peer_addr().ok(), Some(at.clone()));
        assert_eq!(remote, Some(at));
        Ok(())
    }

    #[test]
    fn if_all_fail_the_first_error_counts() {
        let error = first(&[there(), here(NOBODYS)]).expect_err("nobody is there");
        assert!(error.to_string().contains("connecting to"), "{error}");
        let error = first(&[here(NOBODYS), there()]).expect_err("nobody has it");
        assert!(error.to_string().contains("binding 192.0.2.1:0"), "{error}");
    }
}
