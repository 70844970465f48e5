//! How a task ends.

use std::future::ready;

use anyloop_api::{AnyTask, Result};

use crate::families::prelude::*;
use crate::tools::Gate;

pub(super) fn values_and_errors_stay_in_the_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let value = lp.create_task(async { 5 })?;
    let error = lp.create_task(async { Err::<u8, _>(Error::usage("on purpose")) })?;
    ensure_is!(value.result(), Err(Error::InvalidState(_)));
    ensure_is!(value.exception(), Err(Error::InvalidState(_)));
    lp.call_soon({
        let lp = lp.clone();
        move || lp.stop()
    })?;
    lp.run_forever()?;
    ensure!(value.done() && !value.cancelled(), "the task with the value is not done");
    ensure!(error.done() && !error.cancelled(), "the task with the error is not done");
    ensure_eq!(value.result()?, 5, "the value");
    ensure_is!(value.exception(), Ok(None));
    ensure_is!(error.result(), Ok(Err(Error::Usage(_))));
    ensure_is!(error.exception(), Ok(None));
    reports.none()
}

pub(super) fn a_panic_ends_the_task_only(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    let freed = Counter::new();
    let token = freed.token();
    let task = lp.create_task(async move {
        yield_now().await;
        token.keep();
        panic!("in a step");
    })?;
    lp.call_soon(trace.pusher("same batch"))?;
    let waiting = task.clone();
    let joined = lp.create_task(waiting)?;
    run_once(&lp)?;
    lp.call_soon(trace.pusher("after the panic"))?;
    run_times(&lp, 2)?;
    trace.expect(["same batch", "after the panic"])?;
    ensure_eq!(freed.get(), 1, "bodies dropped");
    ensure!(task.done() && !task.cancelled(), "the task is not done, or cancelled");
    let is_it = |error: &Error| matches!(error, Error::Panicked(p) if p.message() == "in a step");
    ensure_is!(task.exception(), Ok(Some(error)) if is_it(&error));
    ensure_is!(joined.take_result(), Ok(Err(error)) if is_it(&error));
    drop((task, joined));
    reports.none()
}

/// Whatever way a task ends, what its body owns is gone when the others hear of it.
pub(super) fn the_body_is_gone_before_joiners_resume(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let seen = Rc::new(RefCell::new(Vec::new()));
    for end in ["value", "panic", "cancelled"] {
        let freed = Counter::new();
        let (captured, go) = (freed.token(), Gate::new());
        let (theirs, wait) = (freed.clone(), go.clone());
        let task = lp.create_task(async move {
            captured.keep();
            // Kept across the last await, still alive when the body returns.
            let local = theirs.token();
            wait.wait().await;
            local.keep();
            assert!(end != "panic", "on purpose");
        })?;
        let (waiting, seen_by_joiner, count) = (task.clone(), seen.clone(), freed.clone());
        lp.create_task(async move {
            let _ = waiting.await;
            seen_by_joiner.borrow_mut().push((end, count.get()));
        })?;
        let (seen_by_callback, count) = (seen.clone(), freed.clone());
        task.add_done_callback(move |task| {
            seen_by_callback.borrow_mut().push((end, count.get()));
            task.mark_inspected();
        });
        run_once(&lp)?;
        if end == "cancelled" {
            task.cancel();
        } else {
            go.open();
        }
        run_times(&lp, 3)?;
    }
    let all = ["value", "value", "panic", "panic", "cancelled", "cancelled"].map(|end| (end, 2));
    ensure_eq!(*seen.borrow(), all, "tokens of the body that were dropped, as joiners saw it");
    Ok(())
}

/// If a task had these methods, they and not the trait's would be called here: a type error.
pub(super) fn there_are_no_setters(cx: &Context) -> Outcome {
    struct Absent;
    trait Setters {
        fn set_result(&self, _: u8) -> Absent {
            Absent
        }
        fn set_exception(&self, _: Error) -> Absent {
            Absent
        }
        fn set_unless_done(&self, _: Result<u8>) -> Absent {
            Absent
        }
    }
    impl Setters for Task<u8> {}
    impl Setters for AnyTask {}

    let lp = cx.new_loop()?;
    let task = lp.create_task(ready(1))?;
    let Absent = task.set_result(2);
    let Absent = task.set_exception(Error::usage("on purpose"));
    let Absent = task.set_unless_done(Ok(2));
    let Absent = task.any().set_result(2);
    let Absent = task.any().set_exception(Error::usage("on purpose"));
    run_once(&lp)?;
    ensure_eq!(task.result()?, 1, "the value");
    Ok(())
}
