//! What awaiting does not do: yield.

use std::future::{pending, ready};
use std::pin::Pin;

use anyloop_api::{Result, sleep_until};

use crate::families::prelude::*;

/// Awaits itself `depth` times, and `leaf` at the bottom.
pub(super) fn nested(
    depth: usize,
    leaf: LoopFuture<u8>,
) -> Pin<Box<dyn Future<Output = Result<u8>>>> {
    Box::pin(async move { if depth == 0 { leaf.await } else { nested(depth - 1, leaf).await } })
}

pub(super) fn nested_awaits_do_not_yield(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let done = lp.create_future();
    done.set_result(3)?;
    let task = lp.create_task(nested(500, done))?;
    run_once(&lp)?;
    ensure!(task.done(), "five hundred nested awaits of a done future took more than one step");
    ensure_is!(task.take_result(), Ok(Ok(3)));
    let later = lp.create_future();
    let task = lp.create_task(nested(500, later.clone()))?;
    run_once(&lp)?;
    ensure!(!task.done(), "the task did not wait");
    later.set_result(4)?;
    run_once(&lp)?;
    ensure!(task.done(), "the way back through five hundred awaits took more than one step");
    ensure_is!(task.take_result(), Ok(Ok(4)));
    Ok(())
}

pub(super) fn done_awaits_do_not_yield(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let done = lp.create_future();
    done.set_result(1)?;
    let failed = lp.create_future::<usize>();
    failed.set_exception("on purpose")?;
    let finished = lp.create_task(ready(1))?;
    run_once(&lp)?;
    let past = lp.time();
    let log = trace.clone();
    lp.create_task(async move {
        let mut sum = 0;
        for _ in 0..1000 {
            sum += (&done).await.unwrap_or(0) + (&finished).await.unwrap_or(0) + ready(1).await;
            sum += usize::from((&failed).await.is_err());
        }
        log.push(sum.to_string());
        // The past is no reason to go on at once: this one yields.
        sleep_until(past).await;
        log.push("yielded");
    })?;
    lp.call_soon(trace.pusher("next"))?;
    run_once(&lp)?;
    trace.expect(["4000", "next"])?;
    run_once(&lp)?;
    trace.expect(["yielded"])
}

pub(super) fn waiting_on_a_finished_task_does_not_suspend(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let value = lp.create_task(ready(1))?;
    let panicked = lp.create_task(async { panic!("on purpose") })?;
    let cancelled = lp.create_task(pending::<()>())?;
    cancelled.cancel();
    run_once(&lp)?;
    let log = trace.clone();
    lp.create_task(async move {
        let by_reference = matches!((&value).await, Ok(1)) && matches!((&value).await, Ok(1));
        value.any().await;
        let by_value = matches!(value.await, Ok(1));
        let failed = matches!(panicked.await, Err::<(), _>(Error::Panicked(_)));
        let cancelled = matches!(cancelled.await, Err(Error::Cancelled(_)));
        let all = by_reference && by_value && failed && cancelled;
        log.push(if all { "all as expected" } else { "not as expected" });
    })?;
    lp.call_soon(trace.pusher("next"))?;
    run_once(&lp)?;
    trace.expect(["all as expected", "next"])
}
