//! `BaseLoop`: a whole event loop over any driver.
//!
//! ```text
//!  one iteration                                                     (asyncio's, D4)
//!  1  flush deferred writes
//!  2  poll the driver: not at all while a short batch is ready, without blocking while anything is,
//!     else until the next deadline
//!  3  queue: calls from other threads, the events of the poll, the timers that are due
//!  4  run exactly what is queued now
//! ```

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use anyloop_api::{
    AddrInfo, AnyProtocol, Bind, Command, Connect, DatagramEndpoint, DatagramFactory,
    DatagramProtocol, DatagramTransport, Datagrams, Direction, Dump, Endpoint, Error, EventLoop,
    EventLoopExt, Family, Handle, Job, LocalBoxFuture, Lookup, LoopConfig, LoopFuture, LoopInstant,
    LoopRef, LoopState, NameInfoFlags, Panic, ProtocolFactory, Received, Rejected, RemoteHandle,
    Report, Result, Runnable, Scheduler, SendFile, Server, SharedExecutor, Sock, SockAddr,
    SubprocessFactory, SubprocessProtocol, SubprocessTransport, TimerHandle, Transport, UnixBind,
    UnixConnect,
};

use dns_lookup::SockType;

use crate::clock::{Clock, MonotonicClock};
use crate::driver::{Caps, Closed, Driver, Event, Key, Readiness};
use crate::executor::ThreadPool;
use crate::inbox::{Inbox, Item};
use crate::pipe::End;
use crate::ready::{self, Entry, Ready};
use crate::recvmmsg::Receiver;
use crate::signals::Signals;
use crate::sources::Sources;
use crate::stream::Stream;
use crate::timers::Timers;
use crate::watcher::Watcher;
use crate::{
    connect, datagram, fork, lookup, pipe, pread, resolve, sendfile, server, sock, subprocess,
};

/// The longest single poll (asyncio's `MAXIMUM_SELECT_TIMEOUT`).
const LONGEST_POLL: Duration = Duration::from_secs(24 * 3600);
/// While work is ready the poll is skipped for at most this many callbacks …
const SKIP_HANDLES: u64 = 64;
/// … and about this long.
const SKIP_NANOS: u64 = 100_000;
/// Size of the read buffer that all streams share: the largest chunk a protocol is handed.
pub(crate) const READ_SIZE: usize = 256 * 1024;
/// Events for which there is room, whatever was brought lately.
const EVENTS_KEPT: usize = 1024;
/// Buffers kept for deferred writes, and the largest one worth keeping.
const POOLED_BUFFERS: usize = 64;
const POOLED_CAPACITY: usize = 64 * 1024;

/// An event loop over a [`Driver`]: everything but the kernel interface.
///
/// Opened with [`BaseLoop::open`]; used as [`LoopRef`].
pub struct BaseLoop {
    this: Weak<Self>,
    state: LoopState,
    config: LoopConfig,
    /// How long it looks for work before it sleeps.
    pub(crate) spins_for: Duration,
    driver: RefCell<Box<dyn Driver>>,
    caps: Caps,
    clock: Box<dyn Clock>,
    ready: Rc<Ready>,
    /// Memory for the entries of one iteration; lent to the run.
    batch: RefCell<Vec<Entry>>,
    timers: Rc<Timers>,
    pub(crate) inbox: Arc<Inbox>,
    drained: Cell<VecDeque<Item>>,
    pub(crate) sources: Sources,
    /// What the last poll brought, until its turn in the ready queue.
    events: Cell<Vec<Event>>,
    /// Events that the core makes up for its next iteration (a stream with more to read).
    again: RefCell<Vec<Event>>,
    stopping: Cell<bool>,
    /// Callbacks run since the last poll, how many may be, and when that poll was.
    since_poll: Cell<u64>,
    skip_budget: Cell<u64>,
    polled_at: Cell<u64>,
    dirty: Cell<Vec<Rc<Stream>>>,
    /// Streams that offer their protocols something to read: since the last poll, and for longer.
    offers: [Cell<Vec<Rc<Stream>>>; 2],
    scratch: Cell<Option<Scratch>>,
    pub(crate) receiver: Receiver,
    buffers: RefCell<Vec<Vec<u8>>>,
    executor: RefCell<Option<SharedExecutor>>,
    executor_shut: Cell<bool>,
    /// For a foreign loop, once it has asked.
    pub(crate) embedded: OnceCell<OwnedFd>,
    pub(crate) signals: RefCell<Option<Signals>>,
    pub(crate) watchers: RefCell<HashMap<RawFd, Rc<Watcher>>>,
    iterations: Cell<u64>,
    polls: Cell<u64>,
    /// When an observed loop may take its next dump of itself.
    pub(crate) next_dump: Cell<LoopInstant>,
}

/// The shared read buffer.
///
/// It begins [`Scratch::INTO_PAGE`] bytes into a page. A copy whose destination begins 1 to 31 bytes
/// further into its page than its source is up to thirty times slower on some processors (`rep movsb`
/// on AMD's Zen). What the kernel copies from begins a page, and large allocations, into which readers
/// copy from here, begin 16 bytes into one: this place is far from both.
pub(crate) struct Scratch {
    memory: Vec<u8>,
    begin: usize,
}

impl Scratch {
    pub(crate) const PAGE: usize = 4096;
    const INTO_PAGE: usize = 128;

    fn new() -> Self {
        let memory = vec![0; READ_SIZE + Self::PAGE + Self::INTO_PAGE];
        let page = memory.as_ptr().align_offset(Self::PAGE).min(Self::PAGE);
        Self { memory, begin: page + Self::INTO_PAGE }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.begin..self.begin + READ_SIZE]
    }
}

impl BaseLoop {
    /// A loop over `driver`, with the operating system's clock.
    ///
    /// # Errors
    /// None today; kept for drivers that can only be checked here.
    pub fn open(driver: impl Driver, config: &LoopConfig) -> Result<LoopRef> {
        Self::build(driver, MonotonicClock::new(), config, config.spin)
    }

    /// The same with another clock; for drivers with virtual time. It never spins: only the driver moves
    /// such a clock.
    ///
    /// # Errors
    /// As [`BaseLoop::open`].
    pub fn open_with_clock(
        driver: impl Driver,
        clock: impl Clock,
        config: &LoopConfig,
    ) -> Result<LoopRef> {
        Self::build(driver, clock, config, Duration::ZERO)
    }

    fn build(
        driver: impl Driver,
        clock: impl Clock,
        config: &LoopConfig,
        spins_for: Duration,
    ) -> Result<LoopRef> {
        fork::watch();
        let state = LoopState::new(driver.name());
        if let Some(debug) = config.debug {
            state.set_debug(debug);
        }
        state.set_resume_panics(config.resume_panics);
        state.set_files_fallback(config.files_fallback);
        let caps = driver.caps();
        let inbox = Arc::new(Inbox::new(&state, driver.waker()));
        let ready = Rc::new(Ready::default());
        ready::register_local(state.id(), &ready);
        let base = Rc::new_cyclic(|this| Self {
            this: this.clone(),
            state,
            config: config.clone(),
            spins_for,
            driver: RefCell::new(Box::new(driver)),
            caps,
            clock: Box::new(clock),
            ready,
            batch: RefCell::default(),
            timers: Rc::default(),
            inbox,
            drained: Cell::default(),
            sources: Sources::default(),
            events: Cell::default(),
            again: RefCell::default(),
            stopping: Cell::new(false),
            since_poll: Cell::new(0),
            skip_budget: Cell::new(SKIP_HANDLES),
            polled_at: Cell::new(0),
            dirty: Cell::default(),
            offers: Default::default(),
            scratch: Cell::default(),
            receiver: Receiver::new(config.recvmmsg_fallback),
            buffers: RefCell::default(),
            executor: RefCell::new(None),
            executor_shut: Cell::new(false),
            embedded: OnceCell::new(),
            signals: RefCell::new(None),
            watchers: RefCell::default(),
            iterations: Cell::new(0),
            polls: Cell::new(0),
            next_dump: Cell::new(LoopInstant::from_nanos(0)),
        });
        Ok(LoopRef::new(base))
    }

    /// How many iterations were made, and how many of them polled the driver.
    #[must_use]
    pub fn counters(&self) -> (u64, u64) {
        (self.iterations.get(), self.polls.get())
    }

    // --- for the other modules ---

    pub(crate) fn weak(&self) -> Weak<Self> {
        self.this.clone()
    }

    /// A transport is about to close the descriptor: nobody may watch the number any more.
    pub(crate) fn disown(&self, fd: RawFd) {
        self.sources.disown(fd);
        Watcher::drop_number(self, fd);
    }

    pub(crate) fn config(&self) -> &LoopConfig {
        &self.config
    }

    pub(crate) fn caps(&self) -> Caps {
        self.caps
    }

    /// Runs `f` with the driver. Never call user code inside.
    pub(crate) fn with_driver<R>(&self, f: impl FnOnce(&mut dyn Driver) -> R) -> R {
        self.check_home();
        f(&mut **self.driver.borrow_mut())
    }

    /// Schedules an internal callback. Dropped silently on a closed loop.
    pub(crate) fn soon(&self, callback: impl FnOnce() + 'static) {
        if !self.state.is_closed() {
            self.ready.push(Entry::Handle(Handle::new(callback)));
        }
    }

    /// The number of this iteration.
    pub(crate) fn iteration(&self) -> u64 {
        self.iterations.get()
    }

    /// Makes the loop look at a source again in the next iteration.
    pub(crate) fn requeue_readable(&self, key: Key) {
        let readiness = Readiness { readable: true, ..Readiness::default() };
        self.again.borrow_mut().push(Event::Ready { key, readiness });
    }

    /// A stream has bytes to hand to the engine before the next poll.
    pub(crate) fn mark_dirty(&self, stream: Rc<Stream>) {
        let mut dirty = self.dirty.take();
        dirty.push(stream);
        self.dirty.set(dirty);
    }

    /// A stream offers its protocol something to read. Returns the number of the last poll.
    pub(crate) fn offered(&self, stream: Rc<Stream>) -> u16 {
        let mut offers = self.offers[0].take();
        offers.push(stream);
        self.offers[0].set(offers);
        self.polls.get() as u16
    }

    /// An offer stands until the poll after the next: by then whoever was woken for it has run. If nobody
    /// was, it runs out now.
    fn withdraw_offers(&self) {
        let [new, old] = [self.offers[0].take(), self.offers[1].take()];
        if new.is_empty() && old.is_empty() {
            return;
        }
        let (mut spent, mut standing) = (old, new);
        let idle = self.ready.is_empty();
        if idle {
            spent.append(&mut standing);
        }
        // A stream that is listed twice has taken the first offer, and the second one stands.
        let poll = (!idle).then_some(self.polls.get() as u16);
        for stream in spent.drain(..) {
            stream.withdraw(self, poll);
        }
        self.offers[0].set(spent);
        self.offers[1].set(standing);
    }

    /// The shared read buffer; give it back.
    pub(crate) fn take_scratch(&self) -> Scratch {
        self.scratch.take().unwrap_or_else(Scratch::new)
    }

    pub(crate) fn give_scratch(&self, scratch: Scratch) {
        self.scratch.set(Some(scratch));
    }

    pub(crate) fn take_buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_buffer(&self, mut buffer: Vec<u8>) {
        let mut buffers = self.buffers.borrow_mut();
        let worth = buffer.capacity() > 0 && buffer.capacity() <= POOLED_CAPACITY;
        if worth && buffers.len() < POOLED_BUFFERS {
            buffer.clear();
            buffers.push(buffer);
        }
    }

    /// Runs user code; a panic is reported with what `report` adds, and returned.
    pub(crate) fn guard<R>(
        &self,
        f: impl FnOnce() -> R,
        report: impl FnOnce(Panic) -> Report,
    ) -> Result<R, Panic> {
        catch_unwind(AssertUnwindSafe(f)).map_err(|payload| self.panicked(payload, report))
    }

    #[cold]
    fn panicked(
        &self,
        payload: Box<dyn Any + Send>,
        report: impl FnOnce(Panic) -> Report,
    ) -> Panic {
        let panic = Panic::new(payload);
        if !self.state.resume_panic(&panic) {
            self.call_exception_handler(report(panic.clone()));
        }
        panic
    }

    // --- the iteration ---

    #[inline]
    fn run_once(&self, memory: &mut Vec<Entry>) -> Result<()> {
        self.state.check_open("the iteration")?;
        self.iterations.set(self.iterations.get() + 1);
        let queued = self.ready.len() as u64;
        let skip = queued > 0
            && !self.stopping.get()
            && !self.config.poll_every_iteration
            && self.since_poll.get() + queued <= self.skip_budget.get();
        if !skip {
            self.poll()?;
        }
        let batch = self.ready.len();
        self.since_poll.set(self.since_poll.get() + batch as u64);
        if batch == 1 {
            if let Some(entry) = self.ready.pop_last() {
                self.turn(entry);
            }
            return Ok(());
        }
        for entry in self.ready.batch(memory) {
            self.turn(entry);
            if self.state.interrupted() {
                break;
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn turn(&self, entry: Entry) {
        if self.state.observed() {
            self.run_observed(entry);
        } else {
            self.run_entry(entry);
        }
    }

    #[inline]
    pub(crate) fn run_entry(&self, entry: Entry) {
        match entry {
            Entry::Handle(handle) => {
                if let Err((panic, handle)) = handle.run() {
                    self.callback_panicked(panic, || handle);
                }
            }
            Entry::Call(call) => {
                if let Err(panic) = call.run() {
                    self.callback_panicked(panic, || call.stand_in());
                }
            }
            // A task catches the panics of its body; what is left are destructors of wakers.
            Entry::Task(runnable) => {
                let run = || runnable.run();
                let _ = self.guard(run, |panic| Report::new("a task panicked").exception(panic));
            }
            Entry::Events => self.dispatch(),
        }
    }

    #[cold]
    fn callback_panicked(&self, panic: Panic, handle: impl FnOnce() -> Handle) {
        if !self.state.resume_panic(&panic) {
            self.call_exception_handler(
                Report::new("a callback panicked").exception(panic).handle(handle()),
            );
        }
    }

    #[inline(never)]
    fn poll(&self) -> Result<()> {
        self.flush_dirty();
        self.withdraw_offers();
        self.adapt_skip_budget();
        let timeout = if self.is_busy() { Some(Duration::ZERO) } else { self.time_to_sleep() };
        let polled = self.wait(timeout);
        if self.inbox.awake() {
            self.drain_inbox();
        }
        self.queue_events();
        polled?;
        let now = self.clock.now();
        self.polled_at.set(now.as_nanos());
        self.since_poll.set(0);
        while let Some(handle) = self.timers.pop_due(now) {
            self.ready.push(Entry::Handle(handle));
        }
        Ok(())
    }

    fn wait(&self, mut timeout: Option<Duration>) -> Result<()> {
        if timeout != Some(Duration::ZERO) && !self.spins_for.is_zero() {
            let Some(left) = self.spin(timeout)? else { return Ok(()) };
            timeout = left;
        }
        if timeout != Some(Duration::ZERO) && !self.inbox.prepare_sleep() {
            timeout = Some(Duration::ZERO);
        }
        self.poll_driver(timeout)
    }

    /// Whether there is a reason not to sleep.
    pub(crate) fn is_busy(&self) -> bool {
        !self.ready.is_empty() || self.stopping.get() || !self.again.borrow().is_empty()
    }

    pub(crate) fn poll_driver(&self, timeout: Option<Duration>) -> Result<()> {
        let mut events = self.events.take();
        events.append(&mut self.again.borrow_mut());
        self.polls.set(self.polls.get() + 1);
        let polled = self.driver.borrow_mut().poll(timeout, &mut events);
        self.events.set(events);
        polled.map_err(|error| {
            Error::os(format!("polling the {} driver", self.state.backend()), error)
        })
    }

    /// Whether the poll brought anything.
    pub(crate) fn has_events(&self) -> bool {
        let events = self.events.take();
        let any = !events.is_empty();
        self.events.set(events);
        any
    }

    /// Gives what the poll brought its place in the ready queue.
    pub(crate) fn queue_events(&self) {
        let events = self.events.take();
        if !events.is_empty() {
            self.ready.push(Entry::Events);
        }
        self.events.set(events);
    }

    /// `None`: until something happens.
    pub(crate) fn time_to_sleep(&self) -> Option<Duration> {
        let deadline = self.timers.next_deadline()?;
        if deadline == LoopInstant::FAR_FUTURE {
            return None;
        }
        Some((deadline - self.clock.now()).min(LONGEST_POLL))
    }

    /// Long callbacks make the next polls come sooner: 64 callbacks or about 100 µs.
    fn adapt_skip_budget(&self) {
        let ran = self.since_poll.get();
        if ran >= SKIP_HANDLES / 4 {
            let took = self.clock.now().as_nanos().saturating_sub(self.polled_at.get());
            let fit = (SKIP_NANOS * ran).checked_div(took).unwrap_or(SKIP_HANDLES);
            self.skip_budget.set(fit.min(SKIP_HANDLES));
        } else if ran > 0 && self.skip_budget.get() < SKIP_HANDLES {
            self.skip_budget.set((self.skip_budget.get() + 1) * 2);
        }
    }

    pub(crate) fn drain_inbox(&self) {
        let mut items = self.drained.take();
        self.inbox.drain(&mut items);
        for item in items.drain(..) {
            self.ready.push(item.into());
        }
        self.drained.set(items);
        if self.inbox.take_stop() {
            self.stopping.set(true);
        }
    }

    pub(crate) fn flush_dirty(&self) {
        let mut dirty = self.dirty.take();
        for stream in dirty.drain(..) {
            stream.flush_deferred();
        }
        // Flushing may have made streams dirty again (an error that closes, a short send).
        let mut new = self.dirty.take();
        dirty.append(&mut new);
        self.dirty.set(dirty);
    }

    /// The run ends, and perhaps there is no other: what its last iteration wrote leaves now.
    fn flush_at_rest(&self) {
        for stream in self.dirty.take() {
            stream.flush_at_rest();
        }
    }

    #[inline(never)]
    fn dispatch(&self) {
        let mut events = self.events.take();
        let few = events.len() < events.capacity() / 8;
        let mut rest = events.drain(..);
        while let Some(event) = rest.next() {
            if let Some(source) = self.sources.get(event.key()) {
                if self.state.observed() {
                    self.dispatch_observed(source, event);
                } else {
                    source.on_event(event);
                }
            }
            if self.state.interrupted() {
                // What was not dispatched stays for the next run (LIFE-18).
                let mut again = self.again.borrow_mut();
                let newer = std::mem::take(&mut *again);
                again.extend(rest);
                again.extend(newer);
                return;
            }
        }
        drop(rest);
        if few && events.capacity() > EVENTS_KEPT {
            // There was a burst once.
            events = Vec::new();
        }
        self.events.set(events);
    }

    // --- closing ---

    /// Takes the driver out and leaves a dead one.
    pub(crate) fn replace_driver(&self) -> Box<dyn Driver> {
        self.driver.replace(Box::new(Closed::new(self.state.backend(), self.caps)))
    }

    fn close_now(&self) {
        self.check_home();
        self.state.set_closed();
        let lp = self.state.weak().upgrade();
        let signals = self.signals.borrow_mut().take();
        self.quietly(|| drop(signals));
        if let Some(executor) = self.executor.borrow_mut().take() {
            executor.shutdown();
        }
        self.state.abort_tasks(lp.as_ref(), || {
            self.drain_inbox();
            self.discard_ready();
        });
        if self.state.debug() {
            self.warn_of_open();
        }
        for item in self.inbox.close() {
            self.ready.push(item.into());
        }
        self.discard_ready();
        self.quietly(|| self.timers.clear());
        let watchers = std::mem::take(&mut *self.watchers.borrow_mut());
        for source in self.sources.all() {
            self.quietly(|| source.abandon());
        }
        drop(watchers);
        drop(self.dirty.take());
        drop(self.offers.each_ref().map(Cell::take));
        self.quietly(|| drop(self.events.take()));
        self.quietly(|| drop(self.again.take()));
        self.discard_ready();
        self.driver.borrow_mut().shutdown();
        drop(self.replace_driver());
        self.ready.close();
        ready::unregister_local(self.state.id());
    }

    /// Destructors of user code run here; they must not stop the close.
    fn quietly(&self, f: impl FnOnce()) {
        let _ = self.guard(f, |panic| {
            Report::new("a destructor panicked while the event loop was closing").exception(panic)
        });
    }

    fn discard_ready(&self) {
        while !self.ready.is_empty() {
            for entry in self.ready.batch(&mut Vec::new()) {
                self.quietly(|| match entry {
                    Entry::Handle(handle) => handle.cancel(),
                    // The task is marked as aborted: its step drops the future.
                    Entry::Task(runnable) => drop(runnable.run()),
                    Entry::Call(call) => drop(call.cancel()),
                    Entry::Events => {}
                });
            }
        }
    }

    fn default_executor(&self) -> Result<SharedExecutor> {
        if self.executor_shut.get() {
            return Err(Error::usage("run_in_executor: the default executor is shut down"));
        }
        let mut executor = self.executor.borrow_mut();
        Ok(executor
            .get_or_insert_with(|| {
                let threads = self.config.executor_threads;
                Arc::new(ThreadPool::new(threads.unwrap_or_else(ThreadPool::default_limit)))
            })
            .clone())
    }
}

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
        self.ready.push(Entry::Handle(handle));
        Ok(())
    }

    fn call_at_handle(&self, when: LoopInstant, handle: Handle) -> Result<TimerHandle> {
        self.state.check_open("call_at")?;
        Ok(self.timers.insert(when, handle))
    }

    #[inline]
    fn schedule(&self, runnable: Runnable) {
        if !self.state.is_closed() {
            self.ready.push(Entry::Task(runnable));
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
        if let Some(old) = self.executor.borrow_mut().replace(executor) {
            old.shutdown();
        }
    }

    fn shutdown_default_executor(&self, timeout: Option<Duration>) -> LocalBoxFuture<()> {
        self.executor_shut.set(true);
        let executor = self.executor.borrow_mut().take();
        let lp = self.handle();
        Box::pin(async move {
            let Some(executor) = executor else { return };
            executor.shutdown();
            // A thread of its own: the pool cannot wait for itself.
            let done = lp.create_future::<bool>();
            let key = lp.state().park(Rc::new(done.clone()));
            let remote = lp.remote();
            let joiner = std::thread::Builder::new().name("anyloop-join".into()).spawn(move || {
                let joined = executor.join(timeout);
                let _ = remote.call_soon_threadsafe(move || {
                    let parked = LoopRef::current().ok().and_then(|lp| lp.state().unpark(key));
                    let done = parked.and_then(|parked| parked.downcast::<LoopFuture<bool>>().ok());
                    if let Some(done) = done {
                        done.set_unless_done(Ok(joined));
                    }
                });
            });
            let joined = joiner.is_ok() && done.await.unwrap_or(false);
            if !joined {
                lp.call_exception_handler(Report::warning(format!(
                    "shutdown_default_executor: workers did not end within {timeout:?}"
                )));
            }
        })
    }

    fn resolve(
        &self,
        host: Option<String>,
        port: Option<String>,
        family: Family,
    ) -> LocalBoxFuture<Result<Vec<SocketAddr>>> {
        Box::pin(resolve::resolve(self.handle(), host, port, family, SockType::Stream))
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

impl Drop for BaseLoop {
    fn drop(&mut self) {
        if !self.state.is_closed() {
            let _ = writeln!(
                io::stderr(),
                "anyloop: warning: an event loop was dropped without being closed: {:?}",
                self.state
            );
            self.close_now();
        }
    }
}

impl fmt::Debug for BaseLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BaseLoop").field("state", &self.state).finish_non_exhaustive()
    }
}
