//! `run_until_complete`.

use anyloop_api::Interrupt;

use crate::families::prelude::*;

pub(super) fn a_coroutine_runs_as_a_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    let found = lp.run_until_complete(async move {
        yield_now().await;
        let home = current_task().and_then(|task| task.get_loop());
        (7, home.is_some_and(|lp| lp.same(&inner)))
    })?;
    ensure_eq!(found, (7, true), "the value, and whether it ran in a task of the loop");
    Ok(())
}

pub(super) fn its_error_is_returned(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let output = lp.run_until_complete(async {
        yield_now().await;
        Err::<(), _>("no luck")
    })?;
    ensure_eq!(output, Err("no luck"), "the output");
    Ok(())
}

pub(super) fn its_panic_is_returned(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let result: Result<(), _> = lp.run_until_complete(async { panic!("on purpose") });
    ensure_is!(result, Err(Error::Panicked(panic)) if panic.message() == "on purpose");
    ensure_eq!(lp.run_until_complete(async { 1 })?, 1, "the value of the next run");
    reports.none()
}

pub(super) fn a_finished_future_still_takes_an_iteration(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let future = lp.create_future();
    future.set_result(3)?;
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        log.push("queued");
        let _ = inner.call_soon(log.pusher("late"));
    })?;
    ensure_eq!(lp.run_until_done(&future)?, 3, "the value");
    trace.expect(["queued"])
}

pub(super) fn a_stopped_future_stays_pending(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    let inner = lp.clone();
    lp.call_soon(move || inner.stop())?;
    ensure_is!(lp.run_until_done(&future), Err(Error::Usage(_)));
    ensure!(!future.done(), "the future is done");
    ensure_eq!(future.waiters(), 0, "callbacks left on the future");
    let theirs = future.clone();
    lp.call_soon(move || drop(theirs.set_result(5)))?;
    ensure_eq!(lp.run_until_done(&future)?, 5, "the value of the resumed run");
    Ok(())
}

pub(super) fn a_stopped_task_stays_pending(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    let task = lp.create_task(async move {
        inner.stop();
        yield_now().await;
        yield_now().await;
        6
    })?;
    ensure_is!(lp.run_until_done(&task), Err(Error::Usage(_)));
    ensure!(!task.done(), "the task is done");
    ensure_eq!(lp.run_until_done(&task)?, 6, "the value of the resumed run");
    // The same for a coroutine: its task goes on in a later run.
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    let result = lp.run_until_complete(async move {
        inner.stop();
        yield_now().await;
        log.push("resumed");
    });
    ensure_is!(result, Err(Error::Usage(_)));
    trace.expect([])?;
    run_times(&lp, 2)?;
    trace.expect(["resumed"])
}

pub(super) fn consecutive_calls_share_their_tasks(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let gate = lp.create_future::<()>();
    let (waiting, log) = (gate.clone(), trace.clone());
    let background = lp.create_task(async move {
        log.push("begins");
        let _ = waiting.await;
        log.push("ends");
    })?;
    ensure_eq!(lp.run_until_complete(async { 1 })?, 1, "the first value");
    trace.expect(["begins"])?;
    gate.set_result(())?;
    trace.expect([])?;
    let theirs = background.clone();
    let second = lp.run_until_complete(async move { theirs.await.map(|()| 2) })?;
    ensure_eq!(second?, 2, "the second value");
    trace.expect(["ends"])
}

/// Succeeds if a run of many iterations, with polls among them, is not cut short.
pub(super) fn a_run_is_not_cut_short(lp: &LoopRef) -> Outcome {
    const MANY: usize = 300;
    let last = Rc::new(Cell::new(0));
    let (inner, theirs) = (lp.clone(), last.clone());
    every_iteration(lp, move |number| {
        theirs.set(number);
        if number == MANY {
            inner.stop();
        }
        number < MANY
    })?;
    lp.run_forever()?;
    ensure_eq!(last.get(), MANY, "iterations of an unrelated run");
    Ok(())
}

pub(super) fn a_late_completion_stops_nobody(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    let inner = lp.clone();
    lp.call_soon(move || inner.stop())?;
    ensure_is!(lp.run_until_done(&future), Err(Error::Usage(_)));
    let theirs = future.clone();
    lp.call_soon(move || drop(theirs.set_result(())))?;
    a_run_is_not_cut_short(&lp)?;
    ensure!(future.done(), "the future was not completed");
    Ok(())
}

pub(super) fn completed_in_the_stopping_batch(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    let (inner, theirs) = (lp.clone(), future.clone());
    lp.call_soon(move || {
        inner.stop();
        let _ = theirs.set_result(4);
    })?;
    // It is done when the run ends, so the stop was in vain.
    ensure_eq!(lp.run_until_done(&future)?, 4, "the value");
    a_run_is_not_cut_short(&lp)
}

pub(super) fn completed_and_interrupted_in_one_batch(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    let (inner, theirs) = (lp.clone(), future.clone());
    lp.call_soon(move || {
        let _ = theirs.set_result(4);
        inner.interrupt(Interrupt::new("on purpose"));
    })?;
    ensure_is!(lp.run_until_done(&future), Err(Error::Interrupt(_)));
    a_run_is_not_cut_short(&lp)
}

pub(super) fn a_panic_that_leaves_stops_no_later_run(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.state().set_resume_panics(true);
    let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        lp.run_until_complete(async { panic!("out of the run") })
    }));
    ensure!(left.is_err(), "the panic has not left the run");
    let value = lp.run_until_complete(async {
        for _ in 0..3 {
            yield_now().await;
        }
        7
    })?;
    ensure_eq!(value, 7, "what the next run returns");
    Ok(())
}

pub(super) fn another_loops_future_is_refused(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let trace = cx.trace();
    lp.call_soon(trace.pusher("ran"))?;
    other.call_soon(trace.pusher("the other ran"))?;
    let future = other.create_future::<()>();
    ensure_is!(lp.run_until_done(&future), Err(Error::InvalidArg(_)));
    let task = other.create_task(async {})?;
    ensure_is!(lp.run_until_done(&task), Err(Error::InvalidArg(_)));
    trace.expect([])?;
    ensure!(!future.done() && future.waiters() == 0, "the refused future was touched");
    run_once(&lp)?;
    run_once(&other)?;
    trace.expect(["ran", "the other ran"])
}
