//! `BaseLoop`: a whole event loop over any driver.

mod close;
mod default_executor;
mod event_loop;
mod iteration;
mod streams;

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::os::fd::{OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use anyloop_api::{
    EventLoop, Handle, LoopConfig, LoopInstant, LoopRef, LoopState, Panic, RemoteCall, Report,
    Result, SharedExecutor, Snapshot,
};

use crate::clock::{Clock, MonotonicClock};
use crate::driver::{Caps, Driver, Event, LazySend};
use crate::fork;
use crate::inbox::{Inbox, Item};
use crate::ready::{self, Entry, Ready};
use crate::recvmmsg::Receiver;
use crate::scratch::Scratch;
use crate::signals::Signals;
use crate::sources::Sources;
use crate::stream::Stream;
use crate::timers::Timers;
use crate::watcher::Watcher;

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
    /// Calls of other threads that have been made, and whether some were given back.
    spent: RefCell<Vec<RemoteCall>>,
    spent_lent: Cell<bool>,
    pub(crate) sources: Sources,
    /// What the last poll brought, until its turn in the ready queue.
    events: RefCell<Vec<Event>>,
    /// Events that the core makes up for its next iteration (a stream with more to read).
    again: RefCell<Vec<Event>>,
    stopping: Cell<bool>,
    /// Callbacks run since the last poll, after how many the clock is looked at, whether they were slow when it
    /// was, and when that poll was.
    since_poll: Cell<u64>,
    timed_next: Cell<u64>,
    slow: Cell<bool>,
    polled_at: Cell<u64>,
    dirty: RefCell<Vec<Rc<Stream>>>,
    /// Streams with a lazy send that is not known to be over, in the order of the sends.
    lazy: RefCell<Vec<Rc<Stream>>>,
    /// What became of such sends; empty, for its memory.
    lazily_sent: Cell<Vec<LazySend>>,
    /// Streams that offer their protocols something to read: since the last poll, and for longer.
    offers: [RefCell<Vec<Rc<Stream>>>; 2],
    scratch: Cell<Option<Box<Scratch>>>,
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
            spent: RefCell::default(),
            spent_lent: Cell::new(false),
            sources: Sources::default(),
            events: RefCell::default(),
            again: RefCell::default(),
            stopping: Cell::new(false),
            since_poll: Cell::new(0),
            timed_next: Cell::new(1),
            slow: Cell::new(false),
            polled_at: Cell::new(0),
            dirty: RefCell::default(),
            lazy: RefCell::default(),
            lazily_sent: Cell::default(),
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

    pub(crate) fn weak(&self) -> Weak<Self> {
        self.this.clone()
    }

    /// The descriptor is a transport's from now on: it takes the place of those who watched the number.
    pub(crate) fn own(&self, fd: RawFd, operation: &str) -> Result<()> {
        self.sources.own(fd, operation)?;
        Watcher::drop_number(self, fd);
        Ok(())
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
            let handle = Handle::new(callback);
            self.ready.push(|| Entry::Handle(handle));
        }
    }

    /// The number of this iteration.
    pub(crate) fn iteration(&self) -> u64 {
        self.iterations.get()
    }

    /// The shared read buffer; give it back.
    pub(crate) fn take_scratch(&self) -> Box<Scratch> {
        self.scratch.take().unwrap_or_else(|| Box::new(Scratch::new()))
    }

    pub(crate) fn give_scratch(&self, scratch: Box<Scratch>) {
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

    /// Ends a transport that nobody can ever touch again, and says so (TR-39).
    #[cold]
    pub(crate) fn end_forgotten(&self, transport: &dyn fmt::Debug, force: impl FnOnce()) {
        let text = format!("an open transport was dropped: {transport:?}");
        force();
        self.call_exception_handler(Report::warning(text));
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
}

impl fmt::Debug for BaseLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BaseLoop").field("state", &self.state).finish_non_exhaustive()
    }
}

/// The report of a callback that is called again and again, and so is no handle: one stands for it (EXC-07), and
/// the exception handler runs in its context (CTX-08). Where it was registered is not known here.
#[track_caller]
pub(crate) fn callback_report(what: String, panic: Panic, context: &Snapshot) -> Report {
    let mut report = Report::new(what).exception(panic);
    report.handle = Some(Handle::stand_in(context.clone(), Location::caller()));
    report
}
