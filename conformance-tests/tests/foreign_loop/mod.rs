//! A whole event loop that knows nothing of `anyloop-core`: the trait, implemented over tokio's
//! current-thread runtime. tokio waits; order, tasks and timers are asyncio's.
//!
//! ```text
//!  run_forever = Runtime::block_on:
//!    wait     for a watched descriptor (AsyncFd), another thread (Notify) or the next timer (sleep);
//!             while anything is ready, only let tokio look
//!    queue    calls from other threads, callbacks of descriptors, timers that are due
//!    run      exactly what is queued now
//! ```
//!
//! It has no network, no signals and no children of its own; the trait lets a loop leave those out.

mod event_loop;
mod inbox;
mod jobs;
mod timers;
mod watch;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, Write as _};
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyloop_api::{
    BackendDescriptor, Direction, Error, EventLoop, Handle, LoopConfig, LoopInstant, LoopRef,
    LoopState, Panic, RemoteCall, Report, Result, Runnable,
};
use tokio::runtime::{Builder, Runtime};

use self::inbox::{Inbox, Item};
use self::jobs::Jobs;
use self::timers::Timers;
use self::watch::{Side, Watched};

/// The backend, for the suite.
pub(crate) static DESCRIPTOR: BackendDescriptor = BackendDescriptor::new(
    "tokio",
    "tokio's current-thread runtime",
    || Ok("current-thread runtime".into()),
    TokioLoop::open,
);

/// What waits for its turn.
enum Entry {
    Handle(Handle),
    Call(RemoteCall),
    Task(Runnable),
    Watch(Rc<Watched>, Rc<Side>),
}

/// The ready queue, which wakers on the loop's thread find by the loop's number.
type Ready = Rc<RefCell<VecDeque<Entry>>>;

thread_local! {
    static LOCAL: RefCell<BTreeMap<u64, Ready>> = const { RefCell::new(BTreeMap::new()) };
}

/// Queues something on the loop of this thread, if that is where the loop lives.
fn push_local(id: u64, entry: Entry) -> Result<(), Entry> {
    let ready = LOCAL.try_with(|local| local.borrow().get(&id).cloned()).ok().flatten();
    match ready {
        Some(ready) => {
            ready.borrow_mut().push_back(entry);
            Ok(())
        }
        None => Err(entry),
    }
}

struct TokioLoop {
    state: LoopState,
    runtime: RefCell<Option<Runtime>>,
    ready: Ready,
    timers: Rc<Timers>,
    inbox: Arc<Inbox>,
    watched: RefCell<BTreeMap<RawFd, Rc<Watched>>>,
    jobs: Jobs,
    stopping: Cell<bool>,
}

impl TokioLoop {
    fn open(config: &LoopConfig) -> Result<LoopRef> {
        let state = LoopState::new(DESCRIPTOR.name);
        if let Some(debug) = config.debug {
            state.set_debug(debug);
        }
        state.set_resume_panics(config.resume_panics);
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(|error| Error::os("opening a tokio loop", error))?;
        let ready = Ready::default();
        LOCAL.with(|local| local.borrow_mut().insert(state.id(), ready.clone()));
        Ok(LoopRef::new(Rc::new(Self {
            inbox: Arc::new(Inbox::new(&state)),
            state,
            runtime: RefCell::new(Some(runtime)),
            ready,
            timers: Rc::default(),
            watched: RefCell::default(),
            jobs: Jobs::default(),
            stopping: Cell::new(false),
        })))
    }

    /// Until `stop`, or an interrupt.
    async fn run(&self) {
        loop {
            self.wait().await;
            self.queue();
            self.run_batch();
            if self.stopping.get() || self.state.interrupted() {
                return;
            }
        }
    }

    /// Lets tokio look for what happened; sleeps if there is nothing to do before.
    async fn wait(&self) {
        let busy = !self.ready.borrow().is_empty() || self.inbox.has_items();
        if busy || self.stopping.get() || self.state.interrupted() {
            tokio::task::yield_now().await;
            poll_fn(|cx| {
                self.queue_watched(cx);
                Poll::Ready(())
            })
            .await;
            return;
        }
        let mut notified = pin!(self.inbox.notified());
        let deadline = self.timers.next_deadline().filter(|when| *when != LoopInstant::FAR_FUTURE);
        // A day at most: a deadline may be farther away than tokio's clock reaches.
        let left = deadline.map_or(Duration::MAX, |when| when - self.time());
        let mut sleep = pin!(tokio::time::sleep(left.min(Duration::from_secs(24 * 3600))));
        poll_fn(|cx| {
            let woken = notified.as_mut().poll(cx).is_ready();
            let due = sleep.as_mut().poll(cx).is_ready();
            if self.queue_watched(cx) || woken || due { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Queues the callbacks of descriptors that are ready; says whether there are any.
    fn queue_watched(&self, cx: &mut Context<'_>) -> bool {
        let all: Vec<_> = self.watched.borrow().values().cloned().collect();
        let mut ready = self.ready.borrow_mut();
        let before = ready.len();
        for watched in all {
            let sides = watched.poll(cx).into_iter().flatten();
            ready.extend(sides.map(|side| Entry::Watch(watched.clone(), side)));
        }
        ready.len() > before
    }

    fn queue(&self) {
        self.drain_inbox();
        let now = self.time();
        while let Some(handle) = self.timers.pop_due(now) {
            self.ready.borrow_mut().push_back(Entry::Handle(handle));
        }
    }

    fn drain_inbox(&self) {
        for item in self.inbox.drain() {
            self.ready.borrow_mut().push_back(match item {
                Item::Call(call) => Entry::Call(call),
                Item::Task(runnable) => Entry::Task(runnable),
            });
        }
        if self.inbox.take_stop() {
            self.stopping.set(true);
        }
    }

    fn pop(&self) -> Option<Entry> {
        self.ready.borrow_mut().pop_front()
    }

    fn run_batch(&self) {
        let batch = self.ready.borrow().len();
        for _ in 0..batch {
            if self.state.interrupted() {
                return;
            }
            let Some(entry) = self.pop() else { return };
            self.run_entry(entry);
        }
    }

    fn run_entry(&self, entry: Entry) {
        match entry {
            Entry::Handle(handle) => {
                if let Err((panic, handle)) = handle.run() {
                    self.panicked(panic, |report| report.handle(handle));
                }
            }
            Entry::Call(call) => {
                if let Err(panic) = call.run() {
                    self.panicked(panic, |report| report.handle(call.stand_in()));
                }
            }
            Entry::Task(runnable) => {
                self.guard("a task panicked", || _ = runnable.run());
            }
            Entry::Watch(watched, side) => {
                if let Err(panic) = side.call() {
                    self.panicked(panic, |report| report.handle(side.stand_in()));
                }
                watched.refresh();
            }
        }
    }

    fn panicked(&self, panic: Panic, who: impl FnOnce(Report) -> Report) {
        if !self.state.resume_panic(&panic) {
            let report = Report::new("a callback panicked").exception(panic);
            self.call_exception_handler(who(report));
        }
    }

    /// Runs user code; a panic is reported.
    fn guard(&self, message: &'static str, f: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
            let panic = Panic::new(payload);
            if !self.state.resume_panic(&panic) {
                self.call_exception_handler(Report::new(message).exception(panic));
            }
        }
    }

    /// What is dropped at the close is the user's, and must not stop it.
    fn quietly(&self, f: impl FnOnce()) {
        self.guard("a destructor panicked while the event loop was closing", f);
    }

    /// Drops what is queued; tasks are marked as aborted by now, and drop their futures when run.
    fn discard(&self) {
        while let Some(entry) = self.pop() {
            self.quietly(|| match entry {
                Entry::Handle(handle) => handle.cancel(),
                Entry::Call(call) => _ = call.cancel(),
                Entry::Task(runnable) => _ = runnable.run(),
                Entry::Watch(watched, side) => drop((watched, side)),
            });
        }
    }

    fn close_now(&self) {
        self.state.set_closed();
        // Else what posts itself again when it is dropped would never be gone.
        self.inbox.refuse_calls();
        self.quietly(|| self.jobs.shutdown());
        let lp = self.state.weak().upgrade();
        self.state.abort_tasks(lp.as_ref(), || {
            self.drain_inbox();
            self.discard();
        });
        for item in self.inbox.close() {
            if let Item::Task(runnable) = item {
                self.ready.borrow_mut().push_back(Entry::Task(runnable));
            }
        }
        self.discard();
        for timer in self.timers.take() {
            self.quietly(|| timer.cancel());
        }
        for watched in std::mem::take(&mut *self.watched.borrow_mut()).into_values() {
            self.quietly(|| drop(watched));
        }
        self.discard();
        let _ = LOCAL.try_with(|local| local.borrow_mut().remove(&self.state.id()));
        if let Some(runtime) = self.runtime.borrow_mut().take() {
            runtime.shutdown_background();
        }
    }

    fn watch(&self, fd: RawFd, direction: Direction, callback: Box<dyn FnMut()>) -> Result<()> {
        self.state.check_open("add_reader")?;
        let operation = match direction {
            Direction::Receive => "add_reader",
            Direction::Send => "add_writer",
        };
        if fd < 0 {
            return Err(Error::invalid_arg(format!("{operation}: {fd} is not a descriptor")));
        }
        let known = self.watched.borrow().get(&fd).filter(|known| known.is_current()).cloned();
        let watched = match known {
            Some(known) => known,
            None => {
                // Of a file that was closed behind our back.
                let stale = self.watched.borrow_mut().remove(&fd);
                if let Some(stale) = stale {
                    stale.forget();
                }
                let runtime = self.runtime.borrow();
                let entered = runtime.as_ref().map(Runtime::enter);
                let watched = Watched::new(fd)
                    .map_err(|error| Error::os(format!("{operation}: descriptor {fd}"), error))?;
                drop(entered);
                let watched = Rc::new(watched);
                self.watched.borrow_mut().insert(fd, watched.clone());
                watched
            }
        };
        let old = watched.side(direction).replace(Some(Rc::new(Side::new(callback))));
        if let Some(old) = old {
            old.remove();
        }
        Ok(())
    }

    fn unwatch(&self, fd: RawFd, direction: Direction) -> bool {
        let Some(watched) = self.watched.borrow().get(&fd).cloned() else { return false };
        let old = watched.side(direction).take();
        if watched.is_unused() {
            self.watched.borrow_mut().remove(&fd);
            watched.forget();
        }
        if let Some(side) = &old {
            side.remove();
        }
        old.is_some()
    }
}

impl Drop for TokioLoop {
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

impl fmt::Debug for TokioLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioLoop").field("state", &self.state).finish_non_exhaustive()
    }
}
