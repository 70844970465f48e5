//! What every task has, whatever it returns: name, cancellation, scopes, context.
//!
//! # Delivery of a cancellation (contract §3.2)
//!
//! ```text
//!  Task::cancel ──▶ waiter accepts? ──yes──▶ `forwarded`: the waiter ends as cancelled and wakes us;
//!       │                                     its await then asks for delivery (`deliver_if_own`)
//!       └───────────────── no ──────────────▶ `must_cancel`, and the task is woken
//!
//!  step: `must_cancel` on resumption, or asked for by an await, or set when about to suspend
//!        ──▶ innermost active scope ── yields Err(Cancelled) after dropping its inner future
//!        ──▶ no scope               ── the root future is dropped, the task ends cancelled
//! ```

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::rc::Rc;
use std::task::{Context as PollContext, Poll, Waker};

use crate::context::{Context, Snapshot, TaskContext};
use crate::error::{Cancelled, Error, Result};
use crate::event_loop::WeakLoop;
use crate::outcome::{DoneCallback, Outcome};

/// Something a task is suspended on that takes a cancellation by itself.
pub trait Cancellable {
    /// Ends the wait as cancelled. False if it is over already, so that there is nothing to cancel.
    fn cancel(self: Rc<Self>, reason: &Cancelled) -> bool;

    /// What it is, for dumps.
    fn describe(&self) -> String;

    /// The task it is, if it is one.
    #[doc(hidden)]
    #[allow(private_interfaces, reason = "only this crate can name the type")]
    fn joined(&self) -> Option<&TaskCore> {
        None
    }
}

/// One active `catch_cancel` or `uncancellable`, as the task sees it.
pub(crate) struct Scope {
    pub(crate) depth: u32,
    pub(crate) kind: ScopeKind,
    /// Set by a delivery, taken by the scope's next poll.
    pub(crate) delivered: RefCell<Option<Cancelled>>,
    pub(crate) waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScopeKind {
    Catch,
    /// Holds requests from outside back until it ends.
    Mask,
}

impl Scope {
    fn tell(&self, reason: Cancelled) -> Delivery {
        *self.delivered.borrow_mut() = Some(reason);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
        Delivery::Scope
    }
}

/// The part of a task that does not depend on its output.
///
/// A task that is never named, cancelled or scoped needs none of [`Rare`].
pub(crate) struct TaskCore {
    pub(crate) id: u64,
    pub(crate) lp: WeakLoop,
    pub(crate) created: &'static Location<'static>,
    pub(crate) context: TaskContext,
    /// Index in the loop's table of tasks.
    pub(crate) index: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    cancelling: Cell<u32>,
    /// Which requests of [`Rare`] are set: one byte to look at in every step.
    due: Cell<u8>,
    waiter: RefCell<Option<Rc<dyn Cancellable>>>,
    rare: RefCell<Option<Box<Rare>>>,
    depth: Cell<u32>,
    pub(crate) started: Cell<bool>,
    running: Cell<bool>,
    finished: Cell<bool>,
    /// The loop closes: the next poll drops the future.
    pub(crate) aborted: Cell<bool>,
    /// `run_until_complete` and `gather` own it: no report when it is destroyed pending.
    pub(crate) internal: Cell<bool>,
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
    fn lost_error(&self) -> Option<Error>;
    fn mark_inspected(&self);
    fn poll_done(&self, id: &Cell<u32>, cx: &PollContext<'_>) -> Poll<()>;
    fn remove(&self, id: u32) -> bool;
    fn add_callback(&self, callback: DoneCallback, context: Snapshot) -> u32;
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

    fn lost_error(&self) -> Option<Error> {
        self.lost_error()
    }

    fn mark_inspected(&self) {
        self.mark_inspected();
    }

    fn poll_done(&self, id: &Cell<u32>, cx: &PollContext<'_>) -> Poll<()> {
        self.poll_done(id, cx)
    }

    fn remove(&self, id: u32) -> bool {
        self.remove(id)
    }

    fn add_callback(&self, callback: DoneCallback, context: Snapshot) -> u32 {
        self.add_callback(callback, context)
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
    must_cancel: Option<Cancelled>,
    /// A waiter took the cancellation; its await will ask for delivery.
    forwarded: Option<Cancelled>,
    /// An await asks for delivery in this very step.
    deliver_now: Option<Cancelled>,
    past_scopes: bool,
    scopes: Vec<Rc<Scope>>,
    /// How the root ends when it is dropped for another reason than cancellation.
    end_with: Option<Error>,
}

const MUST_CANCEL: u8 = 1;
const FORWARDED: u8 = 1 << 1;
const DELIVER_NOW: u8 = 1 << 2;

thread_local! {
    static CURRENT: RefCell<Option<Rc<DynTask>>> = const { RefCell::new(None) };
}

/// Runs `f` with the current task, if a step is on the stack.
pub(crate) fn with_current<R>(f: impl FnOnce(&Rc<DynTask>) -> R) -> Option<R> {
    let core = CURRENT.with(|current| current.borrow().clone());
    core.as_ref().map(f)
}

/// Remembers what the current task is suspended on.
pub fn set_waiter<C: Cancellable + 'static>(waiter: impl FnOnce() -> Rc<C>) {
    CURRENT.with(|current| {
        if let Some(core) = &*current.borrow() {
            *core.waiter.borrow_mut() = Some(waiter());
        }
    });
}

/// Forgets it, if it is still `waiter`.
pub(crate) fn clear_waiter(waiter: *const ()) {
    CURRENT.with(|current| {
        if let Some(core) = &*current.borrow() {
            let mut slot = core.waiter.borrow_mut();
            if slot.as_ref().is_some_and(|mine| Rc::as_ptr(mine).cast::<()>() == waiter) {
                *slot = None;
            }
        }
    });
}

/// Forgets it, if it is the task with this core.
pub(crate) fn clear_joined(core: &TaskCore) {
    CURRENT.with(|current| {
        if let Some(current) = &*current.borrow() {
            let mut slot = current.waiter.borrow_mut();
            let joined = slot.as_ref().and_then(|waiter| waiter.joined());
            if joined.is_some_and(|joined| std::ptr::eq(joined, core)) {
                *slot = None;
            }
        }
    });
}

/// An await saw its waiter end as cancelled. True if the current task's own request caused it: the
/// cancellation is then delivered by scope and the await stays pending.
pub(crate) fn deliver_if_own(cancelled: &Cancelled) -> bool {
    with_current(|core| {
        let Some(request) = core.take_forwarded() else { return false };
        let reason = if request.message().is_some() { request } else { cancelled.clone() };
        core.set_deliver_now(reason);
        true
    })
    .unwrap_or(false)
}

/// Asks for delivery in this step: the cancellation continues outwards. False outside a task.
pub(crate) fn deliver(cancelled: Cancelled) -> bool {
    with_current(|core| core.set_deliver_now(cancelled)).is_some()
}

/// Asks for the root to be dropped in this step, past every scope.
pub(crate) fn deliver_to_root(cancelled: Cancelled) {
    with_current(|core| {
        core.rare(|rare| rare.past_scopes = true);
        core.set_deliver_now(cancelled);
    });
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

/// What the step function does next about a cancellation.
pub(crate) enum Delivery {
    /// Nothing is due.
    None,
    /// A scope was told; poll on.
    Scope,
    /// No scope: the root future is to be dropped.
    Root(Cancelled),
}

impl TaskCore {
    pub(crate) fn new(
        id: u64,
        name: Option<Rc<str>>,
        lp: WeakLoop,
        context: Option<Context>,
        created: &'static Location<'static>,
    ) -> Self {
        let rare = name.map(|name| Box::new(Rare { name: Some(name), ..Rare::default() }));
        Self {
            id,
            lp,
            created,
            context: TaskContext::new(context),
            index: Cell::new(usize::MAX),
            waker: RefCell::new(None),
            cancelling: Cell::new(0),
            due: Cell::new(0),
            waiter: RefCell::new(None),
            rare: RefCell::new(rare),
            depth: Cell::new(0),
            started: Cell::new(false),
            running: Cell::new(false),
            finished: Cell::new(false),
            aborted: Cell::new(false),
            internal: Cell::new(false),
        }
    }

    /// No user code runs inside `f`.
    fn rare<R>(&self, f: impl FnOnce(&mut Rare) -> R) -> R {
        f(self.rare.borrow_mut().get_or_insert_default())
    }

    fn is_due(&self, request: u8) -> bool {
        self.due.get() & request != 0
    }

    /// Takes one of the requests, if it is set.
    fn take_due(
        &self,
        request: u8,
        take: impl FnOnce(&mut Rare) -> Option<Cancelled>,
    ) -> Option<Cancelled> {
        if !self.is_due(request) {
            return None;
        }
        self.due.set(self.due.get() & !request);
        self.rare(take)
    }

    fn take_forwarded(&self) -> Option<Cancelled> {
        self.take_due(FORWARDED, |rare| rare.forwarded.take())
    }

    fn set_forwarded(&self, reason: Cancelled) {
        self.due.set(self.due.get() | FORWARDED);
        self.rare(|rare| rare.forwarded = Some(reason));
    }

    fn set_deliver_now(&self, reason: Cancelled) {
        self.due.set(self.due.get() | DELIVER_NOW);
        self.rare(|rare| rare.deliver_now = Some(reason));
    }

    pub(crate) fn set_end_with(&self, error: Error) {
        self.rare(|rare| rare.end_with = Some(error));
    }

    pub(crate) fn take_end_with(&self) -> Option<Error> {
        self.rare.borrow_mut().as_mut().and_then(|rare| rare.end_with.take())
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
        self.finished.get()
    }

    pub(crate) fn cancelling(&self) -> usize {
        self.cancelling.get() as usize
    }

    /// What the task is suspended on, in words.
    pub(crate) fn waiting_for(&self) -> Option<String> {
        self.waiter.borrow().as_ref().map(|waiter| waiter.describe())
    }

    /// CANCEL-01 to -05.
    pub(crate) fn cancel(&self, reason: Cancelled) -> bool {
        self.cancel_from(reason, 0)
    }

    /// A request that starts inside the scope at `depth` (a timeout's own): masks further out do not
    /// hold it back.
    pub(crate) fn cancel_from(&self, reason: Cancelled, depth: u32) -> bool {
        if self.finished.get() {
            return false;
        }
        self.cancelling.set(self.cancelling.get() + 1);
        if let Some(mask) = self.mask_above(depth) {
            mask.delivered.borrow_mut().get_or_insert(reason);
            return true;
        }
        if !self.running.get() {
            let waiter = self.waiter.borrow().clone();
            if let Some(waiter) = waiter {
                // Set first: ending the waiter may run the awaiting step's wake-up.
                self.set_forwarded(reason.clone());
                if waiter.cancel(&reason) {
                    return true;
                }
                self.take_forwarded();
            }
        }
        self.request(reason);
        true
    }

    fn mask_above(&self, depth: u32) -> Option<Rc<Scope>> {
        let rare = self.rare.borrow();
        let mut scopes = rare.as_ref()?.scopes.iter();
        scopes.find(|s| s.kind == ScopeKind::Mask && s.depth > depth).cloned()
    }

    /// Sets the flag and makes sure that a step follows.
    pub(crate) fn request(&self, reason: Cancelled) {
        self.due.set(self.due.get() | MUST_CANCEL);
        self.rare(|rare| rare.must_cancel = Some(reason));
        self.wake();
    }

    pub(crate) fn wake(&self) {
        if !self.running.get() {
            let waker = self.waker.borrow().clone();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// CANCEL-16, -17.
    pub(crate) fn uncancel(&self) -> usize {
        if !self.finished.get() {
            self.cancelling.set(self.cancelling.get().saturating_sub(1));
            if self.cancelling.get() == 0 {
                self.take_must_cancel();
                self.rare(|rare| {
                    for scope in rare.scopes.iter().filter(|s| s.kind == ScopeKind::Mask) {
                        *scope.delivered.borrow_mut() = None;
                    }
                });
            }
        }
        self.cancelling.get() as usize
    }

    pub(crate) fn take_must_cancel(&self) -> Option<Cancelled> {
        self.take_due(MUST_CANCEL, |rare| rare.must_cancel.take())
    }

    /// The step begins: nothing is awaited yet.
    pub(crate) fn resume(&self) -> Delivery {
        let waiter = self.waiter.borrow_mut().take();
        drop(waiter);
        if self.due.get() == 0 {
            return Delivery::None;
        }
        match self.take_must_cancel() {
            Some(reason) => self.deliver_to_innermost(reason),
            None => Delivery::None,
        }
    }

    /// The root future is pending: deliver what was asked for, or forward a request of the step's
    /// own to what it waits for.
    pub(crate) fn suspend(&self) -> Delivery {
        if self.due.get() == 0 {
            return Delivery::None;
        }
        let now = self.take_due(DELIVER_NOW, |rare| rare.deliver_now.take());
        if let Some(reason) = now {
            if self.rare(|rare| rare.past_scopes) {
                return Delivery::Root(reason);
            }
            return self.deliver_outwards(reason);
        }
        let Some(reason) = self.take_must_cancel() else { return Delivery::None };
        let waiter = self.waiter.borrow().clone();
        if let Some(waiter) = waiter {
            self.set_forwarded(reason.clone());
            if waiter.cancel(&reason) {
                return Delivery::None;
            }
            self.take_forwarded();
        }
        self.deliver_to_innermost(reason)
    }

    /// A request: a mask holds it back.
    fn deliver_to_innermost(&self, reason: Cancelled) -> Delivery {
        self.take_forwarded();
        let innermost =
            self.rare(|rare| rare.scopes.iter().max_by_key(|scope| scope.depth).cloned());
        match innermost {
            None => Delivery::Root(reason),
            Some(mask) if mask.kind == ScopeKind::Mask => {
                mask.delivered.borrow_mut().get_or_insert(reason);
                Delivery::None
            }
            Some(scope) => scope.tell(reason),
        }
    }

    /// A cancellation that the body itself lets through: it passes masks.
    fn deliver_outwards(&self, reason: Cancelled) -> Delivery {
        self.take_forwarded();
        let innermost = self.rare(|rare| {
            let catching = rare.scopes.iter().filter(|scope| scope.kind == ScopeKind::Catch);
            catching.max_by_key(|scope| scope.depth).cloned()
        });
        match innermost {
            None => Delivery::Root(reason),
            Some(scope) => scope.tell(reason),
        }
    }

    pub(crate) fn remember_waker(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        if slot.is_none() {
            *slot = Some(waker.clone());
        }
    }

    pub(crate) fn finish(&self) {
        self.finished.set(true);
        let waker = self.waker.borrow_mut().take();
        let waiter = self.waiter.borrow_mut().take();
        drop((waker, waiter));
        self.context.clear();
    }

    // --- scopes ---

    pub(crate) fn enter_scope(&self) -> u32 {
        self.depth.set(self.depth.get() + 1);
        self.depth.get()
    }

    pub(crate) fn exit_scope(&self) {
        self.depth.set(self.depth.get() - 1);
    }

    pub(crate) fn add_scope(&self, kind: ScopeKind, depth: u32) -> Rc<Scope> {
        let scope = Rc::new(Scope {
            depth,
            kind,
            delivered: RefCell::new(None),
            waker: RefCell::new(None),
        });
        self.rare(|rare| rare.scopes.push(scope.clone()));
        scope
    }

    pub(crate) fn remove_scope(&self, scope: &Rc<Scope>) {
        self.rare(|rare| rare.scopes.retain(|mine| !Rc::ptr_eq(mine, scope)));
    }

    pub(crate) fn current_depth(&self) -> u32 {
        self.depth.get()
    }
}

impl fmt::Debug for TaskCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.finished.get() {
            "finished"
        } else if self.running.get() {
            "running"
        } else {
            "pending"
        };
        write!(f, "<Task {:?} {state}", self.name())?;
        if self.cancelling.get() > 0 {
            write!(f, ", cancelling={}", self.cancelling.get())?;
        }
        write!(f, ", created at {}>", self.created)
    }
}

/// Makes a task current for one step; restores the previous one (eager tasks nest), also on panic.
pub(crate) struct StepGuard {
    outer: Option<Rc<DynTask>>,
}

impl StepGuard {
    pub(crate) fn enter(core: Rc<DynTask>) -> Self {
        core.running.set(true);
        core.depth.set(0);
        Self { outer: CURRENT.replace(Some(core)) }
    }
}

impl Drop for StepGuard {
    fn drop(&mut self) {
        let inner = CURRENT.replace(self.outer.take());
        if let Some(core) = inner {
            core.running.set(false);
        }
    }
}
