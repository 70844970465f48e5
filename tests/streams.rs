//! Streams, on every backend.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

#[path = "streams/connection.rs"]
mod connection;
#[path = "streams/direct.rs"]
mod direct;
#[path = "streams/futures_io.rs"]
mod futures_io_traits;
#[path = "streams/server.rs"]
mod server;
#[path = "streams/unix.rs"]
mod unix;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use anyloop::tls::{self, ClientTls, ServerTls, rustls};
use anyloop::{
    Error, EventLoopExt, LoopRef, Result, Server, StreamReader, StreamWriter, open_connection,
    start_server_with_limit,
};

type Half = (StreamReader, StreamWriter);

/// A connection: the server, the client's end, the server's end with the given limit.
async fn pair(limit: usize) -> Result<(Server, Half, Half)> {
    let lp = LoopRef::current()?;
    let accepted = lp.create_future();
    let told = accepted.clone();
    let connected = move |reader, writer| {
        told.set_unless_done(Ok((reader, writer)));
    };
    let server = start_server_with_limit("127.0.0.1:0", limit, connected).await?;
    let client = open_connection(address(&server)).await?;
    let accepted = accepted.await?;
    Ok((server, client, accepted))
}

/// The same over TLS.
async fn tls_pair() -> Result<(Server, Half, Half)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let made = made.expect("a certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("it is one");
    let key = made.signing_key.serialize_der().try_into().expect("a key");
    let server_tls = ServerTls::with_certificate(vec![made.cert.der().clone()], key)?;
    let client_tls = ClientTls::with_roots(roots)?.server_hostname("localhost");
    let accepted = LoopRef::current()?.create_future();
    let told = accepted.clone();
    let connected = move |reader, writer| {
        told.set_unless_done(Ok((reader, writer)));
    };
    let server = tls::start_server("127.0.0.1:0", server_tls, connected).await?;
    let client = tls::open_connection(address(&server), client_tls).await?;
    let accepted = accepted.await?;
    Ok((server, client, accepted))
}

fn address(server: &Server) -> SocketAddr {
    server.local_addr().expect("a TCP server has an address")
}

/// Collects what is reported.
fn reports() -> Result<Rc<RefCell<Vec<String>>>> {
    let reports: Rc<RefCell<Vec<String>>> = Rc::default();
    let seen = reports.clone();
    LoopRef::current()?.set_exception_handler(Some(Rc::new(move |_, report| {
        seen.borrow_mut().push(report.to_string());
    })));
    Ok(reports)
}

/// Polls a future once; `None` if it is pending. Dropping it afterwards is a cancellation.
async fn once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[track_caller]
fn failed<T: std::fmt::Debug>(outcome: Result<T>) -> Error {
    outcome.expect_err("this should have failed")
}
