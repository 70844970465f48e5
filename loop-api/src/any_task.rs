//! Tasks whose output type is forgotten.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as PollContext, Poll, ready};

use crate::cancellable::{self, Cancellable};
use crate::context::{Context, Snapshot};
use crate::delivery;
use crate::error::{Cancelled, Error, Result};
use crate::future::{CallbackId, schedule};
use crate::loop_ref::{LoopRef, WeakLoop};
use crate::outcome::Observer;
use crate::task::{forget_wait, wait_for_end};
use crate::task_cell::DynTask;
use crate::task_core::TaskCore;

/// A task whose output type is forgotten: what `current_task` and `all_tasks` return.
///
/// As a future it completes when the task ends; ask [`AnyTask::exception`] how. Two are equal if they are the same
/// task, so sets of them work as in Python:
///
/// ```
/// # use std::{cell::RefCell, collections::HashSet, rc::Rc};
/// use anyloop_api::{AnyTask, Task};
///
/// /// Keeps the task in the set until it is done.
/// fn keep(task: Task<()>, background: Rc<RefCell<HashSet<AnyTask>>>) {
///     background.borrow_mut().insert(task.any());
///     task.add_done_callback(move |task| {
///         background.borrow_mut().remove(&task.any());
///     });
/// }
/// ```
pub struct AnyTask {
    cell: Rc<DynTask>,
    wait: Cell<u64>,
}

impl AnyTask {
    pub(crate) fn new(cell: Rc<DynTask>) -> Self {
        Self { cell, wait: Cell::new(0) }
    }

    /// A number that no other task of the process has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.cell.id
    }

    /// As [`Task::cancel`](crate::Task::cancel).
    pub fn cancel(&self) -> bool {
        self.cell.core.cancel(Cancelled::new())
    }

    /// As [`Task::cancel_with`](crate::Task::cancel_with).
    pub fn cancel_with(&self, reason: Cancelled) -> bool {
        self.cell.core.cancel(reason)
    }

    /// As [`Task::cancelling`](crate::Task::cancelling).
    #[must_use]
    pub fn cancelling(&self) -> usize {
        self.cell.cancelling()
    }

    /// As [`Task::uncancel`](crate::Task::uncancel).
    pub fn uncancel(&self) -> usize {
        self.cell.uncancel()
    }

    /// As [`Task::done`](crate::Task::done).
    #[must_use]
    pub fn done(&self) -> bool {
        self.cell.outcome.done()
    }

    /// As [`Task::cancelled`](crate::Task::cancelled).
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cell.outcome.cancelled()
    }

    /// As [`Task::exception`](crate::Task::exception).
    ///
    /// # Errors
    /// `InvalidState` while pending; `Cancelled`.
    pub fn exception(&self) -> Result<Option<Error>> {
        self.cell.outcome.exception()
    }

    /// As [`Task::get_name`](crate::Task::get_name).
    #[must_use]
    pub fn get_name(&self) -> Rc<str> {
        self.cell.name()
    }

    /// As [`Task::set_name`](crate::Task::set_name).
    pub fn set_name(&self, name: &str) {
        self.cell.set_name(name.into());
    }

    /// As [`Task::get_context`](crate::Task::get_context).
    #[must_use]
    pub fn get_context(&self) -> Context {
        self.cell.core.get_context()
    }

    /// As [`Task::get_loop`](crate::Task::get_loop).
    #[must_use]
    pub fn get_loop(&self) -> Option<LoopRef> {
        self.cell.lp.upgrade()
    }

    /// Where it was created.
    #[must_use]
    pub fn created(&self) -> &'static Location<'static> {
        self.cell.created
    }

    /// What it is suspended on, in words, if that is known.
    #[must_use]
    pub fn waiting_for(&self) -> Option<String> {
        self.cell.waiting_for()
    }

    /// As [`Task::add_done_callback`](crate::Task::add_done_callback).
    pub fn add_done_callback(&self, callback: impl FnOnce(&Self) + 'static) -> CallbackId {
        let context = Snapshot::current();
        // The loop owns a pending task, so holding a handle here keeps nothing alive for longer.
        let task = self.clone();
        let callback = move |lp: &WeakLoop| schedule(lp, move || callback(&task), context);
        if self.done() {
            callback(&self.cell.lp);
            return CallbackId(0);
        }
        CallbackId(self.cell.outcome.add_callback(Box::new(move |lp, _| callback(lp))))
    }

    /// As [`Task::remove_done_callback`](crate::Task::remove_done_callback).
    pub fn remove_done_callback(&self, id: CallbackId) -> usize {
        usize::from(self.cell.outcome.remove(id.0))
    }

    /// Tells `observer` under `number` when it is done; nothing if it is done already. Removed by
    /// [`AnyTask::remove_done_callback`].
    pub fn observe(&self, observer: Rc<dyn Observer>, number: usize) -> CallbackId {
        CallbackId(self.cell.outcome.observe(observer, number))
    }

    /// Whether it failed, or returned an error in one of the usual shapes `Result<(), E>`. Not while it is
    /// pending, not if it was cancelled, and not if the output has been moved out.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.cell.outcome.failed()
    }

    /// The error of a task that [failed](AnyTask::failed), whether or not somebody has looked at it. Does
    /// not count as a look.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        self.cell.outcome.error()
    }

    /// The error that would be reported if every handle went away now: how the task failed, or the
    /// error inside its output, unless somebody has looked at it (TASK-16).
    #[must_use]
    pub fn unhandled_error(&self) -> Option<Error> {
        self.cell.outcome.lost_error()
    }

    /// Nobody will look at the error, and that is right.
    pub fn mark_inspected(&self) {
        self.cell.outcome.mark_inspected();
    }

    /// Polls for the end; `forward`: cancelling the current task cancels this one.
    pub fn poll_done(&self, cx: &mut PollContext<'_>, forward: bool) -> Poll<Result<()>> {
        if self.done() {
            self.wait.set(0);
            return Poll::Ready(Ok(()));
        }
        wait_for_end(&self.cell, &self.wait, cx)?;
        if forward {
            cancellable::set_waiter(|| Rc::new(Joined(self.cell.clone())));
        }
        Poll::Pending
    }

    pub(crate) fn cell(&self) -> &Rc<DynTask> {
        &self.cell
    }
}

impl Future for AnyTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<()> {
        let ended = ready!(self.poll_done(cx, true));
        let address = self.cell.core.address();
        if ended.is_ok() && self.cancelled() {
            // A request that was passed on to the task comes back here.
            if delivery::deliver_if_own(&Cancelled::new(), address) {
                return Poll::Pending;
            }
        } else {
            delivery::answered(address);
        }
        Poll::Ready(())
    }
}

impl Clone for AnyTask {
    fn clone(&self) -> Self {
        Self::new(self.cell.clone())
    }
}

impl Drop for AnyTask {
    fn drop(&mut self) {
        forget_wait(&self.cell, &self.wait);
    }
}

/// Whether both name the same task.
impl PartialEq for AnyTask {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for AnyTask {}

impl Hash for AnyTask {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl fmt::Debug for AnyTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cell.core.fmt(f)
    }
}

/// A task as something that another task waits for.
struct Joined(Rc<DynTask>);

impl Cancellable for Joined {
    fn cancel(self: Rc<Self>, reason: &Cancelled) -> bool {
        self.0.core.cancel(reason.clone())
    }

    fn cancelled(&self) -> bool {
        self.0.outcome.cancelled()
    }

    fn describe(&self) -> String {
        format!("task {:?}", self.0.core.name())
    }

    fn tasks(&self) -> Vec<u64> {
        vec![self.0.core.id]
    }

    fn joined(&self) -> Option<&TaskCore> {
        Some(&self.0.core)
    }
}
