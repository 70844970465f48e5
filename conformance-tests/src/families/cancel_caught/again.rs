//! A second request, and going on as if there had been none.

use std::error::Error as StdError;
use std::future::pending;
use std::io;

use anyloop_api::{AnyTask, Cancelled, catch_cancel, on_cancel, sleep, with_cleanup};

use crate::families::prelude::*;
use crate::tools::{Gate, both, settle_tasks};

pub(super) fn a_second_request_interrupts_the_clean_up(cx: &Context) -> Outcome {
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

pub(super) fn each_request_goes_one_scope_out(cx: &Context) -> Outcome {
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

pub(super) fn resumed_without_a_request(cx: &Context) -> Outcome {
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

pub(super) fn returned_as_an_error(cx: &Context) -> Outcome {
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

/// One branch lets a cancellation from further out through, the other one is cancelled by the scope: the
/// scope yields the one that outlives it, whoever came first.
pub(super) fn of_two_in_one_step_the_outer_one_is_caught(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        for outer_first in [true, false] {
            let (gate, source) = (Gate::new(), lp.create_future::<()>());
            let scope = Rc::new(RefCell::new(None));
            let (opens, cancels) = (gate.clone(), scope.clone());
            let task = lp.create_task(async move {
                let outer = async move {
                    gate.wait().await;
                    Cancelled::with_message("outer").resume::<()>().await
                };
                let own = async move { drop(source.await) };
                let mut scoped = std::pin::pin!(catch_cancel(async move {
                    if outer_first { both(outer, own).await } else { both(own, outer).await }
                }));
                let caught = std::future::poll_fn(|cx| {
                    if scope.borrow().is_none() {
                        *scope.borrow_mut() = scoped.as_mut().scope();
                    }
                    scoped.as_mut().poll(cx)
                })
                .await;
                let scope = scope.take().ok_or_else(|| Failure::new("there was no scope"))?;
                let caught = caught.err().ok_or_else(|| Failure::new("nothing was caught"))?;
                scope.withdraw();
                let message = caught.message().map(str::to_owned);
                // It does not die with the scope.
                scope.put_back(caught);
                Ok::<_, Failure>((message, catch_cancel(yield_now()).await.is_err()))
            })?;
            settle_tasks().await;
            let own = Cancelled::with_message("own");
            let asked = cancels.borrow().as_ref().is_some_and(|scope| scope.cancel(own));
            ensure!(asked, "the scope could not be cancelled");
            opens.open();
            let (message, goes_on) = task.await??;
            ensure_eq!(message.as_deref(), Some("outer"), "outer first {outer_first}: the reason");
            ensure!(goes_on, "outer first {outer_first}: it was lost with the scope");
        }
        Ok(())
    })
}

/// By itself, and by what it lets through: one delivery for both.
pub(super) fn asked_for_twice_in_one_step(cx: &Context) -> Outcome {
    main(cx, async {
        let caught = catch_cancel(async {
            if let Some(me) = current_task() {
                me.cancel();
            }
            Cancelled::new().resume::<()>().await
        });
        ensure!(caught.await.is_err(), "nothing was caught");
        ensure!(catch_cancel(yield_now()).await.is_ok(), "the same was delivered twice");
        Ok(())
    })
}
