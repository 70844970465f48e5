//! The contract: `EventLoop`, object-safe.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockAddr;

use crate::any_task::AnyTask;
use crate::command::Command;
use crate::datagram::{DatagramEndpoint, DatagramFactory, DatagramProtocol, DatagramTransport};
use crate::datagrams::Datagrams;
use crate::dump::Dump;
use crate::endpoint::Endpoint;
use crate::error::{Error, Interrupt, Result};
use crate::executor::{Job, SharedExecutor};
use crate::future::LoopFuture;
use crate::handle::Handle;
use crate::instant::LoopInstant;
use crate::lookup::{AddrInfo, Lookup, NameInfoFlags};
use crate::net::{Bind, Connect, Family};
use crate::pipe::Rejected;
use crate::protocol::AnyProtocol;
use crate::remote::{RemoteHandle, Scheduler};
use crate::report::{ExceptionHandler, Report};
use crate::runnable::Runnable;
use crate::sendfile::SendFile;
use crate::server::{LocalBoxFuture, Server};
use crate::sock::{Received, Sock};
use crate::state::{Interruption, LoopState};
use crate::subprocess::{SubprocessFactory, SubprocessProtocol, SubprocessTransport};
use crate::task_factory::TaskFactory;
use crate::timer_handle::{TimerHandle, TimerKey};
use crate::transport::Transport;
use crate::unix::{UnixBind, UnixConnect};

/// Makes the protocol of a connection.
pub type ProtocolFactory = Rc<dyn Fn() -> AnyProtocol>;

/// An event loop: the mirror of asyncio's `AbstractEventLoop`, usable as `dyn`.
///
/// Users hold a [`LoopRef`](crate::LoopRef) and call the generic methods of
/// [`EventLoopExt`](crate::EventLoopExt) on it. A loop author
/// either implements a driver for `anyloop-core` and gets all of this, or implements this trait;
/// either way the conformance suite tells whether it was done right.
///
/// # What every implementation keeps
///
/// * **Order.** Handles and runnables share one FIFO. An iteration polls the operating system,
///   queues what that brought, then the timers that are due, and then runs exactly what was queued
///   when it began to run (SCHED-03): nothing can starve I/O.
/// * **No re-entrancy.** No method calls user code before it returns, except the exception handler.
/// * **Panics** of callbacks are caught and reported; the loop lives on.
/// * **One thread.** Everything here stays on the loop's thread; only what
///   [`EventLoop::remote`] and [`EventLoop::scheduler`] return may be used elsewhere.
/// * **Close** is idempotent, drops what is queued without running it, and frees every descriptor.
pub trait EventLoop: fmt::Debug {
    /// The loop-independent part, embedded by every loop.
    fn state(&self) -> &LoopState;

    // --- running ---

    /// Runs until [`EventLoop::stop`].
    ///
    /// # Errors
    /// `Closed`; `AlreadyRunning`; `Interrupt`; `Os` if the kernel interface fails for good.
    fn run_forever(&self) -> Result<()>;

    /// Ends the run after the current iteration. Before a run: lets it make exactly one. Never fails.
    fn stop(&self);

    /// Frees everything; queued callbacks are dropped without running. Idempotent.
    ///
    /// # Errors
    /// `Usage` while running.
    fn close(&self) -> Result<()>;

    /// Whether the loop is inside `run_*`.
    fn is_running(&self) -> bool {
        self.state().is_running()
    }

    /// Whether it is closed.
    fn is_closed(&self) -> bool {
        self.state().is_closed()
    }

    /// Leaves the run as soon as the current callback returns; `run_*` fails with the interrupt. What
    /// was queued stays queued (LIFE-18).
    fn interrupt(&self, interrupt: Interrupt) {
        self.state().interrupt(Interruption::Interrupt(interrupt));
    }

    // --- scheduling ---

    /// The loop's clock: monotonic, read now.
    fn time(&self) -> LoopInstant;

    /// Appends a handle to the ready queue.
    ///
    /// # Errors
    /// `Closed`.
    fn call_soon_handle(&self, handle: Handle) -> Result<()>;

    /// Runs a handle once the clock has reached `when`; in the order of `when`, then of creation.
    ///
    /// # Errors
    /// `Closed`.
    fn call_at_handle(&self, when: LoopInstant, handle: Handle) -> Result<TimerHandle>;

    /// The same for whoever keeps the callback, as [`sleep`](crate::sleep()) does: says in `key` where the
    /// timer is. On a closed loop it does nothing.
    fn start_timer(&self, when: LoopInstant, handle: Handle, key: &TimerKey) {
        if let Ok(timer) = self.call_at_handle(when, handle) {
            timer.leave(key);
        }
    }

    /// Appends a task to the ready queue. On a closed loop the runnable is dropped.
    fn schedule(&self, runnable: Runnable);

    /// What woken tasks are put into, from any thread.
    fn scheduler(&self) -> Arc<dyn Scheduler>;

    /// The door for other threads.
    fn remote(&self) -> RemoteHandle;

    // --- executor ---

    /// Runs a blocking job in `executor`, or in the loop's own pool.
    ///
    /// # Errors
    /// `Closed`; `Usage` after the default executor was shut down.
    fn execute(&self, executor: Option<SharedExecutor>, job: Job) -> Result<()>;

    /// Replaces the loop's own pool; the old one is shut down without waiting.
    fn set_default_executor(&self, executor: SharedExecutor);

    /// Waits for the loop's own pool to finish, at most `timeout`; then shuts it down regardless, with
    /// a warning. `None`: however long it takes.
    ///
    /// # Cancel safety
    /// Dropping it leaves the pool, which takes no more jobs, to finish by itself.
    fn shutdown_default_executor(&self, timeout: Option<Duration>) -> LocalBoxFuture<()>;

    // --- resolver; a loop may leave it out, and then it fails with `Usage` ---

    /// Resolves a name (none, an empty one or `*`: all interfaces) and a port or service name for stream sockets,
    /// off the loop's thread. A literal address with a number is its own answer.
    ///
    /// # Errors
    /// As [`EventLoop::getaddrinfo`]; `InvalidArg` for a number that is none of a port.
    ///
    /// # Cancel safety
    /// As [`EventLoop::getaddrinfo`].
    fn resolve(
        &self,
        host: Option<String>,
        port: Option<String>,
        family: Family,
    ) -> LocalBoxFuture<Result<Vec<std::net::SocketAddr>>> {
        let _ = (host, port, family);
        unsupported(self.state(), "resolve")
    }

    /// Asks the platform's resolver for addresses, off the loop's thread.
    ///
    /// # Errors
    /// `Os`, with the resolver's code in [`Error::lookup_code`]; `InvalidArg` for a name that contains
    /// a zero byte; `Usage` after the executor was shut down; `Closed`.
    ///
    /// # Cancel safety
    /// A cancelled lookup ends at once; its answer is thrown away.
    fn getaddrinfo(&self, lookup: Lookup) -> LocalBoxFuture<Result<Vec<AddrInfo>>> {
        let _ = lookup;
        unsupported(self.state(), "getaddrinfo")
    }

    /// Asks the platform's resolver for the host and the service of an address, off the loop's thread.
    ///
    /// # Errors
    /// As [`EventLoop::getaddrinfo`].
    ///
    /// # Cancel safety
    /// As [`EventLoop::getaddrinfo`].
    fn getnameinfo(
        &self,
        address: std::net::SocketAddr,
        flags: NameInfoFlags,
    ) -> LocalBoxFuture<Result<(String, String)>> {
        let _ = (address, flags);
        unsupported(self.state(), "getnameinfo")
    }

    // --- network; a loop may leave it out, and then it fails with `Usage` ---

    /// Connects a stream socket and attaches a protocol; returns after its `connection_made`.
    ///
    /// # Errors
    /// Contradictory options, what does not parse, and sockets of another kind: `InvalidArg`; resolving: as
    /// [`EventLoop::getaddrinfo`]; connecting: `Os`, with each address if they failed for different reasons, or a
    /// `Group` ([`Connect::all_errors`]); `Closed`; `Panicked` from the factory.
    ///
    /// # Cancel safety
    /// What was opened so far is closed.
    fn create_connection(
        &self,
        factory: ProtocolFactory,
        to: Connect,
    ) -> LocalBoxFuture<Result<(Transport, AnyProtocol)>> {
        let _ = (factory, to);
        unsupported(self.state(), "create_connection")
    }

    /// Listens; each connection gets a protocol of its own.
    ///
    /// # Errors
    /// Contradictory options, what does not parse, and sockets of another kind: `InvalidArg`; resolving: as
    /// [`EventLoop::getaddrinfo`]; binding: `Os` with the address, and nothing stays bound; `Closed`.
    ///
    /// # Cancel safety
    /// What was bound so far is closed.
    fn create_server(&self, factory: ProtocolFactory, at: Bind) -> LocalBoxFuture<Result<Server>> {
        let _ = (factory, at);
        unsupported(self.state(), "create_server")
    }

    /// Attaches a protocol to a connection that was accepted elsewhere; returns after its `connection_made`.
    ///
    /// # Errors
    /// `InvalidArg` if it is no stream socket; `Closed`; `Panicked` from the factory; `Os`. The socket is closed
    /// then.
    ///
    /// # Cancel safety
    /// The socket is closed.
    fn connect_accepted_socket(
        &self,
        factory: ProtocolFactory,
        sock: OwnedFd,
    ) -> LocalBoxFuture<Result<(Transport, AnyProtocol)>> {
        let _ = (factory, sock);
        unsupported(self.state(), "connect_accepted_socket")
    }

    // --- descriptors and signals ---

    /// Calls `callback` in every iteration in which `fd` is readable; replaces an earlier one. A transport
    /// that is given the descriptor takes its place.
    ///
    /// # Errors
    /// `Closed`; `Usage` if a transport owns the descriptor; `Os` if it cannot be polled.
    fn add_reader_fd(&self, fd: RawFd, callback: Box<dyn FnMut()>) -> Result<()>;

    /// Forgets it. True if there was one; false on a closed loop.
    ///
    /// # Errors
    /// `Usage` if a transport owns the descriptor.
    fn remove_reader_fd(&self, fd: RawFd) -> Result<bool>;

    /// As [`EventLoop::add_reader_fd`], for writing.
    ///
    /// # Errors
    /// The same.
    fn add_writer_fd(&self, fd: RawFd, callback: Box<dyn FnMut()>) -> Result<()>;

    /// As [`EventLoop::remove_reader_fd`], for writing.
    ///
    /// # Errors
    /// The same.
    fn remove_writer_fd(&self, fd: RawFd) -> Result<bool>;

    /// Runs `callback` as an ordinary callback after `signal` arrived; replaces an earlier one.
    ///
    /// Deliveries may merge, but a call follows the last one (SIG-07). While any loop has a handler
    /// for a signal, its default does not happen; when the last one goes, the default is back.
    ///
    /// # Errors
    /// `Closed`; `InvalidArg` for a number that is no signal; `Usage` for one that cannot be caught, or
    /// on a thread whose loop the implementation lets handle none. (Loops over `anyloop-core` handle
    /// signals on any thread.)
    fn add_signal_handler_fn(&self, signal: i32, callback: Box<dyn FnMut()>) -> Result<()>;

    /// Forgets it and restores the default disposition. True if there was one.
    ///
    /// # Errors
    /// `InvalidArg` for a number that is no signal.
    fn remove_signal_handler(&self, signal: i32) -> Result<bool>;

    // --- local sockets; a loop may leave them out, and then they fail with `Usage` ---

    /// Connects a local stream socket and attaches a protocol. While the server's queue is full it
    /// waits.
    ///
    /// # Errors
    /// Contradictory options, and sockets of another kind: `InvalidArg`; `Closed`; `Panicked` from the
    /// factory; `Os`.
    ///
    /// # Cancel safety
    /// The socket is closed.
    fn create_unix_connection(
        &self,
        factory: ProtocolFactory,
        to: UnixConnect,
    ) -> LocalBoxFuture<Result<(Transport, AnyProtocol)>> {
        let _ = (factory, to);
        unsupported(self.state(), "create_unix_connection")
    }

    /// Listens on a local stream socket; each connection gets a protocol of its own.
    ///
    /// # Errors
    /// As [`EventLoop::create_unix_connection`]; a file that is no socket is in the way: `Os` with
    /// `EADDRINUSE`.
    ///
    /// # Cancel safety
    /// The socket is closed, and its file removed.
    fn create_unix_server(
        &self,
        factory: ProtocolFactory,
        at: UnixBind,
    ) -> LocalBoxFuture<Result<Server>> {
        let _ = (factory, at);
        unsupported(self.state(), "create_unix_server")
    }

    // --- datagrams; a loop may leave them out, and then they fail with `Usage` ---

    /// Makes a datagram endpoint and attaches a protocol. Names are resolved; the first address that can
    /// be bound and connected counts. A stale local socket in the way is replaced.
    ///
    /// # Errors
    /// Contradictory options, and sockets of another kind: `InvalidArg`; `Closed`; `Panicked` from the
    /// factory; `Os`.
    ///
    /// # Cancel safety
    /// The socket is closed.
    fn create_datagram_endpoint(
        &self,
        factory: DatagramFactory,
        endpoint: DatagramEndpoint,
    ) -> LocalBoxFuture<Result<(DatagramTransport, Rc<dyn DatagramProtocol>)>> {
        let _ = (factory, endpoint);
        unsupported(self.state(), "create_datagram_endpoint")
    }

    // --- pipes; a loop may leave them out, and then they fail with `Usage` ---

    /// Attaches a protocol to the read end of a pipe, a FIFO, a socket or a character device, which is
    /// made non-blocking.
    ///
    /// At its end come `eof_received`, whatever it answers, and `connection_lost(None)`.
    ///
    /// # Errors
    /// `InvalidArg` for anything else, such as a regular file, and `Closed`: both give the descriptor
    /// back. `Usage` if a transport owns the number; `Panicked` from the factory; `Os`.
    ///
    /// # Cancel safety
    /// The descriptor is closed.
    fn connect_read_pipe(
        &self,
        factory: ProtocolFactory,
        pipe: OwnedFd,
    ) -> LocalBoxFuture<Result<(Transport, AnyProtocol), Rejected>> {
        let _ = factory;
        let error = left_out(self.state(), "connect_read_pipe");
        Box::pin(std::future::ready(Err(Rejected::new(error, pipe))))
    }

    /// Attaches a protocol to the write end. When the reader goes away, `connection_lost` follows, even
    /// if nothing is being written; closing and [`Transport::write_eof`] are the same.
    ///
    /// `SIGPIPE` is ignored from here on, unless the process handles it.
    ///
    /// # Errors
    /// As [`EventLoop::connect_read_pipe`].
    ///
    /// # Cancel safety
    /// The descriptor is closed.
    fn connect_write_pipe(
        &self,
        factory: ProtocolFactory,
        pipe: OwnedFd,
    ) -> LocalBoxFuture<Result<(Transport, AnyProtocol), Rejected>> {
        let _ = factory;
        let error = left_out(self.state(), "connect_write_pipe");
        Box::pin(std::future::ready(Err(Rejected::new(error, pipe))))
    }

    // --- child processes; a loop may leave them out, and then they fail with `Usage` ---

    /// Starts a child process and attaches a protocol to it; users call
    /// [`subprocess_exec`](crate::EventLoopExt::subprocess_exec) or
    /// [`subprocess_shell`](crate::EventLoopExt::subprocess_shell).
    ///
    /// The loop owns the child, reaps it when it ends, and touches no other. A child that still runs
    /// when the loop is closed is killed.
    ///
    /// # Errors
    /// `InvalidArg` for a contradictory command; `Os` if the program is missing or may not be run;
    /// `Panicked` from the factory, whereupon nothing is started; `Closed`.
    ///
    /// # Cancel safety
    /// A child that runs already is killed and reaped.
    fn subprocess(
        &self,
        factory: SubprocessFactory,
        command: Command,
    ) -> LocalBoxFuture<Result<(SubprocessTransport, Rc<dyn SubprocessProtocol>)>> {
        let _ = (factory, command);
        let error = left_out(self.state(), "subprocess");
        Box::pin(std::future::ready(Err(error)))
    }

    // --- raw sockets; a loop may leave them out, and then they fail with `Usage` ---

    /// Receives between 1 and `size` bytes; none at the end of the stream, or if `size` is zero.
    ///
    /// # Errors
    /// `Closed`; `Usage` if another receive is pending on the socket, or a transport owns it; in debug
    /// mode `InvalidArg` if it was made blocking; `Os`.
    ///
    /// # Cancel safety
    /// Nothing is lost: what had arrived is there for the next receive.
    fn sock_recv(&self, sock: &Sock, size: usize) -> LocalBoxFuture<Result<Vec<u8>>> {
        let _ = (sock, size);
        unsupported(self.state(), "sock_recv")
    }

    /// Receives into `buffer`, at most its length, and gives it back with the number of bytes.
    ///
    /// # Errors
    /// As [`EventLoop::sock_recv`].
    ///
    /// # Cancel safety
    /// No byte is lost. The buffer is freed if the future is dropped.
    fn sock_recv_into(
        &self,
        sock: &Sock,
        buffer: Vec<u8>,
    ) -> LocalBoxFuture<(Result<usize>, Vec<u8>)> {
        let _ = sock;
        unsupported_with(self.state(), "sock_recv_into", buffer)
    }

    /// Receives one datagram, cut to `size` bytes, with its sender; none if the sender has no address.
    ///
    /// # Errors
    /// As [`EventLoop::sock_recv`].
    ///
    /// # Cancel safety
    /// No datagram is lost.
    fn sock_recvfrom(&self, sock: &Sock, size: usize) -> LocalBoxFuture<Result<Received<Vec<u8>>>> {
        let _ = (sock, size);
        unsupported(self.state(), "sock_recvfrom")
    }

    /// The same into `buffer`, which comes back with the number of bytes and the sender.
    ///
    /// # Errors
    /// As [`EventLoop::sock_recv`].
    ///
    /// # Cancel safety
    /// No datagram is lost. The buffer is freed if the future is dropped.
    fn sock_recvfrom_into(
        &self,
        sock: &Sock,
        buffer: Vec<u8>,
    ) -> LocalBoxFuture<(Result<Received<usize>>, Vec<u8>)> {
        let _ = sock;
        unsupported_with(self.state(), "sock_recvfrom_into", buffer)
    }

    /// Receives the datagrams that wait, at least one and at most as many as `batch` has room for, and gives
    /// it back with their number: by one system call where the kernel offers that, else one datagram at a
    /// time. What was in `batch` is forgotten.
    ///
    /// # Errors
    /// As [`EventLoop::sock_recv`]. `batch` is empty then.
    ///
    /// # Cancel safety
    /// No datagram is lost. `batch` is freed if the future is dropped.
    fn sock_recvmmsg(
        &self,
        sock: &Sock,
        batch: Datagrams,
    ) -> LocalBoxFuture<(Result<usize>, Datagrams)> {
        let _ = sock;
        unsupported_with(self.state(), "sock_recvmmsg", batch)
    }

    /// Sends all of `data`, in order, and gives it back. After a failure it is unknown how much was
    /// sent.
    ///
    /// # Errors
    /// `Closed`; `Usage` if another send is pending on the socket, or a transport owns it; in debug
    /// mode `InvalidArg` if it was made blocking; `Os`.
    ///
    /// # Cancel safety
    /// A prefix may have been sent; nothing is sent afterwards.
    fn sock_sendall(&self, sock: &Sock, data: Vec<u8>) -> LocalBoxFuture<(Result<()>, Vec<u8>)> {
        let _ = sock;
        unsupported_with(self.state(), "sock_sendall", data)
    }

    /// Sends `data` as one datagram to `to`, and gives it back with the number of bytes sent.
    ///
    /// # Errors
    /// As [`EventLoop::sock_sendall`].
    ///
    /// # Cancel safety
    /// The datagram is sent or not.
    fn sock_sendto(
        &self,
        sock: &Sock,
        data: Vec<u8>,
        to: &SockAddr,
    ) -> LocalBoxFuture<(Result<usize>, Vec<u8>)> {
        let _ = (sock, to);
        unsupported_with(self.state(), "sock_sendto", data)
    }

    /// Connects. A name is resolved with the socket's own family and type; the first address counts.
    ///
    /// # Errors
    /// As [`EventLoop::sock_sendall`]; `InvalidArg` for an endpoint that makes no sense; `Os` names
    /// the address.
    ///
    /// # Cancel safety
    /// The socket stays as it is, and the system goes on connecting; another call waits for it.
    fn sock_connect(&self, sock: &Sock, to: Endpoint) -> LocalBoxFuture<Result<()>> {
        let _ = (sock, to);
        unsupported(self.state(), "sock_connect")
    }

    /// Sends bytes, at least one, and duplicates of descriptors with them, over a local socket. Gives
    /// the bytes back with the number that was sent; the descriptors have gone with the first.
    ///
    /// # Errors
    /// As [`EventLoop::sock_sendall`]; `InvalidArg` without a byte or with too many descriptors.
    ///
    /// # Cancel safety
    /// Everything that the result speaks of is sent, or nothing.
    fn sock_send_fds(
        &self,
        sock: &Sock,
        data: Vec<u8>,
        fds: Vec<OwnedFd>,
    ) -> LocalBoxFuture<(Result<usize>, Vec<u8>)> {
        let _ = (sock, fds);
        unsupported_with(self.state(), "sock_send_fds", data)
    }

    /// Receives between 1 and `size` bytes over a local socket, and the descriptors that came with
    /// them, close-on-exec. Descriptors beyond `most` are closed.
    ///
    /// # Errors
    /// As [`EventLoop::sock_recv`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    fn sock_recv_fds(
        &self,
        sock: &Sock,
        size: usize,
        most: usize,
    ) -> LocalBoxFuture<Result<(Vec<u8>, Vec<OwnedFd>)>> {
        let _ = (sock, size, most);
        unsupported(self.state(), "sock_recv_fds")
    }

    /// Accepts one connection: a socket for these operations, and the peer's address.
    ///
    /// # Errors
    /// As [`EventLoop::sock_recv`].
    ///
    /// # Cancel safety
    /// No connection is lost: the next accept gets it.
    fn sock_accept(&self, sock: &Sock) -> LocalBoxFuture<Result<(Sock, SockAddr)>> {
        let _ = sock;
        unsupported(self.state(), "sock_accept")
    }

    // --- sending files; a loop may leave it out, and then it fails with `Usage` ---

    /// Sends a file over a transport: after what was written before, and before what is written after.
    /// Returns the number of bytes sent.
    ///
    /// Where the kernel can, it sends by itself; else the file is read on the executor and written to
    /// the transport, a piece at a time. Meanwhile the transport does not read, and writing to it fails
    /// with `Usage`.
    ///
    /// # Errors
    /// `InvalidArg` for a count of zero, an offset that no file has, or a transport of another loop;
    /// `Usage` on a transport that is closing, half-closed, or sending a file already;
    /// `SendfileUnavailable` without the fallback; `Os`, also if the connection ends meanwhile; `Closed`.
    ///
    /// # Cancel safety
    /// The transport can be used further. The file's position says how much was sent.
    fn sendfile(&self, transport: &Transport, file: SendFile) -> LocalBoxFuture<Result<u64>> {
        let _ = (transport, file);
        unsupported(self.state(), "sendfile")
    }

    /// Sends a file over a connected stream socket. Returns the number of bytes sent.
    ///
    /// # Errors
    /// As [`EventLoop::sock_sendall`]; `InvalidArg` for a socket of another kind, a count of zero, or an
    /// offset that no file has; `SendfileUnavailable` without the fallback.
    ///
    /// # Cancel safety
    /// The socket can be used further. The file's position says how much was sent.
    fn sock_sendfile(&self, sock: &Sock, file: SendFile) -> LocalBoxFuture<Result<u64>> {
        let _ = (sock, file);
        unsupported(self.state(), "sock_sendfile")
    }

    // --- files ---

    /// Reads at most `size` bytes (and 16 MiB) of a regular file from `offset` on, and none at its end; the
    /// file's position stays where it is. May read fewer than there are. The loop does not wait for the disk: the
    /// kernel reads by itself where it can, a thread of the pool where it cannot, which is what this method
    /// does if a loop leaves it out.
    ///
    /// The future's value is what the system says: `ESPIPE` for what has no positions.
    ///
    /// # Errors
    /// `Closed`; `Usage` after the pool was shut down.
    ///
    /// # Cancel safety
    /// Nothing is lost: a cancelled read may go on, unobserved, and the file is held until its end.
    ///
    /// # Examples
    /// ```
    /// # fn show(lp: &dyn anyloop_api::EventLoop) -> anyloop_api::Result<()> {
    /// use std::sync::Arc;
    ///
    /// let file = std::fs::File::open("Cargo.toml").map_err(|e| anyloop_api::Error::os("open", e))?;
    /// let head = lp.pread(Arc::new(file), 4096, 0)?;
    /// // In a task: let bytes = head.await??;
    /// # Ok(())
    /// # }
    /// ```
    fn pread(
        &self,
        file: Arc<File>,
        size: usize,
        offset: u64,
    ) -> Result<LoopFuture<io::Result<Vec<u8>>>> {
        crate::file::pread_in_executor(self, file, size, offset)
    }

    // --- being embedded in another loop ---

    /// Becomes readable when [`EventLoop::turn`] has something to do, if the kernel interface has such
    /// a thing. With [`EventLoop::next_timeout`] it lets a foreign loop drive this one:
    ///
    /// ```text
    /// loop {
    ///     wait until as_fd is readable, at most next_timeout
    ///     turn()
    /// }
    /// ```
    ///
    /// It stays open, in vain, until the loop is dropped, also after close.
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// How long a foreign loop may wait for [`EventLoop::as_fd`] before the next
    /// [`EventLoop::turn`]; `None`: for ever. To be asked right before each wait: it hands to the
    /// kernel what is still queued, and has other threads wake the descriptor.
    fn next_timeout(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }

    /// One iteration that does not wait: what is ready now is run.
    ///
    /// # Errors
    /// As [`EventLoop::run_forever`].
    fn turn(&self) -> Result<()> {
        self.stop();
        self.run_forever()
    }

    /// Internals in words, for bug reports: one line per queue, timer set, watcher, operation.
    fn describe(&self) -> String {
        format!("{:?}", self.state())
    }

    /// Adds what only the loop knows to a dump of it: timers, watchers, operations, transports. For
    /// [`EventLoopExt::dump`](crate::EventLoopExt::dump).
    fn list(&self, dump: &mut Dump) {
        let _ = dump;
    }

    // --- errors and settings; the bodies are the same for every loop ---

    /// Installs a handler for reports; `None` restores the default.
    fn set_exception_handler(&self, handler: Option<ExceptionHandler>) {
        self.state().set_exception_handler(handler);
    }

    /// The installed handler.
    fn get_exception_handler(&self) -> Option<ExceptionHandler> {
        self.state().exception_handler()
    }

    /// Writes the report to standard error; with the feature `tracing`, only if nobody subscribed to
    /// events, of which the report is one in any case.
    fn default_exception_handler(&self, report: &Report) {
        #[cfg(feature = "tracing")]
        if tracing::dispatcher::has_been_set() {
            return;
        }
        // Whether anybody can read it is no concern of the loop.
        let _ = writeln!(io::stderr(), "anyloop: {report}");
    }

    /// Sends a report. Never fails, whatever the handler does (EXC-04).
    fn call_exception_handler(&self, report: Report) {
        if let Some(lp) = self.state().weak().upgrade() {
            lp.state().report(&lp, report);
        }
    }

    /// Whether debug mode is on.
    fn get_debug(&self) -> bool {
        self.state().debug()
    }

    /// Switches debug mode, also on a running loop.
    fn set_debug(&self, on: bool) {
        self.state().set_debug(on);
    }

    /// Lets [`RemoteHandle::dump`] list this loop also while a callback does not return; off at first.
    /// Debug mode includes it.
    ///
    /// A loop notes which callback begins, and the steps of tasks. Of the rest it takes a dump now and
    /// then, never for more than about a twentieth of its time. While it is off, it costs one predictable branch per callback.
    fn set_introspection(&self, on: bool) {
        self.state().set_introspection(on);
    }

    /// Installs a hook that every new task goes through; `None` restores the default.
    fn set_task_factory(&self, factory: Option<Rc<dyn TaskFactory>>) {
        self.state().set_task_factory(factory);
    }

    /// The installed hook.
    fn get_task_factory(&self) -> Option<Rc<dyn TaskFactory>> {
        self.state().task_factory()
    }

    /// The unfinished tasks.
    fn all_tasks(&self) -> Vec<AnyTask> {
        self.state().tasks.all().into_iter().map(AnyTask::new).collect()
    }
}

/// What a method that a loop leaves out says (Python's `NotImplementedError`).
fn left_out(state: &LoopState, operation: &str) -> Error {
    Error::usage(format!("{operation}: the event loop {:?} does not have it", state.backend()))
}

/// What such a method gives.
fn unsupported<T: 'static>(state: &LoopState, operation: &str) -> LocalBoxFuture<Result<T>> {
    Box::pin(std::future::ready(Err(left_out(state, operation))))
}

/// The same for a method that gives something back.
fn unsupported_with<T: 'static, B: 'static>(
    state: &LoopState,
    operation: &str,
    back: B,
) -> LocalBoxFuture<(Result<T>, B)> {
    Box::pin(std::future::ready((Err(left_out(state, operation)), back)))
}
