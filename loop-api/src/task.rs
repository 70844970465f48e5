//! Tasks: futures that the loop drives (asyncio's `Task`).

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as PollContext, Poll, ready};

use crate::any_task::AnyTask;
use crate::cancellable::{self, Cancellable};
use crate::context::{Context, Snapshot};
use crate::error::{Cancelled, Error, Result};
use crate::future::{CallbackId, schedule};
use crate::loop_ref::{LoopRef, WeakLoop};
use crate::outcome::{Observer, Outcome};
use crate::task_cell::{DynTask, TaskCell};
use crate::task_core::TaskCore;

/// A future that the loop drives, and the handle to it.
///
/// The loop owns the task: dropping the handle detaches it (TASK-14). Clones name the same task.
/// Awaiting the handle moves the output out; awaiting a reference, `(&task).await`, clones it.
///
/// ```
/// use anyloop_api::{Error, EventLoopExt, LoopRef, Result};
///
/// async fn give_up(job: impl Future<Output = u32> + 'static) -> Result<()> {
///     let task = LoopRef::current()?.create_task(job)?;
///     task.cancel();
///     // It may have ended before, or refuse.
///     match task.await {
///         Ok(value) => println!("{value} all the same"),
///         Err(Error::Cancelled(_)) => println!("cancelled"),
///         Err(error) => return Err(error),
///     }
///     Ok(())
/// }
/// ```
///
/// # Cancel safety
/// Cancelling a task that awaits this one forwards the request to this one (CANCEL-05), and the
/// outer one ends only after it. Use [`shield`](crate::shield) to keep it running.
pub struct Task<T: 'static> {
    cell: Rc<TaskCell<Outcome<T>>>,
    wait: Cell<u64>,
}

impl<T: 'static> Task<T> {
    pub(crate) fn new(cell: Rc<TaskCell<Outcome<T>>>) -> Self {
        Self { cell, wait: Cell::new(0) }
    }

    /// Requests cancellation: the task sees it at the await where it is suspended, or at the next one.
    /// False if it is done.
    pub fn cancel(&self) -> bool {
        self.cell.core.cancel(Cancelled::new())
    }

    /// The same with a reason.
    pub fn cancel_with(&self, reason: Cancelled) -> bool {
        self.cell.core.cancel(reason)
    }

    /// How many cancellation requests are outstanding.
    #[must_use]
    pub fn cancelling(&self) -> usize {
        self.cell.cancelling()
    }

    /// Takes one request back; returns how many remain. At zero a request that has not been
    /// delivered is withdrawn: a task that waits for a lock, an event or a stream waits on. What has been cancelled
    /// with the request (the future, the sleep, the other task that it waited for) stays so, and the task sees it; nor
    /// is a request withdrawn that a timeout or a group has made while the task was suspended.
    pub fn uncancel(&self) -> usize {
        self.cell.uncancel()
    }

    /// Whether it ended, in any way.
    #[must_use]
    pub fn done(&self) -> bool {
        self.cell.outcome.done()
    }

    /// Whether it ended as cancelled.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cell.outcome.cancelled()
    }

    /// The output.
    ///
    /// # Errors
    /// `InvalidState` while pending or when an awaiter took the output; `Cancelled`; `Panicked`.
    pub fn result(&self) -> Result<T>
    where
        T: Clone,
    {
        self.cell.outcome.result()
    }

    /// The output, moved out.
    ///
    /// # Errors
    /// As [`Task::result`].
    pub fn take_result(&self) -> Result<T> {
        self.cell.outcome.take_result()
    }

    /// How it failed, if it did (a panic, an interrupt); an `Err` that the body *returned* is part of
    /// the output.
    ///
    /// # Errors
    /// `InvalidState` while pending; `Cancelled`.
    pub fn exception(&self) -> Result<Option<Error>> {
        self.cell.outcome.exception()
    }

    /// The label: given, or `Task-N`, unique in the process.
    #[must_use]
    pub fn get_name(&self) -> Rc<str> {
        self.cell.name()
    }

    /// Changes the label.
    pub fn set_name(&self, name: &str) {
        self.cell.set_name(name.into());
    }

    /// The context it runs in: another task that is given it shares it.
    #[must_use]
    pub fn get_context(&self) -> Context {
        self.cell.core.get_context()
    }

    /// The loop; `None` once it is gone.
    #[must_use]
    pub fn get_loop(&self) -> Option<LoopRef> {
        self.cell.core.lp.upgrade()
    }

    /// Calls `callback` with this task through the ready queue once it is done.
    pub fn add_done_callback(&self, callback: impl FnOnce(&Self) + 'static) -> CallbackId {
        let context = Snapshot::current();
        let callback = move |lp: &WeakLoop, owner: Rc<dyn Any>| {
            if let Ok(cell) = owner.downcast::<TaskCell<Outcome<T>>>() {
                schedule(lp, move || callback(&Self::new(cell)), context);
            }
        };
        if self.done() {
            callback(&self.cell.lp, self.cell.clone());
            return CallbackId(0);
        }
        CallbackId(self.cell.outcome.add_callback(Box::new(callback)))
    }

    /// Removes a done-callback that has not been scheduled yet; returns how many were removed.
    pub fn remove_done_callback(&self, id: CallbackId) -> usize {
        usize::from(self.cell.outcome.remove(id.0))
    }

    /// Tells `observer` under `number` when it is done; nothing if it is done already. Removed by
    /// [`Task::remove_done_callback`].
    pub fn observe(&self, observer: Rc<dyn Observer>, number: usize) -> CallbackId {
        CallbackId(self.cell.outcome.observe(observer, number))
    }

    /// Looks at the outcome in place, without counting as a look: an error that nobody retrieves is
    /// still reported. `None` while pending, or when an awaiter took the value.
    pub fn peek<R>(&self, look: impl FnOnce(Result<&T, &Error>) -> R) -> Option<R> {
        self.cell.outcome.peek(look)
    }

    /// A number that no other task of the process has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.cell.id
    }

    /// The same task with its output type forgotten.
    #[must_use]
    pub fn any(&self) -> AnyTask {
        AnyTask::new(self.cell.clone())
    }

    /// Nobody will look at the error, and that is right.
    pub fn mark_inspected(&self) {
        self.cell.outcome.mark_inspected();
    }

    /// How many awaiters and callbacks are registered.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.cell.outcome.entries_len()
    }

    /// Not reported when it is destroyed while pending (TASK-15).
    pub fn mark_internal(&self) {
        self.cell.internal.set(true);
    }

    /// Polls for the end without looking at the output; `forward`: cancelling the current task
    /// cancels this one.
    #[inline]
    pub fn poll_done(&self, cx: &mut PollContext<'_>, forward: bool) -> Poll<Result<()>> {
        if self.done() {
            self.wait.set(0);
            return Poll::Ready(Ok(()));
        }
        wait_for_end(&*self.cell, &self.wait, cx)?;
        if forward {
            cancellable::set_waiter(|| self.cell.clone());
        }
        Poll::Pending
    }

    /// There is no value: waits for the end, or says why.
    #[inline(never)]
    fn poll_failure(&self, cx: &mut PollContext<'_>) -> Poll<Error> {
        match ready!(self.poll_done(cx, true)) {
            Ok(()) => self.cell.outcome.settle_error(self.cell.core.address()),
            Err(error) => Poll::Ready(error),
        }
    }
}

/// `cell` is pending: the poller is woken when it ends.
pub(crate) fn wait_for_end(cell: &DynTask, wait: &Cell<u64>, cx: &PollContext<'_>) -> Result<()> {
    if cell.core.is_current() {
        return Err(Error::usage("await: a task cannot wait for itself"));
    }
    cancellable::check_same_loop(&cell.lp)?;
    cell.outcome.wait(wait, cx.waker());
    Ok(())
}

#[inline]
pub(crate) fn forget_wait(cell: &DynTask, wait: &Cell<u64>) {
    let id = wait.replace(0);
    if id != 0 {
        cell.outcome.remove(id);
        cancellable::give_up(cell.core.address());
    }
}

/// A task as something that another task waits for.
impl<T: 'static> Cancellable for TaskCell<Outcome<T>> {
    fn cancel(self: Rc<Self>, reason: &Cancelled) -> bool {
        self.core.cancel(reason.clone())
    }

    fn cancelled(&self) -> bool {
        self.outcome.cancelled()
    }

    fn describe(&self) -> String {
        format!("task {:?}", self.core.name())
    }

    fn tasks(&self) -> Vec<u64> {
        vec![self.core.id]
    }

    fn joined(&self) -> Option<&TaskCore> {
        Some(&self.core)
    }
}

/// Awaiting the handle moves the output out.
impl<T: 'static> Future for Task<T> {
    type Output = Result<T>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<Self::Output> {
        match self.cell.outcome.take_awaited(self.cell.core.address(), &self.wait) {
            Some(value) => Poll::Ready(Ok(value)),
            None => self.poll_failure(cx).map(Err),
        }
    }
}

/// Awaiting a reference clones the output.
impl<T: Clone + 'static> IntoFuture for &Task<T> {
    type Output = Result<T>;
    type IntoFuture = SharedTask<T>;

    fn into_future(self) -> SharedTask<T> {
        SharedTask { task: self.clone() }
    }
}

/// An await of a [`Task`] that leaves the output where it is.
#[must_use = "futures do nothing unless awaited"]
pub struct SharedTask<T: 'static> {
    task: Task<T>,
}

impl<T: 'static> fmt::Debug for SharedTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedTask").field("task", &self.task).finish()
    }
}

impl<T: 'static> SharedTask<T> {
    /// The task that is awaited.
    #[must_use]
    pub fn task(&self) -> &Task<T> {
        &self.task
    }
}

impl<T: Clone + 'static> Future for SharedTask<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<Self::Output> {
        let task = &self.task;
        match task.cell.outcome.copy_awaited(task.cell.core.address(), &task.wait) {
            Some(value) => Poll::Ready(Ok(value)),
            None => task.poll_failure(cx).map(Err),
        }
    }
}

impl<T: 'static> Clone for Task<T> {
    fn clone(&self) -> Self {
        Self::new(self.cell.clone())
    }
}

/// Whether both name the same task.
impl<T: 'static> PartialEq for Task<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl<T: 'static> Eq for Task<T> {}

impl<T: 'static> Hash for Task<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl<T: 'static> Drop for Task<T> {
    fn drop(&mut self) {
        forget_wait(&*self.cell, &self.wait);
    }
}

impl<T: 'static> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cell.core.fmt(f)
    }
}
