//! `BaseLoop` as an `EventLoop`: mostly where each call goes.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyloop_api::{
    AddrInfo, AnyProtocol, Bind, Command, Connect, DatagramEndpoint, DatagramFactory,
    DatagramProtocol, DatagramTransport, Datagrams, Direction, Dump, Endpoint, Error, EventLoop,
    EventLoopExt, Family, Handle, Job, LocalBoxFuture, Lookup, LoopFuture, LoopInstant, LoopState,
    NameInfoFlags, ProtocolFactory, Received, Rejected, RemoteHandle, Result, Runnable, Scheduler,
    SendFile, Server, SharedExecutor, Sock, SockAddr, SocketKind, SubprocessFactory,
    SubprocessProtocol, SubprocessTransport, TimerHandle, TimerKey, Transport, UnixBind,
    UnixConnect,
};

use super::BaseLoop;
use crate::pipe::{self, End};
use crate::ready::{self, Entry};
use crate::signals::Signals;
use crate::watcher::Watcher;
use crate::{connect, datagram, lookup, pread, resolve, sendfile, server, sock, subprocess};

impl EventLoop for BaseLoop {
    fn state(&self) -> &LoopState {
        &self.state
    }

    fn run_forever(&self) -> Result<()> {
        let guard = self.state.enter_run("run_forever")?;
        let attached = self.driver.borrow_mut().attach();
        attached.map_err(|error| Error::os("run_forever: attaching to this thread", error))?;
        ready::prefer_local(self.state.id());
        let mut memory = self.batch.borrow_mut();
        let ran = loop {
            let ran = self.run_once(&mut memory);
            if ran.is_err() || self.stopping.get() || self.state.interrupted() {
                break ran;
            }
        };
        drop(memory);
        self.stopping.set(false);
        // Stops from elsewhere were meant for this run, too (LIFE-06).
        self.inbox.take_stop();
        self.flush_at_rest();
        self.free_spent();
        drop(guard);
        // A panic that is let out resumes here.
        let interrupted = self.state.take_interruption();
        ran.and(interrupted)
    }

    fn stop(&self) {
        self.stopping.set(true);
    }

    fn close(&self) -> Result<()> {
        if self.state.is_running() {
            return Err(Error::usage("close: the event loop is running"));
        }
        if !self.state.is_closed() {
            self.close_now();
        }
        Ok(())
    }

    fn time(&self) -> LoopInstant {
        self.clock.now()
    }

    fn call_soon_handle(&self, handle: Handle) -> Result<()> {
        self.state.check_open("call_soon")?;
        self.ready.push(|| Entry::Handle(handle));
        Ok(())
    }

    fn call_at_handle(&self, when: LoopInstant, handle: Handle) -> Result<TimerHandle> {
        self.state.check_open("call_at")?;
        Ok(self.timers.insert(when, handle))
    }

    fn start_timer(&self, when: LoopInstant, handle: Handle, key: &TimerKey) {
        if !self.state.is_closed() && !self.state.is_inherited() {
            key.set(self.timers.push(when, handle), self.timers.clone());
        }
    }

    #[inline]
    fn schedule(&self, runnable: Runnable) {
        if !self.state.is_closed() {
            self.ready.push(|| Entry::Task(runnable));
        }
    }

    fn scheduler(&self) -> Arc<dyn Scheduler> {
        self.inbox.clone()
    }

    fn remote(&self) -> RemoteHandle {
        RemoteHandle::new(self.inbox.clone())
    }

    fn execute(&self, executor: Option<SharedExecutor>, job: Job) -> Result<()> {
        self.state.check_open("run_in_executor")?;
        match executor {
            Some(executor) => executor.execute(job),
            None => self.default_executor()?.execute(job),
        }
    }

    fn set_default_executor(&self, executor: SharedExecutor) {
        let old = self.executor.borrow_mut().replace(executor);
        if let Some(old) = old {
            old.shutdown();
        }
    }

    fn shutdown_default_executor(&self, timeout: Option<Duration>) -> LocalBoxFuture<()> {
        self.end_default_executor(timeout)
    }

    fn resolve(
        &self,
        host: Option<String>,
        port: Option<String>,
        family: Family,
    ) -> LocalBoxFuture<Result<Vec<SocketAddr>>> {
        Box::pin(resolve::resolve(self.handle(), host, port, family, SocketKind::Stream))
    }

    fn getaddrinfo(&self, lookup: Lookup) -> LocalBoxFuture<Result<Vec<AddrInfo>>> {
        Box::pin(lookup::getaddrinfo(self.handle(), lookup))
    }

    fn getnameinfo(
        &self,
        address: SocketAddr,
        flags: NameInfoFlags,
    ) -> LocalBoxFuture<Result<(String, String)>> {
        Box::pin(lookup::getnameinfo(self.handle(), address, flags))
    }

    fn create_connection(
        &self,
        factory: ProtocolFactory,
        to: Connect,
    ) -> LocalBoxFuture<Result<(Transport, AnyProtocol)>> {
        Box::pin(connect::create_connection(self.weak(), factory, to))
    }

    fn create_server(&self, factory: ProtocolFactory, at: Bind) -> LocalBoxFuture<Result<Server>> {
        Box::pin(server::create_server(self.weak(), factory, at))
    }

    fn connect_accepted_socket(
        &self,
        factory: ProtocolFactory,
        sock: OwnedFd,
    ) -> LocalBoxFuture<Result<(Transport, AnyProtocol)>> {
        Box::pin(connect::connect_accepted_socket(self.weak(), factory, sock))
    }

    fn add_reader_fd(&self, fd: RawFd, callback: Box<dyn FnMut()>) -> Result<()> {
        self.state.check_open("add_reader")?;
        Watcher::add(self, fd, Direction::Receive, callback)
    }

    fn remove_reader_fd(&self, fd: RawFd) -> Result<bool> {
        Watcher::remove(self, fd, Direction::Receive)
    }

    fn add_writer_fd(&self, fd: RawFd, callback: Box<dyn FnMut()>) -> Result<()> {
        self.state.check_open("add_writer")?;
        Watcher::add(self, fd, Direction::Send, callback)
    }

    fn remove_writer_fd(&self, fd: RawFd) -> Result<bool> {
        Watcher::remove(self, fd, Direction::Send)
    }

    fn add_signal_handler_fn(&self, signal: i32, callback: Box<dyn FnMut()>) -> Result<()> {
        self.state.check_open("add_signal_handler")?;
        Signals::add(self, signal, callback)
    }

    fn remove_signal_handler(&self, signal: i32) -> Result<bool> {
        Signals::remove(self, signal)
    }

    fn create_unix_connection(
        &self,
        factory: ProtocolFactory,
        to: UnixConnect,
    ) -> LocalBoxFuture<Result<(Transport, AnyProtocol)>> {
        Box::pin(connect::create_unix_connection(self.weak(), factory, to))
    }

    fn create_unix_server(
        &self,
        factory: ProtocolFactory,
        at: UnixBind,
    ) -> LocalBoxFuture<Result<Server>> {
        Box::pin(server::create_unix_server(self.weak(), factory, at))
    }

    fn subprocess(
        &self,
        factory: SubprocessFactory,
        command: Command,
    ) -> LocalBoxFuture<Result<(SubprocessTransport, Rc<dyn SubprocessProtocol>)>> {
        Box::pin(subprocess::start(self.weak(), factory, command))
    }

    fn create_datagram_endpoint(
        &self,
        factory: DatagramFactory,
        endpoint: DatagramEndpoint,
    ) -> LocalBoxFuture<Result<(DatagramTransport, Rc<dyn DatagramProtocol>)>> {
        Box::pin(datagram::create_datagram_endpoint(self.weak(), factory, endpoint))
    }

    fn connect_read_pipe(
        &self,
        factory: ProtocolFactory,
        pipe: OwnedFd,
    ) -> LocalBoxFuture<Result<(Transport, AnyProtocol), Rejected>> {
        Box::pin(pipe::connect(self.weak(), factory, pipe, End::Read))
    }

    fn connect_write_pipe(
        &self,
        factory: ProtocolFactory,
        pipe: OwnedFd,
    ) -> LocalBoxFuture<Result<(Transport, AnyProtocol), Rejected>> {
        Box::pin(pipe::connect(self.weak(), factory, pipe, End::Write))
    }

    fn sock_recv(&self, sock: &Sock, size: usize) -> LocalBoxFuture<Result<Vec<u8>>> {
        Box::pin(sock::recv(self.weak(), sock.clone(), size))
    }

    fn sock_recv_into(
        &self,
        sock: &Sock,
        buffer: Vec<u8>,
    ) -> LocalBoxFuture<(Result<usize>, Vec<u8>)> {
        Box::pin(sock::recv_into(self.weak(), sock.clone(), buffer))
    }

    fn sock_recvfrom(&self, sock: &Sock, size: usize) -> LocalBoxFuture<Result<Received<Vec<u8>>>> {
        Box::pin(sock::recvfrom(self.weak(), sock.clone(), size))
    }

    fn sock_recvfrom_into(
        &self,
        sock: &Sock,
        buffer: Vec<u8>,
    ) -> LocalBoxFuture<(Result<Received<usize>>, Vec<u8>)> {
        Box::pin(sock::recvfrom_into(self.weak(), sock.clone(), buffer))
    }

    fn sock_recvmmsg(
        &self,
        sock: &Sock,
        batch: Datagrams,
    ) -> LocalBoxFuture<(Result<usize>, Datagrams)> {
        Box::pin(sock::recvmmsg(self.weak(), sock.clone(), batch))
    }

    fn sock_sendall(&self, sock: &Sock, data: Vec<u8>) -> LocalBoxFuture<(Result<()>, Vec<u8>)> {
        Box::pin(sock::sendall(self.weak(), sock.clone(), data))
    }

    fn sock_sendto(
        &self,
        sock: &Sock,
        data: Vec<u8>,
        to: &SockAddr,
    ) -> LocalBoxFuture<(Result<usize>, Vec<u8>)> {
        Box::pin(sock::sendto(self.weak(), sock.clone(), data, to.clone()))
    }

    fn sock_connect(&self, sock: &Sock, to: Endpoint) -> LocalBoxFuture<Result<()>> {
        Box::pin(sock::connect(self.weak(), sock.clone(), to))
    }

    fn sock_send_fds(
        &self,
        sock: &Sock,
        data: Vec<u8>,
        fds: Vec<OwnedFd>,
    ) -> LocalBoxFuture<(Result<usize>, Vec<u8>)> {
        Box::pin(sock::send_fds(self.weak(), sock.clone(), data, fds))
    }

    fn sock_recv_fds(
        &self,
        sock: &Sock,
        size: usize,
        most: usize,
    ) -> LocalBoxFuture<Result<(Vec<u8>, Vec<OwnedFd>)>> {
        Box::pin(sock::recv_fds(self.weak(), sock.clone(), size, most))
    }

    fn sock_accept(&self, sock: &Sock) -> LocalBoxFuture<Result<(Sock, SockAddr)>> {
        Box::pin(sock::accept(self.weak(), sock.clone()))
    }

    fn sendfile(&self, transport: &Transport, file: SendFile) -> LocalBoxFuture<Result<u64>> {
        Box::pin(sendfile::sendfile(self.weak(), transport.clone(), file))
    }

    fn sock_sendfile(&self, sock: &Sock, file: SendFile) -> LocalBoxFuture<Result<u64>> {
        Box::pin(sendfile::sock_sendfile(self.weak(), sock.clone(), file))
    }

    fn pread(
        &self,
        file: Arc<File>,
        size: usize,
        offset: u64,
    ) -> Result<LoopFuture<io::Result<Vec<u8>>>> {
        self.state.check_open("pread")?;
        pread::pread(self, file, size, offset)
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.embedded_fd()
    }

    fn next_timeout(&self) -> Option<Duration> {
        self.prepare_wait()
    }

    fn describe(&self) -> String {
        self.check_home();
        let mut text = format!(
            "{:?}\n{:?}\niterations {}, polls {}, ready {}, timers {}, sources {}\ndatagrams: {:?}\ndriver: {}",
            self.state,
            self.inbox,
            self.iterations.get(),
            self.polls.get(),
            self.ready.len(),
            self.timers.len(),
            self.sources.len(),
            self.receiver,
            self.driver.try_borrow().map_or_else(|_| "polling".into(), |driver| driver.describe()),
        );
        for source in self.sources.all() {
            text.push_str("\nsource: ");
            text.push_str(&source.describe());
        }
        for task in self.all_tasks() {
            text.push_str(&format!("\ntask: {task:?}"));
            if let Some(waiting) = task.waiting_for() {
                text.push_str(&format!(" awaits {waiting}"));
            }
        }
        text
    }

    fn list(&self, dump: &mut Dump) {
        self.check_home();
        dump.timers = self.timers.list(self.clock.now());
        for source in self.sources.all() {
            source.list(dump);
        }
        let driver = self.driver.try_borrow();
        dump.driver = driver.map_or_else(|_| "polling".into(), |driver| driver.describe());
    }
}
