//! What all handles of a future share.

use std::cell::Cell;
use std::panic::Location;
use std::rc::Rc;

use crate::cancellable::Cancellable;
use crate::elsewhere::Awaited;
use crate::error::{Cancelled, Error, Result};
use crate::loop_ref::WeakLoop;
use crate::outcome::Outcome;
use crate::report::Report;

pub(super) struct State<T: 'static> {
    pub(super) outcome: Outcome<T>,
    pub(super) lp: WeakLoop,
    pub(super) created: &'static Location<'static>,
    /// Its loop will tell who waits elsewhere of its close.
    pub(super) elsewhere: Cell<bool>,
}

impl<T: 'static> State<T> {
    #[inline]
    pub(super) fn complete(
        self: &Rc<Self>,
        outcome: Result<T>,
        operation: &'static str,
    ) -> Result<()> {
        self.outcome.complete(outcome, operation, |callback| callback(&self.lp, self.clone()))
    }

    /// No task waits, so no close ends the wait.
    #[cold]
    pub(super) fn wait_elsewhere(self: &Rc<Self>) -> Result<()> {
        if self.lp.is_closed() {
            return Err(Error::closed("await: the event loop of the future is closed"));
        }
        if !self.elsewhere.replace(true) {
            let this: Rc<dyn Awaited> = self.clone();
            self.lp.tasks().elsewhere.add(Rc::downgrade(&this));
        }
        Ok(())
    }

    #[cold]
    fn report_unseen(&self) {
        let Some(error) = self.outcome.lost_error() else { return };
        if let Some(lp) = self.lp.upgrade() {
            lp.call_exception_handler(
                Report::new("the error of a future was never retrieved")
                    .exception(error)
                    .future(format!("future created at {}", self.created))
                    .source(self.created),
            );
        }
    }
}

impl<T: 'static> Awaited for State<T> {
    fn wake_all(&self) {
        self.outcome.wake_all();
    }
}

impl<T: 'static> Cancellable for State<T> {
    fn cancel(self: Rc<Self>, reason: &Cancelled) -> bool {
        // Also on a failed future: whoever cancels it does not want its error (FUT-17).
        self.outcome.mark_inspected();
        if self.outcome.done() {
            return false;
        }
        self.complete(Err(reason.clone().into()), "cancel").is_ok()
    }

    fn cancelled(&self) -> bool {
        self.outcome.cancelled()
    }

    fn describe(&self) -> String {
        format!("future created at {}", self.created)
    }
}

impl<T: 'static> Drop for State<T> {
    #[inline]
    fn drop(&mut self) {
        if self.outcome.failed_unseen() {
            self.report_unseen();
        }
    }
}
