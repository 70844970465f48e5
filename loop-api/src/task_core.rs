//! What every task has, whatever it returns: name, context, and what it is suspended on. How it is
//! cancelled is in `delivery`.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::panic::Location;
use std::rc::Rc;
use std::task::{Context as PollContext, Poll, Waker};

use crate::context::{self, Context, Snapshot};
use crate::delivery::{self, Requests, Waiter};
use crate::dump::{TaskInfo, TaskState};
use crate::error::{Cancelled, Error, Result};
use crate::loop_ref::WeakLoop;
use crate::entries::DoneCallback;
use crate::outcome::{Observer, Outcome};
use crate::scope::Place;
use crate::task::AnyTask;

/// Something a task is suspended on that takes a cancellation by itself.
pub trait Cancellable {
    /// Ends the wait as cancelled. False if it is over already, so that there is nothing to cancel.
    fn cancel(self: Rc<Self>, reason: &Cancelled) -> bool;

    /// Whether the wait is over because a cancellation ended it.
    fn cancelled(&self) -> bool {
        false
    }

    /// What it is, for dumps.
    fn describe(&self) -> String;

    /// The numbers of the tasks that it stands for, for dumps.
    fn tasks(&self) -> Vec<u64> {
        Vec::new()
    }

    /// The task it is, if it is one.
    #[doc(hidden)]
    #[allow(private_interfaces, reason = "only this crate can name the type")]
    fn joined(&self) -> Option<&TaskCore> {
        None
    }
}

/// The part of a task that does not depend on its output.
///
/// Small: with a small outcome a task is 120 bytes, up to which `malloc` and `free` have it easy. A
/// task that is never named, cancelled or scoped, and has no context, needs none of [`Rare`].
pub(crate) struct TaskCore {
    pub(crate) id: u64,
    pub(crate) lp: WeakLoop,
    pub(crate) created: &'static Location<'static>,
    waker: Cell<Option<Waker>>,
    waiter: Cell<Option<Rc<dyn Cancellable>>>,
    rare: OnceCell<Box<RefCell<Rare>>>,
    /// Index in the loop's table of tasks.
    pub(crate) index: Cell<u32>,
    /// Which requests of [`Rare`] are set: one byte to look at in every step.
    due: Cell<u8>,
    phase: Cell<Phase>,
    /// The loop closes: the next poll drops the future.
    pub(crate) aborted: Cell<bool>,
    /// `run_until_complete` and `gather` own it: no report when it is destroyed pending.
    pub(crate) internal: Cell<bool>,
}

/// Where a task is in its life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Created,
    Running,
    Suspended,
    Finished,
}

/// A task: its core and, behind it in the same allocation, its typed outcome.
pub(crate) struct TaskCell<O: ?Sized + AnyOutcome> {
    pub(crate) core: TaskCore,
    pub(crate) outcome: O,
}

/// A task whose output type is forgotten.
pub(crate) type DynTask = TaskCell<dyn AnyOutcome>;

/// What can be asked of an outcome without knowing its type.
pub(crate) trait AnyOutcome: 'static {
    fn done(&self) -> bool;
    fn cancelled(&self) -> bool;
    fn exception(&self) -> Result<Option<Error>>;
    fn is_unseen(&self) -> bool;
    fn lost_error(&self) -> Option<Error>;
    fn mark_inspected(&self);
    fn poll_done(&self, id: &Cell<u64>, cx: &PollContext<'_>) -> Poll<()>;
    fn remove(&self, id: u64) -> bool;
    fn add_callback(&self, callback: DoneCallback) -> u64;
    fn observe(&self, observer: Rc<dyn Observer>, number: usize) -> u64;
}

impl<T: 'static> AnyOutcome for Outcome<T> {
    fn done(&self) -> bool {
        self.done()
    }

    fn cancelled(&self) -> bool {
        self.cancelled()
    }

    fn exception(&self) -> Result<Option<Error>> {
        self.exception()
    }

    fn is_unseen(&self) -> bool {
        self.is_unseen()
    }

    fn lost_error(&self) -> Option<Error> {
        self.lost_error_of_task()
    }

    fn mark_inspected(&self) {
        self.mark_inspected();
    }

    fn poll_done(&self, id: &Cell<u64>, cx: &PollContext<'_>) -> Poll<()> {
        self.poll_done(id, cx)
    }

    fn remove(&self, id: u64) -> bool {
        self.remove(id)
    }

    fn add_callback(&self, callback: DoneCallback) -> u64 {
        self.add_callback(callback)
    }

    fn observe(&self, observer: Rc<dyn Observer>, number: usize) -> u64 {
        self.observe(observer, number)
    }
}

impl<O: ?Sized + AnyOutcome> Deref for TaskCell<O> {
    type Target = TaskCore;

    fn deref(&self) -> &TaskCore {
        &self.core
    }
}

/// What few tasks need.
#[derive(Default)]
struct Rare {
    name: Option<Rc<str>>,
    /// What it runs in, if that was ever set or asked for.
    context: Option<Context>,
    /// Inside which scope the waiter is.
    waiter_scope: u64,
    /// Requests to cancel it that are outstanding.
    cancelling: u32,
    requests: Requests,
    /// How the root ends when it is dropped for another reason than cancellation.
    end_with: Option<Error>,
}

thread_local! {
    /// Empty between steps, so that it needs no destructor, nor a check whether it has run.
    static CURRENT: ManuallyDrop<RefCell<Option<Rc<DynTask>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
    /// Debug mode wants to know which task takes a step.
    static OBSERVED: Cell<bool> = const { Cell::new(false) };
    /// The first task that took one since.
    static STEPPED: RefCell<Option<Rc<DynTask>>> = const { RefCell::new(None) };
}

/// Runs `f` with the current task, if a step is on the stack.
pub(crate) fn with_current<R>(f: impl FnOnce(&Rc<DynTask>) -> R) -> Option<R> {
    let core = CURRENT.with(|current| current.borrow().clone());
    core.as_ref().map(f)
}

/// Whether a step is on the stack.
#[inline]
pub(crate) fn in_step() -> bool {
    CURRENT.with(|current| current.borrow().is_some())
}

/// Whether the current task has any of these requests.
#[inline]
pub(crate) fn current_is_due(requests: u8) -> bool {
    CURRENT.with(|current| current.borrow().as_ref().is_some_and(|task| task.is_due(requests)))
}

/// Remembers what the current task is suspended on.
pub fn set_waiter<C: Cancellable + 'static>(waiter: impl FnOnce() -> Rc<C>) {
    let old = CURRENT.with(|current| {
        if current.borrow().is_none() {
            return None;
        }
        let waiter = Waiter { what: waiter(), scope: Place::current().scope };
        current.borrow().as_ref().and_then(|task| task.core.set_waiter(waiter))
    });
    // Not earlier: it may be the last handle to what has destructors of the user.
    drop(old);
}

/// The wait for `waiter` is given up: the current task forgets it, and a request that was passed on to
/// it comes back. For the destructors of awaits.
pub fn clear_waiter<C: Cancellable + ?Sized>(waiter: &Rc<C>) {
    give_up(Rc::as_ptr(waiter).cast());
}

/// The same for whatever is at `waiter`.
pub(crate) fn give_up(waiter: *const ()) {
    let given_up = CURRENT.with(|current| {
        let current = current.borrow();
        let core = &current.as_ref()?.core;
        let mut old = core.waiter.take();
        if old.as_ref().is_some_and(|mine| !delivery::is_at(mine, waiter)) {
            core.waiter.set(old.take());
        }
        Some((old, core.is_due(delivery::FORWARDED)))
    });
    let Some((old, forwarded)) = given_up else { return };
    drop(old);
    if forwarded {
        delivery::given_up(waiter);
    }
}

/// A task may only wait for things of its own loop (FUT-15).
pub(crate) fn check_same_loop(lp: &WeakLoop) -> Result<()> {
    let same = CURRENT.with(|current| match &*current.borrow() {
        Some(core) => core.lp.same(lp),
        None => true,
    });
    if same {
        Ok(())
    } else {
        Err(Error::usage("await: the future belongs to another event loop than the task"))
    }
}

impl TaskCore {
    pub(crate) fn new(
        id: u64,
        name: Option<Rc<str>>,
        lp: WeakLoop,
        context: Option<Context>,
        created: &'static Location<'static>,
    ) -> Self {
        let core = Self {
            id,
            lp,
            created,
            waker: Cell::new(None),
            waiter: Cell::new(None),
            rare: OnceCell::new(),
            index: Cell::new(u32::MAX),
            due: Cell::new(0),
            phase: Cell::new(Phase::Created),
            aborted: Cell::new(false),
            internal: Cell::new(false),
        };
        let context = context::for_task(context);
        if name.is_some() || context.is_some() {
            core.rare(|rare| (rare.name, rare.context) = (name, context));
        }
        core
    }

    /// Whether this is the task whose step is on the stack, innermost.
    pub(crate) fn is_current(&self) -> bool {
        CURRENT.with(|current| {
            current.borrow().as_ref().is_some_and(|task| std::ptr::eq(&raw const task.core, self))
        })
    }

    /// Runs one step.
    pub(crate) fn in_context<R>(&self, f: impl FnOnce() -> R) -> R {
        context::step(self.made_context(), f)
    }

    /// The context, if it was ever needed: most tasks never set a variable.
    #[inline]
    fn made_context(&self) -> Option<Context> {
        self.rare.get()?.borrow().context.clone()
    }

    pub(crate) fn get_context(&self) -> Context {
        self.made_context().unwrap_or_else(|| {
            let context = Context::new();
            self.rare(|rare| rare.context = Some(context.clone()));
            if self.is_current() {
                context::made(context.clone());
            }
            context
        })
    }

    /// A copy of the context it runs in.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.made_context().map(|context| context.snapshot()).unwrap_or_default()
    }

    /// What it is recognised by.
    pub(crate) fn address(&self) -> *const () {
        std::ptr::from_ref(self).cast()
    }

    /// No user code runs inside `f`.
    fn rare<R>(&self, f: impl FnOnce(&mut Rare) -> R) -> R {
        f(&mut self.rare.get_or_init(Box::default).borrow_mut())
    }

    /// The same, unless there is nothing rare about it.
    #[inline]
    fn if_rare<R>(&self, f: impl FnOnce(&mut Rare) -> R) -> Option<R> {
        self.rare.get().map(|rare| f(&mut rare.borrow_mut()))
    }

    /// Whether anything was ever requested of this task, or suspended in a scope.
    pub(crate) fn has_requests(&self) -> bool {
        self.rare.get().is_some()
    }

    /// No user code runs inside `f`.
    pub(crate) fn with_requests<R>(&self, f: impl FnOnce(&mut Requests) -> R) -> R {
        self.rare(|rare| f(&mut rare.requests))
    }

    pub(crate) fn nothing_due(&self) -> bool {
        self.due.get() == 0
    }

    pub(crate) fn is_due(&self, request: u8) -> bool {
        self.due.get() & request != 0
    }

    pub(crate) fn set_due(&self, request: u8) {
        self.due.set(self.due.get() | request);
    }

    /// Whether the request is set; clears it.
    pub(crate) fn take_due(&self, request: u8) -> bool {
        let due = self.is_due(request);
        self.due.set(self.due.get() & !request);
        due
    }

    pub(crate) fn count_request(&self) {
        self.rare(|rare| rare.cancelling = rare.cancelling.saturating_add(1));
    }

    /// One request less; how many there are.
    pub(crate) fn discount_request(&self) -> u32 {
        let left = self.if_rare(|rare| {
            rare.cancelling = rare.cancelling.saturating_sub(1);
            rare.cancelling
        });
        left.unwrap_or(0)
    }

    pub(crate) fn waiter(&self) -> Option<Waiter> {
        let what = cloned(&self.waiter)?;
        Some(Waiter { what, scope: self.if_rare(|rare| rare.waiter_scope).unwrap_or(0) })
    }

    pub(crate) fn set_waiter(&self, waiter: Waiter) -> Option<Rc<dyn Cancellable>> {
        if waiter.scope != 0 || self.has_requests() {
            self.rare(|rare| rare.waiter_scope = waiter.scope);
        }
        self.waiter.replace(Some(waiter.what))
    }

    pub(crate) fn take_waiter(&self) -> Option<Rc<dyn Cancellable>> {
        self.waiter.take()
    }

    pub(crate) fn own_waker(&self) -> Option<Waker> {
        cloned(&self.waker)
    }

    pub(crate) fn set_end_with(&self, error: Error) {
        self.rare(|rare| rare.end_with = Some(error));
    }

    pub(crate) fn take_end_with(&self) -> Option<Error> {
        self.if_rare(|rare| rare.end_with.take()).flatten()
    }

    pub(crate) fn name(&self) -> Rc<str> {
        self.rare(|rare| {
            rare.name.get_or_insert_with(|| format!("Task-{}", self.id).into()).clone()
        })
    }

    pub(crate) fn set_name(&self, name: Rc<str>) {
        self.rare(|rare| rare.name = Some(name));
    }

    pub(crate) fn finished(&self) -> bool {
        self.phase.get() == Phase::Finished
    }

    /// Whether its step is on the stack.
    pub(crate) fn running(&self) -> bool {
        self.phase.get() == Phase::Running
    }

    pub(crate) fn cancelling(&self) -> usize {
        self.if_rare(|rare| rare.cancelling).unwrap_or(0) as usize
    }

    /// What the task is suspended on, in words.
    pub(crate) fn waiting_for(&self) -> Option<String> {
        self.waiter().map(|waiter| waiter.what.describe())
    }

    /// For dumps.
    pub(crate) fn info(&self) -> TaskInfo {
        let waiter = self.waiter();
        let state = match self.phase.get() {
            Phase::Running => TaskState::Running,
            Phase::Created => TaskState::Created,
            Phase::Suspended | Phase::Finished => TaskState::Suspended,
        };
        TaskInfo {
            id: self.id,
            name: self.name().to_string(),
            created: self.created,
            state,
            cancelling: self.cancelling(),
            awaits: waiter.as_ref().map(|waiter| waiter.what.describe()),
            awaits_tasks: waiter.map(|waiter| waiter.what.tasks()).unwrap_or_default(),
            awaited_by: Vec::new(),
        }
    }

    pub(crate) fn wake(&self) {
        if !self.running()
            && let Some(waker) = self.own_waker()
        {
            waker.wake();
        }
    }

    #[inline]
    pub(crate) fn remember_waker(&self, waker: &Waker) {
        let mine = self.waker.take();
        self.waker.set(mine.or_else(|| Some(waker.clone())));
    }

    /// It has ended. Returns what it still had hold of, if anything.
    pub(crate) fn finish(&self) -> Option<Held> {
        self.phase.set(Phase::Finished);
        self.due.set(0);
        let requests = self.if_rare(|rare| std::mem::take(&mut rare.requests));
        match (self.waker.take(), self.waiter.take(), requests) {
            (None, None, None) => None,
            held => Some(held),
        }
    }
}

/// What a task has hold of while it is suspended.
type Held = (Option<Waker>, Option<Rc<dyn Cancellable>>, Option<Requests>);

/// A copy of what is in the cell.
fn cloned<T: Clone>(cell: &Cell<Option<T>>) -> Option<T> {
    let content = cell.take();
    let copy = content.clone();
    cell.set(content);
    copy
}

impl fmt::Debug for TaskCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.phase.get() {
            Phase::Finished => "finished",
            Phase::Running => "running",
            Phase::Created | Phase::Suspended => "pending",
        };
        write!(f, "<Task {:?} {state}", self.name())?;
        if self.cancelling() > 0 {
            write!(f, ", cancelling={}", self.cancelling())?;
        }
        write!(f, ", created at {}>", self.created)
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
    STEPPED.take().map(AnyTask::new)
}

#[cold]
fn step_begins(task: &Rc<DynTask>) {
    let first = STEPPED.with_borrow_mut(|stepped| match stepped {
        // An eager task inside a step belongs to that step.
        Some(_) => false,
        None => stepped.insert(task.clone()).core.id == task.core.id,
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
    pub(crate) fn enter(core: Rc<DynTask>) -> Self {
        core.phase.set(Phase::Running);
        if OBSERVED.get() {
            step_begins(&core);
        }
        let outer = CURRENT.with(|current| current.replace(Some(core)));
        Self { outer, place: Place::default().enter() }
    }
}

impl Drop for StepGuard {
    fn drop(&mut self) {
        self.place.enter();
        let nested = self.outer.is_some();
        let inner = CURRENT.with(|current| current.replace(self.outer.take()));
        if let Some(core) = inner {
            core.phase.set(Phase::Suspended);
            if OBSERVED.get() {
                step_ends(&core);
            }
        }
        if nested {
            with_current(|outer| context::resume(|| outer.core.made_context()));
        }
    }
}
