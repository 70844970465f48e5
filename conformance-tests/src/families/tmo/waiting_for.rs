//! `wait_for`.

use std::future::pending;

use anyloop::{create_task, ensure_future, wait_for};
use anyloop_api::{ContextVar, catch_cancel, shield, sleep};

use super::requests;
use crate::families::prelude::*;
use crate::tools::{Gate, interleavings, settle_tasks};

pub(super) fn no_limit_is_a_plain_await(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        LoopRef::current()?.call_soon(trace.pusher("next"))?;
        ensure_eq!(wait_for(async { 7 }, None).await?, 7, "the value of a future");
        trace.expect([])?;
        ensure_eq!(wait_for(create_task(async { 8 })?, None).await?, 8, "the value of a task");
        let failed = wait_for(async { Err::<(), _>(Error::QueueEmpty) }, None).await;
        ensure_is!(failed, Err(Error::QueueEmpty));
        Ok(())
    })
}

async fn count(polls: Counter) -> usize {
    polls.add()
}

pub(super) fn no_time_for_what_is_done_and_what_is_not(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        let future = lp.create_future();
        future.set_result(7)?;
        let task = create_task(async { 8 })?;
        let fails = ensure_future(async { Err::<(), Error>(Error::QueueEmpty) })?;
        let gone = create_task(pending::<()>())?;
        gone.cancel();
        yield_now().await;
        ensure_eq!(wait_for(future, Duration::ZERO).await?, 7, "a future that is done");
        ensure_eq!(wait_for(&task, Duration::ZERO).await?, 8, "a task that is done");
        ensure_is!(wait_for(fails, Duration::ZERO).await, Err(Error::QueueEmpty));
        ensure_is!(wait_for(gone, Duration::ZERO).await, Err(Error::Cancelled(_)));
        // Not done: cancelled, and waited for.
        let trace = crate::tools::Trace::new();
        let log = trace.clone();
        let slow = create_task(async move {
            let Err(cancelled) = catch_cancel(pending::<()>()).await else { return };
            yield_now().await;
            yield_now().await;
            log.push("cleaned up");
            cancelled.resume().await
        })?;
        let future = lp.create_future::<()>();
        yield_now().await;
        ensure_is!(wait_for(&slow, Duration::ZERO).await, Err(Error::TimedOut(_)));
        trace.expect(["cleaned up"])?;
        ensure!(slow.cancelled(), "the task was not cancelled");
        ensure_is!(wait_for(future.clone(), Duration::ZERO).await, Err(Error::TimedOut(_)));
        ensure!(future.cancelled(), "the future was not cancelled");
        // Never started.
        let started = Counter::new();
        let bare = wait_for(count(started.clone()), Duration::ZERO);
        ensure_is!(bare.await, Err(Error::TimedOut(_)));
        ensure_eq!(started.get(), 0, "bare futures that were started");
        ensure_eq!(requests(), 0, "requests");
        Ok(())
    })
}

pub(super) fn the_work_has_really_ended(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        for bare in [false, true] {
            let log = trace.clone();
            let work = async move {
                let Err(cancelled) = catch_cancel(sleep(FAR)).await else { return };
                // Longer than the limit.
                sleep(ms(10)).await;
                log.push("cleaned up");
                cancelled.resume().await
            };
            let late = if bare {
                wait_for(work, ms(1)).await
            } else {
                wait_for(create_task(work)?, ms(1)).await
            };
            ensure_is!(late, Err(Error::TimedOut(_)));
            trace.expect(["cleaned up"])?;
        }
        Ok(())
    })
}

pub(super) fn the_work_answers_with_a_value_or_an_error(cx: &Context) -> Outcome {
    main(cx, async {
        for limit in [Duration::ZERO, ms(1)] {
            let value = create_task(async {
                drop(catch_cancel(sleep(FAR)).await);
                7
            })?;
            let error = ensure_future(async {
                drop(catch_cancel(sleep(FAR)).await);
                yield_now().await;
                Err::<(), Error>(Error::QueueEmpty)
            })?;
            yield_now().await;
            ensure_eq!(wait_for(value, limit).await?, 7, "the value");
            ensure_is!(wait_for(error, limit).await, Err(Error::QueueEmpty));
            ensure_eq!(requests(), 0, "requests");
        }
        let bare = async {
            drop(catch_cancel(sleep(FAR)).await);
            Err::<(), Error>(Error::QueueEmpty)
        };
        ensure_is!(wait_for(bare, ms(1)).await, Err(Error::QueueEmpty));
        // What is left of the request does not strike later.
        sleep(ms(2)).await;
        Ok(())
    })
}

pub(super) fn the_work_says_that_it_was_cancelled(cx: &Context) -> Outcome {
    // Lets the cancellation through by its output, after a clean-up that one more ends early.
    async fn work() -> Result<(), Error> {
        let cancelled = catch_cancel(sleep(FAR)).await;
        drop(catch_cancel(sleep(ms(5))).await);
        Ok(cancelled?)
    }
    main(cx, async {
        ensure_is!(wait_for(work(), ms(1)).await, Err(Error::TimedOut(_)));
        let task = create_task(work())?;
        ensure_is!(wait_for(&task, ms(1)).await, Err(Error::TimedOut(_)));
        ensure!(task.cancelled(), "the task was not cancelled");
        ensure_eq!(requests(), 0, "requests");
        // Nobody's time was over.
        let gone = LoopRef::current()?.create_future::<()>();
        gone.cancel();
        ensure_is!(wait_for(gone, FAR).await, Err(Error::Cancelled(_)));
        // A request from outside is not the timeout's.
        let caller = create_task(async { wait_for(work(), ms(1)).await })?;
        sleep(ms(3)).await;
        caller.cancel();
        ensure_is!(caller.await, Err(Error::Cancelled(_)));
        Ok(())
    })
}

pub(super) fn every_order_of_cancelling_the_caller_and_completion(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        for way in interleavings::<2>() {
            for limit in [None, Some(FAR)] {
                let work = lp.create_future::<u8>();
                let theirs = work.clone();
                let caller = create_task(async move { wait_for(theirs, limit).await })?;
                yield_now().await;
                way.play(|action| {
                    if action == 0 {
                        caller.cancel();
                    } else {
                        work.set_unless_done(Ok(7));
                    }
                })
                .await;
                settle_tasks().await;
                let in_time = way.apart(1, 0);
                ensure_eq!(caller.cancelled(), !in_time, "{way:?}, {limit:?}: cancelled");
                if in_time {
                    ensure_eq!(caller.take_result()??, 7, "{way:?}, {limit:?}: the value");
                } else if way.before(1, 0) {
                    ensure_eq!(work.result()?, 7, "{way:?}, {limit:?}: the value, in the future");
                } else {
                    ensure!(work.cancelled(), "{way:?}, {limit:?}: the work was not cancelled");
                }
            }
        }
        Ok(())
    })
}

pub(super) fn the_callers_cancellation_is_forwarded(cx: &Context) -> Outcome {
    main(cx, async {
        for refuses in [false, true] {
            let gate = Gate::new();
            let passed = gate.clone();
            let work = create_task(async move {
                let Err(cancelled) = catch_cancel(pending::<u8>()).await else { return 0 };
                passed.wait().await;
                if refuses { 7 } else { cancelled.resume().await }
            })?;
            let theirs = work.clone();
            let caller = create_task(async move { wait_for(theirs, FAR).await })?;
            settle_tasks().await;
            caller.cancel();
            settle_tasks().await;
            ensure_eq!((work.cancelling(), caller.done()), (1, false), "requests, caller done");
            gate.open();
            settle_tasks().await;
            ensure_eq!(work.cancelled(), !refuses, "the work was cancelled");
            // Work that swallows it gives its value, as any task that is awaited (CANCEL-06).
            ensure_eq!(caller.cancelled(), !refuses, "the caller was cancelled");
            ensure_eq!(caller.cancelling(), 1, "requests of the caller");
        }
        Ok(())
    })
}

pub(super) fn resumed_before_the_deadline_fires(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let work = lp.create_future();
    let theirs = work.clone();
    let caller = lp.create_task(async move { wait_for(theirs, ms(100)).await })?;
    run_once(&lp)?;
    // Queued before the timer, which is due by the next poll.
    lp.call_soon(move || {
        work.set_result(7).expect("it is pending");
        block_for(ms(105));
    })?;
    run_times(&lp, 2)?;
    ensure!(caller.done(), "not resumed");
    ensure_eq!(caller.take_result()??, 7, "the value");
    Ok(())
}

pub(super) fn in_one_batch_no_value_is_lost(cx: &Context) -> Outcome {
    for completed_first in [false, true] {
        for is_task in [false, true] {
            let lp = cx.new_loop()?;
            let gate = lp.create_future();
            let source = gate.clone();
            let work = lp.create_task(async move {
                // Its value is not lost to a cancellation.
                drop(catch_cancel(pending::<()>()).await);
                7_u8
            })?;
            run_once(&lp)?;
            // Not within the next iteration, also if that is held up for a while.
            let when = lp.time() + ms(20);
            let complete = move || drop(source.set_result(7_u8));
            let limit = when - lp.time();
            let waits = |gate: LoopFuture<u8>, work: Task<u8>| async move {
                if is_task { wait_for(&work, limit).await } else { wait_for(gate, limit).await }
            };
            let caller = lp.create_task(waits(gate.clone(), work.clone()))?;
            run_once(&lp)?;
            // The limit runs from the first step of the caller, which is between then and now.
            let earlier = if completed_first { when - ms(1) } else { lp.time() + limit + ms(1) };
            lp.call_at(earlier, complete)?;
            // Both are due by the next poll, in the order of their deadlines.
            block_for(ms(25));
            run_times(&lp, 6)?;
            ensure!(caller.done(), "the caller hangs");
            match caller.take_result()? {
                Ok(value) => ensure_eq!(value, 7, "the value"),
                Err(Error::TimedOut(_)) if is_task => ensure_eq!(work.result()?, 7, "the value"),
                Err(Error::TimedOut(_)) if completed_first => {
                    ensure_eq!(gate.result()?, 7, "the value, in the future");
                }
                Err(Error::TimedOut(_)) => {
                    ensure!(gate.cancelled(), "what was waited for is not cancelled")
                }
                Err(other) => return Err(other.into()),
            }
        }
    }
    Ok(())
}

pub(super) fn a_shield_stays_whole(cx: &Context) -> Outcome {
    main(cx, async {
        let gate = Gate::new();
        let passed = gate.clone();
        let work = create_task(async move {
            passed.wait().await;
            7
        })?;
        for limit in [Duration::ZERO, ms(1)] {
            ensure_is!(wait_for(shield(work.clone()), limit).await, Err(Error::TimedOut(_)));
            ensure_eq!((work.done(), work.cancelling()), (false, 0), "done, requests");
        }
        gate.open();
        ensure_eq!(wait_for(shield(work), FAR).await?, 7, "the value");
        Ok(())
    })
}

pub(super) fn a_bare_future_runs_in_the_callers_task(cx: &Context) -> Outcome {
    main(cx, async {
        let var = ContextVar::new("var");
        let theirs = var.clone();
        let me = current_task().map(|task| task.id());
        var.set(1);
        let work = async move {
            yield_now().await;
            theirs.set(2);
            current_task().map(|task| task.id())
        };
        ensure_eq!(wait_for(work, FAR).await?, me, "the task");
        ensure_eq!(var.get(), Some(2), "the variable");
        Ok(())
    })
}

pub(super) fn no_time_for_a_shield(cx: &Context) -> Outcome {
    main(cx, async {
        let future = LoopRef::current()?.create_future();
        future.set_result(7)?;
        let task = create_task(async { 8 })?;
        let fails = ensure_future(async { Err::<(), Error>(Error::QueueEmpty) })?;
        let slow = create_task(pending::<()>())?;
        yield_now().await;
        ensure_eq!(wait_for(shield(future), Duration::ZERO).await?, 7, "a future that is done");
        ensure_eq!(wait_for(shield(task), Duration::ZERO).await?, 8, "a task that is done");
        ensure_is!(wait_for(shield(fails), Duration::ZERO).await, Err(Error::QueueEmpty));
        // Not done: it stays whole.
        let late = wait_for(shield(slow.clone()), Duration::ZERO).await;
        ensure_is!(late, Err(Error::TimedOut(_)));
        settle_tasks().await;
        ensure!(!slow.done() && slow.cancelling() == 0, "the shielded task was cancelled");
        Ok(())
    })
}

pub(super) fn no_time_for_a_task_of_any_output(cx: &Context) -> Outcome {
    main(cx, async {
        let done = create_task(async { 7 })?;
        let slow = create_task(pending::<u8>())?;
        let stubborn = create_task(async { catch_cancel(pending::<u8>()).await.unwrap_or(8) })?;
        yield_now().await;
        ensure_is!(wait_for(done.any(), Duration::ZERO).await, Ok(()));
        ensure_is!(wait_for(slow.any(), Duration::ZERO).await, Err(Error::TimedOut(_)));
        ensure!(slow.cancelled(), "the task was not cancelled");
        // It answers with a value.
        ensure_is!(wait_for(stubborn.any(), Duration::ZERO).await, Ok(()));
        ensure_eq!(stubborn.result()?, 8, "the answer");
        ensure_eq!(requests(), 0, "requests");
        Ok(())
    })
}
