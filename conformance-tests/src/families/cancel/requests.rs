//! What a request is, and what it is not yet.

use std::future::{pending, ready};

use anyloop_api::{Cancelled, catch_cancel, sleep};

use crate::families::prelude::*;
use crate::tools::Gate;

/// Whether it is a cancellation.
pub(super) fn is_cancelled<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Cancelled(_)))
}

pub(super) fn true_until_the_task_is_done(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let gate = Gate::new();
    let wait = gate.clone();
    // Refuses the first request.
    let stubborn = lp.create_task(async move {
        let _ = catch_cancel(pending::<()>()).await;
        wait.wait().await;
    })?;
    ensure!(stubborn.any().cancel(), "false before the first step");
    ensure_eq!(stubborn.uncancel(), 0, "requests left");
    run_once(&lp)?;
    ensure!(stubborn.cancel() && stubborn.cancel(), "false while the task waits");
    ensure!(stubborn.any().cancel(), "false on the handle without the type");
    run_once(&lp)?;
    ensure!(!stubborn.done(), "the task did not catch it");
    ensure!(stubborn.cancel(), "false while the task cleans up");
    run_times(&lp, 2)?;
    ensure!(stubborn.cancelled(), "the clean-up was not interrupted");
    ensure!(!stubborn.cancel() && !stubborn.any().cancel(), "true on a cancelled task");

    let value = lp.create_task(ready(1))?;
    let panicked = lp.create_task(async { panic!("on purpose") })?;
    run_once(&lp)?;
    ensure!(!value.cancel() && !value.any().cancel(), "true on a finished task");
    ensure_eq!(value.result()?, 1, "the value after cancel()");
    ensure!(!panicked.cancel_with(Cancelled::with_message("late")), "true on a panicked task");
    ensure_is!(panicked.result(), Err::<(), _>(Error::Panicked(_)));
    Ok(())
}

pub(super) fn right_after_it_nothing_has_changed(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<()>();
    let inner = lp.create_task(pending::<()>())?;
    let bodies: [Body; 4] = [
        Box::pin(pending::<()>()),
        Box::pin(drop_value(future.clone())),
        Box::pin(sleep(FAR)),
        Box::pin(drop_value(inner.clone())),
    ];
    for (number, body) in bodies.into_iter().enumerate() {
        let task = lp.create_task(body)?;
        if number % 2 == 1 {
            run_once(&lp)?;
        }
        task.cancel();
        ensure!(!task.done() && !task.cancelled(), "task {number} ended by the call itself");
        ensure_is!(task.result(), Err(Error::InvalidState(_)));
        run_times(&lp, 3)?;
        ensure!(task.done() && task.cancelled(), "task {number} did not end");
        ensure_is!(task.result(), Err(Error::Cancelled(_)));
        ensure_is!(task.exception(), Err(Error::Cancelled(_)));
    }
    Ok(())
}

pub(super) type Body = std::pin::Pin<Box<dyn Future<Output = ()>>>;

pub(super) async fn drop_value<T>(future: impl Future<Output = T>) {
    future.await;
}

pub(super) fn every_accepted_request_counts(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let task = lp.create_task(async { while catch_cancel(pending::<()>()).await.is_err() {} })?;
    ensure_eq!(task.cancelling(), 0, "requests of a fresh task");
    run_once(&lp)?;
    for expected in 1..5 {
        task.cancel();
        ensure_eq!(task.cancelling(), expected, "requests");
        ensure_eq!(task.any().cancelling(), expected, "requests, without the type");
        if expected % 2 == 0 {
            run_once(&lp)?;
        }
    }
    let done = lp.create_task(ready(()))?;
    run_once(&lp)?;
    done.cancel();
    ensure_eq!(done.cancelling(), 0, "requests that a finished task refused");
    task.mark_internal();
    Ok(())
}
