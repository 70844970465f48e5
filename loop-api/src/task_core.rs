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
//!
//!  CancelScope::cancel: the same within one scope. Its request waits in the scope (`own`), goes only
//!  to scopes and waiters inside it, and dies with it: other branches of the task never see it.
//! ```
//!
//! A task may have several branches (`join!`, `select!`), so scopes form a tree: each knows the one
//! around it, and what an await asks for goes outwards from its own place ([`Place`]).

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::rc::Rc;
use std::task::{Context as PollContext, Poll, Waker};

use crate::context::{Context, Snapshot, TaskContext};
use crate::dump::{TaskInfo, TaskState};
use crate::error::{Cancelled, Error, Result};
use crate::event_loop::WeakLoop;
use crate::outcome::{DoneCallback, Observer, Outcome};
use crate::task::AnyTask;

/// Something a task is suspended on that takes a cancellation by itself.
pub trait Cancellable {
    /// Ends the wait as cancelled. False if it is over already, so that there is nothing to cancel.
    fn cancel(self: Rc<Self>, reason: &Cancelled) -> bool;

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

/// Where in its task something runs: inside which scope, how deep.
#[derive(Clone, Copy, Default)]
pub(crate) struct Place {
    /// The innermost scope; zero is the task itself.
    pub(crate) scope: u64,
    pub(crate) depth: u32,
}

/// One active `catch_cancel` or `uncancellable`, as the task sees it.
pub(crate) struct Scope {
    pub(crate) place: Place,
    /// The scope around it.
    pub(crate) outer: u64,
    pub(crate) kind: ScopeKind,
    /// A request of its own that has not been delivered.
    own: RefCell<Option<Cancelled>>,
    /// Set by a delivery, taken by the scope's next poll. A mask holds requests here.
    pub(crate) delivered: RefCell<Option<Request>>,
    pub(crate) waker: RefCell<Option<Waker>>,
}

/// A request on its way.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) reason: Cancelled,
    /// The scope that made it; zero: somebody outside the task, or the task itself.
    pub(crate) origin: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScopeKind {
    Catch,
    /// Holds requests from outside back until it ends.
    Mask,
}

impl Scope {
    fn tell(&self, request: Request) -> Delivery {
        self.hold(request);
        let waker = self.waker.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
        Delivery::Scope
    }

    /// One request at a time; those from outside go first, because they outlive every scope.
    fn hold(&self, request: Request) {
        let mut held = self.delivered.borrow_mut();
        if held.as_ref().is_none_or(|held| held.origin != 0) {
            *held = Some(request);
        }
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
    waiter: RefCell<Option<Waiter>>,
    rare: RefCell<Option<Box<Rare>>>,
    pub(crate) started: Cell<bool>,
    running: Cell<bool>,
    finished: Cell<bool>,
    /// The loop closes: the next poll drops the future.
    pub(crate) aborted: Cell<bool>,
    /// `run_until_complete` and `gather` own it: no report when it is destroyed pending.
    pub(crate) internal: Cell<bool>,
}

/// What a task is suspended on.
#[derive(Clone)]
struct Waiter {
    what: Rc<dyn Cancellable>,
    /// Inside which scope.
    scope: u64,
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
    fn observe(&self, observer: Rc<dyn Observer>, number: usize) -> u32;
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

    fn observe(&self, observer: Rc<dyn Observer>, number: usize) -> u32 {
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
    must_cancel: Option<Cancelled>,
    /// A waiter took the cancellation; its await will ask for delivery.
    forwarded: Option<Forwarded>,
    /// Awaits that ask for delivery in this very step, and inside which scope each of them is.
    deliver_now: Vec<(Request, u64)>,
    past_scopes: bool,
    scopes: Vec<Rc<Scope>>,
    /// How the root ends when it is dropped for another reason than cancellation.
    end_with: Option<Error>,
}

struct Forwarded {
    request: Request,
    to: Waiter,
}

const MUST_CANCEL: u8 = 1;
const DELIVER_NOW: u8 = 1 << 1;
/// Some scope has a request of its own.
const SCOPE_CANCEL: u8 = 1 << 2;

thread_local! {
    static CURRENT: RefCell<Option<Rc<DynTask>>> = const { RefCell::new(None) };
    /// Debug mode wants to know which task takes a step.
    static OBSERVED: Cell<bool> = const { Cell::new(false) };
    /// The first task that took one since.
    static STEPPED: RefCell<Option<Rc<DynTask>>> = const { RefCell::new(None) };
    /// Where in the current task.
    static PLACE: Cell<Place> = const { Cell::new(Place { scope: 0, depth: 0 }) };
    static NEXT_SCOPE: Cell<u64> = const { Cell::new(1) };
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
            *core.waiter.borrow_mut() = Some(Waiter { what: waiter(), scope: PLACE.get().scope });
        }
    });
}

/// Forgets it, if it is still `waiter`.
pub(crate) fn clear_waiter(waiter: *const ()) {
    CURRENT.with(|current| {
        if let Some(core) = &*current.borrow() {
            let mut slot = core.waiter.borrow_mut();
            if slot.as_ref().is_some_and(|mine| address(&mine.what) == waiter) {
                *slot = None;
            }
        }
    });
}

/// What tells waiters apart: the task, if it is one, else the object.
fn address(waiter: &Rc<dyn Cancellable>) -> *const () {
    match waiter.joined() {
        Some(core) => core.address(),
        None => Rc::as_ptr(waiter).cast(),
    }
}

/// Forgets it, if it is the task with this core.
pub(crate) fn clear_joined(core: &TaskCore) {
    clear_waiter(core.address());
}

/// An await saw its waiter, the one at `waiter`, end as cancelled. True if the current task's own
/// request caused it: the cancellation is then delivered by scope and the await stays pending.
pub(crate) fn deliver_if_own(cancelled: &Cancelled, waiter: *const ()) -> bool {
    with_current(|core| {
        let Some(mut request) = core.take_forwarded_to(waiter) else { return false };
        if request.reason.message().is_none() {
            request.reason = cancelled.clone();
        }
        core.set_deliver_now(request);
        true
    })
    .unwrap_or(false)
}

/// Asks for delivery in this step: the cancellation continues outwards. False outside a task.
pub(crate) fn deliver(reason: Cancelled) -> bool {
    with_current(|core| core.set_deliver_now(Request { reason, origin: 0 })).is_some()
}

/// Asks for the root to be dropped in this step, past every scope.
pub(crate) fn deliver_to_root(cancelled: Cancelled) {
    with_current(|core| {
        core.rare(|rare| rare.past_scopes = true);
        core.set_deliver_now(Request { reason: cancelled, origin: 0 });
    });
}

/// The place inside a new scope that is being polled here, and how to get back.
pub(crate) struct Level(Place);

impl Level {
    /// Goes one level deeper; `scope` is the number of the scope, zero before its first poll.
    pub(crate) fn enter(scope: &mut u64) -> (Self, Place) {
        let outer = PLACE.get();
        if *scope == 0 {
            *scope = NEXT_SCOPE.replace(NEXT_SCOPE.get() + 1);
        }
        let place = Place { scope: *scope, depth: outer.depth + 1 };
        PLACE.set(place);
        (Self(outer), place)
    }

    /// The scope around the new one.
    pub(crate) fn outer(&self) -> u64 {
        self.0.scope
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        PLACE.set(self.0);
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
            started: Cell::new(false),
            running: Cell::new(false),
            finished: Cell::new(false),
            aborted: Cell::new(false),
            internal: Cell::new(false),
        }
    }

    /// What it is recognised by.
    pub(crate) fn address(&self) -> *const () {
        std::ptr::from_ref(self).cast()
    }

    /// No user code runs inside `f`.
    fn rare<R>(&self, f: impl FnOnce(&mut Rare) -> R) -> R {
        f(self.rare.borrow_mut().get_or_insert_default())
    }

    fn is_due(&self, request: u8) -> bool {
        self.due.get() & request != 0
    }

    fn set_due(&self, request: u8) {
        self.due.set(self.due.get() | request);
    }

    /// Whether the request is set; clears it.
    fn take_due(&self, request: u8) -> bool {
        let due = self.is_due(request);
        self.due.set(self.due.get() & !request);
        due
    }

    /// What was forwarded to the waiter at this address. If a waiter answers otherwise than by ending
    /// as cancelled, nobody takes it: the request is served with that.
    fn take_forwarded_to(&self, waiter: *const ()) -> Option<Request> {
        let mut rare = self.rare.borrow_mut();
        let forwarded = &mut rare.as_mut()?.forwarded;
        let mine = forwarded.take_if(|forwarded| address(&forwarded.to.what) == waiter);
        drop(rare);
        mine.map(|forwarded| forwarded.request)
    }

    /// The scope with this number (zero: the task) drops what it holds, and the waiter with it.
    fn forget_forwarded(&self, within: u64) {
        let to =
            self.rare.borrow().as_ref().and_then(|rare| Some(rare.forwarded.as_ref()?.to.scope));
        if to.is_some_and(|scope| self.is_within(scope, within)) {
            let old = self.rare(|rare| rare.forwarded.take());
            drop(old);
        }
    }

    /// `request` comes from an await at the current place.
    fn set_deliver_now(&self, request: Request) {
        self.set_due(DELIVER_NOW);
        self.rare(|rare| rare.deliver_now.push((request, PLACE.get().scope)));
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
        let waiter = self.waiter.borrow().clone();
        waiter.map(|waiter| waiter.what.describe())
    }

    /// For dumps.
    pub(crate) fn info(&self) -> TaskInfo {
        let waiter = self.waiter.borrow().clone();
        let state = match (self.running.get(), self.started.get()) {
            (true, _) => TaskState::Running,
            (false, true) => TaskState::Suspended,
            (false, false) => TaskState::Created,
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

    /// CANCEL-01 to -05.
    pub(crate) fn cancel(&self, reason: Cancelled) -> bool {
        if self.finished.get() {
            return false;
        }
        self.cancelling.set(self.cancelling.get() + 1);
        let request = Request { reason, origin: 0 };
        if let Some(mask) = self.mask_within(0) {
            mask.hold(request);
        } else if self.running.get() || !self.forward(&request, 0) {
            self.request(request.reason);
        }
        true
    }

    /// The same from inside the task: only what runs in `scope` is cancelled, and masks further out do
    /// not hold it back. False if the scope has ended.
    pub(crate) fn cancel_within(&self, scope: &Rc<Scope>, reason: Cancelled) -> bool {
        let id = scope.place.scope;
        if self.finished.get() || !self.is_registered(id) {
            return false;
        }
        self.cancelling.set(self.cancelling.get() + 1);
        let request = Request { reason, origin: id };
        if let Some(mask) = self.mask_within(id) {
            mask.hold(request);
        } else if self.running.get() || !self.forward(&request, id) {
            self.request_within(scope, request.reason);
        }
        true
    }

    /// Takes a request of `scope` back; returns how many requests remain. What has been delivered
    /// already is not undone.
    pub(crate) fn withdraw(&self, scope: &Scope) -> usize {
        let own = scope.own.borrow_mut().take();
        drop(own);
        let id = scope.place.scope;
        self.rare(|rare| {
            for mask in rare.scopes.iter().filter(|mask| mask.kind == ScopeKind::Mask) {
                mask.delivered.borrow_mut().take_if(|held| held.origin == id);
            }
        });
        self.uncancel()
    }

    /// Passes a request on to what the task is suspended on, if that is inside `scope`. Says whether
    /// it was accepted.
    fn forward(&self, request: &Request, scope: u64) -> bool {
        let waiter = self.waiter.borrow().clone();
        let Some(waiter) = waiter.filter(|waiter| self.is_within(waiter.scope, scope)) else {
            return false;
        };
        let accepted = waiter.what.clone().cancel(&request.reason);
        if accepted {
            // The await asks for it in a later step.
            let request = request.clone();
            let old = self.rare(|rare| rare.forwarded.replace(Forwarded { request, to: waiter }));
            drop(old);
        }
        accepted
    }

    fn mask_within(&self, scope: u64) -> Option<Rc<Scope>> {
        self.scopes_within(scope).find(|scope| scope.kind == ScopeKind::Mask)
    }

    /// Sets the flag and makes sure that a step follows.
    pub(crate) fn request(&self, reason: Cancelled) {
        self.set_due(MUST_CANCEL);
        let old = self.rare(|rare| rare.must_cancel.replace(reason));
        drop(old);
        self.wake();
    }

    fn request_within(&self, scope: &Scope, reason: Cancelled) {
        self.set_due(SCOPE_CANCEL);
        let old = scope.own.borrow_mut().replace(reason);
        drop(old);
        self.wake();
    }

    /// A scope ended while it held `request`: back to where it came from.
    pub(crate) fn give_back(&self, request: Request) {
        if request.origin == 0 {
            self.request(request.reason);
        } else if let Some(scope) = self.registered(request.origin) {
            self.request_within(&scope, request.reason);
        }
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
                self.take_due(SCOPE_CANCEL);
                for scope in self.scopes_within(0) {
                    *scope.own.borrow_mut() = None;
                    if scope.kind == ScopeKind::Mask {
                        *scope.delivered.borrow_mut() = None;
                    }
                }
            }
        }
        self.cancelling.get() as usize
    }

    pub(crate) fn take_must_cancel(&self) -> Option<Cancelled> {
        if !self.take_due(MUST_CANCEL) {
            return None;
        }
        self.rare(|rare| rare.must_cancel.take())
    }

    /// The requests that scopes made for themselves.
    fn take_own(&self) -> Vec<(Rc<Scope>, Cancelled)> {
        if !self.take_due(SCOPE_CANCEL) {
            return Vec::new();
        }
        let scopes = self.scopes_within(0);
        scopes
            .filter_map(|scope| {
                let own = scope.own.borrow_mut().take();
                Some((scope, own?))
            })
            .collect()
    }

    /// The step begins: nothing is awaited yet.
    pub(crate) fn resume(&self) -> Delivery {
        let waiter = self.waiter.borrow_mut().take();
        drop(waiter);
        if self.due.get() == 0 {
            return Delivery::None;
        }
        for (scope, reason) in self.take_own() {
            let id = scope.place.scope;
            self.deliver_to_innermost(Request { reason, origin: id }, id);
        }
        match self.take_must_cancel() {
            Some(reason) => self.deliver_to_innermost(Request { reason, origin: 0 }, 0),
            None => Delivery::None,
        }
    }

    /// The root future is pending: deliver what was asked for, or forward a request of the step's
    /// own to what it waits for.
    pub(crate) fn suspend(&self) -> Delivery {
        if self.due.get() == 0 {
            return Delivery::None;
        }
        if self.take_due(DELIVER_NOW) {
            let (asked, past_scopes) =
                self.rare(|rare| (std::mem::take(&mut rare.deliver_now), rare.past_scopes));
            let mut delivery = Delivery::None;
            for (request, place) in asked {
                delivery = match self.deliver_outwards(request, place, past_scopes) {
                    Delivery::Root(reason) => return Delivery::Root(reason),
                    other => other,
                };
            }
            return delivery;
        }
        let mut delivery = Delivery::None;
        for (scope, reason) in self.take_own() {
            let id = scope.place.scope;
            let request = Request { reason, origin: id };
            if !self.forward(&request, id)
                && let Delivery::Scope = self.deliver_to_innermost(request, id)
            {
                delivery = Delivery::Scope;
            }
        }
        let Some(reason) = self.take_must_cancel() else { return delivery };
        let request = Request { reason, origin: 0 };
        if self.forward(&request, 0) {
            return delivery;
        }
        match self.deliver_to_innermost(request, 0) {
            Delivery::None => delivery,
            other => other,
        }
    }

    /// A request, for the innermost scope inside `within`: a mask holds it back.
    fn deliver_to_innermost(&self, request: Request, within: u64) -> Delivery {
        match self.scopes_within(within).max_by_key(|scope| scope.place.depth) {
            // The scope that asked has ended meanwhile.
            None if within != 0 => Delivery::None,
            None => Delivery::Root(request.reason),
            Some(mask) if mask.kind == ScopeKind::Mask => {
                mask.hold(request);
                Delivery::None
            }
            Some(scope) => {
                self.forget_forwarded(scope.place.scope);
                scope.tell(request)
            }
        }
    }

    /// A cancellation that the body lets through at `place`: it passes masks.
    fn deliver_outwards(&self, request: Request, mut place: u64, past_scopes: bool) -> Delivery {
        while let Some(scope) = self.registered(place).filter(|_| !past_scopes) {
            if scope.kind == ScopeKind::Catch {
                self.forget_forwarded(place);
                return scope.tell(request);
            }
            place = scope.outer;
        }
        Delivery::Root(request.reason)
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
        self.forget_forwarded(0);
        self.context.clear();
    }

    // --- scopes ---

    pub(crate) fn add_scope(&self, kind: ScopeKind, place: Place, outer: u64) -> Rc<Scope> {
        let scope = Rc::new(Scope {
            place,
            outer,
            kind,
            own: RefCell::new(None),
            delivered: RefCell::new(None),
            waker: RefCell::new(None),
        });
        self.rare(|rare| rare.scopes.push(scope.clone()));
        scope
    }

    pub(crate) fn remove_scope(&self, scope: &Rc<Scope>) {
        self.rare(|rare| rare.scopes.retain(|mine| !Rc::ptr_eq(mine, scope)));
    }

    fn registered(&self, id: u64) -> Option<Rc<Scope>> {
        let rare = self.rare.borrow();
        rare.as_ref()?.scopes.iter().find(|scope| scope.place.scope == id).cloned()
    }

    fn is_registered(&self, id: u64) -> bool {
        self.registered(id).is_some()
    }

    /// Whether `inner` is `outer` or inside it; everything is inside zero.
    fn is_within(&self, mut inner: u64, outer: u64) -> bool {
        while outer != 0 && inner != outer {
            match self.registered(inner) {
                Some(scope) => inner = scope.outer,
                None => return false,
            }
        }
        true
    }

    /// The scopes that are `outer` or inside it, in the order of their registration.
    fn scopes_within(&self, outer: u64) -> impl Iterator<Item = Rc<Scope>> {
        let rare = self.rare.borrow();
        let scopes = rare.as_ref().map(|rare| rare.scopes.clone()).unwrap_or_default();
        drop(rare);
        scopes.into_iter().filter(move |scope| self.is_within(scope.place.scope, outer))
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
fn observed(task: &Rc<DynTask>) {
    let first = STEPPED.with_borrow_mut(|stepped| match stepped {
        // An eager task inside a step belongs to that step.
        Some(_) => false,
        None => stepped.insert(task.clone()).core.id == task.core.id,
    });
    if first && let Some(lp) = task.core.lp.upgrade() {
        lp.state().activity().is_task(&task.core.name(), task.core.created);
    }
}

/// Makes a task current for one step; restores the previous one (eager tasks nest), also on panic.
pub(crate) struct StepGuard {
    outer: Option<Rc<DynTask>>,
    place: Place,
}

impl StepGuard {
    pub(crate) fn enter(core: Rc<DynTask>) -> Self {
        if OBSERVED.get() {
            observed(&core);
        }
        core.running.set(true);
        Self { outer: CURRENT.replace(Some(core)), place: PLACE.take() }
    }
}

impl Drop for StepGuard {
    fn drop(&mut self) {
        PLACE.set(self.place);
        let inner = CURRENT.replace(self.outer.take());
        if let Some(core) = inner {
            core.running.set(false);
        }
    }
}
