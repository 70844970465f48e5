//! How tasks are created, and the hook that may change it.

use std::panic::Location;
use std::rc::Rc;

use crate::context::Context;
use crate::error::Result;
use crate::loop_ref::LoopRef;

/// How a task is to be created; what a [`TaskFactory`] sees and may change.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct TaskOptions {
    /// The label; `Task-N` if none is given.
    pub name: Option<Rc<str>>,
    /// The context to run in; a copy of the current one if none is given.
    pub context: Option<Context>,
    /// Run the first step inside the creating call, if the loop is running (EAGER-01).
    pub eager: bool,
    /// What dumps and reports name as its place; where it was created if none is given.
    pub created: Option<&'static Location<'static>>,
}

/// A hook that every creation of a task on a loop goes through (TASK-17).
pub trait TaskFactory {
    /// May change the options or refuse.
    ///
    /// # Errors
    /// Whatever the creating call is to fail with; the future is dropped un-polled.
    fn new_task(&self, lp: &LoopRef, options: &mut TaskOptions) -> Result<()>;
}

/// Starts every task eagerly (asyncio's `eager_task_factory`).
#[derive(Clone, Copy, Debug, Default)]
pub struct EagerTaskFactory;

impl TaskFactory for EagerTaskFactory {
    fn new_task(&self, _: &LoopRef, options: &mut TaskOptions) -> Result<()> {
        options.eager = true;
        Ok(())
    }
}
