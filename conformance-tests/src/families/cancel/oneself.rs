//! A task that cancels itself, or that was cancelled before it began.

use std::future::{pending, ready};

use anyloop_api::{catch_cancel, sleep};

use super::awaited::tidy;
use super::requests::{Body, drop_value};
use crate::families::prelude::*;
use crate::tools::{Gate, OnDrop};

pub(super) fn before_the_first_step(cx: &Context) -> Outcome {
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

pub(super) fn a_self_cancel_waits_for_a_suspension(cx: &Context) -> Outcome {
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

pub(super) fn at_every_kind_of_suspension(cx: &Context) -> Outcome {
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

pub(super) fn returning_after_a_self_cancel(cx: &Context) -> Outcome {
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

/// Only values are overruled: whoever raises an error instead has failed.
pub(super) fn failing_after_a_self_cancel(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let fails = |error: Error| async move {
        cancel_oneself();
        Err::<(), Error>(error)
    };
    let task = lp.create_task(fails(Error::QueueEmpty))?;
    run_once(&lp)?;
    ensure!(!task.cancelled(), "the error was overruled");
    ensure_is!(task.take_result(), Ok(Err(Error::QueueEmpty)));
    // One that nobody looks at is not lost.
    drop(lp.create_task(fails(Error::QueueFull))?);
    run_once(&lp)?;
    ensure_is!(reports.one()?.exception, Some(Error::QueueFull));
    // A cancellation is no such error.
    let task = lp.create_task(fails(anyloop_api::Cancelled::new().into()))?;
    run_once(&lp)?;
    ensure!(task.cancelled(), "the task ended with its cancellation as a value");
    // Where the type of the output says whether it is one, any error counts.
    lp.run_until_complete(async {
        let fails = async {
            cancel_oneself();
            Err::<u32, _>(std::io::Error::other("on purpose"))
        };
        let task = anyloop::ensure_future(fails)?;
        let outcome = task.await;
        ensure_is!(outcome, Err(ref error) if error.to_string().contains("on purpose"));
        Ok(())
    })?
}

pub(super) fn a_self_cancelled_task_cancels_what_it_awaits(cx: &Context) -> Outcome {
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
