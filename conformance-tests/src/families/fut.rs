//! Futures.

use std::fmt;
use std::sync::mpsc;

use anyloop::{ensure_future, run_coroutine_threadsafe, wrap_future};
use anyloop_api::{Cancelled, Interrupt};

use super::prelude::*;
use crate::tools::OnDrop;

cases! {
    FUT_01 => pending_then_a_value, pending_then_an_error, pending_then_cancelled;
    FUT_02 => completed_once_only, completing_a_cancelled_one_fails;
    FUT_03 => questions_to_a_pending_future, questions_to_a_cancelled_future,
        a_successful_future_has_no_exception;
    FUT_04 => cancel_completes_what_is_pending;
    FUT_05 => callbacks_are_scheduled_in_order, also_by_cancel_and_by_an_error;
    FUT_06 => a_panicking_callback_stops_no_other, each_is_a_handle_of_its_own;
    FUT_07 => a_done_future_schedules_new_callbacks;
    FUT_08 => removed_callbacks_do_not_run, once_scheduled_it_stays;
    FUT_09 => callbacks_may_add_and_remove, destructors_of_callbacks_may_add_and_remove;
    FUT_10 => callbacks_run_in_the_captured_context;
    FUT_11 => awaiting_a_done_future_does_not_suspend;
    FUT_12 => awaiting_resumes_one_hop_later_in_order;
    FUT_13 => many_awaiters_wake_in_order, many_awaiters_share_an_error;
    FUT_14 => awaited_again_with_the_same_outcome;
    FUT_15 => awaiting_another_loops_future_is_refused;
    FUT_16 => a_lost_error_is_reported_once;
    FUT_17 => a_look_silences_the_report, cancel_silences_the_report, values_never_report;
    FUT_18 => dropping_a_pending_future_is_silent;
    FUT_19 => the_reason_reaches_the_awaiter;
    FUT_20 => a_threads_result_arrives_on_the_loop, cancelled_first_the_late_result_is_ignored,
        cancelling_reaches_the_job, work_of_another_loop_is_wrapped;
    FUT_21 => wrapping_a_loops_future_gives_it_back, ensuring_a_task_gives_it_back,
        another_loops_task_is_refused;
    FUT_22 => set_unless_done_never_fails;
    FUT_23 => any_error_can_be_stored;
    FUT_24 => reports_say_where_it_was_created;
    FUT_25 => the_rendering_is_short_and_tells_the_state;
}

/// An error of the suite's own.
#[derive(Debug, PartialEq)]
struct Misfortune(u8);

impl fmt::Display for Misfortune {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "misfortune number {}", self.0)
    }
}

impl std::error::Error for Misfortune {}

/// Whether `error` is the misfortune with this number.
fn is_misfortune(error: &Error, number: u8) -> bool {
    error.downcast_ref::<Misfortune>() == Some(&Misfortune(number))
}

fn pending_then_a_value(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    ensure!(!future.done() && !future.cancelled(), "a fresh future is done or cancelled");
    ensure!(future.get_loop().is_some_and(|home| home.same(&lp)), "get_loop() is another loop");
    future.set_result(42)?;
    ensure!(future.done() && !future.cancelled(), "not done after set_result, or cancelled");
    ensure_eq!(future.result()?, 42, "the value");
    ensure_eq!(future.result()?, 42, "the value, asked for again");
    Ok(())
}

fn pending_then_an_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    future.set_exception(Misfortune(1))?;
    ensure!(future.done() && !future.cancelled(), "not done after set_exception, or cancelled");
    ensure_is!(future.result(), Err(error) if is_misfortune(&error, 1));
    ensure_is!(future.exception(), Ok(Some(error)) if is_misfortune(&error, 1));
    Ok(())
}

fn pending_then_cancelled(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    ensure!(future.cancel(), "cancel() of a pending future says false");
    ensure!(future.done() && future.cancelled(), "not done after cancel(), or not cancelled");
    Ok(())
}

fn completed_once_only(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    future.set_result(1)?;
    ensure_is!(future.set_result(2), Err(Error::InvalidState(_)));
    ensure_is!(future.set_exception(Misfortune(2)), Err(Error::InvalidState(_)));
    ensure_eq!(future.result()?, 1, "the value after failed attempts to change it");
    let failed = lp.create_future();
    failed.set_exception(Misfortune(3))?;
    ensure_is!(failed.set_result(4), Err(Error::InvalidState(_)));
    ensure_is!(failed.set_exception(Misfortune(4)), Err(Error::InvalidState(_)));
    ensure_is!(failed.exception(), Ok(Some(error)) if is_misfortune(&error, 3));
    Ok(())
}

fn completing_a_cancelled_one_fails(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    future.cancel();
    ensure_is!(future.set_result(2), Err(Error::InvalidState(_)));
    ensure_is!(future.set_exception(Misfortune(2)), Err(Error::InvalidState(_)));
    ensure!(future.cancelled(), "the future is not cancelled any more");
    Ok(())
}

fn questions_to_a_pending_future(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    ensure_is!(future.result(), Err(Error::InvalidState(_)));
    ensure_is!(future.take_result(), Err(Error::InvalidState(_)));
    ensure_is!(future.exception(), Err(Error::InvalidState(_)));
    ensure!(!future.done(), "asking completed the future");
    Ok(())
}

fn questions_to_a_cancelled_future(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    future.cancel();
    ensure_is!(future.result(), Err(Error::Cancelled(_)));
    ensure_is!(future.take_result(), Err(Error::Cancelled(_)));
    ensure_is!(future.exception(), Err(Error::Cancelled(_)));
    Ok(())
}

fn a_successful_future_has_no_exception(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    future.set_result(1)?;
    ensure_is!(future.exception(), Ok(None));
    Ok(())
}

fn cancel_completes_what_is_pending(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    ensure!(future.cancel(), "cancel() of a pending future says false");
    ensure!(!future.cancel(), "cancel() of a cancelled future says true");
    let done = lp.create_future();
    done.set_result(5)?;
    ensure!(!done.cancel(), "cancel() of a done future says true");
    ensure!(!done.cancelled(), "a done future was cancelled");
    ensure_eq!(done.result()?, 5, "the value after cancel()");
    Ok(())
}

fn callbacks_are_scheduled_in_order(cx: &Context) -> Outcome {
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

fn also_by_cancel_and_by_an_error(cx: &Context) -> Outcome {
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

fn a_panicking_callback_stops_no_other(cx: &Context) -> Outcome {
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

fn each_is_a_handle_of_its_own(cx: &Context) -> Outcome {
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

fn a_done_future_schedules_new_callbacks(cx: &Context) -> Outcome {
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

fn removed_callbacks_do_not_run(cx: &Context) -> Outcome {
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

fn once_scheduled_it_stays(cx: &Context) -> Outcome {
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

fn callbacks_may_add_and_remove(cx: &Context) -> Outcome {
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
fn destructors_of_callbacks_may_add_and_remove(cx: &Context) -> Outcome {
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

fn callbacks_run_in_the_captured_context(cx: &Context) -> Outcome {
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

fn awaiting_a_done_future_does_not_suspend(cx: &Context) -> Outcome {
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

fn awaiting_resumes_one_hop_later_in_order(cx: &Context) -> Outcome {
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

fn many_awaiters_wake_in_order(cx: &Context) -> Outcome {
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

fn many_awaiters_share_an_error(cx: &Context) -> Outcome {
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

fn awaited_again_with_the_same_outcome(cx: &Context) -> Outcome {
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

fn awaiting_another_loops_future_is_refused(cx: &Context) -> Outcome {
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

fn a_lost_error_is_reported_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let future = lp.create_future::<u8>();
    future.set_exception(Misfortune(6))?;
    let last = future.clone();
    drop(future);
    run_once(&lp)?;
    reports.none()?;
    drop(last);
    run_once(&lp)?;
    let report = reports.one()?;
    ensure!(report.has("future"), "the report names no future: {report:?}");
    ensure_is!(report.exception, Some(error) if is_misfortune(&error, 6));
    Ok(())
}

fn a_look_silences_the_report(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let failed = || -> Result<_, Error> {
        let future = lp.create_future::<u8>();
        future.set_exception(Misfortune(7))?;
        Ok(future)
    };
    let _ = failed()?.result();
    let _ = failed()?.take_result();
    let _ = failed()?.exception();
    let (by_value, by_reference) = (failed()?, failed()?);
    lp.run_until_complete(async move {
        let _ = by_value.await;
        let _ = (&by_reference).await;
    })?;
    let _ = lp.run_until_done(&failed()?);
    reports.none()
}

fn cancel_silences_the_report(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let future = lp.create_future::<u8>();
    future.set_exception(Misfortune(8))?;
    ensure!(!future.cancel(), "cancel() of a failed future says true");
    drop(future);
    let pending = lp.create_future::<u8>();
    pending.cancel();
    drop(pending);
    run_once(&lp)?;
    reports.none()
}

fn values_never_report(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let future = lp.create_future();
    future.set_result(vec![1, 2, 3])?;
    drop(future);
    run_once(&lp)?;
    reports.none()
}

fn dropping_a_pending_future_is_silent(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let freed = Counter::new();
    let future = lp.create_future::<u8>();
    let token = freed.token();
    future.add_done_callback(move |_| token.keep());
    drop(future);
    run_once(&lp)?;
    ensure_eq!(freed.get(), 1, "callbacks freed with the future");
    drop(lp.create_future::<u8>());
    lp.close()?;
    drop(lp.create_future::<u8>());
    reports.none()
}

fn the_reason_reaches_the_awaiter(cx: &Context) -> Outcome {
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

const LIMIT: Duration = Duration::from_secs(10);

fn a_threads_result_arrives_on_the_loop(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.run_in_executor(None, || thread::current().id())?;
    let here = Rc::new(Cell::new(None));
    let theirs = here.clone();
    future.add_done_callback(move |_| theirs.set(Some(thread::current().id())));
    let there = lp.run_until_complete(async move { (&future).await })??;
    run_once(&lp)?;
    ensure!(there != thread::current().id(), "the job ran on the loop's thread");
    ensure_eq!(here.get(), Some(thread::current().id()), "the thread of the done-callback");
    Ok(())
}

fn cancelled_first_the_late_result_is_ignored(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let future = lp.run_in_executor(None, move || {
        let _ = tell.send("started");
        let _ = released.recv();
        7
    })?;
    ensure_eq!(told.recv_timeout(LIMIT), Ok("started"), "the job");
    ensure!(future.cancel(), "cancel() of a running job's future says false");
    release.send(())?;
    // The sender is gone: the job is over.
    ensure!(told.recv_timeout(LIMIT).is_err(), "the job said more");
    lp.run_until_complete(lp.run_in_executor(None, || ())?)??;
    run_for(&lp, ms(20))?;
    ensure!(future.cancelled(), "the late result replaced the cancellation");
    reports.none()
}

fn cancelling_reaches_the_job(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.executor_threads(1))?;
    let (release, released) = mpsc::channel::<()>();
    let ran = Counter::new();
    let blocker = lp.run_in_executor(None, move || {
        let _ = released.recv();
    })?;
    let count = ran.clone();
    let queued = lp.run_in_executor(None, move || count.add())?;
    ensure!(queued.cancel(), "cancel() of a queued job's future says false");
    run_once(&lp)?;
    release.send(())?;
    lp.run_until_done(&blocker)?;
    lp.run_until_complete(lp.run_in_executor(None, || ())?)??;
    ensure_eq!(ran.get(), 0, "runs of a job that was cancelled in the queue");
    Ok(())
}

fn work_of_another_loop_is_wrapped(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let reports = Reports::of(&lp);
    let remote = other.remote();
    let submit = |value: u8| {
        let work = async move {
            yield_now().await;
            value
        };
        let handle = run_coroutine_threadsafe(work, &remote)?;
        lp.run_until_complete(async move { wrap_future(handle) })?
    };
    let (wanted, cancelled, cancelled_late) = (submit(1)?, submit(2)?, submit(3)?);
    cancelled.cancel();
    run_times(&lp, 2)?;
    run_times(&other, 8)?;
    // The work is done there, and its outcome on its way to us: it arrives as a call on our loop.
    ensure!(!wanted.done(), "the outcome arrived while its loop did not run");
    cancelled_late.cancel();
    ensure_eq!(lp.run_until_complete(wanted)??, 1, "the outcome");
    run_times(&lp, 2)?;
    ensure!(cancelled.cancelled() && cancelled_late.cancelled(), "a late outcome was taken");
    reports.none()
}

fn wrapping_a_loops_future_gives_it_back(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    let ours = future.clone();
    lp.run_until_complete(async move {
        let wrapped = wrap_future(ours.clone())?;
        ensure!(wrapped.same(&ours), "it is another future");
        let twice = wrap_future(wrapped)?;
        ensure!(twice.same(&ours), "it is another future the second time");
        ours.set_result(1)?;
        ensure_eq!(twice.result()?, 1, "the value");
        Ok(())
    })?
}

fn ensuring_a_task_gives_it_back(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.run_until_complete(async {
        let polls = Counter::new();
        let count = polls.clone();
        let task: Task<usize> = ensure_future(async move { Ok::<_, Error>(count.add()) })?;
        let same = ensure_future(task.clone())?;
        ensure!(same == task, "it is another task");
        let borrowed = ensure_future(&task)?;
        ensure!(borrowed == task, "it is another task, by reference");
        ensure_eq!(((&task).await?, (&borrowed).await?), (1, 1), "the outputs");
        ensure_eq!(polls.get(), 1, "runs");
        // One that is done is given back, too.
        let again = ensure_future(same.clone())?;
        ensure!(again == same && again.done(), "it was made a task again");
        Ok(())
    })?
}

fn another_loops_task_is_refused(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let foreign = other.create_task(async { 1 })?;
    let theirs = foreign.clone();
    lp.run_until_complete(async move {
        ensure_is!(ensure_future(theirs.clone()), Err(Error::InvalidArg(_)));
        ensure_is!(ensure_future(&theirs), Err(Error::InvalidArg(_)));
        Ok::<_, Failure>(())
    })??;
    ensure_eq!(other.run_until_done(&foreign)?, 1, "the task on its own loop");
    ensure_is!(ensure_future(async {}), Err(Error::Usage(_)));
    Ok(())
}

fn set_unless_done_never_fails(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    let (setter, canceller) = (future.clone(), future.clone());
    lp.call_soon(move || {
        canceller.cancel();
    })?;
    let taken = Rc::new(Cell::new(None));
    let theirs = taken.clone();
    lp.call_soon(move || theirs.set(Some(setter.set_unless_done(Ok(3)))))?;
    run_once(&lp)?;
    ensure_eq!(taken.get(), Some(false), "whether the value was taken after a cancellation");
    ensure!(future.cancelled(), "the cancellation is gone");
    let pending = lp.create_future();
    ensure!(pending.set_unless_done(Ok(4)), "the value of a pending future was not taken");
    ensure_eq!(pending.result()?, 4, "the value");
    Ok(())
}

fn any_error_can_be_stored(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    future.set_exception("a text")?;
    ensure_is!(future.result(), Err(error) if error.to_string() == "a text");
    let future = lp.create_future::<u8>();
    future.set_exception(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))?;
    let Err(error) = future.result() else {
        return Err(Failure::new("the error is gone"));
    };
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    ensure_eq!(kind, Some(std::io::ErrorKind::UnexpectedEof), "the kind of the stored error");
    let future = lp.create_future::<u8>();
    future.set_exception(Error::TimedOut("an error of the loop's own".into()))?;
    ensure_is!(future.result(), Err(Error::TimedOut(_)));
    Ok(())
}

fn reports_say_where_it_was_created(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.debug(true))?;
    let reports = Reports::of(&lp);
    let (future, line) = (lp.create_future::<u8>(), line!());
    ensure_eq!(future.created().line(), line, "the line of created()");
    ensure_eq!(future.created().file(), file!(), "the file of created()");
    future.set_exception(Misfortune(9))?;
    drop(future);
    ensure_eq!(reports.one()?.line, Some(line), "the line in the report");
    Ok(())
}

fn the_rendering_is_short_and_tells_the_state(cx: &Context) -> Outcome {
    /// Has no `Debug`, so that nobody can format it.
    struct Secret([u8; 1000]);

    let lp = cx.new_loop()?;
    let pending = lp.create_future::<Secret>();
    let done = lp.create_future::<Secret>();
    done.set_result(Secret([7; 1000]))?;
    let cancelled = lp.create_future::<Secret>();
    cancelled.cancel();
    let failed = lp.create_future::<Secret>();
    failed.set_exception(Misfortune(1))?;
    failed.mark_inspected();
    for _ in 0..1000 {
        pending.add_done_callback(|_| ());
    }
    // Four futures of one line each: only the state can tell them apart.
    let location = pending.created().to_string();
    let text = |future: &LoopFuture<Secret>| {
        format!("{future:?}").replace(&future.created().to_string(), &location)
    };
    let texts = [text(&pending), text(&done), text(&cancelled), text(&failed)];
    for (at, text) in texts.iter().enumerate() {
        ensure!(text.len() < 400, "a rendering of {} characters", text.len());
        ensure!(!texts[..at].contains(text), "two states look the same: {text}");
    }
    ensure_eq!(done.take_result()?.0.len(), 1000, "the size of the value");
    Ok(())
}
