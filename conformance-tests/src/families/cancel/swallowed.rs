//! Requests that somebody in between swallows, or that come with the completion.

use anyloop_api::{catch_cancel, sleep};

use super::awaited::{WHENS, When, interleave};
use super::requests::{Body, is_cancelled};
use crate::families::prelude::*;
use crate::tools::{Gate, both};

/// A task that waits for `gate` and refuses every request meanwhile.
pub(super) fn stubborn(lp: &LoopRef, gate: &Gate) -> Result<Task<u8>, Error> {
    let gate = gate.clone();
    lp.create_task(async move {
        while catch_cancel(gate.wait()).await.is_err() {}
        7
    })
}

pub(super) fn swallowed_by_the_inner_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let gate = Gate::new();
    let inner = stubborn(&lp, &gate)?;
    let waiting = inner.clone();
    let outer = lp.create_task(async move {
        let value = waiting.await;
        yield_now().await;
        (value, current_task().map_or(0, |task| task.cancelling()))
    })?;
    run_times(&lp, 2)?;
    outer.cancel();
    outer.cancel();
    run_times(&lp, 3)?;
    ensure_eq!((outer.cancelling(), inner.cancelling()), (2, 2), "requests, outer and inner");
    gate.open();
    run_times(&lp, 4)?;
    ensure!(outer.done(), "the outer task is not done");
    ensure_is!(outer.take_result(), Ok((Ok(7), 2)));
    Ok(())
}

pub(super) fn before_with_and_after_the_inner_end(cx: &Context) -> Outcome {
    for when in WHENS {
        let lp = cx.new_loop()?;
        let gate = Gate::new();
        let inner = stubborn(&lp, &gate)?;
        let waiting = inner.clone();
        let outer = lp.create_task(async move { waiting.await.unwrap_or(0) })?;
        let (canceller, opener) = (outer.clone(), gate.clone());
        let accepted = Rc::new(Cell::new(false));
        let said = accepted.clone();
        interleave(&lp, when, move || said.set(canceller.cancel()), move || opener.open())?;
        ensure!(inner.done() && !inner.cancelled(), "the inner task did not refuse ({when:?})");
        if when == When::AnIterationAfter {
            // Both were done.
            ensure!(!accepted.get(), "cancel() of a finished task says true");
        } else {
            ensure_eq!((outer.cancelling(), inner.cancelling()), (1, 1), "requests ({when:?})");
        }
        ensure_is!(outer.take_result(), Ok(7));
    }

    // The inner one has ended, the outer one has not heard of it yet: it is cancelled.
    let lp = cx.new_loop()?;
    let gate = Gate::new();
    let inner = stubborn(&lp, &gate)?;
    let slot: Rc<RefCell<Option<Task<()>>>> = Rc::default();
    let theirs = slot.clone();
    // Runs before the step of the outer task, which is told of the end after this.
    inner.add_done_callback(move |_| {
        if let Some(outer) = theirs.take() {
            outer.cancel();
        }
    });
    let waiting = inner.clone();
    let outer = lp.create_task(async move { drop((&waiting).await) })?;
    slot.replace(Some(outer.clone()));
    run_times(&lp, 2)?;
    outer.cancel();
    gate.open();
    run_times(&lp, 4)?;
    ensure_eq!(inner.result()?, 7, "the value, which stayed in the inner task");
    ensure!(outer.cancelled(), "the outer task got the value");
    Ok(())
}

/// What the inner task swallowed must not turn up at a later await.
pub(super) fn what_was_swallowed_is_forgotten(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let gate = Gate::new();
    let inner = stubborn(&lp, &gate)?;
    let (others, waiting) = (lp.create_future::<u8>(), inner.clone());
    let theirs = others.clone();
    let outer = lp.create_task(async move {
        let value = waiting.await;
        let foreign = theirs.await;
        (value, foreign)
    })?;
    run_times(&lp, 2)?;
    outer.cancel();
    run_once(&lp)?;
    gate.open();
    run_times(&lp, 3)?;
    ensure!(!outer.done() && inner.done(), "the outer task did not go on");
    // Somebody else's doing.
    others.cancel();
    run_times(&lp, 2)?;
    ensure!(outer.done() && !outer.cancelled(), "a request was delivered twice");
    let (value, foreign) = outer.take_result()?;
    ensure_is!(value, Ok(7));
    ensure!(is_cancelled(&foreign), "the cancellation of the other future is not seen");
    Ok(())
}

pub(super) fn completed_but_not_delivered(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (future, gate) = (lp.create_future(), Gate::new());
    let finisher = Gate::new();
    let finishing = stubborn(&lp, &finisher)?;
    let (a, b, c) = (future.clone(), finishing.clone(), gate.clone());
    let mut tasks = Vec::new();
    let bodies: [Body; 4] = [
        Box::pin(async move { drop((&a).await) }),
        Box::pin(async move { drop((&b).await) }),
        Box::pin(async move { c.wait().await }),
        Box::pin(sleep(ms(50))),
    ];
    for body in bodies {
        let log = trace.clone();
        tasks.push(lp.create_task(async move {
            if catch_cancel(body).await.is_err() {
                log.push("caught");
            } else {
                log.push("value");
            }
        })?);
    }
    run_times(&lp, 2)?;
    // All four end, and are cancelled before they hear of it.
    block_for(ms(51));
    let all = tasks.clone();
    finisher.open();
    run_once(&lp)?;
    future.set_result(3)?;
    gate.open();
    let cancel = move || {
        all.iter().for_each(|task| {
            task.cancel();
        });
    };
    // The task that waits for the other one was woken in the last iteration: it is cancelled first.
    cancel();
    run_times(&lp, 2)?;
    trace.expect(["caught", "caught", "caught", "caught"])?;
    ensure_eq!(future.result()?, 3, "the value, which stayed in the future");
    ensure_eq!(finishing.result()?, 7, "the value, which stayed in the task");
    Ok(())
}

pub(super) fn also_in_one_of_two_branches(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (future, gate) = (lp.create_future(), Gate::new());
    let (waiting, wait) = (future.clone(), gate.clone());
    let (log, other) = (trace.clone(), trace.clone());
    let task = lp.create_task(async move {
        let deep = async move {
            let inner = catch_cancel(catch_cancel(wait.wait()));
            other.push(if matches!(inner.await, Ok(Ok(()))) { "opened" } else { "wrongly told" });
        };
        let shallow = async move {
            let caught = catch_cancel(async { (&waiting).await }).await;
            log.push(if caught.is_err() { "told" } else { "not told" });
        };
        both(deep, shallow).await;
    })?;
    run_once(&lp)?;
    future.set_result(4)?;
    task.cancel();
    run_once(&lp)?;
    trace.expect(["told"])?;
    gate.open();
    run_once(&lp)?;
    trace.expect(["opened"])?;
    ensure!(task.done() && !task.cancelled(), "the task did not end well");
    ensure_eq!(future.result()?, 4, "the value, which stayed in the future");
    Ok(())
}
