//! How a request to cancel a task finds its way (contract §3.2).
//!
//! ```text
//!  Task::cancel ──▶ a critical part is active ──▶ it holds the request back until it ends
//!       │
//!       ├──▶ the waiter accepts it: a future, a sleep, another task  ──▶ `forwarded`
//!       │       its await sees the end and asks for delivery (`deliver_if_own`):
//!       │       the innermost `catch_cancel` around that await yields, in the same poll
//!       │
//!       └──▶ nobody accepts it ──▶ `must_cancel`, and the task is woken
//!               when it resumes or is about to suspend, the scope around its waiter, or the
//!               innermost if there is no waiter, is told and polled
//!
//!  without a scope the root future is dropped, and the task ends cancelled
//!
//!  CancelScope::cancel: the same within one scope. Its request waits in the scope (`own`), goes only
//!  to scopes and waiters inside it, and dies with it: other branches of the task never see it.
//! ```
//!
//! No request is lost: an await that was passed one and is dropped before it saw the end gives it
//! back, and so does a scope that was told.

use std::rc::Rc;

use crate::current::{current_is_due, with_current};
use crate::error::Cancelled;
use crate::requests::{ASKED, FORWARDED, MUST_CANCEL, OWN, Request, Waiter};
use crate::scope::{Place, Scope};
use crate::task_core::TaskCore;

/// What the step does next about a cancellation.
pub(crate) enum Delivery {
    /// Nothing is due.
    None,
    /// A scope was told; poll on.
    Scope,
    /// No scope: the root future is to be dropped.
    Root(Cancelled),
}

/// An await saw what it waited for, the one at `waiter`, end as cancelled. True if the current task's
/// own request caused it: the cancellation then goes outwards from here, and the await stays pending.
pub(crate) fn deliver_if_own(cancelled: &Cancelled, waiter: *const ()) -> bool {
    with_current(|task| {
        let core = &task.core;
        let Some(mut request) = core.take_forwarded_to(waiter) else { return false };
        if request.origin != 0 && core.scope(request.origin).is_none() {
            // The scope that made it is gone, and what was awaited is not: it is seen to have ended.
            return false;
        }
        if request.reason.message().is_none() {
            request.reason = cancelled.clone();
        }
        let mask = core.mask_elsewhere(request.origin);
        if let Some(mask) = mask {
            // What was awaited is gone, and is seen to be; the request waits.
            mask.hold(request);
            return false;
        }
        core.ask(request);
        true
    })
    .unwrap_or(false)
}

/// What was awaited, at `waiter`, has ended in another way than by cancellation: a request that was
/// passed on to it was refused there.
#[inline]
pub(crate) fn answered(waiter: *const ()) {
    if current_is_due(FORWARDED) {
        with_current(|task| drop(task.core.take_forwarded_to(waiter)));
    }
}

/// An await is gone before it saw the end of what is at `waiter`: a request that was passed on to
/// that comes back.
#[cold]
pub(crate) fn given_up(waiter: *const ()) {
    with_current(|task| {
        if let Some(request) = task.core.take_forwarded_to(waiter) {
            task.core.give_back(request);
        }
    });
}

/// The cancellation goes outwards from the await that calls this. False outside a task.
pub(crate) fn deliver(reason: Cancelled) -> bool {
    with_current(|task| task.core.ask(Request { reason, origin: 0 })).is_some()
}

/// Asks for the root to be dropped in this step, past every scope.
pub(crate) fn deliver_to_root(reason: Cancelled) {
    with_current(|task| {
        task.core.with_requests(|all| all.past_scopes = true);
        task.core.ask(Request { reason, origin: 0 });
    });
}

impl TaskCore {
    // --- making requests ---

    /// CANCEL-01 to -05.
    pub(crate) fn cancel(&self, reason: Cancelled) -> bool {
        if self.finished() {
            return false;
        }
        self.count_request();
        let request = Request { reason, origin: 0 };
        if let Some(mask) = self.mask_within(0) {
            mask.hold(request);
        } else if self.running() || !self.forward(&request) {
            self.request(request.reason);
        }
        true
    }

    /// The same from inside the task: only what runs in `scope` is cancelled, and masks further out do
    /// not hold it back. False if the scope has ended.
    pub(crate) fn cancel_within(&self, scope: &Rc<Scope>, reason: Cancelled) -> bool {
        let origin = scope.place.scope;
        if self.finished() || self.scope(origin).is_none() {
            return false;
        }
        self.count_request_of(scope);
        let request = Request { reason, origin };
        if let Some(mask) = self.mask_within(origin) {
            mask.hold(request);
        } else if self.running() || !self.forward(&request) {
            self.request_within(scope, request.reason);
        }
        true
    }

    /// Takes a request of `scope` back, if it has made one; returns how many requests remain outside
    /// it. What has been delivered already is not undone.
    pub(crate) fn withdraw(&self, scope: &Scope) -> usize {
        let own = scope.own.borrow_mut().take();
        drop(own);
        let id = scope.place.scope;
        for mask in self.scopes_within(0).filter(|scope| scope.is_mask()) {
            mask.release(|held| held.origin == id);
        }
        if self.take_request_of(scope) {
            self.uncancel();
        }
        self.requests_outside(scope)
    }

    /// CANCEL-16, -17. What scopes have asked for while the task was suspended is theirs to withdraw, as in asyncio
    /// what has reached the future that a task waits for: else a deadline would be lost for good.
    pub(crate) fn uncancel(&self) -> usize {
        if !self.finished() && self.discount_request() == 0 {
            drop(self.take_must_cancel());
            let all = self.running();
            if all {
                drop(self.take_own());
            }
            for mask in self.scopes_within(0).filter(|scope| scope.is_mask()) {
                mask.release(|held| all || held.origin == 0);
            }
        }
        self.cancelling()
    }

    /// A scope or an await is gone that had `request`: back to where it came from.
    pub(crate) fn give_back(&self, request: Request) {
        if self.finished() {
            return;
        }
        if request.origin == 0 {
            self.request(request.reason);
        } else if let Some(scope) = self.scope(request.origin) {
            self.request_within(&scope, request.reason);
        }
    }

    /// Sets the flag and makes sure that a step follows.
    pub(crate) fn request(&self, reason: Cancelled) {
        self.set_due(MUST_CANCEL);
        let old = self.with_requests(|all| all.must_cancel.replace(reason));
        drop(old);
        self.wake();
    }

    fn request_within(&self, scope: &Scope, reason: Cancelled) {
        self.set_due(OWN);
        let old = scope.own.borrow_mut().replace(reason);
        drop(old);
        self.wake();
    }

    fn take_must_cancel(&self) -> Option<Cancelled> {
        if self.take_due(MUST_CANCEL) {
            self.with_requests(|all| all.must_cancel.take())
        } else {
            None
        }
    }

    /// The requests that scopes made for themselves.
    fn take_own(&self) -> Vec<Request> {
        if !self.take_due(OWN) {
            return Vec::new();
        }
        let own = |scope: Rc<Scope>| {
            let reason = scope.own.borrow_mut().take()?;
            Some(Request { reason, origin: scope.place.scope })
        };
        self.scopes_within(0).filter_map(own).collect()
    }

    // --- asking ---

    /// An await at the current place lets `request` through.
    fn ask(&self, request: Request) {
        self.set_due(ASKED);
        self.with_requests(|all| all.asked.push((request, Place::current().scope)));
    }

    /// The poll of a scope ends: what was asked for inside goes out of it, or ends here if it
    /// `catches`.
    pub(crate) fn asked_within(&self, scope: u64, outer: u64, catches: bool) -> Option<Request> {
        if !self.is_due(ASKED) {
            return None;
        }
        let mut caught: Option<Request> = None;
        let left = self.with_requests(|all| {
            let catches = catches && !all.past_scopes;
            all.asked.retain_mut(|(request, place)| {
                if *place != scope {
                    return true;
                }
                if catches {
                    // Of several the one that was meant furthest out, because it outlives the others.
                    if caught.as_ref().is_none_or(|caught| request.origin <= caught.origin) {
                        caught = Some(request.clone());
                    }
                    return false;
                }
                *place = outer;
                // A scope's own request dies with it.
                request.origin != scope
            });
            !all.asked.is_empty()
        });
        if !left {
            self.take_due(ASKED);
        }
        let caught = caught?;
        self.forget_forwarded(scope);
        if caught.origin == 0 {
            // One delivery for all requests before it (CANCEL-13).
            drop(self.take_must_cancel());
        }
        Some(caught)
    }

    fn take_asked(&self) -> Option<Cancelled> {
        if !self.take_due(ASKED) {
            return None;
        }
        let asked = self.with_requests(|all| std::mem::take(&mut all.asked));
        asked.into_iter().next().map(|(request, _)| request.reason)
    }

    /// A critical part inside `within` that is not around the current place: it began in another
    /// branch after a request had been passed on.
    fn mask_elsewhere(&self, within: u64) -> Option<Rc<Scope>> {
        let here = Place::current().scope;
        let mut masks = self.scopes_within(within).filter(|scope| scope.is_mask());
        masks.find(|mask| !self.is_within(here, mask.place.scope))
    }

    // --- the step ---

    /// The step begins: nothing is awaited yet.
    #[inline]
    pub(crate) fn resume(&self) -> Delivery {
        if self.is_due(MUST_CANCEL | OWN) {
            return self.resume_with();
        }
        drop(self.take_waiter());
        Delivery::None
    }

    #[cold]
    fn resume_with(&self) -> Delivery {
        let waiter = self.waiter();
        drop(self.take_waiter());
        for request in self.take_own() {
            self.tell(request, waiter.as_ref());
        }
        match self.take_must_cancel() {
            Some(reason) => self.tell(Request { reason, origin: 0 }, waiter.as_ref()),
            None => Delivery::None,
        }
    }

    /// The root future is pending: whether it is to be dropped, or polled on.
    #[inline]
    pub(crate) fn suspend(&self) -> Delivery {
        if self.nothing_due() { Delivery::None } else { self.suspend_with() }
    }

    #[cold]
    fn suspend_with(&self) -> Delivery {
        if let Some(reason) = self.take_asked() {
            return Delivery::Root(reason);
        }
        if let Some(request) = self.take_unseen() {
            self.give_back(request);
        }
        let mut delivery = Delivery::None;
        for request in self.take_own() {
            if let told @ Delivery::Scope = self.deliver(request) {
                delivery = told;
            }
        }
        let Some(reason) = self.take_must_cancel() else { return delivery };
        match self.deliver(Request { reason, origin: 0 }) {
            Delivery::None => delivery,
            other => other,
        }
    }

    /// The root future is ready: why a value does not count, if so (CANCEL-10).
    pub(crate) fn overruled(&self) -> Option<Cancelled> {
        if self.nothing_due() {
            return None;
        }
        self.take_asked().or_else(|| self.take_must_cancel())
    }

    /// A request of the step's own.
    fn deliver(&self, request: Request) -> Delivery {
        if let Some(mask) = self.mask_within(request.origin) {
            mask.hold(request);
            return Delivery::None;
        }
        if self.forward(&request) {
            return Delivery::None;
        }
        let waiter = self.waiter();
        self.tell(request, waiter.as_ref())
    }

    /// Tells the scope around the waiter, or the innermost if the waiter is not known: the one that
    /// made the request at the most.
    fn tell(&self, request: Request, waiter: Option<&Waiter>) -> Delivery {
        let within = request.origin;
        if let Some(mask) = self.mask_within(within) {
            mask.hold(request);
            return Delivery::None;
        }
        let around = waiter.and_then(|waiter| self.scope(waiter.scope));
        let around = around.filter(|scope| self.is_within(scope.place.scope, within));
        let innermost = || self.scopes_within(within).max_by_key(|scope| scope.place.depth);
        let Some(scope) = around.or_else(innermost) else {
            // The scope that asked may have ended meanwhile.
            return if within == 0 { Delivery::Root(request.reason) } else { Delivery::None };
        };
        self.forget_forwarded(scope.place.scope);
        scope.tell(request, self.own_waker().as_ref());
        Delivery::Scope
    }
}
