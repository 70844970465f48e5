//! Servers: listening sockets and the connections that came through them.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use crate::error::Result;
use crate::extra_info::SocketView;
use crate::loop_ref::LoopRef;

/// A future that stays on its thread.
pub type LocalBoxFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// What a server implementation provides; users hold a [`Server`].
pub trait RawServer: fmt::Debug {
    /// See [`Server::close`].
    fn close(&self);
    /// See [`Server::close_clients`].
    fn close_clients(&self);
    /// See [`Server::abort_clients`].
    fn abort_clients(&self);
    /// See [`Server::wait_closed`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    fn wait_closed(&self) -> LocalBoxFuture<Result<()>>;
    /// See [`Server::start_serving`].
    ///
    /// # Errors
    /// `Usage` on a closed server; `Closed` on a closed loop; `Os`, and then it is closed.
    fn start_serving(&self) -> Result<()>;
    /// See [`Server::serve_forever`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    fn serve_forever(&self) -> LocalBoxFuture<Result<()>>;
    /// See [`Server::is_serving`].
    fn is_serving(&self) -> bool;
    /// See [`Server::sockets`].
    fn sockets(&self) -> Vec<SocketView>;
    /// See [`Server::get_loop`].
    fn get_loop(&self) -> Option<LoopRef>;
}

/// A server; a cheap handle. The loop owns it: dropping every handle leaves it serving (SRV-25).
#[derive(Clone)]
pub struct Server(Rc<dyn RawServer>);

impl Server {
    /// Wraps an implementation; called by loops.
    #[must_use]
    pub fn new(raw: Rc<dyn RawServer>) -> Self {
        Self(raw)
    }

    /// Stops accepting and closes the listening sockets, now; connections go on. Idempotent.
    pub fn close(&self) {
        self.0.close();
    }

    /// Starts a graceful close of every connection.
    pub fn close_clients(&self) {
        self.0.close_clients();
    }

    /// Aborts every connection.
    pub fn abort_clients(&self) {
        self.0.abort_clients();
    }

    /// Waits until the server is closed and its last connection has ended.
    ///
    /// # Errors
    /// None today.
    ///
    /// # Cancel safety
    /// Dropping the wait changes nothing.
    pub async fn wait_closed(&self) -> Result<()> {
        self.0.wait_closed().await
    }

    /// Begins to listen and accept. Idempotent.
    ///
    /// # Errors
    /// `Usage` on a closed server, `Closed` on a closed loop. `Os` if one of its sockets cannot listen; then the
    /// server is closed, and none of them does.
    ///
    /// # Cancel safety
    /// It does not suspend on the loops that are here: there is nothing to cut short.
    #[allow(clippy::unused_async, reason = "asyncio's shape: a loop may have to wait for it")]
    pub async fn start_serving(&self) -> Result<()> {
        self.0.start_serving()
    }

    /// Serves until the server is closed or the task is cancelled; a cancellation closes the server and
    /// its connections, waits for that, and then continues outwards.
    ///
    /// # Errors
    /// `Usage` if the server is closed or is being served already.
    ///
    /// # Cancel safety
    /// Dropping it leaves the server as it is.
    pub async fn serve_forever(&self) -> Result<()> {
        self.0.serve_forever().await
    }

    /// Whether it accepts connections.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.0.is_serving()
    }

    /// The listening sockets; empty once closed.
    #[must_use]
    pub fn sockets(&self) -> Vec<SocketView> {
        self.0.sockets()
    }

    /// The address of the first Internet socket, for servers on an ephemeral port.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.sockets().iter().find_map(|socket| socket.local_addr().ok()?.as_socket())
    }

    /// The loop it belongs to.
    #[must_use]
    pub fn get_loop(&self) -> Option<LoopRef> {
        self.0.get_loop()
    }

    /// Runs `body`, then closes the server and waits for it, whatever happened (Python's
    /// `async with server`).
    ///
    /// ```
    /// # use anyloop_api::{Result, Server};
    /// # async fn example(server: Server, work: impl Future<Output = Result<()>>) -> Result<()> {
    /// server.scope(work).await
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// A cancellation ends `body`, and continues outwards when the last connection has ended. Dropping it drops `body` and leaves
    /// the server as it is.
    pub async fn scope<F: Future>(&self, body: F) -> F::Output {
        crate::cancel::with_cleanup(body, |_| async {
            self.close();
            let _ = self.wait_closed().await;
        })
        .await
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
