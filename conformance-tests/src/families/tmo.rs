//! Timeouts: scopes. Several in one task are in `tmo/branches`, waiting for one thing is in
//! `tmo/waiting_for`.

mod branches;
mod moving;
mod nesting;
mod waiting_for;

use std::future::{pending, poll_fn};
use std::task::Poll;

use anyloop::{Barrier, TimeoutHandle, create_task, timeout, timeout_at, timeout_scope};
use anyloop_api::{catch_cancel, sleep, uncancellable};

use self::branches::*;
use self::moving::*;
use self::nesting::*;
use self::waiting_for::*;
use super::prelude::*;
use crate::tools::{settle_tasks, sleeps};

cases! {
    TMO_01 => the_body_is_cancelled_once_and_it_is_late, it_goes_with_its_future_to_another_task;
    TMO_02 => every_order_of_the_deadline_and_a_request, a_cancellation_before_the_deadline,
        a_request_is_not_taken_for_that_of_a_branch, others_do_not_withdraw_its_request;
    TMO_03 => afterwards_the_task_is_healthy, two_branches_are_late_at_once,
        one_branch_is_late_while_another_cleans_up;
    TMO_04 => without_a_deadline_until_it_gets_one;
    TMO_05 => no_time_at_all;
    TMO_06 => what_the_body_says_counts;
    TMO_07 => nested_with_the_same_deadline;
    TMO_08 => the_inner_one_has_more_time;
    TMO_09 => both_pass_while_the_loop_is_busy;
    TMO_10 => in_the_clean_up_of_a_cancelled_task, in_the_clean_up_of_a_late_one;
    TMO_11 => rescheduled_only_while_it_is_active, later_and_sooner;
    TMO_12 => when_and_expired;
    TMO_13 => entered_once_and_inside_a_task;
    TMO_14 => left_in_time_it_leaves_no_timer;
    TMO_15 => no_limit_is_a_plain_await;
    TMO_16 => no_time_for_what_is_done_and_what_is_not, no_time_for_a_shield,
        no_time_for_a_task_of_any_output;
    TMO_17 => the_work_has_really_ended;
    TMO_18 => the_work_answers_with_a_value_or_an_error, the_work_says_that_it_was_cancelled;
    TMO_19 => every_order_of_cancelling_the_caller_and_completion, the_callers_cancellation_is_forwarded;
    TMO_20 => resumed_before_the_deadline_fires, in_one_batch_no_value_is_lost;
    TMO_21 => a_shield_stays_whole;
    TMO_22 => a_bare_future_runs_in_the_callers_task;
}

/// The requests of the current task.
fn requests() -> usize {
    current_task().map_or(usize::MAX, |me| me.cancelling())
}

fn the_body_is_cancelled_once_and_it_is_late(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let log = trace.clone();
        let body = async move {
            if catch_cancel(sleep(FAR)).await.is_err() {
                log.push(format!("{} requests", requests()));
            }
            // What comes after that is not cancelled: the scope fires once.
            sleep(ms(5)).await;
            yield_now().await;
            log.push("went on");
        };
        ensure_is!(timeout(ms(2), body).await, Ok(()));
        trace.expect(["1 requests", "went on"])?;
        ensure_eq!(requests(), 0, "requests");
        let late = timeout(ms(1), sleep(FAR)).await;
        ensure_is!(late, Err(Error::TimedOut(_)));
        let begin = LoopRef::current()?.time();
        ensure_is!(timeout_at(begin + ms(3), sleep(FAR)).await, Err(Error::TimedOut(_)));
        ensure!(LoopRef::current()?.time() - begin >= ms(3), "late before its time");
        Ok(())
    })
}

/// A request from outside, and the deadline, in both orders and up to four iterations apart.
fn every_order_of_the_deadline_and_a_request(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        for request_first in [false, true] {
            for gap in 0..5 {
                let way = format!("request first: {request_first}, {gap} iterations between");
                let scope = TimeoutHandle::after(None);
                let theirs = scope.clone();
                let task = create_task(async move {
                    let late = matches!(theirs.run(sleep(FAR)).await, Err(Error::TimedOut(_)));
                    (late, requests())
                })?;
                yield_now().await;
                let act = |request: bool| {
                    if request {
                        task.cancel();
                    } else {
                        // Refused where the scope is over already.
                        drop(scope.reschedule(lp.time()));
                    }
                };
                act(request_first);
                for _ in 0..gap {
                    yield_now().await;
                }
                act(!request_first);
                settle_tasks().await;
                ensure!(task.done(), "{way}: the task hangs");
                match task.take_result() {
                    // The request came when the scope was over.
                    Ok(outcome) => {
                        ensure!(!request_first && gap >= 2, "{way}: the request was swallowed");
                        ensure_eq!(outcome, (true, 0), "{way}: late, requests");
                    }
                    Err(error) => {
                        ensure_is!(error, Error::Cancelled(_));
                        ensure!(request_first || gap < 3, "{way}: cancelled after its end");
                    }
                }
            }
        }
        Ok(())
    })
}

/// As in asyncio, whatever the body waits for.
fn others_do_not_withdraw_its_request(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        for masked in [false, true] {
            let scope = TimeoutHandle::after(None);
            let (theirs, barrier) = (scope.clone(), Barrier::new(2)?);
            let waits = barrier.clone();
            let task = create_task(async move {
                let body = async {
                    if masked {
                        uncancellable(yield_now()).await;
                        uncancellable(yield_now()).await;
                    }
                    waits.wait().await
                };
                let late = matches!(theirs.run(body).await, Err(Error::TimedOut(_)));
                (late, requests())
            })?;
            yield_now().await;
            scope.reschedule(lp.time())?;
            let mine = task.clone();
            // Behind the deadline, before the next step of the task.
            lp.call_soon(move || {
                mine.uncancel();
            })?;
            settle_tasks().await;
            ensure!(task.done(), "masked: {masked}: the deadline was lost");
            ensure_eq!(task.take_result()?, (true, 0), "masked: {masked}: late, requests");
        }
        Ok(())
    })
}

fn a_cancellation_before_the_deadline(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let log = trace.clone();
        // The clean-up takes longer than the time that is left.
        let task = create_task(async move {
            let body = async {
                let Err(cancelled) = catch_cancel(pending::<()>()).await else { return };
                drop(catch_cancel(sleep(ms(10))).await);
                log.push("cleaned up");
                cancelled.resume().await
            };
            let outcome = timeout(ms(2), body).await;
            log.push(format!("{outcome:?}"));
        })?;
        yield_now().await;
        task.cancel();
        ensure_is!(task.await, Err(Error::Cancelled(_)));
        trace.expect(["cleaned up"])
    })
}

fn afterwards_the_task_is_healthy(cx: &Context) -> Outcome {
    main(cx, async {
        for _ in 0..3 {
            ensure_is!(timeout(ms(1), sleep(FAR)).await, Err(Error::TimedOut(_)));
            ensure_eq!(requests(), 0, "requests");
            sleep(ms(1)).await;
            yield_now().await;
        }
        Ok(())
    })
}

fn without_a_deadline_until_it_gets_one(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        let untouched = timeout_scope(None, |scope| async move {
            sleep(ms(2)).await;
            (scope.when(), scope.expired())
        });
        ensure_eq!(untouched.await?, (None, false), "deadline, expired");
        let armed = timeout_scope(None, |scope| async move {
            sleep(ms(1)).await;
            scope.reschedule(lp.time() + ms(2))?;
            sleep(FAR).await;
            anyloop::Result::<()>::Ok(())
        });
        ensure_is!(armed.await, Err(Error::TimedOut(_)));
        // Taken away again.
        let disarmed = timeout_scope(ms(2), |scope| async move {
            scope.reschedule(None)?;
            sleep(ms(5)).await;
            Ok::<_, Error>(scope.when())
        });
        ensure_eq!(disarmed.await??, None, "the deadline");
        Ok(())
    })
}

fn no_time_at_all(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        let past = LoopInstant::from_nanos(1);
        for when in [past, lp.time()] {
            ensure_is!(timeout_at(when, yield_now()).await, Err(Error::TimedOut(_)));
            ensure_is!(timeout_at(when, sleep(Duration::ZERO)).await, Err(Error::TimedOut(_)));
            ensure_eq!(timeout_at(when, async { 7 }).await?, 7, "a body that does not suspend");
            ensure_eq!(requests(), 0, "requests");
        }
        ensure_is!(timeout(Duration::ZERO, yield_now()).await, Err(Error::TimedOut(_)));
        ensure_eq!(timeout(Duration::ZERO, async { 7 }).await?, 7, "no suspension, no time");
        let scope = TimeoutHandle::at(past);
        ensure_is!(scope.run(yield_now()).await, Err(Error::TimedOut(_)));
        Ok(())
    })
}

fn what_the_body_says_counts(cx: &Context) -> Outcome {
    main(cx, async {
        for fires in [false, true] {
            let body = async {
                if fires {
                    drop(catch_cancel(sleep(FAR)).await);
                }
                Err::<(), _>(Error::QueueEmpty)
            };
            let scope = TimeoutHandle::after(ms(1));
            ensure_is!(scope.run(body).await, Ok(Err(Error::QueueEmpty)));
            ensure_eq!((scope.expired(), requests()), (fires, 0), "expired, requests");
            // What was its own request does not strike later.
            sleep(ms(2)).await;
        }
        let panics = create_task(timeout(ms(1), async {
            drop(catch_cancel(sleep(FAR)).await);
            panic!("on purpose");
        }))?;
        let panicked: Result<Result<(), Error>, Error> = panics.await;
        ensure_is!(panicked, Err(Error::Panicked(_)));
        Ok(())
    })
}

fn ensure_counts(log: &crate::tools::Trace, what: &str) {
    log.push(format!("{what} with {}", requests()));
}

fn entered_once_and_inside_a_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let scope = TimeoutHandle::after(FAR);
    let theirs = scope.clone();
    lp.run_until_complete(async move {
        theirs.run(async {}).await?;
        let dropped = Counter::new();
        let token = dropped.token();
        let again = theirs.run(async move {
            token.keep();
            dropped_in_vain().await;
        });
        ensure_is!(again.await, Err(Error::Usage(_)));
        ensure_eq!(dropped.get(), 1, "bodies that were dropped");
        // While it is active, as well.
        let twice = TimeoutHandle::after(FAR);
        let inner = twice.clone();
        let nested = twice.run(async move { inner.run(yield_now()).await });
        ensure_is!(nested.await, Ok(Err(Error::Usage(_))));
        Outcome::Ok(())
    })??;
    // In a callback there is no task.
    let found = Rc::new(RefCell::new(None));
    let slot = found.clone();
    lp.call_soon(move || {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let polled = std::pin::pin!(timeout(FAR, async {})).poll(&mut cx);
        let entered = std::pin::pin!(TimeoutHandle::after(FAR).run(async {})).poll(&mut cx);
        *slot.borrow_mut() = Some((polled, entered));
    })?;
    run_once(&lp)?;
    let (polled, entered) = found.take().ok_or_else(|| Failure::new("the callback did not run"))?;
    ensure_is!(polled, Poll::Ready(Err(Error::Usage(_))));
    ensure_is!(entered, Poll::Ready(Err(Error::Usage(_))));
    Ok(())
}

/// Never polled.
async fn dropped_in_vain() {
    panic!("a scope that was refused ran its body");
}

fn left_in_time_it_leaves_no_timer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let task = lp.create_task(async {
        let mut in_time = 0;
        while in_time < 50 {
            let number = in_time;
            // A pause of the process is no reason to fail: those that ran out left no timer either.
            in_time += u64::from(timeout(ms(5 + number), yield_now()).await.is_ok());
            let scope = TimeoutHandle::after(ms(5 + number));
            in_time += u64::from(scope.run(yield_now()).await.is_ok());
            // Given up half-way, without any cancellation.
            let mut given_up = Box::pin(timeout(ms(5 + number), pending::<()>()));
            poll_fn(|cx| Poll::Ready(given_up.as_mut().poll(cx).is_ready())).await;
        }
        let before = sleeps();
        sleep(ms(80)).await;
        Ok::<_, Error>((before, sleeps()))
    })?;
    // A timer that was left behind would wake the loop, or cancel the sleep.
    if let (Some(before), Some(after)) = lp.run_until_done(&task)?? {
        ensure!(after - before < 15, "the loop woke {} times for nothing", after - before);
    }
    Ok(())
}
