//! Timeouts: scopes that cancel what runs inside them when their deadline passes.

mod future;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::time::Duration;

use anyloop_api::{
    AnyTask, CancelScope, Cancelled, Error, EventLoopExt, Handle, LoopInstant, LoopRef, Result,
    TimerHandle,
};

use self::future::Limit;
pub use self::future::Timeout;

/// Runs `future` for at most `delay`, counted from the first poll.
///
/// When the deadline passes, `future` is cancelled as a task is: scopes inside it may clean up, and it is
/// over when they have; then this fails with `TimedOut`. If `future` answers the cancellation with a value,
/// that value wins; an `Err(Cancelled)` that it returns is a value, too, so pass on what
/// [`catch_cancel`](crate::catch_cancel) caught by [`Cancelled::resume`], not by `?`, or use
/// [`wait_for`](crate::wait_for), which tells them apart. A deadline of now or earlier fires at the first
/// suspension. Completing without one costs no timer.
///
/// # Errors
/// `TimedOut`; `Usage` outside a task. An `Err` of `future` is part of its output.
///
/// # Cancel safety
/// Dropping it drops `future` and the timer. A cancellation of the task goes on outwards, also if the
/// deadline passes at the same time.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use anyloop::{Error, Result, sleep, timeout};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     let slow = timeout(Duration::from_millis(1), sleep(Duration::from_secs(60))).await;
///     assert!(matches!(slow, Err(Error::TimedOut(_))));
///     assert_eq!(timeout(Duration::from_secs(60), async { 42 }).await?, 42);
///     Ok(())
/// })?
/// # }
/// ```
pub fn timeout<F: IntoFuture>(delay: Duration, future: F) -> Timeout<F::IntoFuture> {
    Timeout::new(Limit::After(delay), future.into_future())
}

/// [`timeout`] with a point in time on the loop's clock.
///
/// # Errors
/// As [`timeout`].
///
/// # Cancel safety
/// As [`timeout`].
pub fn timeout_at<F: IntoFuture>(when: LoopInstant, future: F) -> Timeout<F::IntoFuture> {
    Timeout::new(Limit::At(when), future.into_future())
}

/// [`timeout`] around a body that can ask for its deadline and move it; `None`: no deadline yet.
///
/// # Errors
/// As [`timeout`].
///
/// # Cancel safety
/// As [`timeout`].
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use anyloop::{Result, get_running_loop, sleep, timeout_scope};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     let lp = get_running_loop()?;
///     timeout_scope(Duration::from_millis(1), |scope| async move {
///         scope.reschedule(lp.time() + Duration::from_secs(60))?;
///         sleep(Duration::from_millis(2)).await;
///         assert!(!scope.expired());
///         Ok(())
///     })
///     .await?
/// })?
/// # }
/// ```
pub fn timeout_scope<F: Future>(
    delay: impl Into<Option<Duration>>,
    body: impl FnOnce(TimeoutHandle) -> F,
) -> Timeout<F> {
    let handle = TimeoutHandle::after(delay);
    let future = body(handle.clone());
    handle.run(future)
}

/// A timeout scope as an object. Clones name the same scope; it is entered once, with
/// [`TimeoutHandle::run`].
#[derive(Clone)]
pub struct TimeoutHandle {
    state: Rc<State>,
}

struct State {
    stage: Cell<Stage>,
    /// Counted from the entry.
    delay: Cell<Option<Duration>>,
    deadline: Cell<Option<LoopInstant>>,
    timer: RefCell<Option<Timer>>,
    /// Once it is suspended.
    scope: RefCell<Option<CancelScope>>,
    /// The requests from outside it at the entry.
    requests: Cell<usize>,
    task: Cell<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Active,
    /// The deadline has passed; the body has not ended yet.
    Expiring,
    Expired,
    Left,
}

enum Timer {
    Soon(Handle),
    At(TimerHandle),
}

thread_local! {
    /// The scopes that are being polled, the innermost last; of several tasks, if eager ones nest.
    ///
    /// Without a destructor, for there may be scopes at the end of the thread, too: `CLEANUP` frees its memory.
    static ACTIVE: ManuallyDrop<RefCell<Vec<Rc<State>>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
    static CLEANUP: Cleanup = const { Cleanup };
}

struct Cleanup;

impl Drop for Cleanup {
    fn drop(&mut self) {
        let left = ACTIVE.with(|active| active.take());
        drop(left);
    }
}

impl TimeoutHandle {
    /// A scope whose deadline is so long after its entry; `None`: without a deadline.
    #[must_use]
    pub fn after(delay: impl Into<Option<Duration>>) -> Self {
        Self { state: Rc::new(State::new(delay.into(), None)) }
    }

    /// A scope with a deadline on the loop's clock; `None`: without one.
    #[must_use]
    pub fn at(when: impl Into<Option<LoopInstant>>) -> Self {
        Self { state: Rc::new(State::new(None, when.into())) }
    }

    /// Enters the scope and runs `future` inside; see [`timeout`].
    ///
    /// # Errors
    /// As [`timeout`]; `Usage` if the scope was entered before.
    ///
    /// # Cancel safety
    /// As [`timeout`].
    pub fn run<F: IntoFuture>(&self, future: F) -> Timeout<F::IntoFuture> {
        Timeout::new(Limit::Handle(self.state.clone()), future.into_future())
    }

    /// Replaces the deadline; `None`: there is none any more.
    ///
    /// # Errors
    /// `Usage` before the entry, once the deadline has passed, and after the end.
    pub fn reschedule(&self, when: impl Into<Option<LoopInstant>>) -> Result<()> {
        match self.state.stage.get() {
            Stage::Active => {}
            Stage::New => return Err(Error::usage("reschedule: the timeout was not entered yet")),
            Stage::Expiring => return Err(Error::usage("reschedule: the timeout is expiring")),
            Stage::Expired | Stage::Left => {
                return Err(Error::usage("reschedule: the timeout is over"));
            }
        }
        self.state.disarm();
        self.state.deadline.set(when.into());
        // Before the first suspension there is nothing to cancel; it arms the timer.
        if self.state.scope.borrow().is_some() {
            self.state.arm(&LoopRef::current()?)?;
        }
        Ok(())
    }

    /// The deadline, if there is one. A relative one is known from the entry on.
    #[must_use]
    pub fn when(&self) -> Option<LoopInstant> {
        self.state.deadline.get()
    }

    /// Whether the deadline has passed while the scope was active.
    #[must_use]
    pub fn expired(&self) -> bool {
        matches!(self.state.stage.get(), Stage::Expiring | Stage::Expired)
    }
}

impl fmt::Debug for TimeoutHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Timeout {:?}", self.state.stage.get())?;
        if let Some(when) = self.when() {
            write!(f, " at {}ns", when.as_nanos())?;
        }
        f.write_str(">")
    }
}

impl State {
    fn new(delay: Option<Duration>, deadline: Option<LoopInstant>) -> Self {
        Self {
            stage: Cell::new(Stage::New),
            delay: Cell::new(delay),
            deadline: Cell::new(deadline),
            timer: RefCell::new(None),
            scope: RefCell::new(None),
            requests: Cell::new(0),
            task: Cell::new(0),
        }
    }

    fn enter(&self, task: &AnyTask, lp: &LoopRef, requests: usize) {
        if let Some(delay) = self.delay.get() {
            self.deadline.set(Some(lp.time() + delay));
        }
        self.stage.set(Stage::Active);
        self.requests.set(requests);
        self.task.set(task.id());
    }

    /// The future was moved to another task.
    fn follow(&self, task: &AnyTask, scope: Option<CancelScope>) {
        self.task.set(task.id());
        self.requests.set(scope.as_ref().map_or(0, CancelScope::outer_requests));
        let left = self.scope.replace(scope);
        if self.stage.get() == Stage::Expiring {
            if let Some(left) = left {
                left.withdraw();
            }
            self.cancel();
        }
    }

    fn arm(self: &Rc<Self>, lp: &LoopRef) -> Result<()> {
        let Some(when) = self.deadline.get() else { return Ok(()) };
        let weak = Rc::downgrade(self);
        let fire = move || {
            if let Some(state) = weak.upgrade() {
                state.fire();
            }
        };
        let timer = if when <= lp.time() {
            // Before the task's next step, even if it only yields.
            Timer::Soon(lp.call_soon(fire)?)
        } else {
            Timer::At(lp.call_at(when, fire)?)
        };
        *self.timer.borrow_mut() = Some(timer);
        Ok(())
    }

    fn disarm(&self) {
        let timer = self.timer.borrow_mut().take();
        match timer {
            Some(Timer::Soon(handle)) => handle.cancel(),
            Some(Timer::At(timer)) => timer.cancel(),
            None => {}
        }
    }

    fn fire(&self) {
        let timer = self.timer.borrow_mut().take();
        drop(timer);
        if self.stage.get() == Stage::Active {
            self.stage.set(Stage::Expiring);
            self.cancel();
        }
    }

    fn cancel(&self) {
        let scope = self.scope.borrow().clone();
        if let Some(scope) = scope {
            scope.cancel(Cancelled::new());
        }
    }

    /// The end, in whatever way. `None`: it did not expire. Otherwise the requests from outside it
    /// beside those at the entry.
    fn leave(&self) -> Option<usize> {
        self.disarm();
        let scope = self.scope.borrow_mut().take();
        if self.stage.get() != Stage::Expiring {
            self.stage.set(Stage::Left);
            return None;
        }
        self.stage.set(Stage::Expired);
        let requests = scope.map_or(0, |scope| scope.withdraw());
        Some(requests.saturating_sub(self.requests.get()))
    }

    /// Scopes around this one that expired with a later deadline than this one. This one raises
    /// first, and they interrupt what comes next (TMO-09); with the same deadline it is theirs to raise
    /// (TMO-07).
    fn later_ones(&self) -> Vec<Rc<Self>> {
        ACTIVE.with(|active| {
            active
                .borrow()
                .iter()
                .filter(|other| other.task.get() == self.task.get())
                .filter(|other| other.stage.get() == Stage::Expiring)
                .filter(|other| other.deadline.get() > self.deadline.get())
                .cloned()
                .collect()
        })
    }

    /// The request was delivered together with another one, which has been served.
    fn renew(&self) {
        let scope = self.scope.borrow().clone();
        if let Some(scope) = scope {
            scope.withdraw();
            scope.cancel(Cancelled::new());
        }
    }
}
