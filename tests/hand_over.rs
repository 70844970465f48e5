//! `examples/hand_over.rs` on every backend: connections that one loop accepts and others serve.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

#[path = "../examples/hand_over.rs"]
#[allow(dead_code, reason = "the example's own main")]
mod hand_over;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use anyloop::{Error, Result, create_task, to_thread};
use hand_over::{Workers, accept};

const WORKERS: usize = 3;
const EACH: usize = 8;

fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// Sends and compares; the server has the connection afterwards.
fn exchange(mut stream: &TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let mut back = vec![0; bytes.len()];
    let sender = stream.try_clone()?;
    thread::scope(|scope| {
        let sent = scope.spawn(move || (&sender).write_all(bytes));
        stream.read_exact(&mut back)?;
        sent.join().expect("it does not panic")
    })?;
    assert!(back == bytes, "other bytes came back");
    Ok(())
}

/// All at once, each with some bytes and then many, until the server has seen the end.
fn visit(to: SocketAddr) -> std::io::Result<()> {
    let streams: Vec<_> = (0..WORKERS * EACH).map(|_| connect(to)).collect::<Result<_, _>>()?;
    for (number, stream) in streams.iter().enumerate() {
        exchange(stream, format!("number {number}").as_bytes())?;
    }
    let large: Vec<u8> = (0..1 << 20).map(|index: usize| (index % 251) as u8).collect();
    for mut stream in streams {
        exchange(&stream, &large)?;
        stream.shutdown(Shutdown::Write)?;
        // Unlike `read`, it does not fail if a signal comes.
        let after = stream.read_to_end(&mut Vec::new())?;
        assert_eq!(after, 0, "bytes between the last answer and the end");
    }
    Ok(())
}

on_every_backend! {
    fn each_worker_serves_its_share(backend) {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| Error::os("bind", e))?;
        let address = listener.local_addr().map_err(|e| Error::os("getsockname", e))?;
        let workers = Rc::new(Workers::start(backend, WORKERS)?);
        let all = workers.clone();
        support::run(backend, async move {
            let accepting = create_task(accept(listener, all))?;
            let visited = to_thread(move || visit(address)).await?;
            accepting.cancel();
            assert!(matches!(accepting.await, Err(Error::Cancelled(_))));
            visited.map_err(|error| Error::os("visiting", error))
        })??;
        let workers = Rc::try_unwrap(workers).unwrap_or_else(|_| panic!("nobody accepts any more"));
        assert_eq!(workers.stop()?, [EACH; WORKERS]);
        // The port is nobody's any more.
        assert!(TcpStream::connect(address).is_err());
        Ok(())
    }

    fn connections_end_with_their_worker(backend) {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| Error::os("bind", e))?;
        let address = listener.local_addr().map_err(|e| Error::os("getsockname", e))?;
        let workers = Workers::start(backend, 1)?;
        let talk = || -> std::io::Result<TcpStream> {
            let peer = connect(address)?;
            let (ours, _) = listener.accept()?;
            workers.hand_over(OwnedFd::from(ours)).expect("it is there");
            exchange(&peer, b"hello")?;
            Ok(peer)
        };
        // A descriptor of no loop at all, blocking as it is, will do as well.
        let mut peer = talk().map_err(|error| Error::os("talking", error))?;
        assert_eq!(workers.stop()?, [1]);
        match peer.read(&mut [0]) {
            Ok(0) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            other => panic!("expected the end of the connection, got {other:?}"),
        }
    }
}
