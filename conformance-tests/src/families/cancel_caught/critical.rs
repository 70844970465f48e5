//! Parts that a request waits for.

use std::future::pending;

use anyloop_api::{catch_cancel, on_cancel, sleep, uncancellable};

use super::timeouts::timeout;
use crate::families::prelude::*;
use crate::tools::{Gate, OnDrop, both};

pub(super) fn a_critical_part_holds_it_back(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    for kind in ["leaf", "future", "task"] {
        let (gate, future) = (Gate::new(), lp.create_future());
        let wait = gate.clone();
        let inner = lp.create_task(async move { wait.wait().await })?;
        let (wait, waiting, joining) = (gate.clone(), future.clone(), inner.clone());
        let log = trace.clone();
        let task = lp.create_task(async move {
            let critical = async {
                match kind {
                    "leaf" => wait.wait().await,
                    "future" => drop(waiting.await),
                    _ => drop(joining.await),
                }
                // A scope inside hears of nothing either.
                let caught = catch_cancel(yield_now()).await;
                log.push(if caught.is_ok() { "undisturbed" } else { "disturbed" });
                5
            };
            let value = uncancellable(critical).await;
            log.push(format!("over {value}"));
            yield_now().await;
            log.push("not reached");
        })?;
        run_times(&lp, 2)?;
        ensure!(task.cancel() && task.cancel(), "cancel() says false");
        run_times(&lp, 3)?;
        ensure!(!task.done() && !future.cancelled(), "the critical part was cancelled");
        ensure_eq!(inner.cancelling(), 0, "requests to the task it waits for");
        gate.open();
        future.set_result(())?;
        run_times(&lp, 4)?;
        trace.expect(["undisturbed", "over 5"])?;
        ensure!(task.cancelled(), "the request is gone");
        ensure_eq!(task.cancelling(), 2, "requests");
    }

    // Taken back meanwhile, or at the very end of the body.
    let gate = Gate::new();
    let wait = gate.clone();
    let task = lp.create_task(async move { uncancellable(wait.wait()).await })?;
    run_once(&lp)?;
    task.cancel();
    task.uncancel();
    gate.open();
    run_once(&lp)?;
    ensure!(task.done() && !task.cancelled(), "a request that was taken back was delivered");
    let gate = Gate::new();
    let wait = gate.clone();
    let task = lp.create_task(async move { uncancellable(wait.wait()).await })?;
    run_once(&lp)?;
    task.cancel();
    gate.open();
    run_once(&lp)?;
    ensure!(task.cancelled(), "the request is gone");
    Ok(())
}

/// The request is there already, but not delivered, when the critical part begins.
pub(super) fn a_critical_part_that_begins_after_the_request(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let future = lp.create_future();
    let (waiting, log) = (future.clone(), trace.clone());
    let task = lp.create_task(async move {
        if let Some(me) = current_task() {
            me.cancel();
        }
        let value = uncancellable(waiting).await;
        log.push(if value.is_ok() { "undisturbed" } else { "disturbed" });
        pending::<()>().await;
    })?;
    run_once(&lp)?;
    ensure!(!future.cancelled(), "what the critical part waits for was cancelled");
    future.set_result(())?;
    run_once(&lp)?;
    trace.expect(["undisturbed"])?;
    ensure!(task.cancelled(), "the request is gone");

    // Passed on to a task, which takes its time to end; meanwhile the other branch begins its part.
    let (gate, critical) = (Gate::new(), Gate::new());
    let cleaning = gate.clone();
    let inner = lp.create_task(async move {
        on_cancel(pending::<()>(), || async move { cleaning.wait().await }).await;
    })?;
    let (begin, part, joining, log) = (Gate::new(), critical.clone(), inner.clone(), trace.clone());
    let (dropped, begun) = (trace.clone(), begin.clone());
    let task = lp.create_task(async move {
        let left = async move {
            begun.wait().await;
            let _guard = OnDrop(move || dropped.push("part dropped"));
            uncancellable(part.wait()).await;
            log.push("part over");
        };
        both(left, async { drop(joining.await) }).await;
        yield_now().await;
    })?;
    run_times(&lp, 2)?;
    task.cancel();
    run_once(&lp)?;
    begin.open();
    run_once(&lp)?;
    gate.open();
    run_times(&lp, 3)?;
    ensure!(inner.cancelled(), "the inner task is not cancelled");
    trace.expect([])?;
    critical.open();
    run_times(&lp, 3)?;
    trace.expect(["part over", "part dropped"])?;
    ensure!(task.cancelled(), "the request is gone");
    Ok(())
}

/// The part begins in one branch while another one waits for children that take their time to end.
pub(super) fn a_critical_part_beside_a_gather(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let gates = [Gate::new(), Gate::new(), Gate::new()];
    let ([begin, cleaned, end], log) = (gates.clone(), trace.clone());
    let task = lp.create_task(async move {
        let dropped = log.clone();
        let part = async {
            begin.wait().await;
            let _guard = OnDrop(move || dropped.push("part dropped"));
            uncancellable(end.wait()).await;
            log.push("part over");
        };
        let slow = on_cancel(pending::<()>(), || async move { cleaned.wait().await });
        let (_, gathered) = both(part, anyloop::gather((slow,))).await;
        log.push(if gathered.is_err() { "seen" } else { "unseen" });
        yield_now().await;
        log.push("not reached");
    })?;
    run_times(&lp, 2)?;
    task.cancel();
    run_times(&lp, 2)?;
    gates[0].open();
    run_once(&lp)?;
    gates[1].open();
    run_times(&lp, 4)?;
    trace.expect([])?;
    gates[2].open();
    run_times(&lp, 3)?;
    trace.expect(["part over", "part dropped", "seen"])?;
    ensure!(task.cancelled(), "the request is gone");
    Ok(())
}

/// A timeout within a critical part works; the critical part only keeps the outside out.
pub(super) fn a_critical_part_may_cancel_its_own(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    let task = lp.create_task(async move {
        uncancellable(async move {
            let future = inner.create_future::<()>();
            let timed_out = [
                timeout(&inner, ms(1), pending::<()>()).await.is_none(),
                timeout(&inner, ms(1), async { drop((&future).await) }).await.is_none(),
                timeout(&inner, ms(1), sleep(FAR)).await.is_none(),
            ];
            (timed_out, future.cancelled())
        })
        .await
    })?;
    ensure_eq!(lp.run_until_done(&task)?, ([true; 3], true), "timeouts in a critical part");
    ensure_eq!(task.cancelling(), 0, "requests");
    Ok(())
}
