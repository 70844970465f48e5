//! Tasks: futures that the loop drives (asyncio's `Task`), on async-task.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as PollContext, Poll, ready};

use pin_project_lite::pin_project;

use crate::context::{Context, Snapshot};
use crate::delivery::{self, Delivery};
use crate::event_loop::EventLoop;
use crate::event_loop_ext::EventLoopExt;
use crate::error::{Cancelled, Error, Panic, Result};
use crate::future::{CallbackId, schedule};
use crate::loop_ref::{LoopRef, WeakLoop};
use crate::outcome::{self, Observer, Outcome};
use crate::report::Report;
use crate::runnable::Runnable;
use crate::task_core::{
    self, AnyOutcome, Cancellable, DynTask, StepGuard, TaskCell, TaskCore, with_current,
};

thread_local! {
    /// The numbers that this thread may still give away: in blocks, because a shared counter is an
    /// atomic operation for every task.
    static IDS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// A number that no other task of the process has.
fn new_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    const BLOCK: u64 = 1 << 10;
    let (mut id, mut end) = IDS.get();
    if id == end {
        id = NEXT.fetch_add(BLOCK, Ordering::Relaxed);
        end = id + BLOCK;
    }
    IDS.set((id + 1, end));
    id
}

/// A future that the loop drives, and the handle to it.
///
/// The loop owns the task: dropping the handle detaches it (TASK-14). Clones name the same task.
/// Awaiting the handle moves the output out; awaiting a reference, `(&task).await`, clones it.
///
/// # Cancel safety
/// Cancelling a task that awaits this one forwards the request to this one (CANCEL-05), and the
/// outer one ends only after it. Use [`shield`](crate::shield) to keep it running.
pub struct Task<T: 'static> {
    cell: Rc<TaskCell<Outcome<T>>>,
    wait: Cell<u64>,
}

impl<T: 'static> Task<T> {
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
    /// delivered is withdrawn.
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
                schedule(lp, move || callback(&Self { cell, wait: Cell::new(0) }), context);
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
    pub fn poll_done(&self, cx: &mut PollContext<'_>, forward: bool) -> Poll<Result<()>> {
        let polled = poll_end(&*self.cell, &self.wait, cx);
        if polled.is_pending() && forward {
            task_core::set_waiter(|| self.cell.clone());
        }
        polled
    }
}

fn poll_end(cell: &DynTask, wait: &Cell<u64>, cx: &PollContext<'_>) -> Poll<Result<()>> {
    if !cell.outcome.done() {
        if cell.core.is_current() {
            return Poll::Ready(Err(Error::usage("await: a task cannot wait for itself")));
        }
        task_core::check_same_loop(&cell.lp)?;
    }
    cell.outcome.poll_done(wait, cx).map(Ok)
}

fn forget_wait(cell: &DynTask, wait: &Cell<u64>) {
    let id = wait.replace(0);
    if id != 0 {
        cell.outcome.remove(id);
        task_core::give_up(cell.core.address());
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

/// The same without its type.
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

/// Awaiting the handle moves the output out.
impl<T: 'static> Future for Task<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<Self::Output> {
        ready!(self.poll_done(cx, true))?;
        self.cell.outcome.settle(self.cell.core.address(), Outcome::take)
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
#[derive(Debug)]
pub struct SharedTask<T: 'static> {
    task: Task<T>,
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
        ready!(self.task.poll_done(cx, true))?;
        self.task.cell.outcome.settle(self.task.cell.core.address(), Outcome::copy)
    }
}

impl<T: 'static> Clone for Task<T> {
    fn clone(&self) -> Self {
        Self { cell: self.cell.clone(), wait: Cell::new(0) }
    }
}

/// Whether both name the same task.
impl<T: 'static> PartialEq for Task<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl<T: 'static> Eq for Task<T> {}

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

/// A task whose output type is forgotten: what `current_task` and `all_tasks` return.
///
/// As a future it completes when the task ends; ask [`AnyTask::exception`] how.
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

    /// As [`Task::cancel`].
    pub fn cancel(&self) -> bool {
        self.cell.core.cancel(Cancelled::new())
    }

    /// As [`Task::cancel_with`].
    pub fn cancel_with(&self, reason: Cancelled) -> bool {
        self.cell.core.cancel(reason)
    }

    /// As [`Task::cancelling`].
    #[must_use]
    pub fn cancelling(&self) -> usize {
        self.cell.cancelling()
    }

    /// As [`Task::uncancel`].
    pub fn uncancel(&self) -> usize {
        self.cell.uncancel()
    }

    /// As [`Task::done`].
    #[must_use]
    pub fn done(&self) -> bool {
        self.cell.outcome.done()
    }

    /// As [`Task::cancelled`].
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cell.outcome.cancelled()
    }

    /// As [`Task::exception`].
    ///
    /// # Errors
    /// `InvalidState` while pending; `Cancelled`.
    pub fn exception(&self) -> Result<Option<Error>> {
        self.cell.outcome.exception()
    }

    /// As [`Task::get_name`].
    #[must_use]
    pub fn get_name(&self) -> Rc<str> {
        self.cell.name()
    }

    /// As [`Task::set_name`].
    pub fn set_name(&self, name: &str) {
        self.cell.set_name(name.into());
    }

    /// As [`Task::get_context`].
    #[must_use]
    pub fn get_context(&self) -> Context {
        self.cell.core.get_context()
    }

    /// As [`Task::get_loop`].
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

    /// As [`Task::add_done_callback`].
    pub fn add_done_callback(&self, callback: impl FnOnce(&Self) + 'static) -> CallbackId {
        let context = Snapshot::current();
        let task = self.clone();
        if self.done() {
            schedule(&self.cell.lp, move || callback(&task), context);
            return CallbackId(0);
        }
        // The loop owns a pending task, so holding a handle here keeps nothing alive for longer.
        let callback =
            move |lp: &WeakLoop, _: Rc<dyn Any>| schedule(lp, move || callback(&task), context);
        CallbackId(self.cell.outcome.add_callback(Box::new(callback)))
    }

    /// As [`Task::remove_done_callback`].
    pub fn remove_done_callback(&self, id: CallbackId) -> usize {
        usize::from(self.cell.outcome.remove(id.0))
    }

    /// Tells `observer` under `number` when it is done; nothing if it is done already. Removed by
    /// [`AnyTask::remove_done_callback`].
    pub fn observe(&self, observer: Rc<dyn Observer>, number: usize) -> CallbackId {
        CallbackId(self.cell.outcome.observe(observer, number))
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
        let polled = poll_end(&self.cell, &self.wait, cx);
        if polled.is_pending() && forward {
            task_core::set_waiter(|| Rc::new(Joined(self.cell.clone())));
        }
        polled
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

impl fmt::Debug for AnyTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cell.core.fmt(f)
    }
}

/// How a task is to be created; what a [`TaskFactory`] sees and may change.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct TaskOptions {
    /// The label; `Task-N` if none is given.
    pub name: Option<Rc<str>>,
    /// The context to run in; a copy of the current one if none is given.
    pub context: Option<Context>,
    /// Run the first step inside the creating call, if the loop is running (EAGER-01).
    pub eager: bool,
}

/// A hook that every creation of a task on a loop goes through (TASK-17).
pub trait TaskFactory {
    /// May change the options or refuse.
    ///
    /// # Errors
    /// Whatever the creating call is to fail with; the future is dropped un-polled.
    fn new_task(&self, lp: &LoopRef, options: &mut TaskOptions) -> Result<()>;
}

/// Starts every task eagerly (asyncio's `eager_task_factory`).
#[derive(Clone, Copy, Debug, Default)]
pub struct EagerTaskFactory;

impl TaskFactory for EagerTaskFactory {
    fn new_task(&self, _: &LoopRef, options: &mut TaskOptions) -> Result<()> {
        options.eager = true;
        Ok(())
    }
}

pin_project! {
    /// The future that async-task drives: the user's future inside its task.
    ///
    /// async-task ends the process if a future panics while it is dropped: nothing here does.
    struct Root<F, T: 'static, S> {
        #[pin]
        future: Option<F>,
        // What the output means for the task.
        settle: Option<S>,
        cell: Option<Rc<TaskCell<Outcome<T>>>>,
    }

    impl<F, T: 'static, S> PinnedDrop for Root<F, T, S> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(cell) = this.cell.take() {
                // Thrown away before its end, by a loop that closes.
                if !cell.outcome.done() {
                    drop_future(this.future, &cell.core);
                    finish(&cell, Err(Box::new(Cancelled::new().into())));
                }
                if Rc::strong_count(&cell) > 1 {
                    // Its end is somebody else's.
                    return;
                }
                let lp = cell.lp.clone();
                quietly(&lp, "a destructor panicked while a task was being dropped", || drop(cell));
            }
        }
    }
}

impl<F, T, S> Future for Root<F, T, S>
where
    F: Future + 'static,
    T: 'static,
    S: FnOnce(F::Output) -> Result<T>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(cell) = this.cell.as_ref() else { return Poll::Ready(()) };
        let guard = StepGuard::enter(cell.clone());
        let outcome = cell.core.in_context(|| {
            let step = || step(this.future.as_mut(), this.settle, &cell.core, cx);
            catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|payload| {
                drop_future(this.future.as_mut(), &cell.core);
                Some(Err(Box::new(Panic::new(payload).into())))
            })
        });
        drop(guard);
        match outcome {
            None => {
                cell.remember_waker(cx.waker());
                Poll::Pending
            }
            Some(outcome) => {
                finish(cell, outcome);
                Poll::Ready(())
            }
        }
    }
}

/// How a task ends.
type Ended<T> = Result<T, Box<Error>>;

/// One step. `None`: suspended.
fn step<F: Future + 'static, T: 'static>(
    mut future: Pin<&mut Option<F>>,
    settle: &mut Option<impl FnOnce(F::Output) -> Result<T>>,
    core: &TaskCore,
    cx: &mut PollContext<'_>,
) -> Option<Ended<T>> {
    // Cancelled before the first step, there is no scope yet: the body never starts (CANCEL-08).
    let mut delivery =
        if core.aborted.get() { Delivery::Root(Cancelled::new()) } else { core.resume() };
    loop {
        if let Delivery::Root(reason) = delivery {
            drop_future(future, core);
            return Some(Err(cancelled(reason, core)));
        }
        let inner = future.as_mut().as_pin_mut()?;
        if let Poll::Ready(output) = inner.poll(cx) {
            // Before joiners resume, what the body owned is gone (TASK-05).
            drop_future(future, core);
            return Some(judge(output, settle.take()?, core));
        }
        match core.suspend() {
            Delivery::None => return None,
            other => delivery = other,
        }
    }
}

/// What a body that returned ends with.
fn judge<O: 'static, T>(
    output: O,
    settle: impl FnOnce(O) -> Result<T>,
    core: &TaskCore,
) -> Ended<T> {
    let Some(reason) = core.overruled().or_else(|| outcome::cancelled_in(&output)) else {
        return settle(output).map_err(Box::new);
    };
    quietly(&core.lp, "a destructor panicked while the value of a task was being dropped", || {
        drop(output);
    });
    Err(cancelled(reason, core))
}

#[cold]
fn cancelled(reason: Cancelled, core: &TaskCore) -> Box<Error> {
    Box::new(core.take_end_with().unwrap_or(Error::Cancelled(reason)))
}

/// Drops the user's future.
fn drop_future<F>(mut future: Pin<&mut Option<F>>, core: &TaskCore) {
    quietly(&core.lp, "a destructor panicked while a task was being dropped", || future.set(None));
}

/// Runs destructors of the user; a panic is reported, not passed on.
fn quietly(lp: &WeakLoop, message: &'static str, destroy: impl FnOnce()) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(destroy)) else { return };
    if let Some(lp) = lp.upgrade() {
        let panic = Panic::new(payload);
        lp.call_exception_handler(Report::new(message).exception(panic).task(current_task()));
    }
}

fn finish<T: 'static>(cell: &Rc<TaskCell<Outcome<T>>>, outcome: Ended<T>) {
    if let Some(held) = cell.core.finish() {
        quietly(&cell.lp, "a destructor panicked at the end of a task", || drop(held));
    }
    let owned = cell.lp.tasks().remove(&cell.core);
    if let Err(error) = &outcome
        && let Error::Panicked(panic) = &**error
        && let Some(lp) = cell.lp.upgrade()
        && lp.state().resume_panic(panic)
    {
        // The run that it leaves is told.
        cell.outcome.mark_inspected();
    }
    let _ = cell.outcome.complete(outcome, "task", |callback| callback(&cell.lp, cell.clone()));
    drop(owned);
}

impl<O: ?Sized + AnyOutcome> Drop for TaskCell<O> {
    fn drop(&mut self) {
        if self.outcome.is_unseen() {
            self.report_unseen();
        }
    }
}

impl<O: ?Sized + AnyOutcome> TaskCell<O> {
    #[cold]
    fn report_unseen(&self) {
        // The text of an error is code of the user.
        let lost = catch_unwind(AssertUnwindSafe(|| self.outcome.lost_error()));
        let error = lost.unwrap_or_else(|payload| Some(Panic::new(payload).into()));
        let Some(error) = error else { return };
        if let Some(lp) = self.core.lp.upgrade() {
            lp.call_exception_handler(
                Report::new("the error of a task was never retrieved")
                    .exception(error)
                    .future(format!("{:?}", self.core))
                    .source(self.core.created),
            );
        }
    }
}

/// Creates a task and schedules its first step (or runs it, if eager).
#[track_caller]
pub(crate) fn spawn<L, F, T>(
    lp: &L,
    future: F,
    settle: impl FnOnce(F::Output) -> Result<T> + 'static,
    mut options: TaskOptions,
) -> Result<Task<T>>
where
    L: EventLoop + ?Sized,
    F: Future + 'static,
    T: 'static,
{
    let created = Location::caller();
    let state = lp.state();
    state.check_open("create_task")?;
    if let Some(factory) = lp.get_task_factory() {
        factory.new_task(&lp.handle(), &mut options)?;
    }
    let core = TaskCore::new(new_id(), options.name, state.weak(), options.context, created);
    let cell = Rc::new(TaskCell { core, outcome: Outcome::new() });
    state.tasks.insert(cell.clone());
    let root = Root { future: Some(future), settle: Some(settle), cell: Some(cell.clone()) };
    let runnable = Runnable::new(state.id(), lp.scheduler(), root);
    if options.eager && lp.is_running() {
        runnable.run();
    } else {
        lp.schedule(runnable);
    }
    Ok(Task { cell, wait: Cell::new(0) })
}

/// The task whose step is on the stack, if any (TASK-09).
#[must_use]
pub fn current_task() -> Option<AnyTask> {
    with_current(|core| AnyTask::new(core.clone()))
}
