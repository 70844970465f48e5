//! `Semaphore`: so many tasks at a time.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use anyloop_api::{Cancellable, Cancelled, Error, Result, clear_waiter, set_waiter};

use crate::sync::wait_list::{Home, Stage, WaitList};

/// A counter of permits for tasks of one loop. Clones name the same semaphore.
///
/// Waiters are served in the order in which they came; a permit that is given back goes to the first of
/// them at once, so that nobody overtakes.
///
/// ```
/// use anyloop::{Result, Semaphore};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     let at_most_two = Semaphore::new(2);
///     let permit = at_most_two.permit().await?;
///     at_most_two.acquire().await?;
///     assert!(at_most_two.locked());
///     drop(permit);
///     at_most_two.release()?;
///     assert_eq!(at_most_two.available(), 2);
///     Ok(())
/// })?
/// # }
/// ```
#[derive(Clone)]
pub struct Semaphore {
    state: Rc<State>,
}

struct State {
    /// Free permits; those on their way to a woken waiter are not among them.
    permits: Cell<usize>,
    bound: usize,
    waiters: WaitList,
    home: Home,
}

impl Semaphore {
    /// With so many permits. More may be released than were acquired.
    #[must_use]
    pub fn new(permits: usize) -> Self {
        Self::with_bound(permits, usize::MAX)
    }

    fn with_bound(permits: usize, bound: usize) -> Self {
        let state = State {
            permits: Cell::new(permits),
            bound,
            waiters: WaitList::default(),
            home: Home::default(),
        };
        Self { state: Rc::new(state) }
    }

    /// Waits for a permit; to be given back with [`Semaphore::release`].
    ///
    /// # Errors
    /// `Usage` if it has to wait and tasks of another loop have waited before.
    ///
    /// # Cancel safety
    /// Dropping it leaves the queue; a permit that was on its way goes to the next waiter.
    pub fn acquire(&self) -> SemaphoreAcquire {
        SemaphoreAcquire { semaphore: self.clone(), stage: Stage::New }
    }

    /// Waits for a permit that gives itself back when dropped.
    ///
    /// # Errors
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn permit(&self) -> SemaphoreScoped {
        SemaphoreScoped { acquire: self.acquire() }
    }

    /// Takes a permit if that is possible without waiting.
    #[must_use]
    pub fn try_permit(&self) -> Option<Permit> {
        self.state.take_free().then(|| Permit { semaphore: self.clone() })
    }

    /// Gives a permit back, or adds one.
    ///
    /// # Errors
    /// `InvalidArg` from a [`BoundedSemaphore`] that has all its permits.
    pub fn release(&self) -> Result<()> {
        // Those on their way to waiters count.
        if self.state.permits.get() + self.state.waiters.woken() >= self.state.bound {
            return Err(Error::invalid_arg("release: the semaphore has all its permits already"));
        }
        self.state.give();
        Ok(())
    }

    /// Whether [`Semaphore::acquire`] would have to wait.
    #[must_use]
    pub fn locked(&self) -> bool {
        self.state.permits.get() == 0 || !self.state.waiters.is_empty()
    }

    /// How many permits are free.
    #[must_use]
    pub fn available(&self) -> usize {
        self.state.permits.get()
    }

    /// How many wait for a permit.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.state.waiters.waiting() + self.state.waiters.woken()
    }
}

impl State {
    fn take_free(&self) -> bool {
        let free = self.permits.get() > 0 && self.waiters.is_empty();
        if free {
            self.permits.set(self.permits.get() - 1);
        }
        free
    }

    fn give(&self) {
        self.permits.set(self.permits.get() + 1);
        self.hand_out();
    }

    /// Free permits go to waiters at once.
    fn hand_out(&self) {
        while self.permits.get() > 0 && self.waiters.waiting() > 0 {
            self.permits.set(self.permits.get() - 1);
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
        "semaphore".into()
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Semaphore {} free, {} waiting>", self.available(), self.waiters())
    }
}

/// A [`Semaphore`] that refuses to have more permits than it began with.
///
/// ```
/// use anyloop::{BoundedSemaphore, Error};
/// let semaphore = BoundedSemaphore::new(1);
/// assert!(matches!(semaphore.release(), Err(Error::InvalidArg(_))));
/// ```
#[derive(Clone, Debug)]
pub struct BoundedSemaphore(Semaphore);

impl BoundedSemaphore {
    /// With so many permits, and never more.
    #[must_use]
    pub fn new(permits: usize) -> Self {
        Self(Semaphore::with_bound(permits, permits))
    }
}

impl Deref for BoundedSemaphore {
    type Target = Semaphore;

    fn deref(&self) -> &Semaphore {
        &self.0
    }
}

/// The future of [`Semaphore::acquire`].
#[must_use = "futures do nothing unless awaited"]
pub struct SemaphoreAcquire {
    semaphore: Semaphore,
    stage: Stage,
}

impl Future for SemaphoreAcquire {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        let state = &this.semaphore.state;
        let free = || state.take_free();
        let poll = this.stage.poll("Semaphore::acquire", &state.waiters, &state.home, cx, free);
        match &poll {
            // Who came while this one was on its way had to queue, even for a free permit.
            Poll::Ready(Ok(Some(_))) => state.hand_out(),
            Poll::Ready(_) => {}
            Poll::Pending => set_waiter(|| state.clone()),
        }
        poll.map_ok(|_| ())
    }
}

impl Drop for SemaphoreAcquire {
    fn drop(&mut self) {
        if let Stage::Waiting(key) = self.stage {
            let state = &self.semaphore.state;
            clear_waiter(state);
            if state.waiters.leave(key).is_some() {
                state.give();
            }
        }
    }
}

impl fmt::Debug for SemaphoreAcquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Acquire of {:?}>", self.semaphore)
    }
}

/// The future of [`Semaphore::permit`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct SemaphoreScoped {
    acquire: SemaphoreAcquire,
}

impl Future for SemaphoreScoped {
    type Output = Result<Permit>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Permit>> {
        ready!(Pin::new(&mut self.acquire).poll(cx))?;
        Poll::Ready(Ok(Permit { semaphore: self.acquire.semaphore.clone() }))
    }
}

/// A permit of a [`Semaphore`]; dropping it gives it back.
#[derive(Debug)]
#[must_use = "the permit is given back when it is dropped"]
pub struct Permit {
    semaphore: Semaphore,
}

impl Drop for Permit {
    fn drop(&mut self) {
        // A bounded one may have been refilled by hand; then there is nothing to give back.
        let _ = self.semaphore.release();
    }
}
