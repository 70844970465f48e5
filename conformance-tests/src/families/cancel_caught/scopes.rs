//! Scopes that catch, clean up, and let it through.

use std::fmt;
use std::future::{pending, ready};
use std::task::Poll;

use anyloop_api::{Cancelled, Ending, catch_cancel, on_cancel, sleep, uncancellable, with_cleanup};

use crate::families::prelude::*;
use crate::tools::OnDrop;

pub(super) fn caught_and_then_goes_on(cx: &Context) -> Outcome {
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

pub(super) fn clean_up_sees_what_destructors_did(cx: &Context) -> Outcome {
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

pub(super) fn on_cancel_cleans_up_and_lets_it_through(cx: &Context) -> Outcome {
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

pub(super) fn with_cleanup_runs_whatever_happens(cx: &Context) -> Outcome {
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

pub(super) fn with_cleanup_and_a_panic(cx: &Context) -> Outcome {
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

pub(super) fn nested_scopes_inner_first(cx: &Context) -> Outcome {
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

pub(super) fn a_scope_of_no_task_just_runs(cx: &Context) -> Outcome {
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
