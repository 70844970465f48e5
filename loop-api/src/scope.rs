//! Scopes of cancellation: the places in a body where a request ends or is held back.
//!
//! A scope is a future around another one. While it is suspended it is in its task's list. A task may
//! have several branches (`join!`, `select!`), so scopes form a tree: each knows the one around it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context as PollContext, Poll, Waker};

use crate::current::with_current;
use crate::error::Cancelled;
use crate::requests::Request;
use crate::task_cell::DynTask;
use crate::task_core::TaskCore;

thread_local! {
    /// Where in the current task.
    static PLACE: Cell<Place> = const { Cell::new(Place { scope: 0, depth: 0 }) };
    static NEXT_SCOPE: Cell<u64> = const { Cell::new(1) };
}

/// Where in its task something runs: inside which scope, how deep.
#[derive(Clone, Copy, Default)]
pub(crate) struct Place {
    /// The innermost scope; zero is the task itself.
    pub(crate) scope: u64,
    pub(crate) depth: u32,
}

impl Place {
    #[inline]
    pub(crate) fn current() -> Self {
        PLACE.get()
    }

    /// Makes this the current place; returns the one before.
    #[inline]
    pub(crate) fn enter(self) -> Self {
        PLACE.replace(self)
    }
}

/// One suspended `catch_cancel` or `uncancellable`, as its task sees it.
pub(crate) struct Scope {
    pub(crate) place: Place,
    /// The scope around it.
    pub(crate) outer: u64,
    pub(crate) kind: ScopeKind,
    /// How many requests it has made and not taken back.
    requests: Cell<u32>,
    /// A request of its own that has not been delivered.
    pub(crate) own: RefCell<Option<Cancelled>>,
    /// `Catch`: what its next poll yields. `Mask`: the request it holds back.
    delivered: RefCell<Option<Request>>,
    /// Where the request came from that it has yielded.
    pub(crate) yielded: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScopeKind {
    Catch,
    /// Holds requests from outside back until it ends.
    Mask,
}

impl Scope {
    pub(crate) fn is_mask(&self) -> bool {
        self.kind == ScopeKind::Mask
    }

    /// Makes a `Catch` yield in its next poll, which follows in this very step. Sets of futures only
    /// poll what was woken; `task` is the waker that needs no waking, because its task is running.
    pub(crate) fn tell(&self, request: Request, task: Option<&Waker>) {
        self.hold(request);
        let waker = self.waker.borrow().clone();
        if let Some(waker) = waker
            && !task.is_some_and(|task| task.will_wake(&waker))
        {
            waker.wake();
        }
    }

    /// One request at a time; the one that was meant further out goes first, because it outlives the
    /// other.
    pub(crate) fn hold(&self, request: Request) {
        let mut held = self.delivered.borrow_mut();
        if held.as_ref().is_none_or(|held| request.origin <= held.origin) {
            *held = Some(request);
        }
    }

    /// Forgets the request it holds, if `which` says so.
    pub(crate) fn release(&self, which: impl FnOnce(&Request) -> bool) {
        self.delivered.borrow_mut().take_if(|held| which(held));
    }

    fn remember_waker(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|mine| mine.will_wake(waker)) {
            let old = slot.replace(waker.clone());
            drop(slot);
            drop(old);
        }
    }
}

/// How a poll inside a scope ended.
pub(crate) enum Polled<T> {
    Ready(T),
    Pending,
    /// An await inside let a cancellation through, which ends at this scope.
    Cancelled(Cancelled),
}

impl<T> From<Poll<T>> for Polled<T> {
    fn from(poll: Poll<T>) -> Self {
        match poll {
            Poll::Ready(value) => Self::Ready(value),
            Poll::Pending => Self::Pending,
        }
    }
}

/// A scope's place in its task: entered at each poll, in the task's list while suspended.
pub(crate) struct Entry {
    kind: ScopeKind,
    /// Its number; zero before the first poll.
    id: u64,
    registered: Option<(Weak<DynTask>, Rc<Scope>)>,
}

impl Entry {
    pub(crate) const fn new(kind: ScopeKind) -> Self {
        Self { kind, id: 0, registered: None }
    }

    /// The cancellation that the scope was told of; the scope is over then.
    pub(crate) fn take_delivered(&mut self) -> Option<Cancelled> {
        let (_, scope) = self.registered.as_ref()?;
        let request = scope.delivered.borrow_mut().take()?;
        Some(self.yields(request))
    }

    /// The scope is over, with a cancellation.
    fn yields(&mut self, request: Request) -> Cancelled {
        if let Some((_, scope)) = &self.registered {
            scope.yielded.set(request.origin);
        }
        drop(self.leave());
        request.reason
    }

    /// Polls `inner` one level deeper. The scope is in its task's list if it stays pending, and over
    /// otherwise.
    pub(crate) fn poll<F: Future>(
        &mut self,
        inner: Pin<&mut F>,
        cx: &mut PollContext<'_>,
    ) -> Polled<F::Output> {
        let Some(task) = with_current(Clone::clone) else { return inner.poll(cx).into() };
        let level = self.level(&task);
        if self.registered.is_none() && (self.kind == ScopeKind::Mask || task.core.cancelling() > 0)
        {
            // Requests are held back from the first step on; and those inside have to know which
            // requests are made around them.
            self.register(&task, &level);
        }
        let poll = inner.poll(cx);
        let catches = poll.is_pending() && self.kind == ScopeKind::Catch;
        let asked = task.core.asked_within(level.place.scope, level.outer.scope, catches);
        match (poll, asked) {
            (Poll::Ready(value), _) => {
                drop(level);
                self.leave_to_others();
                Polled::Ready(value)
            }
            (Poll::Pending, Some(request)) => {
                drop(level);
                Polled::Cancelled(self.yields(request))
            }
            (Poll::Pending, None) => {
                self.register(&task, &level).remember_waker(cx.waker());
                Polled::Pending
            }
        }
    }

    /// The scope as an object, before its first poll if need be. `None` outside a task.
    pub(crate) fn scope(&mut self) -> Option<(Weak<DynTask>, Rc<Scope>)> {
        let task = with_current(Clone::clone)?;
        let level = self.level(&task);
        let scope = self.register(&task, &level).clone();
        Some((Rc::downgrade(&task), scope))
    }

    /// Goes inside the scope. A future may be moved from one task to another between two polls: it
    /// belongs to the one that polls it.
    fn level(&mut self, task: &Rc<DynTask>) -> Level {
        let elsewhere = self
            .registered
            .as_ref()
            .is_some_and(|(mine, _)| !std::ptr::addr_eq(mine.as_ptr(), Rc::as_ptr(task)));
        if elsewhere {
            self.leave_to_others();
            self.id = 0;
        }
        // A scope has a larger number than those around it.
        if self.id == 0 {
            self.id = NEXT_SCOPE.replace(NEXT_SCOPE.get() + 1);
        }
        let outer = Place::current();
        let place = Place { scope: self.id, depth: outer.depth + 1 };
        place.enter();
        Level { place, outer }
    }

    fn register(&mut self, task: &Rc<DynTask>, level: &Level) -> &Rc<Scope> {
        let kind = self.kind;
        let (_, scope) = self.registered.get_or_insert_with(|| {
            let scope = Rc::new(Scope {
                place: level.place,
                outer: level.outer.scope,
                kind,
                requests: Cell::new(0),
                own: RefCell::new(None),
                delivered: RefCell::new(None),
                yielded: Cell::new(0),
                waker: RefCell::new(None),
            });
            task.core.add_scope(scope.clone());
            (Rc::downgrade(task), scope)
        });
        scope
    }

    /// Leaves the task's list; returns a request that nobody saw.
    fn leave(&mut self) -> Option<(Rc<DynTask>, Request)> {
        let (task, scope) = self.registered.take()?;
        let task = task.upgrade()?;
        task.core.remove_scope(&scope);
        let delivered = scope.delivered.borrow_mut().take();
        delivered.map(|request| (task, request))
    }

    /// The same; somebody else gets that request.
    fn leave_to_others(&mut self) {
        if let Some((task, request)) = self.leave() {
            task.core.give_back(request);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.leave_to_others();
    }
}

/// Inside a scope that is being polled; its end goes back outside.
struct Level {
    place: Place,
    outer: Place,
}

impl Drop for Level {
    fn drop(&mut self) {
        self.outer.enter();
    }
}

impl TaskCore {
    pub(crate) fn add_scope(&self, scope: Rc<Scope>) {
        self.with_requests(|all| all.scopes.push(scope));
    }

    pub(crate) fn remove_scope(&self, scope: &Rc<Scope>) {
        let removed = self.with_requests(|all| {
            let at = all.scopes.iter().rposition(|mine| Rc::ptr_eq(mine, scope));
            at.map(|at| all.scopes.remove(at))
        });
        drop(removed);
    }

    /// Counts a request that `scope` makes.
    pub(crate) fn count_request_of(&self, scope: &Scope) {
        scope.requests.set(scope.requests.get() + 1);
        self.with_requests(|all| all.of_scopes += 1);
        self.count_request();
    }

    /// Whether `scope` had made a request; it is no longer counted as the scope's.
    pub(crate) fn take_request_of(&self, scope: &Scope) -> bool {
        let Some(left) = scope.requests.get().checked_sub(1) else { return false };
        scope.requests.set(left);
        self.with_requests(|all| all.of_scopes = all.of_scopes.saturating_sub(1));
        true
    }

    /// The outstanding requests from outside the task, and those of the scopes around this one. What
    /// is inside it, or in another branch of the task, asks for itself only.
    pub(crate) fn requests_outside(&self, scope: &Scope) -> usize {
        let of_scopes = self.with_requests(|all| all.of_scopes) as usize;
        let mut requests = self.cancelling().saturating_sub(of_scopes);
        let mut outer = self.scope(scope.outer);
        while let Some(around) = outer {
            requests += around.requests.get() as usize;
            outer = self.scope(around.outer);
        }
        requests
    }

    /// The suspended scope with this number.
    pub(crate) fn scope(&self, id: u64) -> Option<Rc<Scope>> {
        if id == 0 || !self.has_requests() {
            return None;
        }
        self.with_requests(|all| all.scopes.iter().find(|scope| scope.place.scope == id).cloned())
    }

    /// Whether `inner` is `outer` or inside it; everything is inside zero.
    pub(crate) fn is_within(&self, mut inner: u64, outer: u64) -> bool {
        while outer != 0 && inner != outer {
            match self.scope(inner) {
                Some(scope) => inner = scope.outer,
                None => return false,
            }
        }
        true
    }

    /// The suspended scopes that are `outer` or inside it, in the order of their registration.
    pub(crate) fn scopes_within(&self, outer: u64) -> impl Iterator<Item = Rc<Scope>> {
        let all = if self.has_requests() {
            self.with_requests(|all| all.scopes.clone())
        } else {
            Vec::new()
        };
        all.into_iter().filter(move |scope| self.is_within(scope.place.scope, outer))
    }

    /// A critical part in `outer`, if one is active.
    pub(crate) fn mask_within(&self, outer: u64) -> Option<Rc<Scope>> {
        self.scopes_within(outer).find(|scope| scope.is_mask())
    }
}
