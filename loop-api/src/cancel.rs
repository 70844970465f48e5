//! Cancellation that can be caught, cleaned up after, and held back (contract §3.2).
//!
//! A cancelled task is told at its innermost active scope: the scope drops its inner future (all
//! destructors run) and yields [`Cancelled`]. Without a scope the whole body is dropped.
//!
//! ```text
//! catch_cancel(fut).await      -> Ok(value) | Err(Cancelled)     try / except CancelledError
//! on_cancel(fut, || cleanup)   -> value                          except: cleanup; raise
//! with_cleanup(fut, |how| ..)  -> value                          finally:
//! uncancellable(fut)           -> value                          requests wait until fut ended
//! cancelled.resume().await                                       raise
//! ```

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context as PollContext, Poll};

use pin_project_lite::pin_project;

use crate::any_task::AnyTask;
use crate::current::current_task;
use crate::delivery;
use crate::error::{Cancelled, Error, Interrupt, Panic};
use crate::loop_ref::LoopRef;
use crate::report::Report;
use crate::requests::Request;
use crate::scope::{Entry, Polled, Scope, ScopeKind};
use crate::task_cell::DynTask;

/// Runs `future`; a cancellation of the task ends it here and is yielded as a value.
///
/// The task then goes on: whoever means to refuse for good also calls `uncancel()`; whoever means to
/// let it through awaits [`Cancelled::resume`]. Outside a task it simply runs `future`.
///
/// ```
/// use anyloop_api::{Error, Result, catch_cancel};
///
/// # async fn example(transfer: impl Future<Output = Result<()>>) -> Result<()> {
/// match catch_cancel(transfer).await {
///     Ok(done) => done,
///     Err(cancelled) => {
///         println!("interrupted");
///         cancelled.resume().await // as Python's `raise`
///     }
/// }
/// # }
/// ```
///
/// # Cancel safety
/// Dropping it drops `future`. A cancellation that had been delivered but not seen goes to the next
/// scope.
pub fn catch_cancel<F: Future>(future: F) -> CatchCancel<F> {
    CatchCancel { inner: Some(future), entry: Entry::new(ScopeKind::Catch) }
}

/// Runs `future` to its end; requests to cancel the task meanwhile are delivered afterwards.
///
/// ```
/// use anyloop_api::{Result, uncancellable};
///
/// # async fn example(write: impl Future<Output = Result<()>>, sync: impl Future<Output = Result<()>>) -> Result<()> {
/// // Both, or neither has begun.
/// uncancellable(async {
///     write.await?;
///     sync.await
/// })
/// .await
/// # }
/// ```
///
/// # Cancel safety
/// Dropping it drops `future`. So does a cancellation that another branch of the task (`join!`) had caught before
/// and now lets through with [`Cancelled::resume`]: have a task of its own run what must not be cut short.
pub fn uncancellable<F: Future>(future: F) -> Uncancellable<F> {
    Uncancellable { inner: future, entry: Entry::new(ScopeKind::Mask) }
}

/// Runs `future`; if it is cancelled, awaits `cleanup()` and lets the cancellation continue outwards.
/// A second request interrupts the clean-up.
///
/// ```
/// use anyloop_api::on_cancel;
///
/// # async fn example(job: impl Future<Output = u32>, tell_the_peer: impl AsyncFnOnce()) {
/// let done = on_cancel(job, || tell_the_peer());
/// # done.await;
/// # }
/// ```
///
/// # Cancel safety
/// Dropping it, rather than cancelling its task, drops `future` and runs no clean-up, or drops that in the middle:
/// destructors cannot await.
pub async fn on_cancel<F, C>(future: F, cleanup: impl FnOnce() -> C) -> F::Output
where
    F: Future,
    C: Future,
{
    match catch_cancel(future).await {
        Ok(value) => value,
        Err(cancelled) => {
            cleanup().await;
            cancelled.resume().await
        }
    }
}

/// How the body of [`with_cleanup`] ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ending<'a, T> {
    /// With this value.
    Value(&'a T),
    /// By cancellation.
    Cancelled(&'a Cancelled),
    /// By a panic, which resumes after the clean-up.
    Panicked,
}

/// Runs `future`, then `cleanup` whatever happened (Python's `finally` with awaits). The clean-up is told how it
/// ended.
///
/// ```
/// use anyloop_api::{Ending, with_cleanup};
///
/// # async fn example(query: impl Future<Output = u32>, rollback: impl Future, commit: impl Future) {
/// let found = with_cleanup(query, |ending| {
///     let worked = matches!(ending, Ending::Value(_));
///     async move {
///         if worked { commit.await; } else { rollback.await; }
///     }
/// });
/// # found.await;
/// # }
/// ```
///
/// # Cancel safety
/// A request while the clean-up runs ends that. Dropping it, rather than cancelling its task, drops `future` and runs
/// no clean-up, or drops that in the middle: destructors cannot await.
pub async fn with_cleanup<F, C>(
    future: F,
    cleanup: impl FnOnce(Ending<'_, F::Output>) -> C,
) -> F::Output
where
    F: Future,
    C: Future,
{
    match catch_cancel(catch_panic(future)).await {
        Ok(Ok(value)) => {
            cleanup(Ending::Value(&value)).await;
            value
        }
        Ok(Err(payload)) => {
            cleanup(Ending::Panicked).await;
            resume_unwind(payload)
        }
        Err(cancelled) => {
            cleanup(Ending::Cancelled(&cancelled)).await;
            cancelled.resume().await
        }
    }
}

impl Cancelled {
    /// Lets a caught cancellation continue outwards: the next scope yields it, or the task ends
    /// cancelled. Never returns inside a task.
    ///
    /// # Panics
    /// Outside a task, where there is nothing to cancel.
    ///
    /// # Cancel safety
    /// What was begun goes on: dropping it takes nothing back.
    pub async fn resume<T>(self) -> T {
        assert!(delivery::deliver(self), "Cancelled::resume: not inside a task");
        poll_fn(|_| Poll::Pending).await
    }
}

/// Ends the current task with `interrupt` as its error, and the run with it (LIFE-19).
///
/// # Panics
/// Outside a task.
///
/// # Cancel safety
/// What was begun goes on: dropping it takes nothing back.
pub async fn raise_interrupt<T>(interrupt: Interrupt) -> T {
    let task = current_task().expect("raise_interrupt: not inside a task");
    task.cell().core.set_end_with(Error::Interrupt(interrupt.clone()));
    if let Some(lp) = task.get_loop() {
        lp.interrupt(interrupt);
    }
    // Past every scope: an interrupt is not a cancellation that clean-up may refuse.
    delivery::deliver_to_root(Cancelled::new());
    poll_fn(|_| Poll::Pending).await
}

pin_project! {
    /// The future of [`catch_cancel`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct CatchCancel<F> {
        #[pin]
        inner: Option<F>,
        entry: Entry,
    }
}

impl<F> std::fmt::Debug for CatchCancel<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CatchCancel")
    }
}

impl<F: Future> Future for CatchCancel<F> {
    type Output = Result<F::Output, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = match this.entry.take_delivered() {
            Some(cancelled) => Polled::Cancelled(cancelled),
            None => {
                let inner = this.inner.as_mut().as_pin_mut();
                this.entry.poll(inner.expect("catch_cancel: polled after its end"), cx)
            }
        };
        let outcome = match polled {
            Polled::Pending => return Poll::Pending,
            Polled::Ready(value) => Ok(value),
            Polled::Cancelled(cancelled) => Err(cancelled),
        };
        if let Err(panic) = Panic::catch(|| this.inner.set(None)) {
            report_destructor(panic);
        }
        Poll::Ready(outcome)
    }
}

impl<F> CatchCancel<F> {
    /// The scope as an object, by which what runs inside it can be cancelled alone. `None` outside a
    /// task. Made for whoever polls this future: call it inside that poll.
    pub fn scope(self: Pin<&mut Self>) -> Option<CancelScope> {
        let (task, scope) = self.project().entry.scope()?;
        Some(CancelScope { task, scope })
    }
}

/// Cancels what runs inside one [`catch_cancel`] and nothing else of the task: what timeouts and task
/// groups are made of. From [`CatchCancel::scope`].
#[derive(Clone)]
pub struct CancelScope {
    task: Weak<DynTask>,
    scope: Rc<Scope>,
}

impl CancelScope {
    /// Requests cancellation of what runs inside the scope. Counted as a request to the task, until
    /// it is [withdrawn](CancelScope::withdraw). An [`uncancellable`] around the scope does not hold it
    /// back, one inside does. False if the scope has ended.
    pub fn cancel(&self, reason: Cancelled) -> bool {
        self.task.upgrade().is_some_and(|task| task.core.cancel_within(&self.scope, reason))
    }

    /// Takes one request of the scope back, and prevents its delivery if that is still possible; returns
    /// how many [outer requests](CancelScope::outer_requests) there are. Whoever called
    /// [`CancelScope::cancel`] calls this once for each time when the scope has ended.
    pub fn withdraw(&self) -> usize {
        self.task.upgrade().map_or(0, |task| task.core.withdraw(&self.scope))
    }

    /// How many requests to the task are outstanding that end further out than here: those from outside
    /// the task, and those of the scopes around this one. If there are more of them when the scope has
    /// ended than there were at its entry, its cancellation is not, or not only, its own.
    #[must_use]
    pub fn outer_requests(&self) -> usize {
        self.task.upgrade().map_or(0, |task| task.core.requests_outside(&self.scope))
    }

    /// Puts back what the scope has yielded, for whoever has to say something else first: the next
    /// suspension is cancelled, as far out as the request was meant. Not counted again.
    pub fn put_back(&self, cancelled: Cancelled) {
        if let Some(task) = self.task.upgrade() {
            task.core.give_back(Request { reason: cancelled, origin: self.scope.yielded.get() });
        }
    }

    /// The task, unless it is gone.
    #[must_use]
    pub fn task(&self) -> Option<AnyTask> {
        self.task.upgrade().map(AnyTask::new)
    }
}

impl std::fmt::Debug for CancelScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CancelScope")
    }
}

fn report_destructor(panic: Panic) {
    if let Ok(lp) = LoopRef::current() {
        lp.call_exception_handler(
            Report::new("a destructor panicked while a cancelled future was being dropped")
                .exception(panic)
                .task(current_task()),
        );
    }
}

pin_project! {
    /// The future of [`uncancellable`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct Uncancellable<F> {
        #[pin]
        inner: F,
        entry: Entry,
    }
}

impl<F> std::fmt::Debug for Uncancellable<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Uncancellable")
    }
}

impl<F: Future> Future for Uncancellable<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<F::Output> {
        let this = self.project();
        match this.entry.poll(this.inner, cx) {
            Polled::Ready(value) => Poll::Ready(value),
            // Nothing ends at a mask.
            Polled::Pending | Polled::Cancelled(_) => Poll::Pending,
        }
    }
}

/// Runs `future`; its panic is a value, the `Err` with the payload.
///
/// ```
/// use std::future::ready;
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// let mut caught = pin!(anyloop_api::catch_panic(async {
///     ready(()).await;
///     panic!("on purpose")
/// }));
/// let outcome: Poll<Result<(), _>> = caught.as_mut().poll(&mut Context::from_waker(Waker::noop()));
/// assert!(matches!(outcome, Poll::Ready(Err(_))));
/// ```
///
/// # Cancel safety
/// Dropping it drops `future`.
pub fn catch_panic<F: Future>(future: F) -> CatchPanic<F> {
    CatchPanic { inner: future }
}

pin_project! {
    /// The future of [`catch_panic`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct CatchPanic<F> {
        #[pin]
        inner: F,
    }
}

impl<F> std::fmt::Debug for CatchPanic<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CatchPanic")
    }
}

impl<F: Future> Future for CatchPanic<F> {
    type Output = std::thread::Result<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<Self::Output> {
        let inner = self.project().inner;
        match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(payload) => Poll::Ready(Err(payload)),
        }
    }
}
