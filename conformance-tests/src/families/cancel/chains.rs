//! Through tasks that await tasks.

use std::future::pending;

use anyloop_api::{catch_cancel, shield};

use super::awaited::{WHENS, When, interleave, tidy};
use super::requests::drop_value;
use crate::families::prelude::*;
use crate::tools::Gate;

pub(super) fn passed_on_to_the_inner_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let gate = Gate::new();
    let inner = tidy(&lp, &trace, &gate)?;
    let (waiting, log) = (inner.clone(), trace.clone());
    let outer = lp.create_task(async move {
        let caught = catch_cancel(waiting).await;
        log.push(if caught.is_err() { "outer caught" } else { "outer went on" });
        if let Err(cancelled) = caught {
            cancelled.resume::<()>().await;
        }
    })?;
    run_times(&lp, 2)?;
    ensure!(outer.cancel(), "cancel() says false");
    ensure_eq!((outer.cancelling(), inner.cancelling()), (1, 1), "requests, outer and inner");
    run_times(&lp, 5)?;
    trace.expect(["clean-up begins"])?;
    ensure!(!outer.done() && !inner.done(), "a task ended before the clean-up did");
    gate.open();
    run_times(&lp, 3)?;
    trace.expect(["clean-up ends", "outer caught"])?;
    ensure!(outer.cancelled() && inner.cancelled(), "a task is not cancelled");
    Ok(())
}

/// A task that awaits a task that awaits a task that awaits a future.
pub(super) fn through_a_chain_of_tasks(cx: &Context) -> Outcome {
    for when in WHENS {
        let lp = cx.new_loop()?;
        let future = lp.create_future::<u8>();
        let waiting = future.clone();
        let inmost = lp.create_task(async move { waiting.await.unwrap_or(0) })?;
        let waiting = inmost.clone();
        let middle = lp.create_task(async move { (&waiting).await.unwrap_or(0) })?;
        let waiting = middle.clone();
        let outer = lp.create_task(async move { waiting.await.unwrap_or(0) })?;
        let (canceller, setter) = (outer.clone(), future.clone());
        let cancel = move || {
            canceller.cancel();
        };
        let end = move || {
            let _ = setter.set_result(5);
        };
        interleave(&lp, when, cancel, end)?;
        run_times(&lp, 4)?;
        let states =
            (future.cancelled(), inmost.cancelled(), middle.cancelled(), outer.cancelled());
        let expected = match when {
            When::AnIterationBefore | When::JustBefore => (true, true, true, true),
            // The future has its value, the task that awaits it does not get it any more.
            When::JustAfter => (false, true, true, true),
            When::AnIterationAfter => (false, false, false, true),
        };
        ensure_eq!(states, expected, "who is cancelled, inside out ({when:?})");
    }
    Ok(())
}

pub(super) fn a_chain_may_be_long(cx: &Context) -> Outcome {
    const LENGTH: usize = 50_000;
    let lp = cx.new_loop()?;
    let mut task = lp.create_task(pending::<()>())?;
    let inmost = task.clone();
    for _ in 0..LENGTH {
        let inner = task;
        task = lp.create_task(drop_value(inner))?;
    }
    run_times(&lp, 2)?;
    ensure!(task.cancel(), "cancel() says false");
    ensure_eq!(inmost.cancelling(), 1, "requests to the inmost task");
    ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
    ensure_eq!(lp.all_tasks().len(), 0, "tasks that are left");
    Ok(())
}

/// Two tasks that wait for each other will wait for ever; a third waits for them.
pub(super) fn a_circle_can_be_cancelled(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let slot: Rc<RefCell<Option<Task<()>>>> = Rc::default();
    let theirs = slot.clone();
    let first = lp.create_task(async move {
        let second = theirs.take();
        if let Some(second) = second {
            let _ = second.await;
        }
    })?;
    let second = lp.create_task(drop_value(first.clone()))?;
    slot.replace(Some(second.clone()));
    let third = lp.create_task(drop_value(second.clone()))?;
    run_times(&lp, 2)?;
    ensure!(third.cancel(), "cancel() says false");
    run_times(&lp, 4)?;
    ensure!(third.cancelled() && second.cancelled() && first.cancelled(), "a task is left");
    Ok(())
}

pub(super) fn without_knowing_the_type(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let gate = Gate::new();
    let inner = tidy(&lp, &trace, &gate)?;
    let (waiting, log) = (inner.any(), trace.clone());
    let outer = lp.create_task(async move {
        waiting.await;
        log.push("outer went on");
    })?;
    run_times(&lp, 2)?;
    outer.any().cancel();
    run_times(&lp, 3)?;
    gate.open();
    run_times(&lp, 3)?;
    trace.expect(["clean-up begins", "clean-up ends"])?;
    ensure!(inner.cancelled() && outer.cancelled(), "a task is not cancelled");

    // Cancelled by somebody else, it is an end like any other.
    let inner = lp.create_task(pending::<()>())?;
    let (waiting, log) = (inner.any(), trace.clone());
    let outer = lp.create_task(async move {
        waiting.await;
        log.push("outer went on");
    })?;
    run_once(&lp)?;
    inner.cancel();
    run_times(&lp, 2)?;
    trace.expect(["outer went on"])?;
    ensure!(outer.done() && !outer.cancelled(), "the outer task is cancelled");
    Ok(())
}

pub(super) fn a_shield_passes_nothing_on(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (gate, future) = (Gate::new(), lp.create_future());
    let wait = gate.clone();
    let inner = lp.create_task(async move {
        wait.wait().await;
        5
    })?;
    let (shielded, waiting) = (inner.clone(), future.clone());
    let outers = [
        lp.create_task(drop_value(shield(shielded)))?,
        lp.create_task(drop_value(shield(waiting)))?,
    ];
    run_once(&lp)?;
    outers.iter().for_each(|outer| {
        outer.cancel();
    });
    run_once(&lp)?;
    ensure!(outers.iter().all(Task::cancelled), "an awaiter of a shield is not cancelled");
    ensure_eq!(inner.cancelling(), 0, "requests to the shielded task");
    gate.open();
    future.set_result(6)?;
    ensure_eq!(lp.run_until_done(&inner)?, 5, "the value of the shielded task");
    ensure_eq!(future.result()?, 6, "the value of the shielded future");
    Ok(())
}
