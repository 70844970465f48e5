//! `shield`, and `sleep`.

use std::future::pending;

use anyloop::{create_task, ensure_future, gather};
use anyloop_api::{catch_cancel, shield, sleep};

use super::{ensure_idle, follows};
use crate::families::prelude::*;
use crate::tools::{interleavings, settle_tasks};

pub(super) fn a_shield_of_something_done_does_not_suspend(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let lp = LoopRef::current()?;
        let future = lp.create_future();
        future.set_result(7)?;
        let task = create_task(async { 8 })?;
        yield_now().await;
        lp.call_soon(trace.pusher("next"))?;
        ensure_eq!((shield(future).await?, shield(task).await?), (7, 8), "the values");
        trace.expect([])
    })
}

pub(super) fn the_awaiter_ends_and_the_work_goes_on(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        for way in interleavings::<2>() {
            let inner = lp.create_future::<u8>();
            let work = follows(&inner)?;
            let theirs = work.clone();
            let outer = create_task(async move { shield(theirs).await? })?;
            yield_now().await;
            way.play(|action| {
                if action == 0 {
                    outer.cancel();
                } else {
                    inner.set_result(7).expect("nobody cancels it");
                }
            })
            .await;
            settle_tasks().await;
            ensure_eq!(work.cancelling(), 0, "{way:?}: requests that went through");
            // The end of the work reaches the awaiter one iteration later.
            ensure!(outer.done(), "{way:?}: the awaiter hangs");
            if way.before(0, 1) {
                ensure!(outer.cancelled(), "{way:?}: the awaiter was not cancelled");
            }
            if outer.cancelled() {
                ensure_eq!(work.take_result()??, 7, "{way:?}: the value of the work");
            } else {
                ensure_eq!(outer.take_result()??, 7, "{way:?}: the value");
            }
        }
        Ok(())
    })
}

pub(super) fn cancelled_work_ends_the_shield(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        let task = create_task(pending::<()>())?;
        let future = lp.create_future::<()>();
        let (a, b) = (task.clone(), future.clone());
        let outer = create_task(async move {
            let both = (shield(a).await, shield(b).await);
            (both, current_task().map(|me| me.cancelling()))
        })?;
        yield_now().await;
        task.cancel();
        settle_tasks().await;
        future.cancel();
        settle_tasks().await;
        let (both, requests) = outer.take_result()?;
        ensure_is!(both, (Err(Error::Cancelled(_)), Err(Error::Cancelled(_))));
        ensure_eq!(requests, Some(0), "requests of the awaiter");
        Ok(())
    })
}

pub(super) fn values_and_errors_pass_through(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        let (fine, fails) = (lp.create_future::<u8>(), lp.create_future::<u8>());
        let panics = create_task(async {
            yield_now().await;
            panic!("on purpose")
        })?;
        let (one, two) = (fine.clone(), fails.clone());
        lp.call_soon(move || {
            one.set_result(1).expect("once");
            two.set_exception(Error::QueueEmpty).expect("once");
        })?;
        ensure_eq!(shield(fine).await?, 1, "the value");
        ensure_is!(shield(fails).await, Err(Error::QueueEmpty));
        ensure_is!(shield::<Task<()>>(panics).await, Err(Error::Panicked(_)));
        Ok(())
    })
}

/// Work that fails after its shield's awaiter has been cancelled. Gives the reports of the whole loop.
fn fails_unobserved(cx: &Context, observed: bool) -> Result<Reports, Failure> {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let inner = lp.clone();
    lp.run_until_complete(async move {
        let gate = inner.create_future::<()>();
        let passed = gate.clone();
        let work = ensure_future(async move {
            passed.await?;
            Err::<(), Error>(Error::QueueEmpty)
        })?;
        let theirs = work.clone();
        let outer = create_task(async move { shield(theirs).await })?;
        let observer = if observed { Some(create_task(work)?) } else { None };
        settle_tasks().await;
        outer.cancel();
        settle_tasks().await;
        ensure!(outer.cancelled(), "the awaiter was not cancelled");
        gate.set_result(())?;
        settle_tasks().await;
        if let Some(observer) = observer {
            ensure_is!(observer.take_result()?, Err(Error::QueueEmpty));
        }
        Outcome::Ok(())
    })??;
    lp.close()?;
    Ok(reports)
}

pub(super) fn a_failure_nobody_awaits_is_reported_once(cx: &Context) -> Outcome {
    let report = fails_unobserved(cx, false)?.one()?;
    ensure_is!(report.exception, Some(Error::QueueEmpty));
    Ok(())
}

pub(super) fn a_failure_somebody_awaits_is_not(cx: &Context) -> Outcome {
    fails_unobserved(cx, true)?.none()
}

pub(super) fn many_cancelled_shields_leave_nothing_behind(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        let (task, future) = (create_task(pending::<()>())?, lp.create_future::<()>());
        yield_now().await;
        let before = (task.waiters(), future.waiters());
        for _ in 0..100 {
            let (a, b) = (task.clone(), future.clone());
            let shields = [
                create_task(async move { shield(a).await })?,
                create_task(async move { shield(b).await })?,
            ];
            yield_now().await;
            shields.iter().for_each(|outer| {
                outer.cancel();
            });
            yield_now().await;
            // The same without a cancellation: dropped by a timeout.
            drop(anyloop::timeout(Duration::ZERO, shield(task.clone())).await);
        }
        settle_tasks().await;
        ensure_eq!((task.waiters(), future.waiters()), before, "callbacks");
        ensure_eq!(task.cancelling(), 0, "requests that went through");
        Ok(())
    })
}

pub(super) fn a_gather_of_shields(cx: &Context) -> Outcome {
    main(cx, async {
        let tasks = [create_task(pending::<u8>())?, create_task(pending::<u8>())?];
        let shields = tasks.clone().map(shield);
        let all = create_task(async move { gather(shields).await })?;
        settle_tasks().await;
        all.cancel();
        settle_tasks().await;
        ensure!(all.cancelled(), "the gather was not cancelled");
        let untouched = tasks.iter().all(|task| !task.done() && task.cancelling() == 0);
        ensure!(untouched, "the shielded work was cancelled");
        Ok(())
    })
}

pub(super) fn no_sleep_yields_once_and_makes_no_timer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    lp.create_task(async move {
        for _ in 0..2 {
            log.push("before");
            sleep(Duration::ZERO).await;
        }
        log.push("after");
    })?;
    for _ in 0..3 {
        lp.call_soon(trace.pusher("next"))?;
        run_once(&lp)?;
    }
    trace.expect(["before", "next", "before", "next", "after", "next"])
}

pub(super) fn a_sleep_is_never_too_short(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        for millis in [1, 3, 10] {
            let begin = lp.time();
            let value = async {
                sleep(ms(millis)).await;
                millis
            };
            ensure_eq!(value.await, millis, "what comes after it");
            let slept = lp.time() - begin;
            ensure!(slept >= ms(millis), "slept {slept:?} of {millis} ms");
        }
        Ok(())
    })
}

pub(super) fn a_cancelled_sleep_has_no_timer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let tasks = (0..50)
        .map(|number| {
            lp.create_task(async move { catch_cancel(sleep(ms(5 + number))).await.is_err() })
        })
        .collect::<anyloop::Result<Vec<_>>>()?;
    run_once(&lp)?;
    for task in &tasks {
        ensure!(task.cancel(), "a sleep could not be cancelled");
    }
    run_once(&lp)?;
    ensure!(tasks.iter().all(|task| task.take_result().is_ok_and(|caught| caught)), "slept");
    ensure_idle(&lp, ms(60))
}

/// The timeout cancels the sleep and ends; who kept the sleep may wait for the rest of it, and is not
/// cancelled for that.
pub(super) fn a_sleep_that_outlives_a_timeout_goes_on(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        let begin = lp.time();
        let mut long = std::pin::pin!(sleep(ms(200)));
        for _ in 0..2 {
            let early = anyloop::timeout(Duration::ZERO, long.as_mut()).await;
            ensure_is!(early, Err(Error::TimedOut(_)));
        }
        long.await;
        let slept = lp.time() - begin;
        ensure!(slept >= ms(200), "slept {slept:?} of 200 ms");
        ensure_eq!(current_task().map(|me| me.cancelling()), Some(0), "requests");
        Ok(())
    })
}
