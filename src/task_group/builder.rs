//! A child with options.

use std::future::Future;
use std::rc::Rc;

use anyloop_api::{Context, Result, Task, TaskBuilder};

use super::state::State;
use crate::combinators::TaskOutput;

/// Creates a child with options; from [`TaskGroup::task`](super::TaskGroup::task).
#[derive(Debug)]
#[must_use = "ends with `spawn`"]
pub struct GroupTaskBuilder {
    builder: TaskBuilder,
    state: Rc<State>,
}

impl GroupTaskBuilder {
    pub(super) fn new(builder: TaskBuilder, state: Rc<State>) -> Self {
        Self { builder, state }
    }

    /// The label.
    pub fn name(mut self, name: &str) -> Self {
        self.builder = self.builder.name(name);
        self
    }

    /// The context to run in, shared with whoever else has it.
    pub fn context(mut self, context: Context) -> Self {
        self.builder = self.builder.context(context);
        self
    }

    /// Runs the first step now.
    pub fn eager(mut self, on: bool) -> Self {
        self.builder = self.builder.eager(on);
        self
    }

    /// Starts the child.
    ///
    /// # Errors
    /// As [`TaskGroup::create_task`](super::TaskGroup::create_task).
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> Result<Task<<F::Output as TaskOutput>::Value>>
    where
        F: Future<Output: TaskOutput> + 'static,
    {
        self.state.check_accepting()?;
        let task = self.builder.spawn_settled(future, TaskOutput::into_result)?;
        self.state.adopt(task.any());
        Ok(task)
    }
}
