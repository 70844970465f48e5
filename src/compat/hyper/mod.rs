//! [hyper](https://docs.rs/hyper/1) on any loop: its traits for I/O, time and tasks. Feature `hyper`.
//!
//! | hyper wants | it gets |
//! | --- | --- |
//! | [`Read`] and [`Write`] | [`HyperIo`] around a [`TcpStream`](crate::TcpStream), or around anything with futures-io's traits |
//! | the same and `Send`: `with_upgrades`, hyper-util's client | [`HyperIo`] around a [`SendIo`](super::SendIo) around that |
//! | [`Timer`] | [`HyperTimer`] |
//! | [`Executor`] | [`HyperExecutor`] on the loop's thread, for any future; [`HyperSendExecutor`] from any thread |
//!
//! ```
//! use std::convert::Infallible;
//!
//! use anyloop::compat::hyper::{HyperIo, HyperTimer};
//! use anyloop::{TcpStream, start_server};
//! use hyper::server::conn::http1;
//! use hyper::service::service_fn;
//! use hyper::{Request, Response, body::Incoming};
//!
//! async fn hello(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
//!     Ok(Response::new("hello".into()))
//! }
//!
//! anyloop::run(async {
//!     let server = start_server("127.0.0.1:0", |reader, writer| async {
//!         let io = HyperIo::new(TcpStream::from_split(reader, writer));
//!         let mut http = http1::Builder::new();
//!         let served = http.timer(HyperTimer::current()?).serve_connection(io, service_fn(hello));
//!         served.await.map_err(|error| std::io::Error::other(error).into())
//!     })
//!     .await?;
//!     // … server.serve_forever().await …
//!     server.close();
//!     server.wait_closed().await
//! })??;
//! # Ok::<(), anyloop::Error>(())
//! ```
//!
//! The client's side; the connection is a task of its own:
//!
//! ```
//! use anyloop::TcpStream;
//! use anyloop::compat::hyper::{HyperExecutor, HyperIo};
//! use hyper::client::conn::http1;
//! use hyper::rt::Executor;
//! use hyper::{Request, Response, body::Incoming};
//!
//! # async fn example() -> Result<Response<Incoming>, Box<dyn std::error::Error>> {
//! let io = HyperIo::new(TcpStream::connect("127.0.0.1:8080").await?);
//! let (mut sender, connection) = http1::handshake(io).await?;
//! HyperExecutor.execute(connection);
//! let request = Request::get("/").header("host", "localhost").body(String::new())?;
//! let response = sender.send_request(request).await?;
//! # Ok(response)
//! # }
//! ```
//!
//! HTTPS is the same with the reader and the writer of `tls::start_server` and `tls::open_connection`.
//!
//! A connection that is upgraded, to a WebSocket for instance, is [`hyper::upgrade::Upgraded`]; [`HyperIo`] around
//! that has futures-io's traits.
//!
//! axum's `Router` is a service by hyper-util's `TowerToHyperService`. Its handlers have to be `Send`: what is not
//! is awaited as a task, by [`RemoteHandle::spawn_with`].

mod io;
mod timer;

use std::future::Future;

use anyloop_api::{EventLoopExt, LoopRef, RemoteHandle, Report};
use hyper::rt::Executor;
#[allow(unused_imports, reason = "for the documentation")]
use hyper::rt::{Read, Timer, Write};

pub use io::HyperIo;
pub use timer::HyperTimer;

/// Runs hyper's futures as tasks of the running loop; they need not be `Send`.
///
/// A future that is handed over where no loop runs, or to a loop that is closed, is dropped; the loop
/// is told, if there is one. From other threads: [`HyperSendExecutor`].
#[derive(Clone, Copy, Debug, Default)]
pub struct HyperExecutor;

impl<F> Executor<F> for HyperExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        let Ok(lp) = LoopRef::current() else { return };
        if let Err(error) = lp.create_task(future) {
            let report = Report::new("hyper: a task could not be created");
            lp.call_exception_handler(report.exception(error));
        }
    }
}

/// Runs `Send` futures as tasks of one loop, from any thread. Once the loop is closed they are dropped.
#[derive(Clone, Debug)]
pub struct HyperSendExecutor(RemoteHandle);

impl HyperSendExecutor {
    /// For the loop of `remote`.
    #[must_use]
    pub fn new(remote: RemoteHandle) -> Self {
        Self(remote)
    }
}

impl<F> Executor<F> for HyperSendExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        // Refused by a closed loop, which would drop it as well.
        let _ = self.0.spawn(future);
    }
}
