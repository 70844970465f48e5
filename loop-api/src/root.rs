//! What async-task drives: the future of the user inside its task, and how that begins and ends.

use std::cell::Cell;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as PollContext, Poll};

use pin_project_lite::pin_project;

use crate::current::{StepGuard, current_task};
use crate::delivery::Delivery;
use crate::error::{Cancelled, Error, Panic, Result};
use crate::event_loop::EventLoop;
use crate::event_loop_ext::EventLoopExt;
use crate::handle::in_place;
use crate::loop_ref::WeakLoop;
use crate::outcome::Outcome;
use crate::output;
use crate::report::Report;
use crate::runnable::Runnable;
use crate::task::Task;
use crate::task_cell::TaskCell;
use crate::task_core::TaskCore;
use crate::task_factory::TaskOptions;

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
    let caller = Location::caller();
    let state = lp.state();
    state.check_open("create_task")?;
    if let Some(factory) = lp.get_task_factory() {
        factory.new_task(&lp.handle(), &mut options)?;
    }
    let created = options.created.unwrap_or(caller);
    let cell = in_place(|| {
        let core = TaskCore::new(new_id(), options.name, state.weak(), options.context, created);
        TaskCell { core, outcome: Outcome::new() }
    });
    state.tasks.insert(cell.clone());
    let scheduler = lp.scheduler();
    let owned = cell.clone();
    let root = move || Root { future: Some(future), settle: Some(settle), cell: Some(owned) };
    let runnable = Runnable::new(state.id(), scheduler, root);
    if options.eager && lp.is_running() {
        runnable.run();
    } else {
        lp.schedule(runnable);
    }
    Ok(Task::new(cell))
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
                    finish(&cell, Err(Cancelled::new().into()));
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

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(cell) = this.cell.as_ref() else { return Poll::Ready(()) };
        let first = cell.core.is_new();
        // Not handed outwards, layer by layer: most steps have nothing to hand.
        let mut outcome = None;
        {
            let _step = StepGuard::enter(cell.clone());
            cell.core.in_context(|| {
                let step = || {
                    let ended = step(this.future.as_mut(), this.settle, &cell.core, cx);
                    if ended.is_some() {
                        outcome = ended;
                    }
                };
                if let Err(panic) = Panic::catch(step) {
                    drop_future(this.future.as_mut(), &cell.core);
                    outcome = Some(Err(panic.into()));
                }
            });
        }
        match outcome {
            None => {
                if first {
                    cell.set_waker(cx.waker().clone());
                }
                Poll::Pending
            }
            Some(outcome) => {
                finish(cell, outcome);
                Poll::Ready(())
            }
        }
    }
}

/// One step. `None`: suspended.
#[inline]
fn step<F: Future + 'static, T: 'static>(
    mut future: Pin<&mut Option<F>>,
    settle: &mut Option<impl FnOnce(F::Output) -> Result<T>>,
    core: &TaskCore,
    cx: &mut PollContext<'_>,
) -> Option<Result<T>> {
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

/// What a body that returned ends with. A request that it did not wait for overrules its value
/// (CANCEL-10), but no failure.
#[inline]
fn judge<O: 'static, T>(
    output: O,
    settle: impl FnOnce(O) -> Result<T>,
    core: &TaskCore,
) -> Result<T> {
    let overruled = core.overruled();
    if let Some(inside) = output::cancelled_in(&output) {
        discard(output, core);
        return Err(cancelled(overruled.unwrap_or(inside), core));
    }
    let Some(reason) = overruled else { return settle(output) };
    let failed = output::error_in(&output).is_some();
    match settle(output) {
        Err(error) if !error.is_cancelled() => Err(error),
        Ok(output) if failed => Ok(output),
        settled => {
            discard(settled, core);
            Err(cancelled(reason, core))
        }
    }
}

#[cold]
fn discard<O>(output: O, core: &TaskCore) {
    quietly(&core.lp, "a destructor panicked while the value of a task was being dropped", || {
        drop(output);
    });
}

#[cold]
fn cancelled(reason: Cancelled, core: &TaskCore) -> Error {
    core.take_end_with().unwrap_or(Error::Cancelled(reason))
}

/// Drops the user's future.
fn drop_future<F>(mut future: Pin<&mut Option<F>>, core: &TaskCore) {
    quietly(&core.lp, "a destructor panicked while a task was being dropped", || future.set(None));
}

/// Runs destructors of the user; a panic is reported, not passed on.
fn quietly(lp: &WeakLoop, message: &'static str, destroy: impl FnOnce()) {
    let Err(panic) = Panic::catch(destroy) else { return };
    if let Some(lp) = lp.upgrade() {
        lp.call_exception_handler(Report::new(message).exception(panic).task(current_task()));
    }
}

#[inline]
fn finish<T: 'static>(cell: &Rc<TaskCell<Outcome<T>>>, outcome: Result<T>) {
    if let Some(held) = cell.core.finish() {
        quietly(&cell.lp, "a destructor panicked at the end of a task", || drop(held));
    }
    let owned = cell.lp.tasks().remove(&cell.core);
    if let Err(Error::Panicked(panic)) = &outcome
        && let Some(lp) = cell.lp.upgrade()
        && lp.state().resume_panic(panic)
    {
        // The run that it leaves is told.
        cell.outcome.mark_inspected();
    }
    let _ = cell.outcome.complete(outcome, "task", |callback| callback(&cell.lp, cell.clone()));
    drop(owned);
}
