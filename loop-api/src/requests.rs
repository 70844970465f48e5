//! Requests to cancel a task, where they are on their way.

use std::rc::Rc;

use crate::cancellable::Cancellable;
use crate::error::Cancelled;
use crate::scope::Scope;

/// Some request of [`Requests`] is there: one byte to look at in every step.
pub(crate) const MUST_CANCEL: u8 = 1;
pub(crate) const FORWARDED: u8 = 1 << 1;
pub(crate) const ASKED: u8 = 1 << 2;
/// Some scope has a request of its own.
pub(crate) const OWN: u8 = 1 << 3;

/// A request on its way.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) reason: Cancelled,
    /// The scope that made it; zero: somebody outside the task, or the task itself. Of two that meet
    /// in one place, the smaller number was meant further out.
    pub(crate) origin: u64,
}

/// What a task is suspended on.
#[derive(Clone)]
pub(crate) struct Waiter {
    pub(crate) what: Rc<dyn Cancellable>,
    /// Inside which scope.
    pub(crate) scope: u64,
}

/// What is under way, and the scopes that are suspended.
#[derive(Default)]
pub(crate) struct Requests {
    pub(crate) must_cancel: Option<Cancelled>,
    /// What the waiter accepted; its await will ask for delivery.
    pub(crate) forwarded: Option<Forwarded>,
    /// Awaits of this very step that let a cancellation through, and inside which scope each is.
    pub(crate) asked: Vec<(Request, u64)>,
    pub(crate) past_scopes: bool,
    pub(crate) scopes: Vec<Rc<Scope>>,
    /// How many of the outstanding requests were made by scopes.
    pub(crate) of_scopes: u32,
    /// The last walk that came along.
    pub(crate) walk: u64,
}

pub(crate) struct Forwarded {
    pub(crate) request: Request,
    pub(crate) to: Waiter,
}

/// What tells waiters apart: the task, if it is one, else the object.
pub(crate) fn address(waiter: &Rc<dyn Cancellable>) -> *const () {
    match waiter.joined() {
        Some(core) => core.address(),
        None => Rc::as_ptr(waiter).cast(),
    }
}

/// Whether `waiter` is the one with this address.
#[inline]
pub(crate) fn is_at(waiter: &Rc<dyn Cancellable>, at: *const ()) -> bool {
    Rc::as_ptr(waiter).cast() == at || address(waiter) == at
}
