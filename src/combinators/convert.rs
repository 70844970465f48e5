//! Between futures, tasks and threads.

use std::any::Any;
use std::future::{Future, IntoFuture};
use std::rc::Rc;

use anyloop_api::{
    Error, EventLoopExt, JoinHandle, LoopFuture, LoopRef, RemoteHandle, Result, SharedTask, Task,
};

use crate::combinators::output::TaskOutput;

/// Makes a task of a future; gives a task back as it is.
///
/// Unlike [`create_task`](crate::create_task()), which keeps the output as it is, an `Err` of the future
/// fails the task, as an exception does in Python: [`Task::exception`] and all awaiters see it.
///
/// # Errors
/// `Usage` if no loop is running on this thread; `InvalidArg` for a task of another loop; what the task
/// factory says.
///
/// # Examples
/// ```
/// use anyloop::{Result, Task, ensure_future};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     let task: Task<u16> = ensure_future(async { "8080".parse::<u16>() })?;
///     let same = ensure_future(task.clone())?;
///     assert_eq!(same.id(), task.id());
///     assert_eq!(task.await?, 8080);
///     Ok(())
/// })?
/// # }
/// ```
#[track_caller]
pub fn ensure_future<A>(awaitable: A) -> Result<Task<<A::Output as TaskOutput>::Value>>
where
    A: IntoFuture<Output: TaskOutput, IntoFuture: 'static>,
{
    let lp = LoopRef::current()?;
    let mut future = Some(awaitable.into_future());
    if let Some(task) = existing_task(&mut future) {
        if !task.get_loop().is_some_and(|home| home.same(&lp)) {
            return Err(Error::invalid_arg(
                "ensure_future: the task belongs to another event loop",
            ));
        }
        return Ok(task);
    }
    let Some(future) = future else { return Err(Error::usage("ensure_future: nothing to run")) };
    lp.task().spawn_settled(future, TaskOutput::into_result)
}

/// Takes the task out, if the future is one, or a shared await of one.
fn existing_task<F>(future: &mut Option<F>) -> Option<Task<<F::Output as TaskOutput>::Value>>
where
    F: Future<Output: TaskOutput> + 'static,
{
    type Value<F> = <<F as Future>::Output as TaskOutput>::Value;

    let future: &mut dyn Any = future;
    if let Some(task) = future.downcast_mut::<Option<Task<Value<F>>>>() {
        return task.take();
    }
    let shared = future.downcast_mut::<Option<SharedTask<Value<F>>>>()?;
    shared.as_ref().map(|shared| shared.task().clone())
}

/// What [`wrap_future`] takes: the [`JoinHandle`] of work on another loop, or a [`LoopFuture`], which stays
/// what it is.
pub trait IntoLoopFuture {
    /// What it gives.
    type Value;
    /// As a future of `lp`.
    ///
    /// # Errors
    /// None of our own.
    fn into_loop_future(self, lp: &LoopRef) -> Result<LoopFuture<Self::Value>>;
}

/// Makes a future of the running loop from one that threads wait for; gives one of a loop back as it is.
///
/// The outcome arrives through the loop's [`RemoteHandle`]. Cancelling the future cancels the work behind
/// it; an outcome that comes later is ignored.
///
/// # Errors
/// `Usage` if no loop is running on this thread.
///
/// # Examples
/// ```
/// use anyloop::{Result, get_running_loop, run_coroutine_threadsafe, wrap_future};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     // Usually the remote of another loop, on another thread.
///     let remote = get_running_loop()?.remote();
///     let handle = run_coroutine_threadsafe(async { 42 }, &remote)?;
///     assert_eq!(wrap_future(handle)?.await?, 42);
///     Ok(())
/// })?
/// # }
/// ```
pub fn wrap_future<A: IntoLoopFuture>(future: A) -> Result<LoopFuture<A::Value>> {
    future.into_loop_future(&LoopRef::current()?)
}

impl<T: 'static> IntoLoopFuture for LoopFuture<T> {
    type Value = T;

    fn into_loop_future(self, _: &LoopRef) -> Result<Self> {
        Ok(self)
    }
}

impl<T: Send + 'static> IntoLoopFuture for JoinHandle<T> {
    type Value = T;

    fn into_loop_future(self, lp: &LoopRef) -> Result<LoopFuture<T>> {
        let future = lp.create_future::<T>();
        let key = lp.state().park(Rc::new(future.clone()));
        let remote = lp.remote();
        self.on_done(move |outcome| {
            // A loop that has closed meanwhile does not want it any more.
            let _ = remote.call_soon_threadsafe(move || arrive::<T>(key, outcome));
        });
        // It stays parked until the outcome comes, which it does in any case: the key would be somebody
        // else's by then.
        future.add_done_callback(move |future| {
            if future.cancelled() {
                self.cancel();
            }
        });
        Ok(future)
    }
}

fn arrive<T: 'static>(key: usize, outcome: Result<T>) {
    let Ok(lp) = LoopRef::current() else { return };
    let Some(parked) = lp.state().unpark(key) else { return };
    if let Ok(future) = parked.downcast::<LoopFuture<T>>() {
        future.set_unless_done(outcome);
    }
}

/// Starts `future` as a task of the loop behind `remote`, from any thread; a thread may wait for it with
/// [`JoinHandle::wait`], a loop with [`wrap_future`].
///
/// # Errors
/// `Closed`.
///
/// # Cancel safety
/// Dropping the handle lets the task go on; cancelling the handle cancels the task.
///
/// # Examples
/// ```
/// use anyloop::{Result, new_event_loop, run_coroutine_threadsafe};
/// # fn main() -> Result<()> {
/// let lp = new_event_loop()?;
/// let remote = lp.remote();
/// let thread = std::thread::spawn(move || {
///     let answer = run_coroutine_threadsafe(async { 42 }, &remote)?.wait();
///     remote.stop();
///     answer
/// });
/// lp.run_forever()?;
/// assert_eq!(thread.join().expect("it does not panic")?, 42);
/// lp.close()
/// # }
/// ```
pub fn run_coroutine_threadsafe<F>(
    future: F,
    remote: &RemoteHandle,
) -> Result<JoinHandle<F::Output>>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    remote.spawn(future)
}
