//! What a body does about a cancellation: scopes, clean-ups, critical parts. Requests themselves are
//! in `cancel`.

use std::error::Error as StdError;
use std::fmt;
use std::future::{pending, poll_fn, ready};
use std::io;
use std::task::Poll;

use anyloop_api::{
    AnyTask, Cancelled, Ending, Panic, catch_cancel, on_cancel, sleep, uncancellable, with_cleanup,
};

use super::prelude::*;
use crate::tools::{Gate, OnDrop, both, first};

cases! {
    CANCEL_12 => caught_and_then_goes_on, clean_up_sees_what_destructors_did,
        on_cancel_cleans_up_and_lets_it_through, with_cleanup_runs_whatever_happens,
        with_cleanup_and_a_panic, nested_scopes_inner_first, a_scope_of_no_task_just_runs,
        a_critical_part_holds_it_back, a_critical_part_that_begins_after_the_request,
        a_critical_part_may_cancel_its_own, a_scope_that_is_dropped_passes_it_on,
        destructors_that_panic, destructors_that_use_the_task, a_scope_may_change_its_task;
    CANCEL_13 => a_second_request_interrupts_the_clean_up, each_request_goes_one_scope_out;
    CANCEL_15 => resumed_without_a_request, returned_as_an_error;
    CANCEL_18 => a_timeout_takes_back_its_own, nested_timeouts_keep_the_count,
        a_request_from_outside_outlives_the_timeout;
    CANCEL_22 => no_conversion_into_other_errors, a_body_that_ignores_all_errors;
}

fn caught_and_then_goes_on(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let cancelled_task = |task: &Task<u8>| -> Result<(), Failure> {
        run_once(&lp)?;
        ensure!(task.cancel(), "cancel() says false");
        run_times(&lp, 3)?;
        ensure!(task.done(), "the task did not end");
        Ok(())
    };
    // Continues, and returns later.
    let task = lp.create_task(async {
        let caught = catch_cancel(pending::<()>()).await.is_err();
        yield_now().await;
        yield_now().await;
        u8::from(caught)
    })?;
    cancelled_task(&task)?;
    ensure!(!task.cancelled(), "a task that went on is cancelled");
    ensure_eq!(task.take_result()?, 1, "the value");
    // Returns at once.
    let task = lp.create_task(async { catch_cancel(pending::<u8>()).await.unwrap_or(2) })?;
    cancelled_task(&task)?;
    ensure_eq!((task.take_result()?, task.cancelling()), (2, 1), "the value, and requests");
    // Fails.
    let task = lp.create_task(async {
        let caught = catch_cancel(pending::<()>()).await.is_err();
        assert!(!caught, "on purpose");
        3
    })?;
    cancelled_task(&task)?;
    ensure_is!(task.take_result(), Err(Error::Panicked(_)));
    let task = lp.create_task(async {
        match catch_cancel(pending::<()>()).await {
            Ok(()) => Ok(4),
            Err(_) => Err(Error::usage("on purpose")),
        }
    })?;
    run_once(&lp)?;
    task.cancel();
    run_once(&lp)?;
    ensure_is!(task.take_result(), Ok(Err::<u8, _>(Error::Usage(_))));
    // Lets it through, after a clean-up.
    let log = cx.trace();
    let task = lp.create_task(async move {
        let Err(cancelled) = catch_cancel(pending::<u8>()).await else { return 5 };
        yield_now().await;
        log.push("cleaned up");
        cancelled.resume().await
    })?;
    cancelled_task(&task)?;
    ensure!(task.cancelled(), "a task that let it through is not cancelled");
    cx.trace().expect(["cleaned up"])
}

fn clean_up_sees_what_destructors_did(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let var = ContextVar::new("var");
    let (log, first, inner) = (trace.clone(), trace.clone(), var.clone());
    let last = trace.clone();
    let task = lp.task().name("me").spawn(async move {
        inner.set("inside");
        let theirs = inner.clone();
        let caught = catch_cancel(async move {
            // In the task's context, and the task is current.
            let _guard = OnDrop(move || {
                let name = current_task().map(|task| task.get_name().to_string());
                log.push(format!("{} {}", name.unwrap_or_default(), theirs.get().unwrap_or("-")));
            });
            let _guard = OnDrop(move || first.push("last in"));
            pending::<()>().await;
        });
        let _ = caught.await;
        last.push("clean-up");
    })?;
    run_once(&lp)?;
    task.cancel();
    trace.expect([])?;
    run_once(&lp)?;
    trace.expect(["last in", "me inside", "clean-up"])?;
    ensure_eq!(var.get(), None, "the variable outside");
    Ok(())
}

fn on_cancel_cleans_up_and_lets_it_through(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let worker = |log: crate::tools::Trace| async move {
        let flush = log.clone();
        let work = async move {
            pending::<()>().await;
            Ok::<_, Cancelled>(())
        };
        on_cancel(work, || async move {
            flush.push("flushing");
            sleep(ms(1)).await;
            flush.push("flushed");
        })
        .await
    };
    let log = trace.clone();
    let task = lp.create_task(async move {
        let ended = worker(log.clone()).await;
        log.push("not reached");
        ended
    })?;
    run_once(&lp)?;
    task.cancel_with(Cancelled::with_message("shutdown"));
    ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(c)) if c.message() == Some("shutdown"));
    trace.expect(["flushing", "flushed"])?;
    // Not cancelled, nothing is to be cleaned up.
    let log = trace.clone();
    let value = lp.run_until_complete(async move {
        on_cancel(ready(3), || async move { log.push("not reached") }).await
    })?;
    ensure_eq!(value, 3, "the value");
    trace.expect([])
}

/// How the clean-up is told that the body ended.
fn ending<T: fmt::Debug>(ending: Ending<'_, T>) -> String {
    match ending {
        Ending::Value(value) => format!("value {value:?}"),
        Ending::Cancelled(cancelled) => cancelled.to_string(),
        Ending::Panicked => "panicked".to_owned(),
        _ => "some other way".to_owned(),
    }
}

fn with_cleanup_runs_whatever_happens(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let make = |body: std::pin::Pin<Box<dyn Future<Output = Result<u8, u8>>>>| {
        let log = trace.clone();
        lp.create_task(async move {
            let ended = with_cleanup(body, |how| {
                let how = ending(how);
                async move {
                    yield_now().await;
                    log.push(how);
                }
            });
            ended.await
        })
    };
    let value = make(Box::pin(ready(Ok(1))))?;
    let error = make(Box::pin(async {
        yield_now().await;
        Err(2)
    }))?;
    ensure_is!(lp.run_until_done(&value), Ok(Ok(1)));
    ensure_is!(lp.run_until_done(&error), Ok(Err(2)));
    trace.expect(["value Ok(1)", "value Err(2)"])?;
    let cancelled = make(Box::pin(pending()))?;
    run_once(&lp)?;
    cancelled.cancel_with(Cancelled::with_message("enough"));
    ensure_is!(lp.run_until_done(&cancelled), Err(Error::Cancelled(_)));
    trace.expect(["cancelled: enough"])
}

fn with_cleanup_and_a_panic(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    for (late, interrupted) in [(false, false), (true, false), (false, true)] {
        let (log, freed) = (trace.clone(), trace.clone());
        let task = lp.create_task(async move {
            let body = async move {
                let _guard = OnDrop(move || freed.push("unwound"));
                if late {
                    yield_now().await;
                }
                panic!("in the body");
            };
            let ended = with_cleanup(body, |how: Ending<'_, ()>| {
                log.push(ending(how));
                async move {
                    if interrupted {
                        pending::<()>().await;
                    }
                    yield_now().await;
                    log.push("cleaned up");
                }
            });
            ended.await;
        })?;
        run_times(&lp, 2)?;
        if interrupted {
            task.cancel();
        }
        run_times(&lp, 3)?;
        ensure!(task.done(), "the task did not end");
        if interrupted {
            trace.expect(["unwound", "panicked"])?;
            ensure!(task.cancelled(), "the clean-up was not interrupted");
        } else {
            trace.expect(["unwound", "panicked", "cleaned up"])?;
            ensure_is!(task.take_result(), Err(Error::Panicked(p)) if p.message() == "in the body");
        }
    }
    reports.none()
}

fn nested_scopes_inner_first(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    let task = lp.create_task(async move {
        let outer = catch_cancel(async {
            let inner = catch_cancel(async {
                let innermost = catch_cancel(pending::<()>()).await;
                log.push(if innermost.is_err() { "first" } else { "wrong" });
                pending::<()>().await;
            });
            let Err(cancelled) = inner.await else { return };
            log.push("second");
            // To the scope around, without another request.
            cancelled.resume::<()>().await;
        });
        log.push(if outer.await.is_err() { "third" } else { "wrong" });
        pending::<()>().await;
    })?;
    run_once(&lp)?;
    task.cancel();
    run_once(&lp)?;
    trace.expect(["first"])?;
    ensure_eq!(task.cancelling(), 1, "requests, until somebody takes them back");
    task.cancel();
    run_once(&lp)?;
    trace.expect(["second", "third"])?;
    ensure!(!task.done(), "the request was delivered twice");
    task.cancel();
    run_once(&lp)?;
    ensure!(task.cancelled(), "the task is not cancelled");
    Ok(())
}

fn a_scope_of_no_task_just_runs(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let seen = Rc::new(Cell::new(None));
    let theirs = seen.clone();
    lp.call_soon(move || {
        let mut scope = std::pin::pin!(catch_cancel(uncancellable(ready(4))));
        let waker = std::task::Waker::noop();
        let polled = scope.as_mut().poll(&mut std::task::Context::from_waker(waker));
        theirs.set(match polled {
            Poll::Ready(value) => value.ok(),
            Poll::Pending => None,
        });
    })?;
    run_once(&lp)?;
    ensure_eq!(seen.get(), Some(4), "the value");
    Ok(())
}

fn a_critical_part_holds_it_back(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    for kind in ["leaf", "future", "task"] {
        let (gate, future) = (Gate::new(), lp.create_future());
        let wait = gate.clone();
        let inner = lp.create_task(async move { wait.wait().await })?;
        let (wait, waiting, joining) = (gate.clone(), future.clone(), inner.clone());
        let log = trace.clone();
        let task = lp.create_task(async move {
            let critical = async {
                match kind {
                    "leaf" => wait.wait().await,
                    "future" => drop(waiting.await),
                    _ => drop(joining.await),
                }
                // A scope inside hears of nothing either.
                let caught = catch_cancel(yield_now()).await;
                log.push(if caught.is_ok() { "undisturbed" } else { "disturbed" });
                5
            };
            let value = uncancellable(critical).await;
            log.push(format!("over {value}"));
            yield_now().await;
            log.push("not reached");
        })?;
        run_times(&lp, 2)?;
        ensure!(task.cancel() && task.cancel(), "cancel() says false");
        run_times(&lp, 3)?;
        ensure!(!task.done() && !future.cancelled(), "the critical part was cancelled");
        ensure_eq!(inner.cancelling(), 0, "requests to the task it waits for");
        gate.open();
        future.set_result(())?;
        run_times(&lp, 4)?;
        trace.expect(["undisturbed", "over 5"])?;
        ensure!(task.cancelled(), "the request is gone");
        ensure_eq!(task.cancelling(), 2, "requests");
    }

    // Taken back meanwhile, or at the very end of the body.
    let gate = Gate::new();
    let wait = gate.clone();
    let task = lp.create_task(async move { uncancellable(wait.wait()).await })?;
    run_once(&lp)?;
    task.cancel();
    task.uncancel();
    gate.open();
    run_once(&lp)?;
    ensure!(task.done() && !task.cancelled(), "a request that was taken back was delivered");
    let gate = Gate::new();
    let wait = gate.clone();
    let task = lp.create_task(async move { uncancellable(wait.wait()).await })?;
    run_once(&lp)?;
    task.cancel();
    gate.open();
    run_once(&lp)?;
    ensure!(task.cancelled(), "the request is gone");
    Ok(())
}

/// The request is there already, but not delivered, when the critical part begins.
fn a_critical_part_that_begins_after_the_request(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let future = lp.create_future();
    let (waiting, log) = (future.clone(), trace.clone());
    let task = lp.create_task(async move {
        if let Some(me) = current_task() {
            me.cancel();
        }
        let value = uncancellable(waiting).await;
        log.push(if value.is_ok() { "undisturbed" } else { "disturbed" });
        pending::<()>().await;
    })?;
    run_once(&lp)?;
    ensure!(!future.cancelled(), "what the critical part waits for was cancelled");
    future.set_result(())?;
    run_once(&lp)?;
    trace.expect(["undisturbed"])?;
    ensure!(task.cancelled(), "the request is gone");

    // Passed on to a task, which takes its time to end; meanwhile the other branch begins its part.
    let (gate, critical) = (Gate::new(), Gate::new());
    let cleaning = gate.clone();
    let inner = lp.create_task(async move {
        on_cancel(pending::<()>(), || async move { cleaning.wait().await }).await;
    })?;
    let (begin, part, joining, log) = (Gate::new(), critical.clone(), inner.clone(), trace.clone());
    let (dropped, begun) = (trace.clone(), begin.clone());
    let task = lp.create_task(async move {
        let left = async move {
            begun.wait().await;
            let _guard = OnDrop(move || dropped.push("part dropped"));
            uncancellable(part.wait()).await;
            log.push("part over");
        };
        both(left, async { drop(joining.await) }).await;
        yield_now().await;
    })?;
    run_times(&lp, 2)?;
    task.cancel();
    run_once(&lp)?;
    begin.open();
    run_once(&lp)?;
    gate.open();
    run_times(&lp, 3)?;
    ensure!(inner.cancelled(), "the inner task is not cancelled");
    trace.expect([])?;
    critical.open();
    run_times(&lp, 3)?;
    trace.expect(["part over", "part dropped"])?;
    ensure!(task.cancelled(), "the request is gone");
    Ok(())
}

/// A timeout within a critical part works; the critical part only keeps the outside out.
fn a_critical_part_may_cancel_its_own(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    let task = lp.create_task(async move {
        uncancellable(async move {
            let future = inner.create_future::<()>();
            let timed_out = [
                timeout(&inner, ms(1), pending::<()>()).await.is_none(),
                timeout(&inner, ms(1), async { drop((&future).await) }).await.is_none(),
                timeout(&inner, ms(1), sleep(FAR)).await.is_none(),
            ];
            (timed_out, future.cancelled())
        })
        .await
    })?;
    ensure_eq!(lp.run_until_done(&task)?, ([true; 3], true), "timeouts in a critical part");
    ensure_eq!(task.cancelling(), 0, "requests");
    Ok(())
}

/// What every timeout is made of. `None`: the time was up.
async fn timeout<T>(lp: &LoopRef, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let fired = Rc::new(Cell::new(false));
    let mut guarded = std::pin::pin!(catch_cancel(future));
    let scope = poll_fn(|_| Poll::Ready(guarded.as_mut().scope())).await?;
    let (theirs, told) = (scope.clone(), fired.clone());
    let timer = lp.call_later(limit, move || {
        told.set(theirs.cancel(Cancelled::with_message("the time is up")));
    });
    let timer = timer.ok();
    let _disarm = OnDrop(move || {
        if let Some(timer) = &timer {
            timer.cancel();
        }
    });
    let entry = current_task().map_or(0, |me| me.cancelling());
    let caught = guarded.await;
    // Exactly its own request, if it made one.
    let left = if fired.get() { scope.withdraw() } else { usize::MAX };
    match caught {
        Ok(value) => Some(value),
        Err(_) if left <= entry => None,
        Err(cancelled) => cancelled.resume().await,
    }
}

/// A scope was told, and then loses a race before it is polled: the request goes further out.
fn a_scope_that_is_dropped_passes_it_on(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    for masked in [false, true] {
        let (gate, log) = (Gate::new(), trace.clone());
        let wait = gate.clone();
        let task = lp.create_task(async move {
            let inner = async {
                if masked {
                    uncancellable(pending::<()>()).await;
                } else {
                    let _ = catch_cancel(pending::<()>()).await;
                    log.push("wrongly told");
                }
            };
            first(wait.wait(), inner).await;
            log.push("race over");
            let caught = catch_cancel(pending::<()>()).await;
            log.push(if caught.is_err() { "told" } else { "not told" });
        })?;
        run_once(&lp)?;
        let (canceller, opener) = (task.clone(), gate.clone());
        lp.call_soon(move || {
            canceller.cancel();
            opener.open();
        })?;
        run_times(&lp, 3)?;
        trace.expect(["race over", "told"])?;
        ensure!(task.done() && !task.cancelled(), "the task did not end well");
    }
    Ok(())
}

/// A future whose destructor panics.
struct Brittle;

impl Future for Brittle {
    type Output = ();

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for Brittle {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

fn destructors_that_panic(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    let only = |what: &str| -> Result<(), Failure> {
        let report = reports.one()?;
        ensure!(report.is_panic("in a destructor"), "{what}: another report: {report:?}");
        Ok(())
    };
    // In a scope: the clean-up runs all the same.
    let log = trace.clone();
    let task = lp.task().name("scoped").spawn(async move {
        let caught = catch_cancel(Brittle).await;
        log.push(if caught.is_err() { "clean-up" } else { "wrong" });
    })?;
    run_once(&lp)?;
    task.cancel();
    run_once(&lp)?;
    trace.expect(["clean-up"])?;
    let report = reports.take().pop();
    ensure!(report.is_some_and(|r| r.is_panic("in a destructor")), "no report of the panic");
    ensure!(task.done() && !task.cancelled(), "the task did not end well");

    // The whole body: the task is cancelled, and those who wait for it hear of it.
    let task = lp.create_task(Brittle)?;
    let joined = lp.create_task(task.clone())?;
    run_once(&lp)?;
    task.cancel();
    run_times(&lp, 2)?;
    only("a body")?;
    ensure!(task.cancelled(), "the task is not cancelled");
    ensure!(joined.cancelled(), "who waited for it did not hear of it");

    // Never begun.
    let task = lp.create_task(Brittle)?;
    task.cancel();
    run_once(&lp)?;
    only("a body that never began")?;
    ensure!(task.cancelled(), "the task is not cancelled");

    // The value of a body that is cancelled at its end.
    let task = lp.create_task(async {
        if let Some(me) = current_task() {
            me.cancel();
        }
        vec![Brittle]
    })?;
    let joined = lp.create_task(task.clone())?;
    run_times(&lp, 2)?;
    only("a value")?;
    ensure!(task.cancelled(), "the task is not cancelled");
    ensure_is!(joined.take_result().map(|ended| ended.map(drop)), Ok(Err(Error::Cancelled(_))));

    // The value of a task that nobody holds.
    lp.create_task(async { vec![Brittle] })?;
    lp.call_soon(trace.pusher("same batch"))?;
    run_once(&lp)?;
    trace.expect(["same batch"])?;
    only("a value that nobody wants")?;
    ensure_eq!(lp.all_tasks().len(), 0, "tasks that are left");

    // At close.
    let task = lp.create_task(Brittle)?;
    task.mark_internal();
    let unbegun = lp.create_task(async move {
        Brittle.await;
    })?;
    run_once(&lp)?;
    unbegun.mark_internal();
    lp.close()?;
    ensure_eq!(reports.take().len(), 2, "reports of panics at close");
    ensure!(task.done() && unbegun.done(), "a task is pending after close");
    Ok(())
}

/// Destructors run inside the task, and may do to it what they like.
fn destructors_that_use_the_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    let future = lp.create_future::<()>();
    let (waiting, log, inner) = (future.clone(), trace.clone(), lp.clone());
    let task = lp.create_task(async move {
        let theirs = waiting.clone();
        let guard = OnDrop(move || {
            let Some(me) = current_task() else { return };
            me.set_name("renamed");
            let _ = (me.get_context(), me.waiting_for(), format!("{me:?}"));
            me.uncancel();
            theirs.cancel();
            let _ = inner.create_task(ready(()));
            let _ = inner.task().eager(true).spawn(ready(()));
            let _ = inner.all_tasks();
        });
        let caught = catch_cancel(async move {
            guard.keep();
            let _ = (&waiting).await;
        });
        let caught = caught.await.is_err();
        log.push(current_task().map_or_else(String::new, |me| me.get_name().to_string()));
        yield_now().await;
        caught
    })?;
    run_once(&lp)?;
    task.cancel();
    ensure!(lp.run_until_done(&task)?, "the cancellation was not caught");
    trace.expect(["renamed"])?;
    ensure_eq!(task.cancelling(), 0, "requests");

    // A waiter that is dropped by its task's own registration of another one.
    let future = lp.create_future::<()>();
    let canceller: Rc<RefCell<Option<AnyTask>>> = Rc::default();
    let theirs = canceller.clone();
    let guard = OnDrop(move || {
        if let Some(task) = theirs.take() {
            task.cancel();
            let _ = task.waiting_for();
        }
    });
    future.add_done_callback(move |_| guard.keep());
    let slot = Rc::new(RefCell::new(Some(future)));
    let (taken, inner) = (slot.clone(), lp.clone());
    let task = lp.create_task(async move {
        // The only handle; it goes away while the task still waits for it.
        poll_fn(|cx| match &mut *taken.borrow_mut() {
            Some(future) => std::pin::Pin::new(future).poll(cx).map(drop),
            None => Poll::Ready(()),
        })
        .await;
        let _ = catch_cancel(both(inner.create_future::<()>(), pending::<()>())).await;
    })?;
    canceller.replace(Some(task.any()));
    run_once(&lp)?;
    drop(slot.take());
    task.cancel();
    run_times(&lp, 4)?;
    ensure!(task.done(), "the task did not end");
    reports.none()
}

/// A scope is polled by one task, then by another: it belongs to whoever polls it.
fn a_scope_may_change_its_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let gate = Gate::new();
    let wait = gate.clone();
    let mut scope = Box::pin(catch_cancel(async move { wait.wait().await }));
    let slot = Rc::new(RefCell::new(None));
    let theirs = slot.clone();
    let one = lp.create_task(async move {
        poll_fn(|cx| Poll::Ready(scope.as_mut().poll(cx).is_ready())).await;
        theirs.replace(Some(scope));
        pending::<()>().await;
    })?;
    run_once(&lp)?;
    let Some(scope) = slot.take() else { return Err(Failure::new("the scope is gone")) };
    let two = lp.create_task(scope)?;
    run_once(&lp)?;
    one.cancel();
    run_once(&lp)?;
    ensure!(one.cancelled(), "the first task is not cancelled");
    ensure!(!two.done(), "the second task was told of the first one's cancellation");
    two.cancel();
    run_once(&lp)?;
    ensure!(two.cancelled(), "the scope did not yield in the second task");
    Ok(())
}

fn a_second_request_interrupts_the_clean_up(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let bodies = |log: &crate::tools::Trace| -> [std::pin::Pin<Box<dyn Future<Output = ()>>>; 3] {
        let (a, b, c) = (log.clone(), log.clone(), log.clone());
        [
            Box::pin(async move {
                let Err(_) = catch_cancel(pending::<()>()).await else { return };
                a.push("begins");
                yield_now().await;
                a.push("goes on");
                pending::<()>().await;
                a.push("not reached");
            }),
            Box::pin(on_cancel(pending::<()>(), move || async move {
                b.push("begins");
                yield_now().await;
                b.push("goes on");
                sleep(FAR).await;
                b.push("not reached");
            })),
            Box::pin(with_cleanup(pending::<()>(), move |_| async move {
                c.push("begins");
                yield_now().await;
                c.push("goes on");
                pending::<()>().await;
                c.push("not reached");
            })),
        ]
    };
    for body in bodies(&trace) {
        let task = lp.create_task(body)?;
        run_once(&lp)?;
        task.cancel();
        run_times(&lp, 3)?;
        trace.expect(["begins", "goes on"])?;
        ensure!(!task.done(), "the clean-up ended");
        task.cancel();
        run_once(&lp)?;
        trace.expect([])?;
        ensure!(task.cancelled(), "the clean-up was not interrupted");
        ensure_eq!(task.cancelling(), 2, "requests");
    }

    // From inside the clean-up, and in the same batch as the delivery.
    let log = trace.clone();
    let task = lp.create_task(async move {
        let Err(_) = catch_cancel(pending::<()>()).await else { return };
        if let Some(me) = current_task() {
            me.cancel();
        }
        log.push("until the next suspension");
        yield_now().await;
        log.push("not reached");
    })?;
    run_once(&lp)?;
    let canceller = task.clone();
    task.cancel();
    lp.call_soon(move || {
        canceller.cancel();
    })?;
    run_times(&lp, 3)?;
    trace.expect(["until the next suspension"])?;
    ensure!(task.cancelled(), "the clean-up was not interrupted");
    Ok(())
}

fn each_request_goes_one_scope_out(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    let task = lp.create_task(async move {
        let outer = catch_cancel(async {
            let Err(_) = catch_cancel(pending::<()>()).await else { return };
            log.push("inner clean-up");
            pending::<()>().await;
        });
        let Err(_) = outer.await else { return };
        log.push("outer clean-up");
        pending::<()>().await;
    })?;
    run_once(&lp)?;
    for expected in ["inner clean-up", "outer clean-up"] {
        task.cancel();
        run_times(&lp, 2)?;
        trace.expect([expected])?;
    }
    task.cancel();
    run_once(&lp)?;
    ensure!(task.cancelled(), "the task is not cancelled");
    Ok(())
}

fn resumed_without_a_request(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let task = lp.create_task(async {
        yield_now().await;
        Cancelled::with_message("of its own accord").resume::<u8>().await
    })?;
    let joined = lp.create_task(task.clone())?;
    run_times(&lp, 3)?;
    ensure!(task.cancelled(), "the task is not cancelled");
    ensure_eq!(task.cancelling(), 0, "requests");
    ensure_is!(
        joined.take_result(),
        Ok(Err(Error::Cancelled(c))) if c.message() == Some("of its own accord")
    );
    // In a scope it is caught like any other, and in the first step too.
    let caught = lp.run_until_complete(async {
        let caught = catch_cancel(Cancelled::new().resume::<()>()).await;
        yield_now().await;
        caught.is_err()
    })?;
    ensure!(caught, "what was let through in a scope is not caught there");
    Ok(())
}

fn returned_as_an_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let reason = || Cancelled::with_message("returned");
    // Caught and returned, as `raise` at the end of an `except` clause.
    let task = lp.create_task(async { catch_cancel(pending::<()>()).await })?;
    run_once(&lp)?;
    task.cancel_with(reason());
    run_once(&lp)?;
    ensure!(task.cancelled(), "a body that returned Err(Cancelled) made no cancelled task");
    ensure_is!(task.result(), Err(Error::Cancelled(c)) if c.message() == Some("returned"));

    // Nobody asked; by the usual types of errors.
    let theirs = lp.create_future::<()>();
    let waiting = theirs.clone();
    let by_question_mark = lp.create_task(waiting)?;
    let as_ours = lp.create_task(async move { Err::<(), _>(Error::from(reason())) })?;
    let as_io =
        lp.create_task(async move { Err::<(), _>(io::Error::from(Error::from(reason()))) })?;
    let boxed = lp.create_task(async move { Err::<(), Box<dyn StdError>>(reason().into()) })?;
    let sendable = lp.create_task(async move {
        Err::<(), Box<dyn StdError + Send + Sync>>(Error::from(reason()).into())
    })?;
    run_once(&lp)?;
    theirs.cancel();
    run_once(&lp)?;
    let all = [by_question_mark.any(), as_ours.any(), as_io.any(), boxed.any(), sendable.any()];
    let cancelled: Vec<_> = all.iter().map(AnyTask::cancelled).collect();
    ensure_eq!(cancelled, [true; 5], "tasks whose bodies ended in Cancelled");
    ensure_is!(as_ours.result(), Err(Error::Cancelled(c)) if c.message() == Some("returned"));

    // Other errors are values.
    let other = lp.create_task(async { Err::<(), _>(Error::usage("on purpose")) })?;
    ensure_is!(lp.run_until_done(&other), Ok(Err(Error::Usage(_))));
    reports.none()
}

fn a_timeout_takes_back_its_own(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    let task = lp.create_task(async move {
        let late = timeout(&inner, ms(1), sleep(FAR)).await.is_none();
        let in_time = timeout(&inner, FAR, ready(3)).await == Some(3);
        // The task is healthy.
        sleep(ms(1)).await;
        (late, in_time, current_task().map_or(9, |me| me.cancelling()))
    })?;
    ensure_eq!(lp.run_until_done(&task)?, (true, true, 0), "late, in time, requests");

    // A request that was there before stays there.
    let inner = lp.clone();
    let task = lp.create_task(async move {
        let Err(_) = catch_cancel(pending::<()>()).await else { return 9 };
        if timeout(&inner, ms(1), pending::<()>()).await.is_some() {
            return 8;
        }
        current_task().map_or(7, |me| me.cancelling())
    })?;
    run_once(&lp)?;
    task.cancel();
    ensure_eq!(lp.run_until_done(&task)?, 1, "requests after a timeout in a clean-up");
    Ok(())
}

fn nested_timeouts_keep_the_count(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    let task = lp.create_task(async move {
        // Both deadlines pass while the loop is busy: one request each, the inner one first.
        let nested = timeout(&inner, ms(1), async {
            let timed_out = timeout(&inner, ms(1), async {
                yield_now().await;
                block_for(ms(5));
                pending::<()>().await;
            });
            let inner = timed_out.await.is_none();
            yield_now().await;
            inner
        });
        let outer = nested.await.is_none();
        (outer, current_task().map_or(9, |me| me.cancelling()))
    })?;
    ensure_eq!(lp.run_until_done(&task)?, (true, 0), "whether the outer one fired, and requests");
    Ok(())
}

fn a_request_from_outside_outlives_the_timeout(cx: &Context) -> Outcome {
    for outside_first in [false, true] {
        let lp = cx.new_loop()?;
        let trace = cx.trace();
        let (inner, log) = (lp.clone(), trace.clone());
        let task = lp.create_task(async move {
            let timed_out = timeout(&inner, ms(2), pending::<()>()).await.is_none();
            log.push(if timed_out { "timed out" } else { "in time" });
        })?;
        run_once(&lp)?;
        let canceller = task.clone();
        if outside_first {
            canceller.cancel();
        } else {
            // In the same batch as the timeout.
            lp.call_at(lp.time() + ms(2), move || {
                canceller.cancel();
            })?;
            // By the next poll both are due.
            block_for(ms(5));
        }
        ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
        trace.expect([])?;
        ensure_eq!(task.cancelling(), 1, "requests: that from outside only");
    }
    Ok(())
}

/// The error of somebody's application.
#[derive(Debug)]
struct Theirs;

fn no_conversion_into_other_errors(_: &Context) -> Outcome {
    assert_not_impl!(Theirs: From<Cancelled>);
    assert_not_impl!(io::Error: From<Cancelled>);
    assert_not_impl!(fmt::Error: From<Cancelled>);
    assert_not_impl!(String: From<Cancelled>);
    assert_not_impl!(Panic: From<Cancelled>);
    assert_impl!(Error: From<Cancelled>);
    Ok(())
}

/// Catches everything that can be caught, and goes on: a cancellation is not among it.
fn a_body_that_ignores_all_errors(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let rounds = Counter::new();
    let inner = lp.clone();
    let count = rounds.clone();
    let task = lp.create_task(async move {
        loop {
            count.add();
            let work = async {
                let future = inner.create_future::<()>();
                let waiting = future.clone();
                inner.call_soon(move || {
                    let _ = waiting.set_exception("on purpose");
                })?;
                future.await?;
                Ok::<_, Box<dyn StdError>>(())
            };
            if let Err(error) = work.await {
                drop(error);
                continue;
            }
        }
    })?;
    run_times(&lp, 10)?;
    ensure!(rounds.get() > 3, "the task does not go round");
    task.cancel();
    run_times(&lp, 3)?;
    ensure!(task.cancelled(), "the cancellation was taken for an error");
    Ok(())
}
