//! The current task: the one whose step is on the stack, innermost.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::rc::Rc;

use crate::any_task::AnyTask;
use crate::context;
use crate::scope::Place;
use crate::task_cell::DynTask;
use crate::task_core::TaskCore;

thread_local! {
    /// Empty between steps, so that it needs no destructor, nor a check whether it has run.
    static CURRENT: ManuallyDrop<RefCell<Option<Rc<DynTask>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
    /// Debug mode wants to know which task takes a step.
    static OBSERVED: Cell<bool> = const { Cell::new(false) };
    /// The first task that took one since; none between callbacks.
    static STEPPED: ManuallyDrop<RefCell<Option<Rc<DynTask>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
}

/// Runs `f` with the current task, if a step is on the stack.
pub(crate) fn with_current<R>(f: impl FnOnce(&Rc<DynTask>) -> R) -> Option<R> {
    let core = CURRENT.with(|current| current.borrow().clone());
    core.as_ref().map(f)
}

/// The same, if `f` runs no user code.
#[inline]
pub(crate) fn look<R>(f: impl FnOnce(&Rc<DynTask>) -> R) -> Option<R> {
    CURRENT.with(|current| current.borrow().as_ref().map(f))
}

/// The same, if `f` runs no user code and may find nothing: a fat pointer then stays in registers.
#[inline]
pub(crate) fn find<R>(f: impl FnOnce(&Rc<DynTask>) -> Option<R>) -> Option<R> {
    CURRENT.with(|current| current.borrow().as_ref().and_then(f))
}

/// Whether a step is on the stack.
#[inline]
pub(crate) fn in_step() -> bool {
    look(|_| ()).is_some()
}

/// Whether the current task has any of these requests.
#[inline]
pub(crate) fn current_is_due(requests: u8) -> bool {
    look(|task| task.is_due(requests)).unwrap_or(false)
}

/// The task whose step is on the stack, if any (TASK-09).
#[must_use]
pub fn current_task() -> Option<AnyTask> {
    with_current(|core| AnyTask::new(core.clone()))
}

impl TaskCore {
    /// Whether this is the task whose step is on the stack, innermost.
    pub(crate) fn is_current(&self) -> bool {
        look(|task| std::ptr::eq(&raw const task.core, self)).unwrap_or(false)
    }
}

/// Calls `run`, which runs a [`Runnable`](crate::Runnable), and tells whose step it was; for the debug
/// mode of loops. Meanwhile the loop's [`Activity`](crate::Activity) names the task.
pub fn observe_step(run: impl FnOnce()) -> Option<AnyTask> {
    struct Observed;
    impl Drop for Observed {
        fn drop(&mut self) {
            OBSERVED.set(false);
        }
    }
    let observed = Observed;
    OBSERVED.set(true);
    run();
    drop(observed);
    STEPPED.with(|stepped| stepped.take()).map(AnyTask::new)
}

#[cold]
fn step_begins(task: &Rc<DynTask>) {
    let first = STEPPED.with(|stepped| match &mut *stepped.borrow_mut() {
        // An eager task inside a step belongs to that step.
        Some(_) => false,
        none => none.insert(task.clone()).core.id == task.core.id,
    });
    if let Some(lp) = task.core.lp.upgrade() {
        lp.state().activity().step(task.core.info(), first);
    }
}

#[cold]
fn step_ends(task: &DynTask) {
    if let Some(lp) = task.core.lp.upgrade() {
        lp.state().activity().note(task.core.info());
    }
}

/// Makes a task current for one step; restores the previous one (eager tasks nest), also on panic.
pub(crate) struct StepGuard {
    outer: Option<Rc<DynTask>>,
    place: Place,
}

impl StepGuard {
    #[inline(always)]
    pub(crate) fn enter(core: Rc<DynTask>) -> Self {
        core.enter();
        if OBSERVED.get() {
            step_begins(&core);
        }
        let outer = CURRENT.with(|current| current.replace(Some(core)));
        Self { outer, place: Place::default().enter() }
    }
}

impl Drop for StepGuard {
    #[inline]
    fn drop(&mut self) {
        self.place.enter();
        let nested = self.outer.is_some();
        let inner = CURRENT.with(|current| current.replace(self.outer.take()));
        if let Some(core) = inner {
            core.leave();
            if OBSERVED.get() {
                step_ends(&core);
            }
        }
        if nested {
            with_current(|outer| context::resume(|| outer.core.made_context()));
        }
    }
}
