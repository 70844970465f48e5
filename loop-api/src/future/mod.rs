//! `LoopFuture`: a value that somebody will provide later (asyncio's `Future`).

mod shared;
mod state;

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as PollContext, Poll, ready};

use crate::cancellable::{self, Cancellable};
use crate::context::Snapshot;
use crate::current;
use crate::error::{Cancelled, Error, Result};
use crate::handle::{Handle, in_place};
use crate::loop_ref::{LoopRef, WeakLoop};
use crate::outcome::{Observer, Outcome};

pub use self::shared::Shared;
use self::state::State;

/// Identifies a done-callback, for removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallbackId(pub(crate) u64);

/// A pending value of a loop: completes once, with a value, an error, or cancelled.
///
/// A cheap handle; clones name the same future. Awaiting the handle itself *moves the value out*
/// (one awaiter gets it); awaiting a reference, `(&future).await`, clones it, so any number of tasks
/// may do that, any number of times.
///
/// ```
/// # use anyloop_api::{EventLoopExt, LoopRef, Result};
/// # async fn example(lp: &LoopRef) -> Result<u32> {
/// let future = lp.create_future();
/// let theirs = future.clone();
/// lp.call_soon(move || drop(theirs.set_result(42)))?;
/// future.await
/// # }
/// ```
///
/// # Cancel safety
/// Dropping an await loses nothing: the value stays in the future. Cancelling a task that awaits it
/// cancels the future itself (CANCEL-04); protect it with [`shield`](crate::shield).
pub struct LoopFuture<T: 'static> {
    state: Rc<State<T>>,
    wait: Cell<u64>,
}

impl<T: 'static> LoopFuture<T> {
    /// A pending future of `lp`; users call
    /// [`EventLoopExt::create_future`](crate::EventLoopExt::create_future).
    #[track_caller]
    pub(crate) fn new(lp: WeakLoop) -> Self {
        let created = Location::caller();
        let state = in_place(|| State {
            outcome: Outcome::new(),
            lp,
            created,
            elsewhere: Cell::new(false),
        });
        Self { state, wait: Cell::new(0) }
    }

    /// Whether it has an outcome of any kind.
    #[must_use]
    pub fn done(&self) -> bool {
        self.state.outcome.done()
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.state.outcome.cancelled()
    }

    /// The value.
    ///
    /// # Errors
    /// `InvalidState` while pending or when an awaiter took the value; the stored error; `Cancelled`.
    pub fn result(&self) -> Result<T>
    where
        T: Clone,
    {
        self.state.outcome.result()
    }

    /// The value, moved out.
    ///
    /// # Errors
    /// As [`LoopFuture::result`].
    pub fn take_result(&self) -> Result<T> {
        self.state.outcome.take_result()
    }

    /// The stored error, if there is one.
    ///
    /// # Errors
    /// `InvalidState` while pending; `Cancelled`.
    pub fn exception(&self) -> Result<Option<Error>> {
        self.state.outcome.exception()
    }

    /// Completes with a value. Done-callbacks are scheduled, never called from here (FUT-05).
    ///
    /// # Errors
    /// `InvalidState` if it is done already.
    #[inline]
    pub fn set_result(&self, value: T) -> Result<()> {
        self.complete(Ok(value), "set_result")
    }

    /// Completes with an error of user code.
    ///
    /// # Errors
    /// `InvalidState` if it is done already.
    pub fn set_exception(
        &self,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<()> {
        self.complete(Err(Error::from_user(error)), "set_exception")
    }

    /// Completes with an outcome, unless it is done already (FUT-22). Says whether it was taken.
    pub fn set_unless_done(&self, outcome: Result<T>) -> bool {
        !self.done() && self.complete(outcome, "set").is_ok()
    }

    /// Completes as cancelled. False if it was done already.
    pub fn cancel(&self) -> bool {
        self.cancel_with(Cancelled::new())
    }

    /// The same with a reason that awaiters can see (FUT-19).
    pub fn cancel_with(&self, reason: Cancelled) -> bool {
        self.state.clone().cancel(&reason)
    }

    /// Calls `callback` with this future through the ready queue once it is done; in the context of
    /// now.
    pub fn add_done_callback(&self, callback: impl FnOnce(&Self) + 'static) -> CallbackId {
        self.add_done_callback_in(callback, Snapshot::current())
    }

    /// The same with an explicit context.
    pub fn add_done_callback_in(
        &self,
        callback: impl FnOnce(&Self) + 'static,
        context: Snapshot,
    ) -> CallbackId {
        let callback = move |lp: &WeakLoop, owner: Rc<dyn Any>| {
            if let Ok(state) = owner.downcast::<State<T>>() {
                schedule(lp, move || callback(&Self { state, wait: Cell::new(0) }), context);
            }
        };
        if self.done() {
            callback(&self.state.lp, self.state.clone());
            return CallbackId(0);
        }
        CallbackId(self.state.outcome.add_callback(Box::new(callback)))
    }

    /// Removes a done-callback that has not been scheduled yet; returns how many were removed.
    pub fn remove_done_callback(&self, id: CallbackId) -> usize {
        usize::from(self.state.outcome.remove(id.0))
    }

    /// Tells `observer` under `number` when it is done; nothing if it is done already. Removed by
    /// [`LoopFuture::remove_done_callback`].
    pub fn observe(&self, observer: Rc<dyn Observer>, number: usize) -> CallbackId {
        CallbackId(self.state.outcome.observe(observer, number))
    }

    /// Looks at the outcome in place, without counting as a look: an error that nobody retrieves is
    /// still reported. `None` while pending, or when an awaiter took the value.
    pub fn peek<R>(&self, look: impl FnOnce(Result<&T, &Error>) -> R) -> Option<R> {
        self.state.outcome.peek(look)
    }

    /// A number that no other future has while a handle of this one exists.
    #[must_use]
    pub fn id(&self) -> usize {
        self.address().addr()
    }

    /// The loop it belongs to; `None` once that loop is gone.
    #[must_use]
    pub fn get_loop(&self) -> Option<LoopRef> {
        self.state.lp.upgrade()
    }

    /// Where it was created.
    #[must_use]
    pub fn created(&self) -> &'static Location<'static> {
        self.state.created
    }

    /// Whether both handles name the same future.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.state, &other.state)
    }

    /// How many awaiters and callbacks are registered.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.state.outcome.entries_len()
    }

    pub(crate) fn belongs_to(&self, lp: &LoopRef) -> bool {
        self.state.lp.is(lp)
    }

    /// Nobody will look at the error, and that is right.
    pub fn mark_inspected(&self) {
        self.state.outcome.mark_inspected();
    }

    #[inline]
    fn complete(&self, outcome: Result<T>, operation: &'static str) -> Result<()> {
        self.state.complete(outcome, operation)
    }

    /// Polls for the end without looking at the outcome; cancelling the current task cancels the
    /// future if `forward`.
    #[inline]
    pub fn poll_done(&self, cx: &mut PollContext<'_>, forward: bool) -> Poll<Result<()>> {
        if self.done() {
            self.wait.set(0);
            return Poll::Ready(Ok(()));
        }
        self.suspend(cx, forward)
    }

    #[inline(never)]
    fn suspend(&self, cx: &PollContext<'_>, forward: bool) -> Poll<Result<()>> {
        cancellable::check_same_loop(&self.state.lp)?;
        if !current::in_step() {
            self.state.wait_elsewhere()?;
        }
        self.state.outcome.wait(&self.wait, cx.waker());
        if forward {
            cancellable::set_waiter(|| self.state.clone());
        }
        Poll::Pending
    }

    /// There is no value: waits for the end, or says why.
    #[inline(never)]
    fn poll_failure(&self, cx: &mut PollContext<'_>) -> Poll<Error> {
        match ready!(self.poll_done(cx, true)) {
            Ok(()) => self.state.outcome.settle_error(self.address()),
            Err(error) => Poll::Ready(error),
        }
    }

    #[inline(never)]
    fn forget_wait(&self) {
        self.state.outcome.remove(self.wait.replace(0));
        cancellable::give_up(self.address());
    }

    /// What it is recognised by.
    fn address(&self) -> *const () {
        Rc::as_ptr(&self.state).cast()
    }
}

/// Puts a done-callback into the ready queue of `lp`.
pub(crate) fn schedule(lp: &WeakLoop, callback: impl FnOnce() + 'static, context: Snapshot) {
    if let Some(lp) = lp.upgrade() {
        // A closed loop runs nothing any more: the callback is dropped.
        let _ = lp.call_soon_handle(Handle::with_snapshot(callback, context));
    }
}

impl<T: 'static> Clone for LoopFuture<T> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), wait: Cell::new(0) }
    }
}

impl<T: 'static> Drop for LoopFuture<T> {
    #[inline]
    fn drop(&mut self) {
        if self.wait.get() != 0 {
            self.forget_wait();
        }
    }
}

/// Awaiting the handle moves the value out.
impl<T: 'static> Future for LoopFuture<T> {
    type Output = Result<T>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<Self::Output> {
        match self.state.outcome.take_awaited(self.address(), &self.wait) {
            Some(value) => Poll::Ready(Ok(value)),
            None => self.poll_failure(cx).map(Err),
        }
    }
}

impl<T: 'static> fmt::Debug for LoopFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<LoopFuture {}", self.state.outcome.describe())?;
        match self.waiters() {
            0 => {}
            n => write!(f, ", {n} waiting")?,
        }
        write!(f, ", created at {}>", self.state.created)
    }
}
