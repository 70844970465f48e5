//! Cancellation: requests, and the way they take. What bodies do about them is in `cancel_caught`.

use std::future::{pending, ready};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;

use anyloop_api::{Cancelled, catch_cancel, shield, sleep};

use super::prelude::*;
use crate::leaks::open_descriptors;
use crate::tools::{Gate, OnDrop, Trace, both, both_when_woken, first};

cases! {
    CANCEL_01 => true_until_the_task_is_done;
    CANCEL_02 => right_after_it_nothing_has_changed;
    CANCEL_03 => every_accepted_request_counts;
    CANCEL_04 => the_awaited_future_is_cancelled, before_with_and_after_the_completion,
        leaves_that_the_loop_does_not_know, a_sleep_takes_its_timer_along,
        the_branch_that_waits_is_told, a_race_loses_no_request, dropped_waits_leave_nothing_behind;
    CANCEL_05 => passed_on_to_the_inner_task, through_a_chain_of_tasks, a_chain_may_be_long,
        a_circle_can_be_cancelled, without_knowing_the_type, a_shield_passes_nothing_on;
    CANCEL_06 => swallowed_by_the_inner_task, before_with_and_after_the_inner_end,
        what_was_swallowed_is_forgotten;
    CANCEL_07 => completed_but_not_delivered, also_in_one_of_two_branches;
    CANCEL_08 => before_the_first_step;
    CANCEL_09 => a_self_cancel_waits_for_a_suspension, at_every_kind_of_suspension;
    CANCEL_10 => returning_after_a_self_cancel;
    CANCEL_11 => a_self_cancelled_task_cancels_what_it_awaits;
    CANCEL_13 => requests_before_delivery_coalesce;
    CANCEL_14 => cancelled_by_somebody_else;
    CANCEL_16 => uncancel_counts_down;
    CANCEL_17 => uncancelled_in_time, uncancelled_too_late;
    CANCEL_19 => a_job_in_a_pool_is_left_alone;
    CANCEL_20 => the_descriptor_is_gone_first;
    CANCEL_21 => awaiters_see_it_and_are_not_cancelled;
}

/// Whether it is a cancellation.
fn is_cancelled<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Cancelled(_)))
}

fn true_until_the_task_is_done(cx: &Context) -> Outcome {
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

fn right_after_it_nothing_has_changed(cx: &Context) -> Outcome {
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

type Body = std::pin::Pin<Box<dyn Future<Output = ()>>>;

async fn drop_value<T>(future: impl Future<Output = T>) {
    future.await;
}

fn every_accepted_request_counts(cx: &Context) -> Outcome {
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

fn the_awaited_future_is_cancelled(cx: &Context) -> Outcome {
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
enum When {
    AnIterationBefore,
    JustBefore,
    JustAfter,
    AnIterationAfter,
}

const WHENS: [When; 4] =
    [When::AnIterationBefore, When::JustBefore, When::JustAfter, When::AnIterationAfter];

/// Calls both, `end` once the task waits and `cancel` at the given time; then runs a while.
fn interleave(
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

fn before_with_and_after_the_completion(cx: &Context) -> Outcome {
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
fn leaves_that_the_loop_does_not_know(cx: &Context) -> Outcome {
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

fn a_sleep_takes_its_timer_along(cx: &Context) -> Outcome {
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
fn the_branch_that_waits_is_told(cx: &Context) -> Outcome {
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
fn a_race_loses_no_request(cx: &Context) -> Outcome {
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

fn dropped_waits_leave_nothing_behind(cx: &Context) -> Outcome {
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
fn tidy(lp: &LoopRef, trace: &Trace, gate: &Gate) -> Result<Task<()>, Error> {
    let (log, gate) = (trace.clone(), gate.clone());
    lp.create_task(async move {
        let Err(cancelled) = catch_cancel(pending::<()>()).await else { return };
        log.push("clean-up begins");
        gate.wait().await;
        log.push("clean-up ends");
        cancelled.resume().await
    })
}

fn passed_on_to_the_inner_task(cx: &Context) -> Outcome {
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
fn through_a_chain_of_tasks(cx: &Context) -> Outcome {
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

fn a_chain_may_be_long(cx: &Context) -> Outcome {
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
fn a_circle_can_be_cancelled(cx: &Context) -> Outcome {
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

fn without_knowing_the_type(cx: &Context) -> Outcome {
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

fn a_shield_passes_nothing_on(cx: &Context) -> Outcome {
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

/// A task that waits for `gate` and refuses every request meanwhile.
fn stubborn(lp: &LoopRef, gate: &Gate) -> Result<Task<u8>, Error> {
    let gate = gate.clone();
    lp.create_task(async move {
        while catch_cancel(gate.wait()).await.is_err() {}
        7
    })
}

fn swallowed_by_the_inner_task(cx: &Context) -> Outcome {
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

fn before_with_and_after_the_inner_end(cx: &Context) -> Outcome {
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
fn what_was_swallowed_is_forgotten(cx: &Context) -> Outcome {
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

fn completed_but_not_delivered(cx: &Context) -> Outcome {
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

fn also_in_one_of_two_branches(cx: &Context) -> Outcome {
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

fn before_the_first_step(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    let freed = Counter::new();
    let body = |name: &'static str| {
        let (log, token) = (trace.clone(), freed.token());
        async move {
            token.keep();
            log.push(name);
        }
    };
    let task = lp.create_task(body("a"))?;
    task.cancel();
    ensure_eq!(freed.get(), 0, "bodies dropped by the request itself");
    run_once(&lp)?;
    ensure!(task.cancelled(), "the task is not cancelled");
    ensure_eq!(freed.get(), 1, "bodies dropped");

    // In the same batch as the first step, before and after it.
    let slot: Rc<RefCell<Vec<Task<()>>>> = Rc::default();
    let theirs = slot.clone();
    lp.call_soon(move || {
        theirs.borrow().iter().for_each(|task| {
            task.cancel();
        });
    })?;
    let after = lp.create_task(body("b"))?;
    slot.borrow_mut().push(after.clone());
    run_once(&lp)?;
    ensure!(after.cancelled(), "the task is not cancelled");
    let before = lp.create_task(body("c"))?;
    let canceller = before.clone();
    lp.call_soon(move || {
        canceller.cancel();
    })?;
    run_once(&lp)?;
    ensure!(before.done() && !before.cancelled(), "a task was cancelled after its end");
    trace.expect(["c"])?;
    ensure_eq!(freed.get(), 3, "bodies dropped");
    drop((task, after, before));
    reports.none()
}

/// Cancels the current task.
fn cancel_oneself() {
    if let Some(me) = current_task() {
        me.cancel();
    }
}

fn a_self_cancel_waits_for_a_suspension(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let done = lp.create_future();
    done.set_result(())?;
    let finished = lp.create_task(ready(()))?;
    run_once(&lp)?;
    let log = trace.clone();
    let task = lp.create_task(async move {
        cancel_oneself();
        log.push("goes on");
        let _ = (&done).await;
        let _ = (&finished).await;
        ready(()).await;
        let caught = catch_cancel(ready(())).await;
        log.push(if caught.is_ok() { "not suspended" } else { "delivered too early" });
        yield_now().await;
        log.push("not reached");
    })?;
    run_times(&lp, 3)?;
    trace.expect(["goes on", "not suspended"])?;
    ensure!(task.cancelled(), "the task is not cancelled");
    Ok(())
}

fn at_every_kind_of_suspension(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<()>();
    let inner = lp.create_task(pending::<()>())?;
    let bodies: [(&str, Body); 6] = [
        ("a future", Box::pin(drop_value(future.clone()))),
        ("a task", Box::pin(drop_value(inner.clone()))),
        ("a leaf", Box::pin(pending::<()>())),
        ("a sleep", Box::pin(sleep(FAR))),
        ("a yield", Box::pin(yield_now())),
        ("a zero sleep", Box::pin(sleep(Duration::ZERO))),
    ];
    for (name, body) in bodies {
        let task = lp.create_task(async move {
            cancel_oneself();
            let caught = catch_cancel(body).await.is_err();
            // Consumed: the next await is an ordinary one.
            yield_now().await;
            caught
        })?;
        ensure_is!(lp.run_until_done(&task), Ok(true) if !name.is_empty());
        ensure_eq!(task.cancelling(), 1, "requests of the task that waited for {name}");
    }
    ensure!(future.cancelled(), "the future that a self-cancelled task awaited is not cancelled");
    ensure!(inner.cancelled(), "the task that a self-cancelled task awaited is not cancelled");
    Ok(())
}

fn returning_after_a_self_cancel(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let freed = Counter::new();
    let token = freed.token();
    let task = lp.create_task(async move {
        cancel_oneself();
        token
    })?;
    let joined = lp.create_task(task.clone())?;
    run_times(&lp, 2)?;
    ensure!(task.cancelled(), "the task ended with its value");
    ensure_eq!(freed.get(), 1, "values that were dropped");
    ensure_is!(joined.take_result(), Ok(Err(Error::Cancelled(_))));

    // By a destructor of its body, at the last moment.
    let task = lp.create_task(async {
        let _guard = OnDrop(cancel_oneself);
        5
    })?;
    run_once(&lp)?;
    ensure!(task.cancelled(), "the task ended with its value");
    // Taken back in time, there is nothing to deliver.
    let task = lp.create_task(async {
        cancel_oneself();
        current_task().map_or(9, |me| me.uncancel())
    })?;
    ensure_eq!(lp.run_until_done(&task)?, 0, "requests left");
    // Failing is stronger.
    let task = lp.create_task(async {
        cancel_oneself();
        panic!("on purpose");
    })?;
    ensure_is!(lp.run_until_done(&task), Err::<(), _>(Error::Panicked(_)));
    reports.none()
}

fn a_self_cancelled_task_cancels_what_it_awaits(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let gate = Gate::new();
    let inner = tidy(&lp, &trace, &gate)?;
    run_once(&lp)?;
    let (waiting, log) = (inner.clone(), trace.clone());
    let outer = lp.create_task(async move {
        cancel_oneself();
        let _ = waiting.await;
        log.push("outer went on");
    })?;
    run_once(&lp)?;
    ensure_eq!(inner.cancelling(), 1, "requests to the inner task, in the same step");
    run_times(&lp, 3)?;
    ensure!(!outer.done(), "the outer task did not wait for the inner one");
    gate.open();
    run_times(&lp, 3)?;
    trace.expect(["clean-up begins", "clean-up ends"])?;
    ensure!(outer.cancelled() && inner.cancelled(), "a task is not cancelled");
    Ok(())
}

fn requests_before_delivery_coalesce(cx: &Context) -> Outcome {
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

fn cancelled_by_somebody_else(cx: &Context) -> Outcome {
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

fn uncancel_counts_down(cx: &Context) -> Outcome {
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

fn uncancelled_in_time(cx: &Context) -> Outcome {
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
fn uncancelled_too_late(cx: &Context) -> Outcome {
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

fn a_job_in_a_pool_is_left_alone(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.executor_threads(1))?;
    let reports = Reports::of(&lp);
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let inner = lp.clone();
    let task = lp.create_task(async move {
        let job = inner.run_in_executor(None, move || {
            let _ = tell.send("started");
            let _ = released.recv();
            let _ = tell.send("ended");
            5
        })?;
        job.await
    })?;
    run_once(&lp)?;
    ensure_eq!(told.recv()?, "started", "the job");
    task.cancel();
    run_once(&lp)?;
    ensure!(task.cancelled(), "the task waits for the thread");
    release.send(())?;
    ensure_eq!(told.recv()?, "ended", "the job, which went on");
    // The pool has one thread, which is free again.
    lp.run_until_complete(lp.run_in_executor(None, || ())?)??;
    run_times(&lp, 2)?;
    reports.none()
}

/// A connection that will never come about holds a descriptor.
fn the_descriptor_is_gone_first(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (listener, address) = deaf_listener()?;
    // Everything that the loop opens on its first connection is there already.
    let open = || -> Result<_, Error> {
        Ok(lp.connect(|| Nobody, (address.ip().to_string(), address.port())))
    };
    for scoped in [true, false] {
        let (connecting, before) = (open()?, open_descriptors());
        let during = Rc::new(Cell::new(None));
        let after = Rc::new(Cell::new(None));
        let seen = after.clone();
        let task = lp.create_task(async move {
            if scoped {
                let caught = catch_cancel(connecting).await.is_err();
                seen.set(open_descriptors().filter(|_| caught));
            } else {
                let _guard = OnDrop(move || seen.set(open_descriptors()));
                let _ = connecting.await;
            }
        })?;
        run_for(&lp, ms(20))?;
        during.set(open_descriptors());
        ensure!(!task.done(), "the connection came about");
        let Some(before) = before else {
            return Err(Failure::skip("this system does not list the descriptors of a process"));
        };
        ensure_eq!(during.get(), Some(before + 1), "descriptors while connecting");
        task.cancel();
        let _ = lp.run_until_done(&task);
        if scoped {
            ensure_eq!(after.get(), Some(before), "descriptors, as the clean-up sees it");
        } else {
            ensure!(task.cancelled(), "the task is not cancelled");
        }
        run_for(&lp, ms(5))?;
        ensure_eq!(open_descriptors(), Some(before), "descriptors afterwards");
    }
    drop(listener);
    Ok(())
}

struct Nobody;

impl anyloop_api::Protocol for Nobody {}

/// A listener whose queue is full: one more connection is neither accepted nor refused.
fn deaf_listener() -> Result<(Vec<std::os::fd::OwnedFd>, SocketAddr), Failure> {
    use rustix::net;
    let listener = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None)?;
    net::bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    net::listen(&listener, 0)?;
    let address = SocketAddr::try_from(net::getsockname(&listener)?)?;
    let mut held = vec![listener];
    for _ in 0..8 {
        let flags = net::SocketFlags::NONBLOCK | net::SocketFlags::CLOEXEC;
        let kind = net::SocketType::STREAM;
        let socket = net::socket_with(net::AddressFamily::INET, kind, flags, None)?;
        match net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => held.push(socket),
            Err(error) => return Err(error.into()),
        }
    }
    Ok((held, address))
}

fn awaiters_see_it_and_are_not_cancelled(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.create_task(pending::<()>())?;
    let mut awaiters = Vec::new();
    for number in 0..3 {
        let waiting = inner.clone();
        awaiters.push(lp.create_task(async move {
            let seen = if number == 0 { waiting.await } else { (&waiting).await };
            // Not cancelled: it can wait for other things.
            yield_now().await;
            let message = match seen {
                Err(Error::Cancelled(reason)) => reason.message().map(str::to_owned),
                _ => None,
            };
            (message, current_task().map_or(9, |me| me.cancelling()))
        })?);
    }
    run_once(&lp)?;
    inner.cancel_with(Cancelled::with_message("over"));
    run_times(&lp, 4)?;
    for awaiter in awaiters {
        ensure!(!awaiter.cancelled(), "an awaiter is cancelled");
        let (message, count) = awaiter.take_result()?;
        ensure_eq!(message.as_deref(), Some("over"), "what an awaiter sees");
        ensure_eq!(count, 0, "requests to an awaiter");
    }
    // One that comes late.
    let late = inner.clone();
    ensure_is!(lp.run_until_complete(late), Err(Error::Cancelled(_)));
    Ok(())
}
