//! `Event`: a flag that tasks wait for.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use anyloop_api::{Cancellable, Cancelled, Result, clear_waiter, set_waiter};

use crate::sync::wait_list::{Home, Stage, WaitList};

/// A flag that any number of tasks of one loop wait for. Clones name the same event.
///
/// ```
/// use anyloop::{Event, Result};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     let ready = Event::new();
///     let theirs = ready.clone();
///     let task = anyloop::create_task(async move { theirs.wait().await })?;
///     ready.set();
///     task.await?
/// })?
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Event {
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    set: Cell<bool>,
    waiters: WaitList,
    home: Home,
}

impl Event {
    /// An event that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets it and releases everybody who waits now, even if it is cleared right afterwards.
    pub fn set(&self) {
        if !self.state.set.replace(true) {
            self.state.waiters.wake_all(0);
        }
    }

    /// Clears it: who comes from now on waits.
    pub fn clear(&self) {
        self.state.set.set(false);
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.state.set.get()
    }

    /// How many wait for it.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.state.waiters.waiting() + self.state.waiters.woken()
    }

    /// Waits until it is set; at once if it is.
    ///
    /// # Errors
    /// `Usage` if it has to wait and tasks of another loop have waited before.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing and concerns no other waiter.
    pub fn wait(&self) -> EventWait {
        EventWait { state: self.state.clone(), stage: Stage::New }
    }
}

impl Cancellable for State {
    /// Nothing ends here: the task drops its wait.
    fn cancel(self: Rc<Self>, _: &Cancelled) -> bool {
        false
    }

    fn describe(&self) -> String {
        "event".into()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_set() { "set" } else { "unset" };
        write!(f, "<Event {state}, {} waiting>", self.waiters())
    }
}

/// The future of [`Event::wait`].
#[must_use = "futures do nothing unless awaited"]
pub struct EventWait {
    state: Rc<State>,
    stage: Stage,
}

impl Future for EventWait {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        let state = &this.state;
        let free = || state.set.get();
        let poll = this.stage.poll("Event::wait", &state.waiters, &state.home, cx, free);
        if poll.is_pending() {
            set_waiter(|| state.clone());
        }
        poll.map_ok(|_| ())
    }
}

impl Drop for EventWait {
    fn drop(&mut self) {
        if let Stage::Waiting(key) = self.stage {
            clear_waiter(&self.state);
            self.state.waiters.leave(key);
        }
    }
}

impl fmt::Debug for EventWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<EventWait>")
    }
}
