//! Eager tasks that are cancelled.

use std::future::{pending, ready};

use anyloop_api::{catch_cancel, current_task};

use super::eager;
use crate::families::prelude::*;
use crate::tools::Gate;

pub(super) fn cancelled_after_the_eager_step(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    // In the call that made it, in the same batch, an iteration later; with and without a scope.
    for when in ["at once", "same batch", "later"] {
        for scoped in [false, true] {
            let future = lp.create_future::<()>();
            let (waiting, log, slot) = (future.clone(), trace.clone(), Rc::new(RefCell::new(None)));
            let theirs = slot.clone();
            lp.call_soon(move || {
                let log = log.clone();
                let made = eager(async move {
                    if scoped {
                        let caught = catch_cancel(waiting).await;
                        log.push(if caught.is_err() { "caught" } else { "not caught" });
                    } else {
                        let _ = waiting.await;
                        log.push("went on");
                    }
                });
                if let Ok(task) = made {
                    if when == "at once" {
                        task.cancel();
                    }
                    theirs.replace(Some(task));
                }
            })?;
            let theirs = slot.clone();
            if when == "same batch" {
                lp.call_soon(move || {
                    if let Some(task) = &*theirs.borrow() {
                        task.cancel();
                    }
                })?;
            }
            run_once(&lp)?;
            let Some(task) = slot.take() else { return Err(Failure::new("no task")) };
            if when == "later" {
                ensure!(task.cancel(), "cancel() says false");
            }
            ensure!(future.cancelled(), "the awaited future is not cancelled ({when})");
            ensure!(!task.done(), "the task ended by the call itself ({when})");
            ensure_eq!(task.cancelling(), 1, "requests ({when})");
            run_once(&lp)?;
            ensure_eq!(task.cancelled(), !scoped, "whether the task is cancelled ({when})");
            if scoped {
                trace.expect(["caught"])?;
            }
            trace.expect([])?;
        }
    }
    Ok(())
}

pub(super) fn cancelled_when_it_is_done(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let said = Rc::new(Cell::new(None));
    let theirs = said.clone();
    lp.call_soon(move || {
        if let Ok(task) = eager(ready(1)) {
            let accepted = task.cancel();
            theirs.set(Some((accepted, task.cancelling(), task.cancelled(), task.result().ok())));
        }
    })?;
    run_once(&lp)?;
    ensure_eq!(said.get(), Some((false, 0, false, Some(1))), "accepted, requests, state, value");
    Ok(())
}

/// By the body itself, and by the body of its creator.
pub(super) fn cancelled_inside_the_eager_step(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    let task = lp.create_task(async move {
        // Returns at once: cancelled. Suspends: cancelled there.
        let returns = eager(async {
            current_task().map(|me| me.cancel());
        })?;
        log.push(if returns.cancelled() { "cancelled on return" } else { "not cancelled" });
        let theirs = log.clone();
        let suspends = eager(async move {
            current_task().map(|me| me.cancel());
            let caught = catch_cancel(pending::<()>()).await;
            theirs.push(if caught.is_err() { "caught in the eager step" } else { "not caught" });
        })?;
        log.push(if suspends.done() { "done on return" } else { "not done" });
        // The creator, whose own step is on the stack.
        let me = current_task();
        eager(async move {
            if let Some(creator) = me {
                creator.cancel();
            }
        })?;
        log.push("goes on");
        let caught = catch_cancel(pending::<()>()).await;
        log.push(if caught.is_err() { "creator caught" } else { "not caught" });
        Ok::<_, Error>(current_task().map_or(9, |me| me.cancelling()))
    })?;
    ensure_eq!(lp.run_until_done(&task)??, 1, "requests to the creator");
    trace.expect([
        "cancelled on return",
        "caught in the eager step",
        "done on return",
        "goes on",
        "creator caught",
    ])
}

pub(super) fn the_creators_cancellation_reaches_it(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let gate = Gate::new();
    let (log, wait) = (trace.clone(), gate.clone());
    let task = lp.create_task(async move {
        let theirs = log.clone();
        let child = eager(async move {
            let Err(cancelled) = catch_cancel(pending::<()>()).await else { return };
            theirs.push("clean-up begins");
            wait.wait().await;
            theirs.push("clean-up ends");
            cancelled.resume::<()>().await;
        })?;
        let ended = child.await;
        log.push("creator went on");
        ended
    })?;
    run_once(&lp)?;
    task.cancel();
    run_times(&lp, 3)?;
    ensure!(!task.done(), "the creator did not wait for its child");
    gate.open();
    run_times(&lp, 3)?;
    trace.expect(["clean-up begins", "clean-up ends"])?;
    ensure!(task.cancelled(), "the creator is not cancelled");
    Ok(())
}
