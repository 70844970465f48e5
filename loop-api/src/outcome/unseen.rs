//! Errors that nobody looked at.

use super::{Outcome, Stage};
use crate::error::Error;
use crate::output::{error_in, holds_error, may_hold_error};

impl<T> Outcome<T> {
    /// Whether there may be an error that nobody looked at, here or in a value.
    #[inline]
    pub(crate) fn is_unseen(&self) -> bool
    where
        T: 'static,
    {
        !self.inspected.get()
            && match self.stage.get() {
                Stage::Failed => true,
                Stage::Ready => may_hold_error::<T>(),
                _ => false,
            }
    }

    /// Whether it failed and nobody looked at the error.
    #[inline]
    pub(crate) fn failed_unseen(&self) -> bool {
        !self.inspected.get() && self.stage.get() == Stage::Failed
    }

    /// The error of an outcome that failed unseen, for the last owner to report (FUT-16).
    pub(crate) fn lost_error(&self) -> Option<Error> {
        self.error().filter(is_to_be_reported)
    }

    /// The same, and the error in a value that a body returned: nobody else may ever see it (TASK-16).
    pub(crate) fn lost_error_of_task(&self) -> Option<Error>
    where
        T: 'static,
    {
        self.is_unseen().then(|| self.error_of_task()).flatten().filter(is_to_be_reported)
    }

    /// The error of a task, or in the value that its body returned, seen or not.
    pub(crate) fn error_of_task(&self) -> Option<Error>
    where
        T: 'static,
    {
        match self.stage.get() {
            Stage::Failed => self.error(),
            Stage::Ready if may_hold_error::<T>() => self.peek(|value| error_in(value.ok()?))?,
            _ => None,
        }
    }

    /// Whether there is such an error. Calls no code of the user.
    pub(crate) fn failed(&self) -> bool
    where
        T: 'static,
    {
        match self.stage.get() {
            Stage::Failed => true,
            Stage::Ready if may_hold_error::<T>() => {
                self.peek(|value| value.is_ok_and(holds_error)).unwrap_or(false)
            }
            _ => false,
        }
    }
}

/// Not an interrupt: the run has ended with it (EXC-09).
fn is_to_be_reported(error: &Error) -> bool {
    !matches!(error, Error::Interrupt(_))
}
