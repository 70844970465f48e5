//! Local stream sockets.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyloop_api::{
    Protocol, ProtocolFactory, Server, Sock, Transport, Type, UnixBind, UnixConnect,
};

use super::prelude::*;
use crate::tools::{Record, Script, TempDir, pipe, settle, tcp_pair};

cases! {
    UNIX_01 => paths, abstract_names, existing_sockets, a_burst_of_clients, credentials,
        descriptors_are_passed;
    UNIX_02 => a_stale_socket_is_replaced, another_file_stays, a_missing_directory_is_told;
    UNIX_03 => close_removes_the_file, but_not_another_one, nor_when_told_to_leave_it,
        a_failed_or_cancelled_call_leaves_no_file;
    UNIX_04 => contradictions_are_refused;
    UNIX_05 => a_failed_connect_leaves_nothing;
}

fn serve(lp: &LoopRef, record: &Record, at: impl Into<UnixBind>) -> Result<Server, Error> {
    lp.run_until_complete(lp.create_unix_server(record.factory(), at.into()))?
}

fn connect(lp: &LoopRef, record: &Record, to: impl Into<UnixConnect>) -> Result<Transport, Error> {
    let connecting = lp.create_unix_connection(record.factory(), to.into());
    Ok(lp.run_until_complete(connecting)??.0)
}

/// A message in each direction, then the end.
fn converse(
    lp: &LoopRef,
    server: &Server,
    at_server: &Record,
    to: impl Into<UnixConnect>,
) -> Outcome {
    let at_client = Script::new().record();
    let transport = connect(lp, &at_client, to)?;
    transport.write(b"question")?;
    at_server.until_received(lp, 8)?;
    at_server.transport().write(b"answer")?;
    at_client.until_received(lp, 6)?;
    ensure_eq!(at_server.bytes(), b"question", "what the server got");
    ensure_eq!(at_client.bytes(), b"answer", "what the client got");
    transport.write_eof()?;
    at_client.until_lost(lp)?;
    at_server.until_lost(lp)?;
    at_server.expect(["made", "data", "eof", "lost"])?;
    at_client.expect(["made", "data", "eof", "lost"])?;
    server.close();
    Ok(lp.run_until_complete(wait_closed(server.clone()))??)
}

async fn wait_closed(server: Server) -> Result<(), Error> {
    server.wait_closed().await
}

fn paths(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let path = directory.join("server");
    let record = Script::new().record();
    let server = serve(&lp, &record, &path)?;
    ensure!(server.is_serving(), "not serving");
    let address = server.sockets()[0].local_addr()?;
    ensure_eq!(address.as_pathname(), Some(&*path), "the server's address");
    converse(&lp, &server, &record, &path)
}

fn abstract_names(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let name = format!("anyloop-conformance-{}", std::process::id());
    let record = Script::new().record();
    let server = serve(&lp, &record, UnixBind::abstract_name(&name))?;
    let address = server.sockets()[0].local_addr()?;
    ensure_eq!(address.as_abstract_namespace(), Some(name.as_bytes()), "the server's address");
    // Python's way to write it.
    converse(&lp, &server, &record, format!("\0{name}"))
}

fn existing_sockets(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let path = directory.join("server");
    let record = Script::new().record();
    let server = serve(&lp, &record, UnixBind::socket(UnixListener::bind(&path)?))?;
    converse(&lp, &server, &record, UnixConnect::socket(UnixStream::connect(&path)?))?;
    ensure!(!path.exists(), "the file of a socket that was given is left");

    let (near, mut far) = UnixStream::pair()?;
    let record = Script::new().record();
    let transport = connect(&lp, &record, UnixConnect::socket(near))?;
    transport.write(b"x")?;
    settle(&lp)?;
    far.read_exact(&mut [0])?;
    transport.close();
    Ok(record.until_lost(&lp)?)
}

/// More clients than the queue of the listener has room for.
fn a_burst_of_clients(cx: &Context) -> Outcome {
    const CLIENTS: usize = 60;
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let path = directory.join("server");
    let accepted = Counter::new();
    let counter = accepted.clone();
    let factory: ProtocolFactory = Rc::new(move || {
        counter.add();
        Script::new().record().plain()
    });
    let at = UnixBind::path(&path).backlog(4);
    let server = lp.run_until_complete(lp.create_unix_server(factory, at))??;
    let record = Script::new().record();
    let mut connecting = Vec::new();
    for _ in 0..CLIENTS {
        let to = UnixConnect::path(&path);
        connecting.push(lp.create_task(lp.create_unix_connection(record.factory(), to))?);
    }
    for task in connecting {
        lp.run_until_complete(task)???.0.close();
    }
    // Those that are connected may still wait in the queue.
    while accepted.get() < CLIENTS {
        run_once(&lp)?;
    }
    server.close();
    lp.run_until_complete(wait_closed(server))??;
    ensure_eq!((accepted.get(), record.count("lost")), (CLIENTS, CLIENTS), "connections");
    Ok(())
}

fn credentials(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let path = directory.join("server");
    let record = Script::new().record();
    let server = serve(&lp, &record, &path)?;
    let client = Script::new().record();
    let transport = connect(&lp, &client, &path)?;
    record.until(&lp, |record| record.count("made") > 0)?;
    for transport in [&transport, &record.transport()] {
        let info = transport.get_extra_info("peercred").and_then(|info| info.credentials());
        let peer = info.ok_or_else(|| Failure::new("the peer has no credentials"))?;
        ensure_eq!(peer.pid, std::process::id() as i32, "the peer's process");
        let mine = fs::metadata("/proc/self")?;
        let owner = (std::os::unix::fs::MetadataExt::uid(&mine), peer.gid);
        ensure_eq!((peer.uid, peer.gid), owner, "the peer's user");
    }
    let (near, _far) = tcp_pair()?;
    let remote = Script::new().record().attach(&lp, near)?;
    ensure!(remote.get_extra_info("peercred").is_none(), "a remote peer has credentials");
    remote.abort();
    transport.abort();
    server.close();
    Ok(settle(&lp)?)
}

fn descriptors_are_passed(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, far) = Sock::pair(Type::STREAM)?;
    let inner = lp.clone();
    lp.run_until_complete(async move {
        let lp = inner;
        let receiving = lp.create_task(lp.sock_recv_fds(&far, 100, 8))?;
        yield_now().await;
        let (read, write) = pipe()?;
        let (sent, data) = lp.sock_send_fds(&near, b"a pipe".to_vec(), vec![read, write]).await;
        ensure_eq!((sent?, &data[..]), (6, &b"a pipe"[..]), "bytes sent, and the buffer");
        let (data, fds) = receiving.await??;
        ensure_eq!(data, b"a pipe", "the bytes that came");
        let [read, write] = <[OwnedFd; 2]>::try_from(fds)
            .map_err(|fds| Failure::new(format!("{} descriptors came", fds.len())))?;
        for fd in [&read, &write] {
            let flags = rustix::io::fcntl_getfd(fd)?;
            ensure!(flags.contains(rustix::io::FdFlags::CLOEXEC), "children inherit it");
        }
        rustix::io::write(&write, b"x")?;
        ensure_eq!(crate::tools::drain(&read)?, (b"x".to_vec(), false), "what the pipe carries");

        // Without descriptors, with too many for the receiver, and with too many for anybody.
        lp.sock_send_fds(&near, b"none".to_vec(), Vec::new()).await.0?;
        let (data, fds) = lp.sock_recv_fds(&far, 100, 8).await?;
        ensure_eq!((&data[..], fds.len()), (&b"none"[..], 0), "bytes without descriptors");
        lp.sock_send_fds(&near, b"two".to_vec(), vec![read, write]).await.0?;
        let (data, fds) = lp.sock_recv_fds(&far, 100, 1).await?;
        ensure_eq!((&data[..], fds.len()), (&b"two"[..], 1), "with room for one");
        let refused = lp.sock_send_fds(&near, Vec::new(), fds).await.0;
        ensure_is!(refused, Err(Error::InvalidArg(_)));
        drop(near);
        ensure_is!(lp.sock_recv_fds(&far, 100, 8).await, Ok((data, _)) if data.is_empty());
        Ok(())
    })?
}

fn a_stale_socket_is_replaced(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let path = directory.join("server");
    drop(UnixListener::bind(&path)?);
    ensure!(path.exists(), "the stale socket is gone by itself");
    let record = Script::new().record();
    let server = serve(&lp, &record, &path)?;
    converse(&lp, &server, &record, &path)
}

fn another_file_stays(cx: &Context) -> Outcome {
    const EADDRINUSE: i32 = 98;
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let path = directory.join("precious");
    fs::write(&path, b"data")?;
    let record = Script::new().record();
    let refused = serve(&lp, &record, &path);
    ensure_is!(
        &refused,
        Err(error) if error.raw_os_error() == Some(EADDRINUSE)
            && error.to_string().contains("precious")
    );
    ensure_eq!(fs::read(&path)?, b"data", "what is in the file");
    Ok(())
}

fn a_missing_directory_is_told(cx: &Context) -> Outcome {
    const ENOENT: i32 = 2;
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let record = Script::new().record();
    let refused = serve(&lp, &record, directory.join("no/such/place"));
    ensure_is!(&refused, Err(error) if error.raw_os_error() == Some(ENOENT));
    ensure_is!(serve(&lp, &record, "x".repeat(200)), Err(Error::InvalidArg(_)));
    ensure_is!(serve(&lp, &record, ""), Err(Error::InvalidArg(_)));
    Ok(())
}

fn close_removes_the_file(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let path = directory.join("server");
    let record = Script::new().record();
    let server = serve(&lp, &record, &path)?;
    let client = Script::new().record();
    let transport = connect(&lp, &client, &path)?;
    record.until(&lp, |record| record.count("made") > 0)?;
    ensure!(fs::symlink_metadata(&path)?.file_type().is_socket(), "no socket at the path");
    server.close();
    ensure!(!path.exists(), "the file is left");
    // The connection stays.
    transport.write(b"x")?;
    record.until_received(&lp, 1)?;
    transport.abort();
    client.until_lost(&lp)?;
    // Also by a server that never served.
    let server = serve(&lp, &record, UnixBind::path(&path).start_serving(false))?;
    ensure!(path.exists(), "a server that does not serve yet is not bound");
    ensure_is!(UnixStream::connect(&path), Err(_));
    server.close();
    ensure!(!path.exists(), "the file of a server that never served is left");
    Ok(())
}

fn but_not_another_one(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let path = directory.join("server");
    let record = Script::new().record();
    // Replaced by another server's.
    let first = serve(&lp, &record, &path)?;
    let second = serve(&lp, &record, &path)?;
    first.close();
    ensure!(path.exists(), "the second server's file was removed by the first");
    // Replaced by something else.
    fs::remove_file(&path)?;
    fs::write(&path, b"data")?;
    second.close();
    ensure_eq!(fs::read(&path)?, b"data", "what somebody else put there");
    // Already removed.
    fs::remove_file(&path)?;
    let third = serve(&lp, &record, &path)?;
    fs::remove_file(&path)?;
    third.close();
    ensure!(!path.exists(), "there is a file again");
    Ok(())
}

fn nor_when_told_to_leave_it(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let path = directory.join("server");
    let record = Script::new().record();
    let server = serve(&lp, &record, UnixBind::path(&path).cleanup_socket(false))?;
    server.close();
    ensure!(path.exists(), "the file was removed");
    Ok(())
}

fn a_failed_or_cancelled_call_leaves_no_file(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let path = directory.join("server");
    let record = Script::new().record();
    let task = lp.create_task(lp.create_unix_server(record.factory(), (&path).into()))?;
    run_once(&lp)?;
    task.cancel();
    ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
    ensure!(!path.exists(), "the file of a server that nobody got");
    Ok(())
}

fn contradictions_are_refused(cx: &Context) -> Outcome {
    struct Nobody;
    impl Protocol for Nobody {}
    fn factory() -> ProtocolFactory {
        Rc::new(|| anyloop_api::AnyProtocol::plain(Nobody))
    }
    fn bad<T: std::fmt::Debug>(result: Result<Result<T, Error>, Error>, what: &str) -> Outcome {
        match result? {
            Err(Error::InvalidArg(_)) => Ok(()),
            other => Err(Failure::new(format!("{what}: expected InvalidArg, found {other:?}"))),
        }
    }
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let path = directory.join("server");
    let client = |to| lp.run_until_complete(lp.create_unix_connection(factory(), to));
    let server = |at| lp.run_until_complete(lp.create_unix_server(factory(), at));

    let (near, far) = UnixStream::pair()?;
    bad(client(UnixConnect::path(&path).with_socket(near)), "path and socket")?;
    bad(server(UnixBind::path(&path).with_socket(far)), "path and socket")?;
    bad(client(UnixConnect::default()), "neither path nor socket")?;
    bad(server(UnixBind::default()), "neither path nor socket")?;
    let (near, far) = tcp_pair()?;
    bad(client(UnixConnect::socket(near)), "a TCP socket")?;
    bad(server(UnixBind::socket(far)), "a TCP socket")?;
    let (near, far) = std::os::unix::net::UnixDatagram::pair()?;
    bad(client(UnixConnect::socket(near)), "a datagram socket")?;
    bad(server(UnixBind::socket(far)), "a datagram socket")?;
    let (read, write) = pipe()?;
    let refused = client(UnixConnect::socket(read))?;
    ensure!(refused.is_err(), "a pipe was taken for a socket");
    drop(write);
    ensure!(!path.exists(), "something was bound");
    Ok(())
}

fn a_failed_connect_leaves_nothing(cx: &Context) -> Outcome {
    const ENOENT: i32 = 2;
    const ECONNREFUSED: i32 = 111;
    let lp = cx.new_loop()?;
    let directory = TempDir::new()?;
    let path = directory.join("server");
    let record = Script::new().record();
    let code = |path: &Path| connect(&lp, &record, path).err().and_then(|e| e.raw_os_error());
    ensure_eq!(code(&path), Some(ENOENT), "connecting to nothing");
    drop(UnixListener::bind(&path)?);
    ensure_eq!(code(&path), Some(ECONNREFUSED), "connecting to a socket that nobody has");
    let text = connect(&lp, &record, &path).err().map(|error| error.to_string());
    ensure!(text.is_some_and(|text| text.contains("server")), "the error does not name the path");
    record.expect([])?;

    // Cancelled while it waits for a server with a full queue.
    fs::remove_file(&path)?;
    let listener = UnixListener::bind(&path)?;
    rustix::net::listen(&listener, 0)?;
    let _queued = UnixStream::connect(&path)?;
    let to = UnixConnect::path(&path);
    let task = lp.create_task(lp.create_unix_connection(record.factory(), to))?;
    run_for(&lp, ms(20))?;
    ensure!(!task.done(), "connected to a full queue");
    task.cancel();
    ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
    record.expect([])
}
