//! What the task awaits is told, whatever it is.

use std::future::pending;

use anyloop_api::{Cancelled, catch_cancel, shield, sleep};

use super::requests::drop_value;
use crate::families::prelude::*;
use crate::tools::{Gate, OnDrop, Trace, both, both_when_woken, first};

pub(super) fn the_awaited_future_is_cancelled(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let future = lp.create_future::<u8>();
    let (waiting, log) = (future.clone(), trace.clone());
    let (freed, ended) = (trace.clone(), trace.clone());
    let task = lp.create_task(async move {
        let _guard = OnDrop(move || ended.push("body dropped"));
        let caught = catch_cancel(async move {
            let _guard = OnDrop(move || freed.push("inner dropped"));
            (&waiting).await
        });
        log.push(match caught.await {
            Err(_) => "seen at the await",
            Ok(_) => "not seen",
        });
        current_task().map_or(0, |task| task.cancelling())
    })?;
    run_once(&lp)?;
    task.cancel();
    ensure!(future.cancelled(), "the awaited future is not cancelled");
    trace.expect([])?;
    run_once(&lp)?;
    trace.expect(["inner dropped", "seen at the await", "body dropped"])?;
    ensure_eq!(task.take_result()?, 1, "requests, as the task sees it");

    // Without a scope the body ends there.
    let (waiting, log) = (lp.create_future::<u8>(), trace.clone());
    let (future, guard) = (waiting.clone(), trace.clone());
    let task = lp.create_task(async move {
        let _guard = OnDrop(move || guard.push("body dropped"));
        let _ = waiting.await;
        log.push("went on");
    })?;
    run_once(&lp)?;
    task.cancel_with(Cancelled::with_message("enough"));
    ensure!(future.cancelled(), "the awaited future is not cancelled");
    run_once(&lp)?;
    trace.expect(["body dropped"])?;
    ensure_is!(task.result(), Err(Error::Cancelled(reason)) if reason.message() == Some("enough"));
    Ok(())
}

/// When a request comes, compared to the end of what the task waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum When {
    AnIterationBefore,
    JustBefore,
    JustAfter,
    AnIterationAfter,
}

pub(super) const WHENS: [When; 4] =
    [When::AnIterationBefore, When::JustBefore, When::JustAfter, When::AnIterationAfter];

/// Calls both, `end` once the task waits and `cancel` at the given time; then runs a while.
pub(super) fn interleave(
    lp: &LoopRef,
    when: When,
    cancel: impl FnOnce() + 'static,
    end: impl FnOnce() + 'static,
) -> Result<(), Error> {
    run_times(lp, 3)?;
    match when {
        When::AnIterationBefore => {
            lp.call_soon(cancel)?;
            run_once(lp)?;
            lp.call_soon(end)?;
        }
        When::JustBefore => {
            lp.call_soon(cancel)?;
            lp.call_soon(end)?;
        }
        When::JustAfter => {
            lp.call_soon(end)?;
            lp.call_soon(cancel)?;
        }
        When::AnIterationAfter => {
            lp.call_soon(end)?;
            run_times(lp, 2)?;
            lp.call_soon(cancel)?;
        }
    }
    run_times(lp, 4)
}

pub(super) fn before_with_and_after_the_completion(cx: &Context) -> Outcome {
    for when in WHENS {
        for scoped in [false, true] {
            let lp = cx.new_loop()?;
            let trace = cx.trace();
            let future = lp.create_future();
            let (waiting, log) = (future.clone(), trace.clone());
            let task = lp.create_task(async move {
                let wait = async { (&waiting).await };
                if scoped {
                    let caught = catch_cancel(wait).await;
                    log.push(if caught.is_err() { "caught" } else { "value" });
                } else {
                    log.push(if wait.await.is_ok() { "value" } else { "error" });
                }
                yield_now().await;
                yield_now().await;
                log.push("went on");
            })?;
            let (canceller, setter) = (task.clone(), future.clone());
            let accepted = Rc::new(Cell::new(false));
            let taken = accepted.clone();
            let cancel = move || {
                canceller.cancel();
            };
            interleave(&lp, when, cancel, move || taken.set(setter.set_result(()).is_ok()))?;
            let completed = matches!(when, When::JustAfter | When::AnIterationAfter);
            ensure_eq!(accepted.get(), completed, "whether the value was taken ({when:?})");
            ensure_eq!(
                future.cancelled(),
                !completed,
                "whether the future is cancelled ({when:?})"
            );
            match (when, scoped) {
                (When::AnIterationAfter, _) => trace.expect(["value"])?,
                (_, true) => trace.expect(["caught", "went on"])?,
                (_, false) => trace.expect([])?,
            }
            let survived = scoped && when != When::AnIterationAfter;
            ensure_eq!(task.cancelled(), !survived, "whether the task is cancelled ({when:?})");
        }
    }
    Ok(())
}

/// Rule 3 of the contract: a leaf written by a user knows nothing of cancellation.
pub(super) fn leaves_that_the_loop_does_not_know(cx: &Context) -> Outcome {
    for when in WHENS {
        let lp = cx.new_loop()?;
        let trace = cx.trace();
        let gate = Gate::new();
        let (wait, log, dropped) = (gate.clone(), trace.clone(), trace.clone());
        let task = lp.create_task(async move {
            let inner = async move {
                let _guard = OnDrop(move || dropped.push("inner dropped"));
                wait.wait().await;
            };
            log.push(if catch_cancel(inner).await.is_err() { "caught" } else { "through" });
            pending::<()>().await;
        })?;
        let (canceller, polls) = (task.clone(), gate.clone());
        let before = Rc::new(Cell::new(0));
        let count = before.clone();
        let cancel = move || {
            count.set(polls.polls());
            canceller.cancel();
        };
        let opener = gate.clone();
        interleave(&lp, when, cancel, move || opener.open())?;
        if when == When::AnIterationAfter {
            trace.expect(["inner dropped", "through"])?;
            ensure!(task.cancelled(), "a cancelled task waits on");
        } else {
            trace.expect(["inner dropped", "caught"])?;
            ensure!(!task.done(), "the task that caught it ended");
            ensure_eq!(gate.polls(), before.get(), "polls of a leaf that was cancelled ({when:?})");
        }
        task.mark_internal();
    }
    Ok(())
}

pub(super) fn a_sleep_takes_its_timer_along(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    let task = lp.create_task(async move {
        log.push(if catch_cancel(sleep(FAR)).await.is_err() { "caught" } else { "slept" });
        sleep(FAR).await;
    })?;
    run_once(&lp)?;
    let begin = Instant::now();
    task.cancel();
    run_once(&lp)?;
    trace.expect(["caught"])?;
    task.cancel();
    ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
    ensure!(begin.elapsed() < ms(5000), "a cancelled sleep was slept");
    // A sleep that is over is nothing to be cancelled: the request waits for the next one.
    let log = trace.clone();
    let task = lp.create_task(async move {
        sleep(ms(1)).await;
        log.push("slept");
    })?;
    run_once(&lp)?;
    block_for(ms(2));
    let canceller = task.clone();
    lp.call_soon(move || {
        canceller.cancel();
    })?;
    ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
    trace.expect([])
}

/// Two branches in one task, each with scopes: the request goes to the await that it cancelled, and
/// from there outwards.
pub(super) fn the_branch_that_waits_is_told(cx: &Context) -> Outcome {
    for woken_only in [false, true] {
        let lp = cx.new_loop()?;
        let trace = cx.trace();
        let (future, gate) = (lp.create_future::<u8>(), Gate::new());
        let (waiting, wait) = (future.clone(), gate.clone());
        let (log, other) = (trace.clone(), trace.clone());
        let task = lp.create_task(async move {
            let deep = async move {
                let inner = catch_cancel(catch_cancel(wait.wait()));
                other.push(if matches!(inner.await, Ok(Ok(()))) {
                    "opened"
                } else {
                    "wrongly told"
                });
            };
            let shallow = async move {
                log.push(if catch_cancel(waiting).await.is_err() { "told" } else { "not told" });
            };
            if woken_only {
                both_when_woken(deep, shallow).await;
            } else {
                both(deep, shallow).await;
            }
        })?;
        run_once(&lp)?;
        task.cancel();
        ensure!(future.cancelled(), "the future is not cancelled");
        run_once(&lp)?;
        trace.expect(["told"])?;
        gate.open();
        run_once(&lp)?;
        trace.expect(["opened"])?;
        ensure!(task.done() && !task.cancelled(), "the task did not end well");
        ensure_eq!(task.cancelling(), 1, "requests");
    }
    Ok(())
}

/// The await that the request was passed to loses a race, so that nobody sees its end: the request
/// is delivered at the next suspension.
pub(super) fn a_race_loses_no_request(cx: &Context) -> Outcome {
    for (inner_is_task, returns) in [(false, false), (false, true), (true, false), (true, true)] {
        let lp = cx.new_loop()?;
        let trace = cx.trace();
        let (future, gate) = (lp.create_future::<()>(), Gate::new());
        let inner = lp.create_task(drop_value(future.clone()))?;
        let (waiting, log, opened) = (inner.clone(), trace.clone(), gate.clone());
        let direct = future.clone();
        let task = lp.create_task(async move {
            let wait = async move {
                if inner_is_task {
                    let _ = waiting.await;
                } else {
                    let _ = direct.await;
                }
            };
            first(opened.wait(), wait).await;
            log.push("race over");
            if !returns {
                pending::<()>().await;
            }
        })?;
        run_times(&lp, 2)?;
        let (opener, canceller) = (gate.clone(), task.clone());
        lp.call_soon(move || {
            canceller.cancel();
            opener.open();
        })?;
        run_times(&lp, 3)?;
        trace.expect(["race over"])?;
        ensure!(task.cancelled(), "the request is gone (task {inner_is_task}, {returns})");
        ensure_eq!(inner.cancelled(), inner_is_task, "whether the inner task is cancelled");
        inner.cancel();
        run_once(&lp)?;
    }
    Ok(())
}

pub(super) fn dropped_waits_leave_nothing_behind(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    let long = lp.create_task(pending::<()>())?;
    let gate = Gate::new();
    for round in 0..100 {
        let (waiting, joining) = (future.clone(), long.clone());
        let (by_reference, wait) = (future.clone(), gate.clone());
        let task = lp.create_task(async move {
            let waits = first(drop_value(shield(waiting)), drop_value(shield(joining)));
            let waits = first(waits, drop_value(shield(by_reference)));
            first(waits, wait.wait()).await;
        })?;
        run_once(&lp)?;
        ensure_eq!((future.waiters(), long.waiters()), (2, 1), "waiters in round {round}");
        task.cancel();
        run_once(&lp)?;
        ensure!(task.cancelled(), "the task is not cancelled");
        ensure_eq!((future.waiters(), long.waiters()), (0, 0), "waiters after round {round}");
    }
    long.mark_internal();
    Ok(())
}

/// A task that waits until it is cancelled, then cleans up until `gate` opens.
pub(super) fn tidy(lp: &LoopRef, trace: &Trace, gate: &Gate) -> Result<Task<()>, Error> {
    let (log, gate) = (trace.clone(), gate.clone());
    lp.create_task(async move {
        let Err(cancelled) = catch_cancel(pending::<()>()).await else { return };
        log.push("clean-up begins");
        gate.wait().await;
        log.push("clean-up ends");
        cancelled.resume().await
    })
}
