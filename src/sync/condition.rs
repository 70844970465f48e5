//! `Condition`: wait, with a lock held, for what another task changes under the same lock.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use anyloop_api::{Cancellable, Cancelled, Error, Result, catch_cancel, clear_waiter, set_waiter};

use crate::sync::lock::{Acquire, Lock, LockScoped};
use crate::sync::wait_list::{Home, Stage, WaitList, polled_too_often};

/// A place to wait for a change of something that a [`Lock`] guards. Clones name the same condition.
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use anyloop::{Condition, Result};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     let changed = Condition::new();
///     let count = Rc::new(Cell::new(0));
///     let (theirs, number) = (changed.clone(), count.clone());
///     let waiter = anyloop::create_task(async move {
///         let _guard = theirs.lock().await?;
///         theirs.wait_for(|| number.get() > 0).await
///     })?;
///     anyloop::yield_now().await;
///     let guard = changed.lock().await?;
///     count.set(1);
///     changed.notify(1)?;
///     drop(guard);
///     waiter.await??;
///     Ok(())
/// })?
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Condition {
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    lock: Lock,
    waiters: WaitList,
    home: Home,
}

impl Condition {
    /// A condition with a lock of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A condition of something that `lock` guards; others may share the lock.
    #[must_use]
    pub fn with_lock(lock: &Lock) -> Self {
        let state = State { lock: lock.clone(), ..State::default() };
        Self { state: Rc::new(state) }
    }

    /// Its lock.
    #[must_use]
    pub fn get_lock(&self) -> &Lock {
        &self.state.lock
    }

    /// As [`Lock::lock`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub fn lock(&self) -> LockScoped {
        self.state.lock.lock()
    }

    /// As [`Lock::acquire`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub fn acquire(&self) -> Acquire {
        self.state.lock.acquire()
    }

    /// As [`Lock::release`].
    ///
    /// # Errors
    /// As there.
    pub fn release(&self) -> Result<()> {
        self.state.lock.release()
    }

    /// As [`Lock::locked`].
    #[must_use]
    pub fn locked(&self) -> bool {
        self.state.lock.locked()
    }

    /// How many wait for a notification.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.state.waiters.waiting() + self.state.waiters.woken()
    }

    /// Releases the lock, waits for a notification, and takes the lock again. A guard of before stays
    /// valid. Wake-ups without a reason are allowed: check again, or use [`Condition::wait_for`].
    ///
    /// # Errors
    /// `Usage` if nobody holds the lock, or tasks of another loop have waited before; nothing has
    /// happened then.
    ///
    /// # Cancel safety
    /// A cancellation of the task, or a timeout, goes on only when the lock is held again; a notification
    /// that had arrived passes to the next waiter. Whoever drops the future without cancelling the task
    /// (`select!`) finds the lock released, and a guard of before without effect.
    pub fn wait(&self) -> impl Future<Output = Result<()>> + use<> {
        let condition = self.clone();
        async move { condition.wait_once().await }
    }

    /// Waits until `predicate` holds, and returns what it said: `true`, or the value in a `Some`. It is
    /// called with the lock held, first at once, then after every wake-up.
    ///
    /// # Errors
    /// As [`Condition::wait`].
    ///
    /// # Cancel safety
    /// As [`Condition::wait`].
    pub fn wait_for<P: Holds>(
        &self,
        mut predicate: impl FnMut() -> P,
    ) -> impl Future<Output = Result<P::Value>> {
        let condition = self.clone();
        async move {
            condition.state.check_held("Condition::wait_for")?;
            loop {
                if let Some(value) = predicate().holds() {
                    return Ok(value);
                }
                condition.wait_once().await?;
            }
        }
    }

    /// Wakes up to `n` waiters, those first who have waited longest. They go on when they get the lock,
    /// which stays with the caller.
    ///
    /// # Errors
    /// `Usage` if nobody holds the lock.
    pub fn notify(&self, n: usize) -> Result<()> {
        self.state.check_held("Condition::notify")?;
        for _ in 0..n.min(self.state.waiters.waiting()) {
            self.state.waiters.wake_one(0);
        }
        Ok(())
    }

    /// Wakes everybody who waits now.
    ///
    /// # Errors
    /// `Usage` if nobody holds the lock.
    pub fn notify_all(&self) -> Result<()> {
        self.notify(usize::MAX)
    }

    async fn wait_once(&self) -> Result<()> {
        let state = &self.state;
        state.check_held("Condition::wait")?;
        // Refuse while the lock is still held.
        state.home.check("Condition::wait")?;
        state.lock.check_home("Condition::wait")?;
        let turn = state.lock.turn();
        let mut notified = Notified { state: state.clone(), stage: Stage::New };
        let waited = catch_cancel(pin!(&mut notified)).await;
        let mut cancelled = match waited {
            Ok(result) => {
                result?;
                None
            }
            Err(cancelled) => Some(cancelled),
        };
        // The place in the queue for the lock survives further requests (COND-02).
        let mut acquire = pin!(state.lock.acquire_for(turn));
        loop {
            match catch_cancel(acquire.as_mut()).await {
                Ok(taken) => break taken?,
                Err(request) => cancelled = Some(request),
            }
        }
        match cancelled {
            None => {
                notified.accept();
                Ok(())
            }
            Some(request) => {
                drop(notified);
                request.resume().await
            }
        }
    }
}

impl State {
    fn check_held(&self, operation: &'static str) -> Result<()> {
        if self.lock.locked() {
            return Ok(());
        }
        Err(Error::Usage(format!("{operation}: nobody holds the lock").into()))
    }
}

impl Cancellable for State {
    /// Nothing ends here: the task drops its wait.
    fn cancel(self: Rc<Self>, _: &Cancelled) -> bool {
        false
    }

    fn describe(&self) -> String {
        "condition".into()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Condition of {:?}, {} waiting>", self.state.lock, self.waiters())
    }
}

/// What a predicate of [`Condition::wait_for`] may say: `bool`, or `Option` with a value for the waiter.
pub trait Holds {
    /// What the waiter gets.
    type Value;
    /// The value, if the condition holds.
    fn holds(self) -> Option<Self::Value>;
}

impl Holds for bool {
    type Value = Self;

    fn holds(self) -> Option<Self> {
        self.then_some(true)
    }
}

impl<T> Holds for Option<T> {
    type Value = T;

    fn holds(self) -> Self {
        self
    }
}

/// One wait for a notification. Releases the lock once it is in the list. A notification that was not
/// accepted goes to the next waiter (COND-04).
struct Notified {
    state: Rc<State>,
    stage: Stage,
}

impl Notified {
    fn accept(mut self) {
        self.leave();
    }

    fn leave(&mut self) -> bool {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Waiting(key) => self.state.waiters.leave(key).is_some(),
            _ => false,
        }
    }
}

impl Future for Notified {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        let state = &this.state;
        match this.stage {
            Stage::New => {
                this.stage = Stage::Waiting(state.waiters.enqueue(cx));
                state.lock.release()?;
            }
            Stage::Waiting(key) => {
                if state.waiters.woken_with(key).is_some() {
                    return Poll::Ready(Ok(()));
                }
                state.waiters.refresh(key, cx);
            }
            Stage::Over => return Poll::Ready(Err(polled_too_often())),
        }
        set_waiter(|| state.clone());
        Poll::Pending
    }
}

impl Drop for Notified {
    fn drop(&mut self) {
        clear_waiter(&self.state);
        if self.leave() {
            self.state.waiters.wake_one(0);
        }
    }
}
