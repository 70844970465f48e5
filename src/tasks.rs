//! Tasks of the running loop, by free functions.

use std::future::Future;

use anyloop_api::{AnyTask, EventLoopExt, LoopRef, Result, Task};

/// Makes a task of `future` on the running loop and schedules its first step.
///
/// # Errors
/// `Usage` if no loop is running on this thread; what the task factory says. `future` is dropped
/// un-polled.
///
/// # Examples
/// ```
/// anyloop::run(async {
///     let a = anyloop::create_task(async { 1 })?;
///     let b = anyloop::create_task(async { 2 })?;
///     assert_eq!(a.await? + b.await?, 3);
///     # Ok::<(), anyloop::Error>(())
/// })??;
/// # Ok::<(), anyloop::Error>(())
/// ```
#[track_caller]
pub fn create_task<F>(future: F) -> Result<Task<F::Output>>
where
    F: Future + 'static,
{
    LoopRef::current()?.create_task(future)
}

/// The unfinished tasks of the running loop, the current one included.
///
/// # Errors
/// `Usage` if no loop is running on this thread; ask a loop that is not running with
/// [`EventLoop::all_tasks`](anyloop_api::EventLoop::all_tasks).
///
/// # Examples
/// ```
/// anyloop::run(async {
///     for task in anyloop::all_tasks()? {
///         println!("{task:?}");
///     }
///     # Ok::<(), anyloop::Error>(())
/// })??;
/// # Ok::<(), anyloop::Error>(())
/// ```
pub fn all_tasks() -> Result<Vec<AnyTask>> {
    Ok(LoopRef::current()?.all_tasks())
}
