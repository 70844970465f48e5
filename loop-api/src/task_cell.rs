//! A task as a whole: its core and its outcome, in one allocation.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;
use std::task::Waker;

use crate::entries::DoneCallback;
use crate::error::{Error, Panic, Result};
use crate::outcome::{Observer, Outcome};
use crate::report::Report;
use crate::task_core::TaskCore;

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
    fn failed(&self) -> bool;
    fn error(&self) -> Option<Error>;
    fn mark_inspected(&self);
    fn wait(&self, id: &Cell<u64>, waker: &Waker);
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

    fn failed(&self) -> bool {
        self.failed()
    }

    fn error(&self) -> Option<Error> {
        self.error_of_task()
    }

    fn mark_inspected(&self) {
        self.mark_inspected();
    }

    fn wait(&self, id: &Cell<u64>, waker: &Waker) {
        self.wait(id, waker);
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

impl<O: ?Sized + AnyOutcome> Drop for TaskCell<O> {
    fn drop(&mut self) {
        if self.outcome.is_unseen() {
            self.report_unseen();
        }
    }
}

impl<O: ?Sized + AnyOutcome> TaskCell<O> {
    #[cold]
    fn report_unseen(&self) {
        // The text of an error is code of the user.
        let lost = Panic::catch(|| self.outcome.lost_error());
        let error = lost.unwrap_or_else(|panic| Some(panic.into()));
        let Some(error) = error else { return };
        if let Some(lp) = self.core.lp.upgrade() {
            lp.call_exception_handler(
                Report::new("the error of a task was never retrieved")
                    .exception(error)
                    .future(format!("{:?}", self.core))
                    .source(self.core.created),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the two counts before it in the allocation.
    const fn allocated<T: 'static>() -> usize {
        size_of::<TaskCell<Outcome<T>>>() + 2 * size_of::<usize>()
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_task_is_small() {
        let sizes = (allocated::<()>(), allocated::<[u64; 2]>(), allocated::<Result<()>>());
        assert_eq!(sizes, (120, 120, 120));
    }
}
