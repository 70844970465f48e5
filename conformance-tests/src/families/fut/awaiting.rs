//! Awaiting a future.

use anyloop_api::Cancelled;

use super::outcome::{Misfortune, is_misfortune};
use crate::families::prelude::*;

pub(super) fn awaiting_a_done_future_does_not_suspend(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    let (value, failed, cancelled) =
        (lp.create_future(), lp.create_future::<u8>(), lp.create_future::<u8>());
    value.set_result(1)?;
    failed.set_exception(Misfortune(1))?;
    cancelled.cancel();
    lp.create_task(async move {
        log.push("begins");
        let good = matches!((&value).await, Ok(1)) && matches!(value.await, Ok(1));
        let bad = failed.await.is_err() && cancelled.await.is_err();
        log.push(if good && bad { "ends" } else { "ends wrongly" });
    })?;
    lp.call_soon(trace.pusher("next"))?;
    run_once(&lp)?;
    trace.expect(["begins", "ends", "next"])
}

pub(super) fn awaiting_resumes_one_hop_later_in_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let future = lp.create_future();
    let (waiting, log) = (future.clone(), trace.clone());
    lp.create_task(async move {
        log.push("waits");
        let value = waiting.await;
        log.push(if matches!(value, Ok(3)) { "resumes" } else { "resumes wrongly" });
    })?;
    run_once(&lp)?;
    trace.expect(["waits"])?;
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        let _ = inner.call_soon(log.pusher("before"));
        let _ = future.set_result(3);
        let _ = inner.call_soon(log.pusher("after"));
        log.push("set");
    })?;
    lp.call_soon(trace.pusher("same batch"))?;
    run_once(&lp)?;
    trace.expect(["set", "same batch"])?;
    run_once(&lp)?;
    trace.expect(["before", "resumes", "after"])
}

pub(super) fn many_awaiters_wake_in_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let future = lp.create_future();
    for name in ["a", "b", "c", "d"] {
        let (future, log) = (future.clone(), trace.clone());
        lp.create_task(async move {
            if name == "c" {
                // Starts to wait after the others.
                yield_now().await;
            }
            let value = (&future).await;
            log.push(if matches!(value, Ok(6)) { name } else { "no value" });
        })?;
    }
    run_times(&lp, 2)?;
    trace.expect([])?;
    future.set_result(6)?;
    run_once(&lp)?;
    trace.expect(["a", "b", "d", "c"])
}

pub(super) fn many_awaiters_share_an_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    let right = Counter::new();
    for _ in 0..3 {
        let (future, right) = (future.clone(), right.clone());
        lp.create_task(async move {
            if future.await.is_err_and(|error| is_misfortune(&error, 4)) {
                right.add();
            }
        })?;
    }
    run_once(&lp)?;
    future.set_exception(Misfortune(4))?;
    run_once(&lp)?;
    ensure_eq!(right.get(), 3, "awaiters that got the error");
    Ok(())
}

pub(super) fn awaited_again_with_the_same_outcome(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (value, failed, cancelled) =
        (lp.create_future(), lp.create_future::<u8>(), lp.create_future::<u8>());
    value.set_result(5)?;
    failed.set_exception(Misfortune(5))?;
    cancelled.cancel();
    let right = lp.run_until_complete(async move {
        let mut right = 0;
        for _ in 0..3 {
            right += usize::from(matches!((&value).await, Ok(5)));
            right += usize::from((&failed).await.is_err_and(|error| is_misfortune(&error, 5)));
            right += usize::from((&cancelled).await.is_err_and(|error| error.is_cancelled()));
            yield_now().await;
        }
        right
    })?;
    ensure_eq!(right, 9, "awaits that gave the same outcome, of nine");
    Ok(())
}

pub(super) fn awaiting_another_loops_future_is_refused(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let foreign = other.create_future::<u8>();
    let waiting = foreign.clone();
    let result = lp.run_until_complete(async move { (&waiting).await })?;
    ensure_is!(result, Err(Error::Usage(_)));
    let task = other.create_task(std::future::pending::<u8>())?;
    task.mark_internal();
    let result = lp.run_until_complete(task)?;
    ensure_is!(result, Err(Error::Usage(_)));
    ensure!(!foreign.done() && foreign.waiters() == 0, "the foreign future was touched");
    Ok(())
}

pub(super) fn the_reason_reaches_the_awaiter(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    let waiting = future.clone();
    let task = lp.create_task(waiting)?;
    run_once(&lp)?;
    future.cancel_with(Cancelled::with_message("not today"));
    ensure_is!(future.result(), Err(Error::Cancelled(why)) if why.message() == Some("not today"));
    let seen = lp.run_until_done(&task)?;
    ensure_is!(seen, Err(Error::Cancelled(why)) if why.message() == Some("not today"));
    let plain = lp.create_future::<u8>();
    plain.cancel();
    ensure_is!(plain.result(), Err(Error::Cancelled(why)) if why.message().is_none());
    Ok(())
}
