//! How a request is passed on to what a task is suspended on.

use std::cell::Cell;
use std::rc::Rc;

use crate::cancellable::Cancellable;
use crate::requests::{FORWARDED, Forwarded, Request, address};
use crate::task_core::TaskCore;

thread_local! {
    /// Numbers the walks along chains of tasks, so that circles are noticed.
    static WALKS: Cell<u64> = const { Cell::new(0) };
}

/// What became of a request at one task of a chain.
enum Passed {
    /// Nobody takes it.
    Nowhere,
    /// Accepted, or on its way already.
    Done,
    /// To this task, which comes next.
    On(Rc<dyn Cancellable>),
}

impl TaskCore {
    /// Passes a request on to what the task is suspended on, if that is inside the scope that made
    /// the request. Says whether it was accepted.
    ///
    /// Tasks that wait for tasks are a chain, which may be long, or a circle: this is a loop.
    pub(crate) fn forward(&self, request: &Request) -> bool {
        let walk = WALKS.get() + 1;
        WALKS.set(walk);
        let mut next = match self.pass(request, walk) {
            Passed::Nowhere => return false,
            Passed::Done => return true,
            Passed::On(task) => task,
        };
        let request = Request { reason: request.reason.clone(), origin: 0 };
        while let Some(core) = next.joined() {
            core.count_request();
            let passed = if let Some(mask) = core.mask_within(0) {
                mask.hold(request.clone());
                Passed::Done
            } else if core.running() {
                Passed::Nowhere
            } else {
                core.pass(&request, walk)
            };
            next = match passed {
                Passed::On(task) => task,
                Passed::Done => break,
                Passed::Nowhere => {
                    core.request(request.reason);
                    break;
                }
            };
        }
        true
    }

    /// Passes a request on to what this one task is suspended on.
    fn pass(&self, request: &Request, walk: u64) -> Passed {
        let waiter = self.waiter().filter(|waiter| self.is_within(waiter.scope, request.origin));
        let Some(waiter) = waiter else { return Passed::Nowhere };
        let to = address(&waiter.what);
        let again = self.is_due(FORWARDED) && self.is_forwarded_to(to);
        let accepted = |passed| {
            // The await asks for it in a later step.
            if !(again && self.has_forwarded_outside(request.origin)) {
                let forwarded = Forwarded { request: request.clone(), to: waiter.clone() };
                self.set_due(FORWARDED);
                let old = self.with_requests(|all| all.forwarded.replace(forwarded));
                drop(old);
            }
            passed
        };
        self.with_requests(|all| all.walk = walk);
        match waiter.what.joined() {
            Some(inner) if !inner.finished() => {
                if inner.is_on_walk(walk) {
                    return Passed::Nowhere;
                }
                accepted(Passed::On(waiter.what.clone()))
            }
            // Ended by an earlier request, of which this task has not heard yet.
            _ if again && waiter.what.cancelled() => accepted(Passed::Done),
            Some(_) => Passed::Nowhere,
            None if waiter.what.clone().cancel(&request.reason) => {
                let passed = accepted(Passed::Done);
                // The wait has woken the task, unless its await was dropped by somebody else.
                self.wake();
                passed
            }
            None => Passed::Nowhere,
        }
    }

    fn is_on_walk(&self, walk: u64) -> bool {
        self.has_requests() && self.with_requests(|all| all.walk == walk)
    }

    fn is_forwarded_to(&self, to: *const ()) -> bool {
        self.with_requests(|all| {
            all.forwarded.as_ref().is_some_and(|mine| address(&mine.to.what) == to)
        })
    }

    /// Whether what was passed on was meant further out than a request of `origin`: it outlives that
    /// one.
    fn has_forwarded_outside(&self, origin: u64) -> bool {
        self.with_requests(|all| {
            all.forwarded.as_ref().is_some_and(|mine| mine.request.origin < origin)
        })
    }

    pub(crate) fn take_forwarded_to(&self, to: *const ()) -> Option<Request> {
        if !self.is_due(FORWARDED) || !self.is_forwarded_to(to) {
            return None;
        }
        self.take_forwarded().map(|forwarded| forwarded.request)
    }

    pub(crate) fn take_forwarded(&self) -> Option<Forwarded> {
        if self.take_due(FORWARDED) { self.with_requests(|all| all.forwarded.take()) } else { None }
    }

    /// The scope with this number (zero: the task) drops what it holds, the await of the waiter too.
    pub(crate) fn forget_forwarded(&self, within: u64) {
        if !self.is_due(FORWARDED) {
            return;
        }
        let at = self.with_requests(|all| all.forwarded.as_ref().map(|mine| mine.to.scope));
        if at.is_some_and(|scope| self.is_within(scope, within)) {
            drop(self.take_forwarded());
        }
    }

    /// What was passed on to something that has ended as cancelled, and which nobody has seen: the
    /// await is gone, or in a branch that was not polled.
    pub(crate) fn take_unseen(&self) -> Option<Request> {
        if !self.is_due(FORWARDED) {
            return None;
        }
        let to = self.with_requests(|all| all.forwarded.as_ref().map(|mine| mine.to.what.clone()));
        if !to?.cancelled() {
            return None;
        }
        self.take_forwarded().map(|forwarded| forwarded.request)
    }
}
