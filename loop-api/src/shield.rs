//! Waiting without passing a cancellation on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as PollContext, Poll};

/// Waits for a task or future without passing a cancellation on to it.
///
/// Cancelling the awaiter ends the awaiter only; the inner work goes on (COMB-24).
///
/// ```
/// use anyloop_api::{Result, Task, shield};
///
/// /// Whoever asks may be cancelled; the job, which others wait for too, is not.
/// async fn ask(job: &Task<u32>) -> Result<u32> {
///     shield(job.clone()).await
/// }
/// ```
///
/// # Cancel safety
/// Dropping it has taken nothing, and leaves the work alone.
pub fn shield<W: Shieldable>(work: W) -> Shield<W> {
    Shield { work }
}

/// What [`shield`] can protect: [`Task`](crate::Task) and [`LoopFuture`](crate::LoopFuture).
pub trait Shieldable {
    /// What awaiting it gives.
    type Output;
    /// Polls without registering for cancellation.
    fn poll_shielded(&mut self, cx: &mut PollContext<'_>) -> Poll<Self::Output>;
}

impl<T: 'static> Shieldable for crate::task::Task<T> {
    type Output = crate::error::Result<T>;

    fn poll_shielded(&mut self, cx: &mut PollContext<'_>) -> Poll<Self::Output> {
        std::task::ready!(self.poll_done(cx, false))?;
        Poll::Ready(self.take_result())
    }
}

impl<T: 'static> Shieldable for crate::future::LoopFuture<T> {
    type Output = crate::error::Result<T>;

    fn poll_shielded(&mut self, cx: &mut PollContext<'_>) -> Poll<Self::Output> {
        std::task::ready!(self.poll_done(cx, false))?;
        Poll::Ready(self.take_result())
    }
}

/// The future of [`shield`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Shield<W> {
    work: W,
}

impl<W> Shield<W> {
    /// The work that is protected.
    #[must_use]
    pub fn work(&self) -> &W {
        &self.work
    }
}

impl<W: Shieldable + Unpin> Future for Shield<W> {
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<W::Output> {
        self.work.poll_shielded(cx)
    }
}
