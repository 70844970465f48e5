//! Done callbacks.

use anyloop_api::Interrupt;

use super::outcome::Misfortune;
use crate::families::prelude::*;
use crate::tools::OnDrop;

pub(super) fn callbacks_are_scheduled_in_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let future = lp.create_future();
    for name in ["a", "b", "c"] {
        let log = trace.clone();
        future.add_done_callback(move |done| {
            log.push(if matches!(done.result(), Ok(7)) { name } else { "no value" });
        });
    }
    let (setter, log, inner) = (future.clone(), trace.clone(), lp.clone());
    lp.call_soon(move || {
        let _ = inner.call_soon(log.pusher("before"));
        log.push(if setter.set_result(7).is_ok() { "set" } else { "not set" });
        let _ = inner.call_soon(log.pusher("after"));
    })?;
    lp.call_soon(trace.pusher("same batch"))?;
    run_once(&lp)?;
    trace.expect(["set", "same batch"])?;
    run_once(&lp)?;
    trace.expect(["before", "a", "b", "c", "after"])
}

pub(super) fn also_by_cancel_and_by_an_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (cancelled, failed) = (lp.create_future::<u8>(), lp.create_future::<u8>());
    for (future, name) in [(&cancelled, "cancelled"), (&failed, "failed")] {
        let log = trace.clone();
        future.add_done_callback(move |done| {
            log.push(if done.cancelled() == (name == "cancelled") { name } else { "wrong" });
        });
    }
    cancelled.cancel();
    failed.set_exception(Misfortune(1))?;
    failed.mark_inspected();
    trace.expect([])?;
    run_once(&lp)?;
    trace.expect(["cancelled", "failed"])
}

pub(super) fn a_panicking_callback_stops_no_other(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    let future = lp.create_future();
    let calls = Counter::new();
    for _ in 0..2 {
        let calls = calls.clone();
        future.add_done_callback(move |_| {
            calls.add();
        });
    }
    future.add_done_callback(|_| panic!("on purpose"));
    let log = trace.clone();
    future.add_done_callback(move |_| log.push("last"));
    future.set_result(())?;
    run_times(&lp, 3)?;
    trace.expect(["last"])?;
    ensure_eq!(calls.get(), 2, "calls of the two first callbacks");
    let report = reports.one()?;
    ensure!(report.is_panic("on purpose"), "the report has no such panic: {report:?}");
    Ok(())
}

pub(super) fn each_is_a_handle_of_its_own(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let future = lp.create_future();
    let (inner, log) = (lp.clone(), trace.clone());
    future.add_done_callback(move |_| {
        log.push("a");
        inner.interrupt(Interrupt::new("between two callbacks"));
    });
    let log = trace.clone();
    future.add_done_callback(move |_| log.push("b"));
    future.set_result(())?;
    ensure_is!(lp.run_forever(), Err(Error::Interrupt(_)));
    trace.expect(["a"])?;
    run_once(&lp)?;
    trace.expect(["b"])
}

pub(super) fn a_done_future_schedules_new_callbacks(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let future = lp.create_future();
    future.set_result(1)?;
    let (inner, log) = (lp.clone(), trace.clone());
    let done = future.clone();
    lp.call_soon(move || {
        let _ = inner.call_soon(log.pusher("before"));
        let theirs = log.clone();
        done.add_done_callback(move |_| theirs.push("callback"));
        log.push("added");
    })?;
    run_once(&lp)?;
    trace.expect(["added"])?;
    run_once(&lp)?;
    trace.expect(["before", "callback"])
}

pub(super) fn removed_callbacks_do_not_run(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let freed = Counter::new();
    let future = lp.create_future();
    let add = |name: &'static str| {
        let (log, token) = (trace.clone(), freed.token());
        future.add_done_callback(move |_| {
            token.keep();
            log.push(name);
        })
    };
    let (first, _, third) = (add("a"), add("b"), add("c"));
    ensure_eq!(future.remove_done_callback(third), 1, "callbacks removed");
    ensure_eq!(future.remove_done_callback(first), 1, "callbacks removed");
    ensure_eq!(future.remove_done_callback(first), 0, "callbacks removed the second time");
    ensure_eq!(freed.get(), 2, "closures freed by the removal");
    add("d");
    future.set_result(())?;
    run_times(&lp, 2)?;
    trace.expect(["b", "d"])
}

pub(super) fn once_scheduled_it_stays(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let future = lp.create_future();
    let log = trace.clone();
    let id = future.add_done_callback(move |_| log.push("called"));
    future.set_result(())?;
    ensure_eq!(future.remove_done_callback(id), 0, "callbacks removed once scheduled");
    run_once(&lp)?;
    trace.expect(["called"])
}

pub(super) fn callbacks_may_add_and_remove(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let future = lp.create_future();
    let ids = Rc::new(RefCell::new(Vec::new()));
    for name in ["a", "b", "c", "d"] {
        let (log, theirs) = (trace.clone(), ids.clone());
        let id = future.add_done_callback(move |done| {
            log.push(name);
            for id in theirs.borrow().iter() {
                done.remove_done_callback(*id);
            }
            let log = log.clone();
            done.add_done_callback(move |_| log.push("added"));
        });
        ids.borrow_mut().push(id);
    }
    future.set_result(())?;
    run_once(&lp)?;
    trace.expect(["a", "b", "c", "d"])?;
    run_once(&lp)?;
    trace.expect(["added", "added", "added", "added"])?;
    run_once(&lp)?;
    trace.expect([])
}

/// What stands for Python's equality tests: user code that runs in the middle of a removal.
pub(super) fn destructors_of_callbacks_may_add_and_remove(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let future = lp.create_future();
    let log = trace.clone();
    let other = future.add_done_callback(move |_| log.push("other"));
    let (theirs, log) = (future.clone(), trace.clone());
    let guard = OnDrop(move || {
        log.push(if theirs.remove_done_callback(other) == 1 { "removed" } else { "not removed" });
        let log = log.clone();
        theirs.add_done_callback(move |_| log.push("added"));
    });
    let id = future.add_done_callback(move |_| guard.keep());
    let log = trace.clone();
    future.add_done_callback(move |_| log.push("last"));
    ensure_eq!(future.remove_done_callback(id), 1, "callbacks removed");
    trace.expect(["removed"])?;
    future.set_result(())?;
    run_once(&lp)?;
    trace.expect(["last", "added"])
}

pub(super) fn callbacks_run_in_the_captured_context(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let var = ContextVar::new("var");
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (pending, done) = (lp.create_future(), lp.create_future());
    done.set_result(())?;
    for (value, future) in [(1, &pending), (2, &pending), (3, &done)] {
        let (var, seen) = (var.clone(), seen.clone());
        var.set(value);
        future.add_done_callback(move |_| {
            seen.borrow_mut().push(var.get());
            var.set(0);
        });
    }
    var.set(9);
    let setter = pending.clone();
    let inner = var.clone();
    lp.call_soon(move || {
        inner.set(8);
        let _ = setter.set_result(());
    })?;
    run_times(&lp, 2)?;
    ensure_eq!(*seen.borrow(), [Some(3), Some(1), Some(2)], "the values seen by the callbacks");
    ensure_eq!(var.get(), Some(9), "the value outside");
    Ok(())
}
