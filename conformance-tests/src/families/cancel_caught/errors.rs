//! A request is no error value.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use anyloop_api::{Cancelled, Panic};

use crate::families::prelude::*;

/// The error of somebody's application.
#[derive(Debug)]
struct Theirs;

pub(super) fn no_conversion_into_other_errors(_: &Context) -> Outcome {
    assert_not_impl!(Theirs: From<Cancelled>);
    assert_not_impl!(io::Error: From<Cancelled>);
    assert_not_impl!(fmt::Error: From<Cancelled>);
    assert_not_impl!(String: From<Cancelled>);
    assert_not_impl!(Panic: From<Cancelled>);
    assert_impl!(Error: From<Cancelled>);
    Ok(())
}

/// Catches everything that can be caught, and goes on: a cancellation is not among it.
pub(super) fn a_body_that_ignores_all_errors(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let rounds = Counter::new();
    let inner = lp.clone();
    let count = rounds.clone();
    let task = lp.create_task(async move {
        loop {
            count.add();
            let work = async {
                let future = inner.create_future::<()>();
                let waiting = future.clone();
                inner.call_soon(move || {
                    let _ = waiting.set_exception("on purpose");
                })?;
                future.await?;
                Ok::<_, Box<dyn StdError>>(())
            };
            if let Err(error) = work.await {
                drop(error);
                continue;
            }
        }
    })?;
    run_times(&lp, 10)?;
    ensure!(rounds.get() > 3, "the task does not go round");
    task.cancel();
    run_times(&lp, 3)?;
    ensure!(task.cancelled(), "the cancellation was taken for an error");
    Ok(())
}
