//! Blocking functions in threads, by a free function.

use anyloop_api::{EventLoopExt, LoopRef, Result, Snapshot};

/// Runs a blocking function in the running loop's pool of threads, with a copy of the caller's context
/// variables, and returns what it returns.
///
/// # Errors
/// `Usage` if no loop is running on this thread, or after its pool was shut down; `Panicked`;
/// `Cancelled` if somebody else cancelled the job.
///
/// # Cancel safety
/// Cancelling the waiting task before the function has started prevents it. Once started it runs to
/// its end, unobserved; so it does when the future is merely dropped.
///
/// # Examples
/// ```
/// let answer = anyloop::run(async {
///     anyloop::to_thread(|| (1..=20u64).product::<u64>()).await
/// })??;
/// assert_eq!(answer, 2_432_902_008_176_640_000);
/// # Ok::<(), anyloop::Error>(())
/// ```
pub async fn to_thread<T: Send + 'static>(
    function: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let context = Snapshot::current();
    let job = LoopRef::current()?.run_in_executor(None, move || context.run(function))?;
    job.await
}
