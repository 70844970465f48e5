//! `wait_for`: one thing, for so long at most.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::pin;
use std::time::Duration;

use anyloop_api::{Cancelled, Error, Result};

use crate::combinators::ongoing::{Ongoing, ongoing, shielded};
use crate::combinators::output::{Fate, TaskOutput};
use crate::timeouts::{TimeoutHandle, timeout_scope};

/// Waits for `work` for at most `limit`; `None`: without limit.
///
/// When the time is over, `work` is cancelled, and this fails with `TimedOut` when it has really ended. If
/// it answers the cancellation with a value or another error, that is returned. A future runs in the
/// caller's own task. With a limit of zero, a task or future that is done gives its outcome, one that is
/// not is cancelled, and a bare future (a [`gather`](crate::gather()) counts as one) is dropped. To limit
/// something that borrows, use [`timeout`](crate::timeout()).
///
/// # Errors
/// `TimedOut`; the failure of `work`, see [`TaskOutput`]; `Usage` outside a task.
///
/// # Cancel safety
/// Cancelling the task cancels `work` and is never swallowed. Dropping it drops `work`: a task goes on.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use anyloop::{Error, Queue, Result, wait_for};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     let queue = Queue::<u32>::new(0);
///     let nothing = wait_for(queue.get(), Duration::from_millis(1)).await;
///     assert!(matches!(nothing, Err(Error::TimedOut(_))));
///     queue.put(7).await?;
///     assert_eq!(wait_for(queue.get(), Duration::from_secs(1)).await?, 7);
///     Ok(())
/// })?
/// # }
/// ```
pub fn wait_for<A>(
    work: A,
    limit: impl Into<Option<Duration>>,
) -> impl Future<Output = Result<<A::Output as TaskOutput>::Value>>
where
    A: IntoFuture<Output: TaskOutput, IntoFuture: 'static>,
{
    let (work, limit) = (work.into_future(), limit.into());
    async move {
        match limit {
            None => work.await.into_result(),
            Some(Duration::ZERO) => at_once(work).await,
            Some(limit) => timeout_scope(limit, |scope| in_time(work, scope)).await?,
        }
    }
}

async fn in_time<F>(work: F, scope: TimeoutHandle) -> Result<<F::Output as TaskOutput>::Value>
where
    F: Future<Output: TaskOutput>,
{
    match work.await.into_result() {
        // The scope has cancelled it, and it says so by its output: for the scope to tell whose request it was.
        Err(Error::Cancelled(cancelled)) if scope.expired() => cancelled.resume().await,
        result => result,
    }
}

async fn at_once<F>(work: F) -> Result<<F::Output as TaskOutput>::Value>
where
    F: Future<Output: TaskOutput> + 'static,
{
    let timed_out = || Err(Error::TimedOut("wait_for: the time is over".into()));
    if ongoing(&work).or_else(|| shielded(&work)).is_some_and(Ongoing::is_done) {
        return work.await.into_result();
    }
    // Behind a shield it goes on; a bare future was not started.
    let Some(handle) = ongoing(&work) else { return timed_out() };
    handle.request_cancel(Cancelled::new());
    let mut work = pin!(work);
    let output = poll_fn(|cx| work.as_mut().poll(cx)).await;
    match ongoing(&*work).and_then(Ongoing::outcome_fate) {
        Some(Fate::Cancelled) => timed_out(),
        _ => output.into_result(),
    }
}
