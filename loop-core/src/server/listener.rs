//! One listening socket: accepts by the driver's engine, or by readiness and `accept`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::time::Duration;

use anyloop_api::{Error, EventLoop, EventLoopExt, Report, Result, SocketView, TimerHandle};
use rustix::io::Errno;
use socket2::{SockAddr, Socket};

use super::ServerState;
use crate::base::BaseLoop;
use crate::driver::{Caps, Event, Interest, Key, Trigger};
use crate::lend::lend;
use crate::returns;
use crate::sockaddr;
use crate::sockets;
use crate::sources::Source;

/// How long accepting pauses when descriptors or memory run out (asyncio's number).
const ACCEPT_RETRY: Duration = Duration::from_secs(1);
/// Connections that may fail in a row before it is the listener that failed.
const PATIENCE: u32 = 128;

pub(super) struct Listener {
    this: Weak<Self>,
    server: Weak<ServerState>,
    /// Keeps the server alive while it serves (SRV-25), which is as long as the driver has the socket.
    alive: RefCell<Option<Rc<ServerState>>>,
    base: Weak<BaseLoop>,
    /// Until it is closed.
    key: Cell<Option<Key>>,
    socket: RefCell<Option<Rc<Socket>>>,
    backlog: Cell<u32>,
    /// Connections begun in an iteration, and which one.
    begun: Cell<(u64, u32)>,
    /// Connections that the engine took, for the next iterations.
    waiting: RefCell<VecDeque<OwnedFd>>,
    /// Accepting failed; the timer will start us again.
    resting: RefCell<Option<TimerHandle>>,
    /// That was reported, and no connection has come since.
    reported: Cell<bool>,
    /// Connections that failed in a row.
    failures: Cell<u32>,
}

impl Listener {
    /// Takes a bound socket into the loop's care.
    pub(super) fn open(server: &Rc<ServerState>, socket: Socket) -> Result<Rc<Self>> {
        let base = server.base.upgrade().ok_or_else(|| closed("create_server"))?;
        base.own(socket.as_raw_fd(), "create_server")?;
        let key = base.sources.reserve();
        let listener = Rc::new_cyclic(|this| Self {
            this: this.clone(),
            server: Rc::downgrade(server),
            alive: RefCell::new(None),
            base: server.base.clone(),
            key: Cell::new(Some(key)),
            socket: RefCell::new(Some(Rc::new(socket))),
            backlog: Cell::new(0),
            begun: Cell::new((0, 0)),
            waiting: RefCell::default(),
            resting: RefCell::new(None),
            reported: Cell::new(false),
            failures: Cell::new(0),
        });
        // The loop knows it before it is told to serve: else nobody would tell the server that the loop has closed.
        base.sources.fill(key, listener.clone());
        Ok(listener)
    }

    pub(super) fn view(&self) -> Option<SocketView> {
        self.socket.borrow().as_ref().map(SocketView::new)
    }

    fn socket(&self) -> Option<Rc<Socket>> {
        self.socket.borrow().clone()
    }

    /// Listens and watches, once.
    pub(super) fn start(self: &Rc<Self>, backlog: u32) -> Result<()> {
        let (Some(base), Some(socket), Some(key)) =
            (self.base.upgrade(), self.socket(), self.key.get())
        else {
            return Err(closed("start_serving"));
        };
        let fail = |call, error| {
            let address = socket.local_addr().map_or_else(|_| "?".into(), |at| sockaddr::text(&at));
            Error::os(format!("start_serving: {call} {address}"), error)
        };
        let length = i32::try_from(backlog).unwrap_or(i32::MAX);
        socket.listen(length).map_err(|error| fail("listening at", error))?;
        self.backlog.set(backlog);
        let started = base.with_driver(|driver| {
            if driver.caps().accept {
                driver.accept_start(lend(&*socket), key)
            } else {
                driver.register(lend(&*socket), key, Interest::READ)
            }
        });
        started.map_err(|error| fail("watching", error))?;
        *self.alive.borrow_mut() = self.server.upgrade();
        Ok(())
    }

    /// Closes the socket, and the connections nobody has begun.
    pub(super) fn close(&self) {
        let Some(socket) = self.socket.take() else { return };
        drop(self.waiting.take());
        if let Some(timer) = self.resting.take() {
            timer.cancel();
        }
        let server = self.alive.take();
        if let Some(base) = self.base.upgrade() {
            base.sources.disown(socket.as_raw_fd());
            // Views hold the socket weakly, so this is the only owner.
            if let (Some(key), Ok(socket)) = (self.key.take(), Rc::try_unwrap(socket)) {
                if server.is_some() {
                    base.with_driver(|driver| driver.close(OwnedFd::from(socket), key));
                }
                base.sources.remove(key);
            }
        }
        drop(server);
    }

    // --- connections ---

    /// Whether another connection may begin in this iteration: at most backlog + 1 do, so that a flood
    /// of them cannot starve the loop (SRV-18), and none after one that interrupted it (LIFE-18).
    fn admits(&self, base: &BaseLoop) -> bool {
        let (iteration, count) = self.begun.get();
        !base.state().interrupted()
            && (iteration != base.iteration() || count <= self.backlog.get())
    }

    fn begin(&self, base: &BaseLoop, fd: OwnedFd, peer: Option<SockAddr>) {
        let (iteration, count) = self.begun.get();
        let count = if iteration == base.iteration() { count } else { 0 };
        self.begun.set((base.iteration(), count + 1));
        self.reported.set(false);
        self.failures.set(0);
        if let Some(server) = self.server.upgrade() {
            server.accepted(fd, peer);
        }
    }

    /// From the engine. In order: who waits goes first.
    fn accepted(&self, base: &BaseLoop, fd: OwnedFd) {
        if self.waiting.borrow().is_empty() && self.admits(base) {
            return self.begin(base, fd, None);
        }
        let mut waiting = self.waiting.borrow_mut();
        waiting.push_back(fd);
        if let (1, Some(key)) = (waiting.len(), self.key.get()) {
            base.requeue_readable(key);
        }
    }

    fn begin_waiting(&self, base: &BaseLoop) {
        while self.admits(base) {
            let Some(fd) = self.waiting.borrow_mut().pop_front() else { return };
            self.begin(base, fd, None);
        }
        if let (false, Some(key)) = (self.waiting.borrow().is_empty(), self.key.get()) {
            base.requeue_readable(key);
        }
    }

    /// Readiness: takes what is queued.
    fn accept_ready(&self, base: &Rc<BaseLoop>) {
        let Some(key) = self.key.get() else { return };
        while self.admits(base) {
            let Some(socket) = self.socket() else { return };
            if self.resting.borrow().is_some() {
                return;
            }
            let accepted = sockets::accept(socket.as_fd());
            returns::refill();
            drop(socket);
            match accepted {
                Ok((fd, peer)) => self.begin(base, fd, peer.and_then(sockaddr::from_kernel)),
                Err(Errno::AGAIN) => return,
                Err(error) if self.tolerates(error) => {}
                Err(error) => return self.rest(base, error.into()),
            }
        }
        if base.caps().trigger == Trigger::Edge {
            base.requeue_readable(key);
        }
    }

    // --- when accepting fails ---

    /// Whether it is the connection that failed, and the next one may be fine (SRV-19).
    fn tolerates(&self, error: Errno) -> bool {
        self.failures.set(self.failures.get() + 1);
        is_the_connections(error) && self.failures.get() < PATIENCE
    }

    /// Accepting pauses for a while. That is reported once, until a connection comes (SRV-20).
    fn rest(&self, base: &Rc<BaseLoop>, error: io::Error) {
        let Some(this) = self.this.upgrade() else { return };
        // If that fails, we are told what we know.
        let _ = self.set_interest(base, Interest::NONE);
        let timer = base.call_later(ACCEPT_RETRY, move || this.wake_up());
        *self.resting.borrow_mut() = timer.ok();
        if !self.reported.replace(true) {
            let server = self.server.upgrade();
            base.call_exception_handler(
                Report::new("accepting failed; trying again every second")
                    .exception(Error::os("accept", error))
                    .socket(server.map_or_else(String::new, |server| format!("{server:?}"))),
            );
        }
    }

    fn wake_up(&self) {
        drop(self.resting.take());
        let (Some(base), Some(key)) = (self.base.upgrade(), self.key.get()) else { return };
        if base.caps().accept {
            return self.restart(&base);
        }
        match self.set_interest(&base, Interest::READ) {
            Ok(()) => base.requeue_readable(key),
            Err(error) => self.rest(&base, error),
        }
    }

    /// For level-triggered drivers.
    fn set_interest(&self, base: &BaseLoop, interest: Interest) -> io::Result<()> {
        match (self.socket(), self.key.get(), base.caps()) {
            (Some(socket), Some(key), Caps { trigger: Trigger::Level, accept: false, .. }) => {
                base.with_driver(|driver| driver.modify(lend(&*socket), key, interest))
            }
            _ => Ok(()),
        }
    }

    fn restart(&self, base: &Rc<BaseLoop>) {
        let (Some(socket), Some(key)) = (self.socket(), self.key.get()) else { return };
        let started = base.with_driver(|driver| driver.accept_start(lend(&*socket), key));
        drop(socket);
        if let Err(error) = started {
            self.rest(base, error);
        }
    }

    fn on_accept_ended(&self, base: &Rc<BaseLoop>, error: Option<io::Error>) {
        let tolerated = match &error {
            Some(error) => Errno::from_io_error(error).is_some_and(|error| self.tolerates(error)),
            // The kernel gave it up, for want of room.
            None => self.tolerates(Errno::INTR),
        };
        if tolerated {
            self.restart(base);
        } else {
            self.rest(base, error.unwrap_or_else(|| io::ErrorKind::Interrupted.into()));
        }
    }
}

/// Errors of the connection that was to be accepted, not of the listener: `accept(2)` says to go on.
fn is_the_connections(error: Errno) -> bool {
    [
        Errno::INTR,
        Errno::CONNABORTED,
        Errno::PROTO,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NOPROTOOPT,
        Errno::TIMEDOUT,
        Errno::PERM,
    ]
    .contains(&error)
}

impl Source for Listener {
    fn on_event(self: Rc<Self>, event: Event) {
        let Some(base) = self.base.upgrade() else { return };
        match event {
            Event::Ready { .. } if base.caps().accept => self.begin_waiting(&base),
            Event::Ready { .. } => self.accept_ready(&base),
            Event::Accepted { fd, .. } => self.accepted(&base, fd),
            Event::AcceptEnded { error, .. } => self.on_accept_ended(&base, error),
            Event::Data { .. }
            | Event::RecvEnded { .. }
            | Event::Sent { .. }
            | Event::Read { .. } => {}
        }
    }

    fn abandon(&self) {
        let server = self.server.upgrade();
        self.close();
        if let Some(server) = server {
            server.forget_factory();
        }
    }

    fn describe(&self) -> String {
        let waiting = self.waiting.borrow().len();
        let resting = if self.resting.borrow().is_some() { ", resting" } else { "" };
        format!("listener of {:?}, {waiting} connections waiting{resting}", self.server.upgrade())
    }

    fn is_open(&self) -> bool {
        true
    }
}

#[cold]
fn closed(operation: &str) -> Error {
    Error::closed(format!("{operation}: the event loop is closed"))
}
