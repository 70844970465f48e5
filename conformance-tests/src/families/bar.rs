//! Barriers.

use anyloop::{Barrier, create_task};

use super::prelude::*;
use crate::tools::{interleavings, poll_inside, settle_tasks};

cases! {
    BAR_01 => the_last_arrival_frees_all, indices_stay_distinct_after_a_cancel;
    BAR_02 => round_after_round, arrivals_while_draining_make_the_next_round,
        one_that_leaves_while_all_are_woken;
    BAR_03 => a_cancelled_waiter_just_leaves, cancelled_and_released_in_one_batch;
    BAR_04 => reset_breaks_who_waits_now, reset_breaks_who_has_not_left,
        reset_without_waiters_does_nothing;
    BAR_05 => abort_breaks_it_until_reset, abort_breaks_who_has_not_left;
    BAR_06 => nobody_counts_while_it_drains, at_least_one_party;
}

type Waits = Task<anyloop::Result<usize>>;

fn arrive(barrier: &Barrier) -> anyloop::Result<Waits> {
    let barrier = barrier.clone();
    create_task(async move { barrier.wait().await })
}

fn indices(tasks: &[Waits]) -> Result<Vec<usize>, Failure> {
    let mut indices = Vec::new();
    for task in tasks {
        indices.push(task.take_result()??);
    }
    Ok(indices)
}

fn the_last_arrival_frees_all(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let barrier = Barrier::new(3)?;
        let tasks = [arrive(&barrier)?, arrive(&barrier)?];
        settle_tasks().await;
        ensure!(tasks.iter().all(|task| !task.done()), "released before the last one came");
        ensure_eq!((barrier.n_waiting(), barrier.parties()), (2, 3), "waiting, of");
        // The last one does not suspend.
        LoopRef::current()?.call_soon(trace.pusher("next"))?;
        let last = barrier.wait().await?;
        trace.expect([])?;
        yield_now().await;
        let mut all = indices(&tasks)?;
        all.push(last);
        all.sort_unstable();
        ensure_eq!(all, [0, 1, 2], "the indices");
        ensure_eq!(Barrier::new(1)?.wait().await?, 0, "alone");
        Ok(())
    })
}

fn indices_stay_distinct_after_a_cancel(cx: &Context) -> Outcome {
    main(cx, async {
        for leaves in 0..3 {
            let barrier = Barrier::new(4)?;
            let mut tasks = Vec::new();
            for _ in 0..3 {
                tasks.push(arrive(&barrier)?);
            }
            settle_tasks().await;
            tasks.remove(leaves).cancel();
            settle_tasks().await;
            tasks.push(arrive(&barrier)?);
            tasks.push(arrive(&barrier)?);
            settle_tasks().await;
            let mut all = indices(&tasks)?;
            all.sort_unstable();
            ensure_eq!(all, [0, 1, 2, 3], "the indices after waiter {leaves} had left");
        }
        Ok(())
    })
}

fn round_after_round(cx: &Context) -> Outcome {
    main(cx, async {
        let barrier = Barrier::new(3)?;
        let rounds = Rc::new(RefCell::new(Vec::new()));
        let mut tasks = Vec::new();
        for _ in 0..3 {
            let (barrier, rounds) = (barrier.clone(), rounds.clone());
            tasks.push(create_task(async move {
                for round in 0..10 {
                    barrier.wait().await?;
                    rounds.borrow_mut().push(round);
                }
                anyloop::Result::<()>::Ok(())
            })?);
        }
        for task in tasks {
            task.await??;
        }
        let expected: Vec<i32> = (0..10).flat_map(|round| [round; 3]).collect();
        ensure_eq!(*rounds.borrow(), expected, "the rounds, in the order in which they were left");
        Ok(())
    })
}

fn arrivals_while_draining_make_the_next_round(cx: &Context) -> Outcome {
    main(cx, async {
        // So many come while the first round drains; two make a round.
        for newcomers in 0..6 {
            let barrier = Barrier::new(2)?;
            let early = arrive(&barrier)?;
            yield_now().await;
            let last = barrier.wait().await?;
            // Released, and has not left.
            let mut tasks = Vec::new();
            let mut waits: Vec<_> = (0..newcomers).map(|_| Box::pin(barrier.wait())).collect();
            let polled = std::future::poll_fn(|cx| {
                let mut ready = 0;
                for wait in &mut waits {
                    ready += usize::from(wait.as_mut().poll(cx).is_ready());
                }
                std::task::Poll::Ready(ready)
            });
            ensure_eq!(polled.await, 0, "newcomers that passed a barrier which drains");
            ensure!(!early.done(), "the first one has left already");
            for wait in waits {
                tasks.push(create_task(wait)?);
            }
            settle_tasks().await;
            settle_tasks().await;
            ensure_eq!(early.take_result()?? + last, 1, "the first round");
            let passed = tasks.iter().filter(|task| task.done()).count();
            ensure_eq!(passed, newcomers / 2 * 2, "of {newcomers} newcomers so many passed");
            ensure_eq!(barrier.n_waiting(), newcomers % 2, "waiting, of {newcomers} newcomers");
            barrier.reset();
            settle_tasks().await;
        }
        Ok(())
    })
}

fn a_cancelled_waiter_just_leaves(cx: &Context) -> Outcome {
    main(cx, async {
        let barrier = Barrier::new(3)?;
        let (first, second) = (arrive(&barrier)?, arrive(&barrier)?);
        settle_tasks().await;
        first.cancel();
        settle_tasks().await;
        ensure!(first.cancelled(), "the waiter was not cancelled");
        ensure_eq!(barrier.n_waiting(), 1, "waiting");
        let third = arrive(&barrier)?;
        settle_tasks().await;
        ensure!(!second.done() && !third.done(), "two of three passed");
        let fourth = arrive(&barrier)?;
        settle_tasks().await;
        indices(&[second, third, fourth])?;
        ensure!(!barrier.broken(), "a cancellation broke the barrier");
        Ok(())
    })
}

fn cancelled_and_released_in_one_batch(cx: &Context) -> Outcome {
    main(cx, async {
        for way in interleavings::<2>() {
            let barrier = Barrier::new(3)?;
            let (first, second) = (arrive(&barrier)?, arrive(&barrier)?);
            yield_now().await;
            let mut last = Box::pin(barrier.wait());
            let mut passed = false;
            way.play(|action| {
                if action == 0 {
                    first.cancel();
                } else {
                    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                    passed = last.as_mut().poll(&mut cx).is_ready();
                }
            })
            .await;
            settle_tasks().await;
            // A request alone does not make a waiter leave: it leaves in its next step.
            let left_before = way.apart(0, 1);
            ensure_eq!(passed, !left_before, "{way:?}: the last one passed");
            ensure_eq!(second.done(), passed, "{way:?}: the second one passed");
            ensure_eq!(first.cancelled(), !way.apart(1, 0), "{way:?}: the first was cancelled");
            // Whatever happened, the next round is whole.
            barrier.reset();
            settle_tasks().await;
            drop(last);
            let next = [arrive(&barrier)?, arrive(&barrier)?, arrive(&barrier)?];
            settle_tasks().await;
            indices(&next)?;
        }
        Ok(())
    })
}

fn reset_breaks_who_waits_now(cx: &Context) -> Outcome {
    main(cx, async {
        let barrier = Barrier::new(3)?;
        let (first, second) = (arrive(&barrier)?, arrive(&barrier)?);
        settle_tasks().await;
        barrier.reset();
        let after = arrive(&barrier)?;
        settle_tasks().await;
        ensure_is!(first.take_result()?, Err(Error::BrokenBarrier));
        ensure_is!(second.take_result()?, Err(Error::BrokenBarrier));
        ensure!(!after.done() && !barrier.broken(), "who came after the reset is concerned by it");
        let rest = [after, arrive(&barrier)?, arrive(&barrier)?];
        settle_tasks().await;
        indices(&rest)?;
        Ok(())
    })
}

/// As in asyncio; the round of those who came meanwhile is whole.
fn reset_breaks_who_has_not_left(cx: &Context) -> Outcome {
    main(cx, async {
        let barrier = Barrier::new(3)?;
        let early = [arrive(&barrier)?, arrive(&barrier)?];
        settle_tasks().await;
        ensure_eq!(barrier.wait().await?, 2, "the index of the last one");
        let mut next = vec![arrive(&barrier)?];
        barrier.reset();
        settle_tasks().await;
        for task in early {
            ensure_is!(task.take_result()?, Err(Error::BrokenBarrier));
        }
        ensure!(!next[0].done() && !barrier.broken(), "who is not of the round is concerned by it");
        next.extend([arrive(&barrier)?, arrive(&barrier)?]);
        settle_tasks().await;
        ensure_eq!(indices(&next)?, [0, 1, 2], "the indices of the next round");
        Ok(())
    })
}

fn abort_breaks_who_has_not_left(cx: &Context) -> Outcome {
    main(cx, async {
        let barrier = Barrier::new(2)?;
        let early = arrive(&barrier)?;
        settle_tasks().await;
        barrier.wait().await?;
        let next = arrive(&barrier)?;
        yield_now().await;
        ensure!(early.done() && !next.done(), "the first round has left, the second has begun");
        early.take_result()??;
        let last = barrier.wait().await?;
        barrier.abort();
        settle_tasks().await;
        ensure_eq!(last, 1, "the index of the last one");
        ensure_is!(next.take_result()?, Err(Error::BrokenBarrier));
        barrier.reset();
        let waiter = arrive(&barrier)?;
        settle_tasks().await;
        barrier.wait().await?;
        settle_tasks().await;
        indices(&[waiter])?;
        Ok(())
    })
}

fn reset_without_waiters_does_nothing(cx: &Context) -> Outcome {
    main(cx, async {
        let barrier = Barrier::new(2)?;
        barrier.reset();
        let early = arrive(&barrier)?;
        yield_now().await;
        barrier.wait().await?;
        settle_tasks().await;
        barrier.reset();
        indices(&[early])?;
        Ok(())
    })
}

fn abort_breaks_it_until_reset(cx: &Context) -> Outcome {
    main(cx, async {
        let barrier = Barrier::new(2)?;
        let waiter = arrive(&barrier)?;
        settle_tasks().await;
        barrier.abort();
        ensure!(barrier.broken(), "an aborted barrier is not broken");
        settle_tasks().await;
        ensure_is!(waiter.take_result()?, Err(Error::BrokenBarrier));
        ensure_is!(barrier.wait().await, Err(Error::BrokenBarrier));
        ensure_is!(barrier.wait().await, Err(Error::BrokenBarrier));
        barrier.reset();
        ensure!(!barrier.broken(), "a barrier is broken after the reset");
        let waiter = arrive(&barrier)?;
        yield_now().await;
        barrier.wait().await?;
        yield_now().await;
        indices(&[waiter])?;
        Ok(())
    })
}

fn nobody_counts_while_it_drains(cx: &Context) -> Outcome {
    main(cx, async {
        let barrier = Barrier::new(3)?;
        let early = [arrive(&barrier)?, arrive(&barrier)?];
        yield_now().await;
        barrier.wait().await?;
        ensure_eq!(barrier.n_waiting(), 0, "waiting, while two have not left");
        let next = arrive(&barrier)?;
        ensure_eq!(barrier.n_waiting(), 0, "waiting, while two have not left");
        settle_tasks().await;
        indices(&early)?;
        ensure_eq!((barrier.n_waiting(), next.done()), (1, false), "waiting, afterwards");
        Ok(())
    })
}

fn at_least_one_party(_: &Context) -> Outcome {
    ensure_is!(Barrier::new(0), Err(Error::InvalidArg(_)));
    Ok(())
}

/// A waker that does not put off what it is for: it drops another of those who are being released.
fn one_that_leaves_while_all_are_woken(cx: &Context) -> Outcome {
    main(cx, async {
        let barrier = Barrier::new(3)?;
        let other = Rc::new(Cell::new(None));
        let (mine, leaves) = (barrier.clone(), other.clone());
        poll_inside(async move {
            drop(mine.wait().await);
            drop(leaves.take());
        });
        let mut second = barrier.wait();
        let mut noop = std::task::Context::from_waker(std::task::Waker::noop());
        ensure!(std::pin::Pin::new(&mut second).poll(&mut noop).is_pending(), "it is the second");
        other.set(Some(second));
        ensure_eq!(barrier.wait().await?, 2, "the index of the last one");
        // The next round is not held up.
        let theirs = barrier.clone();
        let round = create_task(async move {
            anyloop::gather([theirs.wait(), theirs.wait(), theirs.wait()]).await
        })?;
        settle_tasks().await;
        ensure!(round.done(), "the barrier drains for ever: {barrier:?}");
        round.await??;
        Ok(())
    })
}
