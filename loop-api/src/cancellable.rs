//! What tasks are suspended on.

use std::rc::Rc;

use crate::current;
use crate::delivery;
use crate::error::{Cancelled, Error, Result};
use crate::loop_ref::WeakLoop;
use crate::requests::{self, FORWARDED};
use crate::scope::Place;
use crate::task_core::TaskCore;

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

/// Remembers what the current task is suspended on.
pub fn set_waiter<C: Cancellable + 'static>(waiter: impl FnOnce() -> Rc<C>) {
    if !current::in_step() {
        return;
    }
    // Two words for the closure, which take registers: the pointer becomes a fat one inside.
    let (what, scope) = (waiter(), Place::current().scope);
    let old = current::find(move |task| task.core.set_waiter(what, scope));
    // Not earlier: it may be the last handle to what has destructors of the user.
    drop(old);
}

/// The wait for `waiter` is given up: the current task forgets it, and a request that was passed on to
/// it comes back. For the destructors of awaits.
pub fn clear_waiter<C: Cancellable + ?Sized>(waiter: &Rc<C>) {
    give_up(Rc::as_ptr(waiter).cast());
}

/// The wait for `waiter` has ended as cancelled. True if a request of the current task did that, which
/// was passed on to it: the cancellation goes outwards from here, and the await stays pending. Otherwise
/// the await gives `Cancelled`. For the polls of awaits.
#[must_use]
pub fn passes_outwards<C: Cancellable + ?Sized>(waiter: &Rc<C>, reason: &Cancelled) -> bool {
    delivery::deliver_if_own(reason, Rc::as_ptr(waiter).cast())
}

/// [`clear_waiter`] for whatever is at `waiter`.
#[inline]
pub(crate) fn give_up(waiter: *const ()) {
    // Mostly the step has begun because the wait is over, and knows of none.
    if current::look(|task| task.core.has_waiter() || task.core.is_due(FORWARDED)).unwrap_or(false)
    {
        give_up_known(waiter);
    }
}

fn give_up_known(waiter: *const ()) {
    drop(current::find(|task| task.core.take_waiter_if(|mine| requests::is_at(mine, waiter))));
    if current::current_is_due(FORWARDED) {
        delivery::given_up(waiter);
    }
}

/// A task may only wait for things of its own loop (FUT-15). For the polls of awaits.
///
/// # Errors
/// If the current task belongs to another loop than `lp`: `Closed` if that is closed, else `Usage`.
pub fn check_same_loop(lp: &WeakLoop) -> Result<()> {
    let same = current::look(|task| task.core.lp.same(lp)).unwrap_or(true);
    if same { Ok(()) } else { Err(not_here(lp)) }
}

#[cold]
fn not_here(lp: &WeakLoop) -> Error {
    if lp.is_closed() {
        return Error::closed("await: the event loop of the future is closed");
    }
    Error::usage("await: the future belongs to another event loop than the task")
}
