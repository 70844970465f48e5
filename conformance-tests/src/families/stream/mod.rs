//! Streams: reading by hand-fed readers, both ends of a connection, the callback of a server.

mod reader;

pub(super) use self::reader::CASES as READER;

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::prelude::*;

/// Runs a case that is a task on a loop of its own.
fn on_a_loop(cx: &Context, main: impl Future<Output = Outcome> + 'static) -> Outcome {
    cx.new_loop()?.run_until_complete(main)?
}

/// Polls a future once; `None` if it is pending. It is dropped, which cancels it.
async fn once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
