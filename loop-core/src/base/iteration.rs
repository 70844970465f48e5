//! What an iteration does.
//!
//! ```text
//!  one iteration                                                     (asyncio's, D4)
//!  1  flush deferred writes
//!  2  poll the driver: not at all while a short batch is ready, without blocking while anything is,
//!     else until the next deadline
//!  3  queue: calls from other threads, the events of the poll, the timers that are due
//!  4  run exactly what is queued now
//! ```

use std::time::Duration;
use std::vec::Drain;

use anyloop_api::{Error, EventLoop, Handle, LoopInstant, Panic, RemoteCall, Report, Result};

use super::BaseLoop;
use crate::driver::{Event, Key, Readiness};
use crate::ready::Entry;

/// The longest single poll (asyncio's `MAXIMUM_SELECT_TIMEOUT`).
const LONGEST_POLL: Duration = Duration::from_secs(24 * 3600);
/// While work is ready the poll is skipped for at most this many callbacks …
const SKIP_HANDLES: u64 = 64;
/// … and this long, …
const SKIP_NANOS: u64 = 100_000;
/// … as seen by a clock that is read after so many callbacks, and sooner while they are slow.
const SKIP_UNTIMED: u64 = 16;
/// Calls of other threads that are kept for them to free.
const SPENT: usize = 1024;
/// Events for which there is room, whatever was brought lately.
const EVENTS_KEPT: usize = 1024;

impl BaseLoop {
    /// Makes the loop look at a source again in the next iteration.
    pub(crate) fn requeue_readable(&self, key: Key) {
        self.requeue(key, Readiness { readable: true, ..Readiness::default() });
    }

    /// The same for a source that has room, and whose turn is over: its reader has interrupted the run.
    pub(crate) fn requeue_writable(&self, key: Key) {
        self.requeue(key, Readiness { writable: true, ..Readiness::default() });
    }

    pub(crate) fn requeue(&self, key: Key, readiness: Readiness) {
        self.again.borrow_mut().push(Event::Ready { key, readiness });
    }

    #[inline]
    pub(super) fn run_once(&self, memory: &mut Vec<Entry>) -> Result<()> {
        self.state.check_open("the iteration")?;
        self.iterations.set(self.iterations.get() + 1);
        let queued = self.ready.len() as u64;
        let skip = queued > 0
            && !self.stopping.get()
            && !self.config.poll_every_iteration
            && self.since_poll.get() + queued <= SKIP_HANDLES
            && !self.is_poll_overdue();
        if !skip {
            self.poll()?;
        }
        if self.state.interrupted() {
            // Before the run, or by a protocol that was told to go on writing (LIFE-18).
            return Ok(());
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

    /// Inlined, for otherwise each entry would be copied to the stack to be passed.
    #[inline(always)]
    pub(crate) fn run_entry(&self, entry: Entry) {
        match entry {
            Entry::Handle(handle) => {
                if let Err((panic, handle)) = handle.run() {
                    self.callback_panicked(panic, || handle);
                }
            }
            Entry::Call(call) => match call.run() {
                Ok(()) => self.spend(call),
                Err(panic) => self.callback_panicked(panic, || call.stand_in()),
            },
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
        self.timed_next.set(if self.slow.get() { 1 } else { SKIP_UNTIMED });
        while let Some(handle) = self.timers.pop_due(now) {
            self.ready.push(|| Entry::Handle(handle));
        }
        Ok(())
    }

    fn wait(&self, mut timeout: Option<Duration>) -> Result<()> {
        if timeout != Some(Duration::ZERO) && !self.spins_for.is_zero() {
            let Some(left) = self.spin(timeout)? else { return Ok(()) };
            timeout = left;
        }
        if timeout != Some(Duration::ZERO) {
            self.free_spent();
            if !self.inbox.prepare_sleep() {
                timeout = Some(Duration::ZERO);
            }
        }
        self.poll_driver(timeout)
    }

    /// Whether there is a reason not to sleep.
    pub(crate) fn is_busy(&self) -> bool {
        !self.ready.is_empty()
            || self.stopping.get()
            || self.state.interrupted()
            || !self.again.borrow().is_empty()
            || self.has_dirty()
    }

    pub(crate) fn poll_driver(&self, timeout: Option<Duration>) -> Result<()> {
        let events = &mut *self.events.borrow_mut();
        events.append(&mut self.again.borrow_mut());
        self.polls.set(self.polls.get() + 1);
        let polled = self.driver.borrow_mut().poll(timeout, events);
        self.settle_lazy(events);
        polled.map_err(|error| {
            Error::os(format!("polling the {} driver", self.state.backend()), error)
        })
    }

    /// Whether the poll brought anything.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.borrow().is_empty()
    }

    /// Gives what the poll brought its place in the ready queue.
    pub(crate) fn queue_events(&self) {
        if self.has_events() {
            self.ready.push(|| Entry::Events);
        }
    }

    /// `None`: until something happens.
    pub(crate) fn time_to_sleep(&self) -> Option<Duration> {
        let deadline = self.timers.next_deadline()?;
        if deadline == LoopInstant::FAR_FUTURE {
            return None;
        }
        Some((deadline - self.clock.now()).min(LONGEST_POLL))
    }

    /// Whether callbacks have kept the system waiting (SCHED-04). Reading the clock costs as much as a short
    /// callback, so it is read for each only after slow ones.
    #[inline]
    fn is_poll_overdue(&self) -> bool {
        let ran = self.since_poll.get();
        if ran < self.timed_next.get() {
            return false;
        }
        self.timed_next.set(ran + ran.min(SKIP_UNTIMED));
        let took = self.clock.now().as_nanos().saturating_sub(self.polled_at.get());
        self.slow.set(took > SKIP_NANOS);
        self.slow.get()
    }

    pub(crate) fn drain_inbox(&self) {
        let mut items = self.drained.take();
        let mut spent = self.spent.take();
        self.spent_lent.set(!spent.is_empty());
        self.inbox.drain(&mut items, &mut spent);
        spent.clear();
        self.spent.replace(spent);
        for item in items.drain(..) {
            self.ready.push(|| item.into());
        }
        self.drained.set(items);
        if self.inbox.take_stop() {
            self.stopping.set(true);
        }
    }

    /// A call has been made: whoever posts next may free it.
    #[inline]
    fn spend(&self, call: RemoteCall) {
        let mut spent = self.spent.borrow_mut();
        if spent.len() < SPENT {
            spent.push(call);
        }
    }

    /// Nobody may post for long.
    pub(super) fn free_spent(&self) {
        self.spent.borrow_mut().clear();
        if self.spent_lent.take() {
            drop(self.inbox.take_spent());
        }
    }

    fn dispatch_each(&self, events: &mut Drain<'_, Event>) {
        while !self.state.interrupted()
            && let Some(event) = events.next()
        {
            let Some(source) = self.sources.get(event.key()) else { continue };
            if self.state.observed() {
                self.dispatch_observed(source, event);
            } else if let Event::Ready { key, readiness } = event {
                source.on_readiness(key, readiness);
                // There is nothing in it, and looking for that costs more than the rest.
                std::mem::forget(event);
            } else {
                source.on_event(event);
            }
        }
    }

    /// Calls `f`, which goes on where it was, until it returns: callbacks have guards of their own, but
    /// what panics in a destructor or a waker must not cost others their events.
    pub(super) fn to_the_end(&self, mut f: impl FnMut()) {
        let report = |panic| Report::new("a destructor or a waker panicked").exception(panic);
        while self.guard(&mut f, report).is_err() {}
    }

    #[inline(never)]
    fn dispatch(&self) {
        let mut events = self.events.take();
        let few = events.len() < events.capacity() / 8;
        let mut rest = events.drain(..);
        self.to_the_end(|| self.dispatch_each(&mut rest));
        if self.state.interrupted() {
            // What was not dispatched stays for the next run (LIFE-18).
            let mut again = self.again.borrow_mut();
            let newer = std::mem::take(&mut *again);
            again.extend(rest);
            again.extend(newer);
            return;
        }
        drop(rest);
        if few && events.capacity() > EVENTS_KEPT {
            // There was a burst once.
            events = Vec::new();
        }
        self.events.replace(events);
    }
}
