//! `Lock`: one task at a time.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use anyloop_api::{Cancellable, Cancelled, Error, Result, clear_waiter, set_waiter};

use crate::sync::wait_list::{Home, Stage, WaitList};

/// A mutual exclusion for tasks of one loop. Clones name the same lock.
///
/// Waiters are served in the order in which they came; nobody overtakes one that has been woken. The lock
/// belongs to nobody in particular: any task may release it. It protects no value: between two awaits
/// nothing else runs on the loop, so what it guards is what happens across awaits.
///
/// ```
/// use anyloop::{Lock, Result};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     let lock = Lock::new();
///     let guard = lock.lock().await?;
///     assert!(lock.locked());
///     drop(guard);
///     assert!(!lock.locked());
///     Ok(())
/// })?
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Lock {
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    locked: Cell<bool>,
    /// The number of the acquisition that holds it, so that a guard only releases its own.
    turn: Cell<u64>,
    turns: Cell<u64>,
    waiters: WaitList,
    home: Home,
}

impl Lock {
    /// A free lock.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for the lock and gives a guard that releases it when dropped.
    ///
    /// # Errors
    /// `Usage` if it has to wait and tasks of another loop have waited before.
    ///
    /// # Cancel safety
    /// Dropping it leaves the queue; if the lock was on its way, the next waiter gets it.
    pub fn lock(&self) -> LockScoped {
        LockScoped { acquire: self.acquire() }
    }

    /// Takes the lock if that is possible without waiting.
    #[must_use]
    pub fn try_lock(&self) -> Option<LockGuard> {
        self.state.take_free().then(|| LockGuard::new(self))
    }

    /// Waits for the lock; to be given back with [`Lock::release`].
    ///
    /// # Errors
    /// `Usage` if it has to wait and tasks of another loop have waited before.
    ///
    /// # Cancel safety
    /// Dropping it leaves the queue; if the lock was on its way, the next waiter gets it.
    pub fn acquire(&self) -> Acquire {
        Acquire { lock: self.clone(), stage: Stage::New, turn: None }
    }

    /// Gives the lock back and wakes the waiter that has waited longest.
    ///
    /// # Errors
    /// `Usage` if nobody holds it.
    pub fn release(&self) -> Result<()> {
        if !self.state.locked.get() {
            return Err(Error::usage("release: nobody holds the lock"));
        }
        self.state.free();
        Ok(())
    }

    /// Whether somebody holds it.
    #[must_use]
    pub fn locked(&self) -> bool {
        self.state.locked.get()
    }

    /// How many wait for it.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.state.waiters.waiting() + self.state.waiters.woken()
    }

    /// The number of the acquisition that holds it now.
    pub(super) fn turn(&self) -> u64 {
        self.state.turn.get()
    }

    /// Takes it again for an acquisition that gave it away for a while.
    pub(super) fn acquire_for(&self, turn: u64) -> Acquire {
        Acquire { lock: self.clone(), stage: Stage::New, turn: Some(turn) }
    }

    /// Whether a task of the running loop may wait for it.
    pub(super) fn check_home(&self, operation: &'static str) -> Result<()> {
        self.state.home.check(operation)
    }
}

impl State {
    fn is_free(&self) -> bool {
        !self.locked.get() && self.waiters.is_empty()
    }

    fn take_free(&self) -> bool {
        let free = self.is_free();
        if free {
            self.take(None);
        }
        free
    }

    fn take(&self, turn: Option<u64>) {
        self.locked.set(true);
        let turn = turn.unwrap_or_else(|| {
            self.turns.set(self.turns.get() + 1);
            self.turns.get()
        });
        self.turn.set(turn);
    }

    fn free(&self) {
        self.locked.set(false);
        self.wake_next();
    }

    /// One at a time is on its way.
    fn wake_next(&self) {
        if !self.locked.get() && self.waiters.woken() == 0 {
            self.waiters.wake_one(0);
        }
    }
}

impl Cancellable for State {
    /// Nothing ends here: the task drops its wait.
    fn cancel(self: Rc<Self>, _: &Cancelled) -> bool {
        false
    }

    fn describe(&self) -> String {
        "lock".into()
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.locked() { "locked" } else { "unlocked" };
        write!(f, "<Lock {state}, {} waiting>", self.waiters())
    }
}

/// The future of [`Lock::acquire`].
#[must_use = "futures do nothing unless awaited"]
pub struct Acquire {
    lock: Lock,
    stage: Stage,
    turn: Option<u64>,
}

impl Future for Acquire {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        let state = &this.lock.state;
        let free = || state.is_free();
        let poll = this.stage.poll("Lock::acquire", &state.waiters, &state.home, cx, free);
        match &poll {
            Poll::Ready(Ok(_)) => state.take(this.turn),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => set_waiter(|| state.clone()),
        }
        poll.map_ok(|_| ())
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let Stage::Waiting(key) = self.stage {
            let state = &self.lock.state;
            clear_waiter(state);
            if state.waiters.leave(key).is_some() {
                state.wake_next();
            }
        }
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Acquire of {:?}>", self.lock)
    }
}

/// The future of [`Lock::lock`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct LockScoped {
    acquire: Acquire,
}

impl Future for LockScoped {
    type Output = Result<LockGuard>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<LockGuard>> {
        ready!(Pin::new(&mut self.acquire).poll(cx))?;
        Poll::Ready(Ok(LockGuard::new(&self.acquire.lock)))
    }
}

/// Holds a [`Lock`] and releases it when dropped, on whatever way out. If the lock was released by hand
/// meanwhile, dropping the guard does nothing.
#[derive(Debug)]
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard {
    lock: Lock,
    turn: u64,
}

impl LockGuard {
    fn new(lock: &Lock) -> Self {
        Self { lock: lock.clone(), turn: lock.turn() }
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        let state = &self.lock.state;
        if state.locked.get() && state.turn.get() == self.turn {
            state.free();
        }
    }
}
