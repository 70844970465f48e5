//! Letting everybody else run.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Yields to the loop once: everything queued before runs first (TASK-07).
///
/// ```
/// use anyloop_api::yield_now;
///
/// /// A long computation that lets the others of its loop run in between.
/// async fn sum(numbers: &[u64]) -> u64 {
///     let mut sum = 0;
///     for piece in numbers.chunks(10_000) {
///         sum += piece.iter().sum::<u64>();
///         yield_now().await;
///     }
///     sum
/// }
/// ```
///
/// # Cancel safety
/// Dropping it concerns nobody else.
#[inline]
pub fn yield_now() -> YieldNow {
    YieldNow(false)
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow(bool);

impl Future for YieldNow {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
