//! Making endpoints.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyloop_api::{Endpoint, Family};

use super::*;
use crate::tools::TempDir;

pub(super) fn made_then_receiving_then_the_call_returns(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    // A datagram is there before the endpoint is.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (far, _) = peer()?;
    far.send_to(b"early", socket.local_addr()?)?;
    let (made, received) = (trace.clone(), trace.clone());
    let post =
        Post::new().made(move |_| made.push("made")).datagram(move |_| received.push("datagram"));
    let opening = lp.create_datagram_endpoint(post.factory(), DatagramEndpoint::socket(socket));
    let returned = trace.clone();
    let transport = lp.run_until_complete(async move {
        let (transport, _) = opening.await?;
        returned.push("returned");
        Ok::<_, Error>(transport)
    })??;
    post.until_received(&lp, 1)?;
    let events = trace.take();
    ensure_eq!(events.first().map(|e| &**e), Some("made"), "the first event");
    ensure!(events.contains(&"returned".into()), "the call did not return");
    ensure_eq!(events.len(), 3, "events");
    ensure_eq!(post.datagrams(), [b"early"], "what was received");
    // Closed before anything could happen.
    transport.close();
    post.until_lost(&lp)?;
    let post = Post::new().made(|post| post.transport().abort());
    post.open(&lp, DatagramEndpoint::local("127.0.0.1:0"))?;
    post.until_lost(&lp)?;
    post.expect(["made", "lost"])
}

pub(super) fn contradictions_are_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let post = Post::new();
    let socket = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    let here = || Endpoint::from("127.0.0.1:0");
    let wrong = [
        ("nothing", DatagramEndpoint::default()),
        ("a stream socket", DatagramEndpoint::socket(TcpListener::bind("127.0.0.1:0")?)),
        ("a socket and a local address", DatagramEndpoint::socket(socket()?).with_local(here())),
        ("a socket and a remote address", DatagramEndpoint::socket(socket()?).with_remote(here())),
        ("a socket and a family", DatagramEndpoint::socket(socket()?).family(Family::Inet)),
        ("a socket and reuse_port", DatagramEndpoint::socket(socket()?).reuse_port(true)),
        ("a socket and broadcast", DatagramEndpoint::socket(socket()?).allow_broadcast(true)),
        ("two families", DatagramEndpoint::local(here()).with_remote("[::1]:9")),
        ("a path and an address", DatagramEndpoint::local(Path::new("/tmp/x")).with_remote(here())),
        ("another family", DatagramEndpoint::local(here()).family(Family::Inet6)),
        ("no address at all", DatagramEndpoint::local("nonsense")),
        ("a path too long", DatagramEndpoint::local(Endpoint::path("x".repeat(200)))),
    ];
    for (what, endpoint) in wrong {
        match post.open(&lp, endpoint) {
            Err(Error::InvalidArg(_)) => {}
            other => {
                return Err(Failure::new(format!("{what}: expected InvalidArg, found {other:?}")));
            }
        }
    }
    post.expect([])
}

pub(super) fn ports_are_shared_only_when_asked(cx: &Context) -> Outcome {
    const EADDRINUSE: i32 = 98;
    let lp = cx.new_loop()?;
    let post = Post::new();
    let shared = || DatagramEndpoint::local("127.0.0.1:0").reuse_port(true);
    let first = post.open(&lp, shared())?;
    let address = first.local_addr().ok_or_else(|| Failure::new("no address"))?;
    let again = |on| DatagramEndpoint::local(address).reuse_port(on);
    let view = first.get_extra_info("socket").and_then(|info| info.socket().cloned());
    let view = view.ok_or_else(|| Failure::new("no extra info named socket"))?;
    ensure!(view.reuse_port()?, "the option is not set");
    ensure!(!view.reuse_address()?, "address reuse is set");
    post.open(&lp, again(true))?;
    let refused = post.open(&lp, again(false));
    ensure_is!(refused, Err(error) if error.raw_os_error() == Some(EADDRINUSE));
    // Not asked for, not even in turn.
    let (first, address) = endpoint(&lp, &post)?;
    let refused = post.open(&lp, DatagramEndpoint::local(address));
    ensure_is!(refused, Err(error) if error.raw_os_error() == Some(EADDRINUSE));
    drop(first);
    Ok(())
}

pub(super) fn the_first_error_counts_and_nothing_leaks(cx: &Context) -> Outcome {
    const EADDRNOTAVAIL: i32 = 99;
    let lp = cx.new_loop()?;
    let post = Post::new();
    // A documentation address: nobody has it. Leaked descriptors fail the case by themselves.
    let refused = post.open(&lp, DatagramEndpoint::local("192.0.2.1:9"));
    ensure_is!(
        &refused,
        Err(error) if error.raw_os_error() == Some(EADDRNOTAVAIL)
            && error.to_string().contains("192.0.2.1:9")
    );
    let (_taken, address) = peer()?;
    let refused = post.open(&lp, DatagramEndpoint::local(address).with_remote("127.0.0.1:9"));
    ensure_is!(refused, Err(Error::Os(_)));
    let directory = TempDir::new()?;
    let nobody = DatagramEndpoint::remote(directory.join("nobody"));
    ensure_is!(post.open(&lp, nobody), Err(Error::Os(_)));
    post.expect([])
}

pub(super) fn the_next_candidate_is_tried(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let found = lp.run_until_complete(lp.resolve(
        Some("localhost".into()),
        Some("0".into()),
        Family::Unspecified,
    ))??;
    if found.len() < 2 {
        return Err(Failure::skip("localhost has one address only"));
    }
    // The port is taken for the address that comes first.
    let taken = UdpSocket::bind(found[0])?;
    let port = taken.local_addr()?.port();
    let post = Post::new();
    let transport = post.open(&lp, DatagramEndpoint::local(("localhost", port)))?;
    let address = transport.local_addr().ok_or_else(|| Failure::new("no address"))?;
    ensure_eq!(address.port(), port, "the port");
    ensure!(address.ip() != found[0].ip(), "an address that was taken");
    Ok(())
}

pub(super) fn local_endpoints_by_path(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let (here, there) = (directory.join("here"), directory.join("there"));
    let (one, two) = (Post::new(), Post::new());
    let server = one.open(&lp, DatagramEndpoint::local(&*here))?;
    let client = two.open(&lp, DatagramEndpoint::local(&*there).with_remote(&*here))?;
    client.sendto(b"question", None)?;
    one.until_received(&lp, 1)?;
    let from = one.senders().pop().flatten();
    let from = from.ok_or_else(|| Failure::new("the sender has no address"))?;
    ensure_eq!(from.as_pathname(), Some(&*there), "the sender");
    server.sendto(b"answer", Some(&from))?;
    two.until_received(&lp, 1)?;
    ensure_eq!(two.datagrams(), [b"answer"], "the answer");
    let name = client.get_extra_info("peername").and_then(|info| info.address().cloned());
    ensure_eq!(name.and_then(|n| n.as_pathname().map(Path::to_owned)), Some(here), "peername");
    // More than its queue is said to hold; but it is connected to us, and takes them.
    for number in 0..200_u8 {
        server.sendto([number; 100], Some(&from))?;
    }
    two.until_received(&lp, 201)?;
    let numbers: Vec<u8> = two.datagrams()[1..].iter().map(|data| data[0]).collect();
    ensure_eq!(numbers, (0..200).collect::<Vec<u8>>(), "the order of the datagrams");
    Ok(())
}

pub(super) fn a_local_pair_without_names(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = UnixDatagram::pair()?;
    let post = Post::new();
    let transport = post.open(&lp, DatagramEndpoint::socket(OwnedFd::from(near)))?;
    far.send(b"from nobody")?;
    post.until_received(&lp, 1)?;
    ensure_eq!(post.datagrams(), [b"from nobody"], "what came");
    ensure!(post.senders() == [None], "a sender without a name has an address");
    transport.sendto(b"to nobody", None)?;
    let mut buffer = [0; 100];
    let count = far.recv(&mut buffer)?;
    ensure_eq!(&buffer[..count], b"to nobody", "what the other end got");
    Ok(())
}

/// A peer without a name is not the only one to whom datagrams may go.
pub(super) fn no_name_is_no_restriction(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let path = directory.join("third");
    let third = UnixDatagram::bind(&path)?;
    let (near, _far) = UnixDatagram::pair()?;
    let transport = Post::new().open(&lp, DatagramEndpoint::socket(OwnedFd::from(near)))?;
    ensure!(transport.get_extra_info("peername").is_none(), "a peer without a name has one");
    transport.sendto(b"to somebody else", Some(&SockAddr::unix(&path)?))?;
    third.set_nonblocking(true)?;
    let mut buffer = [0; 100];
    let count = third.recv(&mut buffer)?;
    ensure_eq!(&buffer[..count], b"to somebody else", "what the third socket got");
    Ok(())
}

/// Others have filled its queue, and nobody tells us when they have been read.
pub(super) fn a_full_local_peer_is_tried_again(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let (here, there) = (directory.join("here"), directory.join("there"));
    let (far, other) = (UnixDatagram::bind(&there)?, UnixDatagram::unbound()?);
    far.set_nonblocking(true)?;
    other.set_nonblocking(true)?;
    let post = Post::new();
    let transport = post.open(&lp, DatagramEndpoint::local(&*here))?;
    let before = lp.dump().timers.len();
    for round in 0..2 {
        while other.send_to(b"another's", &there).is_ok() {}
        let mine: Vec<_> = (0..100_u8).map(|number| vec![number; 100]).collect();
        for data in &mine {
            transport.sendto(data, Some(&SockAddr::unix(&there)?))?;
        }
        let waiting = transport.get_write_buffer_size();
        ensure!(waiting >= 10_000, "the kernel took some of it");
        ensure!(lp.dump().timers.len() <= before + 1, "a timer for each datagram");
        // Tried now and then, in vain.
        let busy = cpu_time();
        run_for(&lp, ms(300))?;
        let busy = cpu_time() - busy;
        ensure!(busy < ms(50), "300 ms without room took {busy:?} of processor time");
        ensure_eq!(transport.get_write_buffer_size(), waiting, "bytes that wait");
        if round == 1 {
            transport.close();
        }
        drain(&far)?;
        let mut received = Vec::new();
        while received.len() < mine.len() {
            run_once(&lp)?;
            received.extend(drain(&far)?);
        }
        ensure!(received == mine, "other datagrams came");
    }
    post.until_lost(&lp)?;
    post.expect(["made", "lost"])
}

pub(super) fn a_stale_socket_is_replaced(cx: &Context) -> Outcome {
    const EADDRINUSE: i32 = 98;
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let path = directory.join("server");
    drop(UnixDatagram::bind(&path)?);
    let post = Post::new();
    post.open(&lp, DatagramEndpoint::local(&*path))?;
    UnixDatagram::unbound()?.send_to(b"x", &path)?;
    post.until_received(&lp, 1)?;
    ensure!(post.senders() == [None], "an unbound sender has an address");
    // Another file is left alone.
    let path = directory.join("precious");
    fs::write(&path, b"data")?;
    let refused = post.open(&lp, DatagramEndpoint::local(&*path));
    ensure_is!(refused, Err(error) if error.raw_os_error() == Some(EADDRINUSE));
    ensure_eq!(fs::read(&path)?, b"data", "what is in the file");
    Ok(())
}
