//! Connecting and accepting.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use anyloop_api::{Domain, Endpoint};

use super::*;
use crate::tools::{TempDir, bound, is_nonblocking, stalled_listener};

fn tcp_socket() -> Result<Sock, Error> {
    Sock::open(Domain::IPV4, Type::STREAM)
}

fn listener() -> Result<(Sock, SocketAddr), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    Ok((Sock::new(listener)?, address))
}

pub(super) fn a_connection_is_made(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (listener, address) = listener()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let client = tcp_socket()?;
        lp.sock_connect(&client, address.into()).await?;
        let (server, peer) = lp.sock_accept(&listener).await?;
        ensure_eq!(peer.as_socket(), client.local_addr()?.as_socket(), "the peer's address");
        lp.sock_sendall(&client, b"hello".to_vec()).await.0?;
        ensure_eq!(lp.sock_recv(&server, 9).await?, b"hello", "what arrived");
        Ok(())
    })
}

pub(super) fn a_refusal_names_the_address(cx: &Context) -> Outcome {
    const ECONNREFUSED: i32 = 111;
    let lp = cx.new_loop()?;
    let (address, _bound) = bound((Ipv4Addr::LOCALHOST, 0).into())?;
    let inner = lp.clone();
    run(&lp, async move {
        let client = tcp_socket()?;
        let refused = inner.sock_connect(&client, address.into()).await;
        ensure_is!(
            &refused,
            Err(error) if error.raw_os_error() == Some(ECONNREFUSED)
                && error.to_string().contains(&address.to_string())
        );
        Ok(())
    })
}

pub(super) fn names_are_resolved_for_the_sockets_family(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (listener, address) = listener()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        // The name has an IPv6 address too, on most machines before the other.
        let client = tcp_socket()?;
        lp.sock_connect(&client, ("localhost", address.port()).into()).await?;
        let (_, peer) = lp.sock_accept(&listener).await?;
        ensure_eq!(peer.as_socket(), client.local_addr()?.as_socket(), "the peer's address");
        let client = tcp_socket()?;
        lp.sock_connect(&client, Endpoint::name("127.0.0.1", address.port())).await?;
        lp.sock_accept(&listener).await?;
        // There is no such address for this socket.
        let client = tcp_socket()?;
        ensure_is!(lp.sock_connect(&client, Endpoint::name("::1", 80)).await, Err(_));
        let (local, _) = pair()?;
        let refused = lp.sock_connect(&local, Endpoint::name("localhost", 80)).await;
        ensure_is!(refused, Err(Error::InvalidArg(_)));
        Ok(())
    })
}

pub(super) fn a_malformed_address_is_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let client = tcp_socket()?;
        let long = "x".repeat(200);
        for bad in [Endpoint::from("no port here"), Endpoint::path(long), Endpoint::path("")] {
            ensure_is!(lp.sock_connect(&client, bad).await, Err(Error::InvalidArg(_)));
        }
        Ok(())
    })
}

pub(super) fn accepted_sockets_are_fit_for_use(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (listener, address) = listener()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let accepting = lp.create_task(lp.sock_accept(&listener))?;
        idle().await;
        ensure!(!accepting.done(), "somebody was accepted whom nobody sent");
        let client = tcp_socket()?;
        lp.sock_connect(&client, address.into()).await?;
        let (server, peer) = accepting.await??;
        ensure_eq!(peer.as_socket(), client.local_addr()?.as_socket(), "the peer's address");
        ensure!(is_nonblocking(&server)?, "the accepted socket blocks");
        let flags = rustix::io::fcntl_getfd(&server)?;
        ensure!(flags.contains(rustix::io::FdFlags::CLOEXEC), "children inherit it");
        Ok(())
    })
}

pub(super) fn connecting_again_is_told(cx: &Context) -> Outcome {
    const EISCONN: i32 = 106;
    let lp = cx.new_loop()?;
    let (_listener, address) = listener()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let client = tcp_socket()?;
        lp.sock_connect(&client, address.into()).await?;
        // The first call after a connection that took its time may be told that it stands.
        let told = lp.sock_connect(&client, address.into()).await;
        ensure!(told.is_ok() || is_os(&told, EISCONN), "connecting again: {told:?}");
        let again = lp.sock_connect(&client, address.into()).await;
        ensure!(is_os(&again, EISCONN), "and again: {again:?}");
        Ok(())
    })
}

pub(super) fn a_connect_in_progress_is_waited_for(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let stalled = stalled_listener()?;
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let client = tcp_socket()?;
        let first = lp.create_task(lp.sock_connect(&client, stalled.address.into()))?;
        idle().await;
        ensure!(!first.done(), "a listener that does not answer was connected to");
        let second = lp.sock_connect(&client, stalled.address.into()).await;
        ensure_is!(second, Err(Error::Usage(_)));
        first.cancel();
        ensure_is!(first.await, Err(Error::Cancelled(_)));
        // The system goes on connecting, and so the next call can wait for it.
        let again = lp.create_task(lp.sock_connect(&client, stalled.address.into()))?;
        idle().await;
        ensure!(!again.done(), "connecting again: {again:?}");
        stalled.listener.set_nonblocking(true)?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while !again.done() && Instant::now() < deadline {
            // Makes room in the queue; the system asks again after a while.
            let _ = stalled.listener.accept();
            anyloop_api::sleep(ms(10)).await;
        }
        again.await??;
        Ok(())
    })
}

fn is_os<T>(result: &Result<T, Error>, code: i32) -> bool {
    matches!(result, Err(error) if error.raw_os_error() == Some(code))
}

pub(super) fn paths_are_addresses(cx: &Context) -> Outcome {
    const ENOENT: i32 = 2;
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let path = directory.join("listener");
    let listener = Sock::new(UnixListener::bind(&path)?)?;
    let missing = directory.join("nobody");
    let inner = lp.clone();
    run(&lp, async move {
        let lp = inner;
        let client = Sock::open(Domain::UNIX, Type::STREAM)?;
        lp.sock_connect(&client, path.as_path().into()).await?;
        let (server, peer) = lp.sock_accept(&listener).await?;
        ensure!(peer.is_unnamed(), "a peer without a name has one: {peer:?}");
        ensure_eq!(client.peer_addr()?.as_pathname(), Some(&*path), "the listener's address");
        lp.sock_sendall(&server, b"x".to_vec()).await.0?;
        ensure_eq!(lp.sock_recv(&client, 9).await?, b"x", "what arrived");

        let client = Sock::open(Domain::UNIX, Type::STREAM)?;
        let refused = lp.sock_connect(&client, missing.as_path().into()).await;
        ensure_is!(
            &refused,
            Err(error) if error.raw_os_error() == Some(ENOENT)
                && error.to_string().contains("nobody")
        );
        // A client with a name of its own.
        let client = Sock::open(Domain::UNIX, Type::STREAM)?;
        let name = directory.join("client");
        client.socket().bind(&anyloop_api::SockAddr::unix(&name)?)?;
        lp.sock_connect(&client, path.as_path().into()).await?;
        let (_, peer) = lp.sock_accept(&listener).await?;
        ensure_eq!(peer.as_pathname(), Some(&*name), "the name of the peer");
        Ok(())
    })
}
