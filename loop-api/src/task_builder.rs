//! A task with options.

use std::future::Future;
use std::panic::Location;

use crate::context::Context;
use crate::error::Result;
use crate::loop_ref::LoopRef;
use crate::root::spawn;
use crate::task::Task;
use crate::task_factory::TaskOptions;

/// Creates a task with options; from [`EventLoopExt::task`](crate::EventLoopExt::task).
#[derive(Debug)]
#[must_use = "ends with `spawn`"]
pub struct TaskBuilder {
    lp: LoopRef,
    options: TaskOptions,
}

impl TaskBuilder {
    pub(crate) fn new(lp: LoopRef) -> Self {
        Self { lp, options: TaskOptions::default() }
    }

    /// The label.
    pub fn name(mut self, name: &str) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// The context to run in, shared with whoever else has it.
    pub fn context(mut self, context: Context) -> Self {
        self.options.context = Some(context);
        self
    }

    /// Runs the first step now, if the loop is running.
    pub fn eager(mut self, on: bool) -> Self {
        self.options.eager = on;
        self
    }

    /// What dumps and reports name as its place, for who makes tasks on behalf of somebody else.
    ///
    /// ```
    /// use std::future::Future;
    /// use std::panic::Location;
    /// use anyloop_api::{EventLoopExt, LoopRef, Result, Task};
    ///
    /// #[track_caller]
    /// fn both<A, B>(lp: &LoopRef, a: A, b: B) -> Result<(Task<A::Output>, Task<B::Output>)>
    /// where
    ///     A: Future + 'static,
    ///     B: Future + 'static,
    /// {
    ///     let caller = Location::caller();
    ///     Ok((lp.task().created(caller).spawn(a)?, lp.task().created(caller).spawn(b)?))
    /// }
    /// ```
    pub fn created(mut self, place: &'static Location<'static>) -> Self {
        self.options.created = Some(place);
        self
    }

    /// Makes the task.
    ///
    /// # Errors
    /// As [`EventLoopExt::create_task`](crate::EventLoopExt::create_task).
    #[track_caller]
    pub fn spawn<F: Future + 'static>(self, future: F) -> Result<Task<F::Output>> {
        spawn(&*self.lp, future, Ok, self.options)
    }

    /// Makes a task whose outcome is what `settle` makes of the output: with an `Err` the task itself has
    /// failed, as a Python task has that raised, and [`Task::exception`] and all awaiters see it.
    ///
    /// # Errors
    /// As [`EventLoopExt::create_task`](crate::EventLoopExt::create_task).
    #[track_caller]
    pub fn spawn_settled<F, T>(
        self,
        future: F,
        settle: impl FnOnce(F::Output) -> Result<T> + 'static,
    ) -> Result<Task<T>>
    where
        F: Future + 'static,
        T: 'static,
    {
        spawn(&*self.lp, future, settle, self.options)
    }
}
