//! Task groups: children that end before the block does which started them.

mod builder;
mod ending;
mod state;

use std::fmt;
use std::future::Future;
use std::rc::Rc;

use anyloop_api::{Error, EventLoopExt, Result, Task};

use crate::combinators::TaskOutput;

pub use builder::GroupTaskBuilder;
use state::State;

/// Runs `body` with a [`TaskGroup`] and waits for all the children that were started in it.
///
/// If a child fails, or the body does, the other children and the body are cancelled; when all have ended,
/// the failures come as one [`ErrorGroup`](crate::ErrorGroup). A child that ends cancelled is no failure. The value is that of
/// the body.
///
/// # Errors
/// `Group` with every failure, in the order in which they happened, the body's last; a panic or an interrupt of
/// a child comes bare, and the other failures are reported. `Usage` outside a task. `Cancelled` if
/// [`TaskGroup::cancel`] ended the body before it had a value (without one, `Ok(())`).
///
/// # Cancel safety
/// Cancelling the task cancels the body and the children; the cancellation goes on outwards when all have
/// ended, unless one of them failed: then the group's error comes first, and the next suspension is
/// cancelled. Dropping it requests cancellation of the children and does not wait.
///
/// # Examples
/// ```
/// use anyloop::{Result, task_group};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     let (one, two) = task_group(|group| async move {
///         let one = group.create_task(async { 1 })?;
///         let two = group.create_task(async { 2 })?;
///         Ok((one, two))
///     })
///     .await?;
///     assert_eq!(one.result()? + two.result()?, 3);
///     Ok(())
/// })?
/// # }
/// ```
pub fn task_group<B, F, T>(body: B) -> impl Future<Output = Result<T>> + use<B, F, T>
where
    B: FnOnce(TaskGroup) -> F,
    F: Future<Output = Result<T>>,
    T: 'static,
{
    let group = TaskGroup::new();
    let future = body(group.clone());
    async move { group.state.run(future).await }
}

/// A group of tasks as an object. Clones name the same group; it is entered once, with
/// [`TaskGroup::run`], or by [`task_group`].
#[derive(Clone)]
pub struct TaskGroup {
    state: Rc<State>,
}

impl TaskGroup {
    /// A group that was not entered yet.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Rc::new(State::new()) }
    }

    /// Enters the group with `body`; see [`task_group`].
    ///
    /// # Errors
    /// As [`task_group`]; `Usage` if the group was entered before.
    ///
    /// # Cancel safety
    /// As [`task_group`].
    pub fn run<F, T>(&self, body: F) -> impl Future<Output = Result<T>> + use<F, T>
    where
        F: Future<Output = Result<T>>,
        T: 'static,
    {
        let state = self.state.clone();
        async move { state.run(body).await }
    }

    /// Starts a child. An `Err` that it returns fails the child, and the group with it. Children may start
    /// others, until the last one has ended.
    ///
    /// # Errors
    /// `Usage` before the group is entered, once it is shutting down, and after its end; what the task
    /// factory says. `future` is dropped un-polled.
    #[track_caller]
    pub fn create_task<F>(&self, future: F) -> Result<Task<<F::Output as TaskOutput>::Value>>
    where
        F: Future<Output: TaskOutput> + 'static,
    {
        self.task()?.spawn(future)
    }

    /// The same with a name, a context, or an eager start.
    ///
    /// # Errors
    /// `Usage` as for [`TaskGroup::create_task`].
    pub fn task(&self) -> Result<GroupTaskBuilder> {
        self.state.check_accepting()?;
        let lp = self.state.lp();
        let lp =
            lp.ok_or_else(|| Error::usage("TaskGroup::create_task: there is no event loop"))?;
        Ok(GroupTaskBuilder::new(lp.task(), self.state.clone()))
    }

    /// Cancels the body and every child; unless something fails, the group then ends without an error.
    /// Before the entry it takes effect on entry, after the end it does nothing.
    pub fn cancel(&self) {
        self.state.cancel();
    }

    /// How many children have not ended.
    #[must_use]
    pub fn children(&self) -> usize {
        self.state.children()
    }
}

impl Default for TaskGroup {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TaskGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<TaskGroup {:?}>", self.state)
    }
}
