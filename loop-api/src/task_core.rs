//! What every task has, whatever it returns: name, context, and what it is suspended on. How it is
//! cancelled is in `delivery`.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::task::Waker;

use crate::cancellable::Cancellable;
use crate::context::{self, Context, Snapshot};
use crate::dump::{TaskInfo, TaskState};
use crate::error::Error;
use crate::loop_ref::WeakLoop;
use crate::requests::{Requests, Waiter};

/// The part of a task that does not depend on its output.
///
/// A task that is never named, cancelled or scoped, and has no context, needs none of [`Rare`].
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

impl TaskCore {
    #[inline(always)]
    pub(crate) fn new(
        id: u64,
        name: Option<Rc<str>>,
        lp: WeakLoop,
        context: Option<Context>,
        created: &'static Location<'static>,
    ) -> Self {
        let context = context::for_task(context);
        let rare = match (name, context) {
            (None, None) => OnceCell::new(),
            (name, context) => {
                OnceCell::from(Box::new(RefCell::new(Rare { name, context, ..Rare::default() })))
            }
        };
        Self {
            id,
            lp,
            created,
            waker: Cell::new(None),
            waiter: Cell::new(None),
            rare,
            index: Cell::new(u32::MAX),
            due: Cell::new(0),
            phase: Cell::new(Phase::Created),
            aborted: Cell::new(false),
            internal: Cell::new(false),
        }
    }

    /// Runs one step.
    #[inline]
    pub(crate) fn in_context<R>(&self, f: impl FnOnce() -> R) -> R {
        context::step(self.made_context(), f)
    }

    /// The context, if it was ever needed: most tasks never set a variable.
    #[inline]
    pub(crate) fn made_context(&self) -> Option<Context> {
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
    #[inline]
    pub(crate) fn has_requests(&self) -> bool {
        self.rare.get().is_some()
    }

    /// No user code runs inside `f`.
    pub(crate) fn with_requests<R>(&self, f: impl FnOnce(&mut Requests) -> R) -> R {
        self.rare(|rare| f(&mut rare.requests))
    }

    #[inline]
    pub(crate) fn nothing_due(&self) -> bool {
        self.due.get() == 0
    }

    #[inline]
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

    #[inline]
    pub(crate) fn has_waiter(&self) -> bool {
        let waiter = self.waiter.take();
        let has = waiter.is_some();
        self.waiter.set(waiter);
        has
    }

    #[inline]
    pub(crate) fn set_waiter<C: Cancellable + 'static>(
        &self,
        what: Rc<C>,
        scope: u64,
    ) -> Option<Rc<dyn Cancellable>> {
        if scope != 0 || self.has_requests() {
            self.rare(|rare| rare.waiter_scope = scope);
        }
        self.waiter.replace(Some(what))
    }

    #[inline]
    pub(crate) fn take_waiter(&self) -> Option<Rc<dyn Cancellable>> {
        self.waiter.take()
    }

    /// Forgets what it is suspended on, if `given_up` says so.
    #[inline]
    pub(crate) fn take_waiter_if(
        &self,
        given_up: impl FnOnce(&Rc<dyn Cancellable>) -> bool,
    ) -> Option<Rc<dyn Cancellable>> {
        let waiter = self.waiter.take()?;
        if given_up(&waiter) {
            return Some(waiter);
        }
        self.waiter.set(Some(waiter));
        None
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

    /// Whether it has never taken a step.
    #[inline]
    pub(crate) fn is_new(&self) -> bool {
        self.phase.get() == Phase::Created
    }

    /// Its step begins.
    #[inline]
    pub(crate) fn enter(&self) {
        self.phase.set(Phase::Running);
    }

    /// Its step ends.
    #[inline]
    pub(crate) fn leave(&self) {
        self.phase.set(Phase::Suspended);
    }

    /// Whether its step is on the stack.
    #[inline]
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

    /// How to wake it from now on.
    #[inline]
    pub(crate) fn set_waker(&self, waker: Waker) {
        self.waker.set(Some(waker));
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
