//! Awaiting a future without taking its value.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context as PollContext, Poll};

use super::LoopFuture;
use crate::error::Result;

/// Awaiting a reference clones the value.
impl<T: Clone + 'static> IntoFuture for &LoopFuture<T> {
    type Output = Result<T>;
    type IntoFuture = Shared<T>;

    fn into_future(self) -> Shared<T> {
        Shared { future: self.clone() }
    }
}

/// An await of a [`LoopFuture`] that leaves the value where it is.
#[must_use = "futures do nothing unless awaited"]
pub struct Shared<T: 'static> {
    future: LoopFuture<T>,
}

impl<T: 'static> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("future", &self.future).finish()
    }
}

impl<T: 'static> Shared<T> {
    /// The future that is awaited.
    #[must_use]
    pub fn future(&self) -> &LoopFuture<T> {
        &self.future
    }
}

impl<T: Clone + 'static> Future for Shared<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<Self::Output> {
        let future = &self.future;
        match future.state.outcome.copy_awaited(future.address(), &future.wait) {
            Some(value) => Poll::Ready(Ok(value)),
            None => future.poll_failure(cx).map(Err),
        }
    }
}
