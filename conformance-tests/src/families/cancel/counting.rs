//! How requests are counted, and taken back.

use std::future::{pending, ready};

use anyloop_api::{Cancelled, catch_cancel, sleep};

use super::requests::{Body, drop_value, is_cancelled};
use super::swallowed::stubborn;
use crate::families::prelude::*;
use crate::tools::{Gate, both};

pub(super) fn requests_before_delivery_coalesce(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let future = lp.create_future::<()>();
    let bodies: [Body; 3] =
        [Box::pin(drop_value(future)), Box::pin(pending::<()>()), Box::pin(sleep(FAR))];
    for body in bodies {
        let log = trace.clone();
        let task = lp.create_task(async move {
            let caught = catch_cancel(body).await;
            let reason = caught.err().and_then(|c| c.message().map(str::to_owned));
            log.push(reason.unwrap_or_else(|| "no reason".into()));
            // Would be interrupted by a second delivery.
            yield_now().await;
            let _ = catch_cancel(yield_now()).await;
            log.push("in peace");
        })?;
        run_once(&lp)?;
        for reason in ["first", "second", "third"] {
            task.cancel_with(Cancelled::with_message(reason));
        }
        run_times(&lp, 4)?;
        trace.expect(["third", "in peace"])?;
        ensure_eq!(task.cancelling(), 3, "requests");
        ensure!(task.done() && !task.cancelled(), "the task did not end well");
    }
    Ok(())
}

pub(super) fn cancelled_by_somebody_else(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (future, inner) = (lp.create_future::<()>(), lp.create_task(pending::<()>())?);
    let (waiting, joining) = (future.clone(), inner.clone());
    let task = lp.create_task(async move {
        let first = catch_cancel(waiting).await;
        let second = catch_cancel(joining).await;
        (first, second, current_task().map_or(9, |me| me.cancelling()))
    })?;
    run_once(&lp)?;
    future.cancel_with(Cancelled::with_message("by somebody"));
    run_once(&lp)?;
    inner.cancel();
    run_times(&lp, 2)?;
    let (first, second, count) = lp.run_until_done(&task)?;
    ensure_is!(first, Ok(Err(Error::Cancelled(c))) if c.message() == Some("by somebody"));
    ensure_is!(second, Ok(Err(Error::Cancelled(_))));
    ensure_eq!(count, 0, "requests");

    // Both at once: the task's own request is delivered, the other's is a value.
    let (theirs, own) = (lp.create_future::<()>(), lp.create_future::<()>());
    let (a, b) = (theirs.clone(), own.clone());
    let task = lp.create_task(async move {
        catch_cancel(both(async move { is_cancelled(&a.await) }, drop_value(b))).await.is_err()
    })?;
    run_once(&lp)?;
    theirs.cancel();
    task.cancel();
    ensure!(own.cancelled(), "the future that the task waits for is not cancelled");
    ensure!(lp.run_until_done(&task)?, "the request was not delivered");
    Ok(())
}

pub(super) fn uncancel_counts_down(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let task = lp.create_task(async { while catch_cancel(pending::<()>()).await.is_err() {} })?;
    run_once(&lp)?;
    ensure_eq!(task.uncancel(), 0, "requests after uncancel() of none");
    for _ in 0..3 {
        task.cancel();
    }
    ensure_eq!((task.uncancel(), task.cancelling()), (2, 2), "requests");
    run_once(&lp)?;
    ensure_eq!(task.any().uncancel(), 1, "requests, without the type");
    ensure_eq!((task.uncancel(), task.uncancel()), (0, 0), "requests, not below zero");
    task.mark_internal();

    let ended = lp.create_task(pending::<()>())?;
    ended.cancel();
    ended.cancel();
    run_once(&lp)?;
    ensure!(ended.cancelled(), "the task is not cancelled");
    ensure_eq!((ended.uncancel(), ended.cancelling()), (2, 2), "requests of a finished task");
    ensure!(ended.cancelled(), "uncancel() changed how the task ended");
    Ok(())
}

pub(super) fn uncancelled_in_time(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    // Not begun.
    let task = lp.create_task(ready(1))?;
    task.cancel();
    task.cancel();
    task.uncancel();
    task.uncancel();
    ensure_is!(lp.run_until_done(&task), Ok(1));

    // What it waits for is done, or does not know of cancellation: there is nothing to undo.
    let (future, gate, finisher) = (lp.create_future(), Gate::new(), Gate::new());
    let inner = stubborn(&lp, &finisher)?;
    let (a, b, c) = (future.clone(), gate.clone(), inner.clone());
    let waits = lp.create_task(async move { catch_cancel(a).await })?;
    let leaf = lp.create_task(async move { catch_cancel(b.wait()).await })?;
    let joins = lp.create_task(async move { catch_cancel(c).await })?;
    run_times(&lp, 2)?;
    finisher.open();
    run_once(&lp)?;
    future.set_result(2)?;
    for task in [waits.any(), leaf.any(), joins.any()] {
        task.cancel();
        ensure_eq!(task.uncancel(), 0, "requests left");
    }
    run_times(&lp, 2)?;
    gate.open();
    run_once(&lp)?;
    ensure_is!(waits.take_result(), Ok(Ok(Ok(2))));
    ensure_is!(leaf.take_result(), Ok(Ok(())));
    ensure_is!(joins.take_result(), Ok(Ok(Ok(7))));

    // One of two is one too few.
    let task = lp.create_task(pending::<()>())?;
    run_once(&lp)?;
    task.cancel();
    task.cancel();
    ensure_eq!(task.uncancel(), 1, "requests left");
    run_once(&lp)?;
    ensure!(task.cancelled(), "the task is not cancelled");
    Ok(())
}

/// The future was cancelled at once, and that cannot be taken back: the task sees it at its await.
pub(super) fn uncancelled_too_late(cx: &Context) -> Outcome {
    for times in [1, 2] {
        let lp = cx.new_loop()?;
        let future = lp.create_future::<()>();
        let waiting = future.clone();
        let task = lp.create_task(async move {
            let caught = catch_cancel(waiting).await.is_err();
            (caught, current_task().map_or(9, |me| me.cancelling()))
        })?;
        run_once(&lp)?;
        (0..times).for_each(|_| {
            task.cancel();
        });
        (0..times).for_each(|_| {
            task.uncancel();
        });
        ensure!(future.cancelled(), "the future is not cancelled");
        ensure_eq!(lp.run_until_done(&task)?, (true, 0), "whether it was caught, and requests");
    }
    Ok(())
}
