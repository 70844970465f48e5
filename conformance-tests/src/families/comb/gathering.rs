//! `gather`.

use std::future::{Future, pending};
use std::pin::Pin;

use anyloop::{create_task, ensure_future, gather, gather_results, gather_vec};
use anyloop_api::{catch_cancel, sleep};

use crate::families::prelude::*;
use crate::tools::{Gate, interleavings, settle_tasks};

/// Ends with `value` when `gate` is opened.
async fn after(gate: Gate, value: u32) -> u32 {
    gate.wait().await;
    value
}

pub(super) fn results_in_the_order_of_the_arguments(cx: &Context) -> Outcome {
    main(cx, async {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let gates = [Gate::new(), Gate::new(), Gate::new()];
            let [a, b, _] = gates.clone();
            let tuple = gather((after(a, 1), async { "two" }, create_task(after(b, 3))?));
            let array = gather([1, 2, 3].map(|n| after(gates[n - 1].clone(), n as u32)));
            let vector = gather_vec((1..=3).map(|n| after(gates[n - 1].clone(), n as u32)));
            for number in order {
                yield_now().await;
                ensure!(!array.done() && !vector.done(), "done too early");
                gates[number].open();
            }
            ensure_eq!(tuple.await?, (1, "two", 3), "of a tuple");
            ensure_eq!(array.await?, [1, 2, 3], "of an array");
            ensure_eq!(vector.await?, [1, 2, 3], "of an iterator");
        }
        Ok(())
    })
}

pub(super) fn nothing_is_gathered_at_once(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        LoopRef::current()?.call_soon(trace.pusher("next"))?;
        let gather_none = gather(Vec::<Task<u8>>::new());
        ensure!(gather_none.done(), "gathering nothing is not done");
        ensure_eq!(gather_none.await?, Vec::<u8>::new(), "of nothing");
        ensure_eq!(gather_results(Vec::<Task<u8>>::new()).await?.len(), 0, "of nothing");
        gather(()).await?;
        trace.expect([])
    })
}

pub(super) fn one_task_in_several_places(cx: &Context) -> Outcome {
    main(cx, async {
        let runs = Counter::new();
        let count = runs.clone();
        let task = create_task(async move {
            yield_now().await;
            count.add()
        })?;
        let other = create_task(async { 7 })?;
        ensure_eq!(gather((&task, &other, &task)).await?, (1, 7, 1), "the results");
        ensure_eq!(gather(vec![&task, &task]).await?, [1, 1], "the results, once more");
        ensure_eq!(runs.get(), 1, "runs");
        Ok(())
    })
}

pub(super) fn the_first_error_ends_it_and_nothing_else(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let trace = cx.trace();
    lp.run_until_complete(async move {
        let (first, second) = (Gate::new(), Gate::new());
        let fails = |gate: &Gate, error: Error| {
            let gate = gate.clone();
            async move {
                gate.wait().await;
                Err::<u32, Error>(error)
            }
        };
        let (log, late) = (trace.clone(), second.clone());
        let goes_on = async move {
            late.wait().await;
            log.push("went on");
            Ok::<u32, Error>(1)
        };
        let panics = {
            let late = second.clone();
            async move {
                late.wait().await;
                panic!("on purpose")
            }
        };
        let all = gather((
            fails(&second, Error::QueueFull),
            fails(&first, Error::QueueEmpty),
            goes_on,
            panics,
        ));
        settle_tasks().await;
        first.open();
        yield_now().await;
        ensure!(all.done(), "not done in the step after the first error");
        ensure_is!(all.await.map(drop), Err(Error::QueueEmpty));
        trace.expect([])?;
        second.open();
        settle_tasks().await;
        trace.expect(["went on"])
    })??;
    // The others' errors count as seen.
    lp.close()?;
    reports.none()
}

pub(super) fn it_leaves_nothing_at_the_others(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let other = lp.create_future::<u8>();
    for _ in 0..10 {
        let fails = lp.create_future::<u8>();
        let task = lp.create_task(gather(vec![fails.clone(), other.clone()]))?;
        run_once(&lp)?;
        ensure_eq!(other.waiters(), 1, "callbacks while it waits");
        fails.set_exception(Error::QueueEmpty)?;
        ensure_is!(lp.run_until_done(&task)?, Err(Error::QueueEmpty));
        ensure_eq!(other.waiters(), 0, "callbacks after its end");
    }
    ensure!(!other.done(), "the other one was cancelled");
    Ok(())
}

pub(super) fn several_errors_in_one_batch(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    lp.run_until_complete(async {
        let lp = LoopRef::current()?;
        for way in interleavings::<2>() {
            let futures = [lp.create_future::<u8>(), lp.create_future::<u8>()];
            let all = gather(futures.to_vec());
            way.play(|number| {
                let error = [Error::QueueEmpty, Error::QueueFull][number].clone();
                futures[number].set_exception(error).expect("once");
            })
            .await;
            let error = all.await;
            if way.before(0, 1) {
                ensure_is!(error, Err(Error::QueueEmpty));
            } else {
                ensure_is!(error, Err(Error::QueueFull));
            }
        }
        Outcome::Ok(())
    })??;
    lp.close()?;
    reports.none()
}

pub(super) fn errors_as_values_once_all_have_ended(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    lp.run_until_complete(async {
        let gate = Gate::new();
        let cancelled = create_task(pending::<()>())?;
        let all = gather_results((
            async { Err::<u8, Error>(Error::QueueEmpty) },
            &cancelled,
            after(gate.clone(), 3),
            async { assert_eq!(1, 2, "on purpose") },
            async { Ok::<u8, Error>(5) },
        ));
        settle_tasks().await;
        cancelled.cancel();
        settle_tasks().await;
        ensure!(!all.done(), "done before the last child");
        gate.open();
        let (failed, cancelled, value, panicked, fine) = all.await?;
        ensure_is!(failed, Err(Error::QueueEmpty));
        ensure_is!(cancelled, Err(Error::Cancelled(_)));
        ensure_is!(panicked, Err(Error::Panicked(_)));
        ensure_eq!((value?, fine?), (3, 5), "the values");
        Outcome::Ok(())
    })??;
    lp.close()?;
    reports.none()
}

pub(super) fn a_child_that_others_cancelled_is_an_error(cx: &Context) -> Outcome {
    main(cx, async {
        let (one, two) = (create_task(pending::<u8>())?, create_task(sleep(FAR))?);
        let sibling = two.clone();
        let all = gather((&one, two));
        yield_now().await;
        one.cancel();
        ensure_is!(all.await, Err(Error::Cancelled(_)));
        // Awaiting it cancelled nobody.
        ensure_eq!(current_task().map(|me| me.cancelling()), Some(0), "requests");
        settle_tasks().await;
        ensure!(!sibling.done() && sibling.cancelling() == 0, "the sibling was cancelled");
        Ok(())
    })
}

/// A child that needs two more iterations when it is cancelled, or refuses.
async fn slow_to_end(gate: Gate, refuses: bool) -> u32 {
    match catch_cancel(pending::<u32>()).await {
        Ok(value) => value,
        Err(cancelled) => {
            gate.wait().await;
            if refuses { 9 } else { cancelled.resume().await }
        }
    }
}

pub(super) fn a_cancelled_gather_ends_with_its_last_child(cx: &Context) -> Outcome {
    main(cx, async {
        let gate = Gate::new();
        let done = create_task(async { 1 })?;
        let quick = create_task(pending::<u32>())?;
        let slow = create_task(slow_to_end(gate.clone(), false))?;
        let (a, b, c) = (done.clone(), quick.clone(), slow.clone());
        let task = create_task(async move { gather((a, b, c)).await })?;
        settle_tasks().await;
        ensure!(task.cancel(), "cancel() says false");
        settle_tasks().await;
        ensure!(quick.cancelled(), "a child was not cancelled");
        ensure!(!task.done(), "the gather ended before its last child");
        ensure_eq!((slow.cancelling(), done.cancelled()), (1, false), "requests, the done one");
        gate.open();
        settle_tasks().await;
        ensure!(slow.cancelled() && task.cancelled(), "not cancelled at the end");
        Ok(())
    })
}

pub(super) fn cancelled_by_its_handle(cx: &Context) -> Outcome {
    main(cx, async {
        let gate = Gate::new();
        let slow = create_task(slow_to_end(gate.clone(), false))?;
        let all = gather((&slow, create_task(pending::<()>())?));
        settle_tasks().await;
        ensure!(all.cancel(), "cancel() says false");
        settle_tasks().await;
        ensure!(!all.done(), "done before its last child");
        gate.open();
        ensure_is!(all.await, Err(Error::Cancelled(_)));
        ensure_eq!(current_task().map(|me| me.cancelling()), Some(0), "requests");
        // Nobody is left who could accept it.
        let done = gather(vec![&slow]);
        ensure!(done.done() && !done.cancel(), "a gather of cancelled children can be cancelled");
        Ok(())
    })
}

pub(super) fn a_gather_that_is_dropped_takes_its_children_along(cx: &Context) -> Outcome {
    main(cx, async {
        let task = create_task(pending::<()>())?;
        let dropped = Counter::new();
        let token = dropped.token();
        let all = gather((task.clone(), async move {
            token.keep();
            pending::<()>().await;
        }));
        settle_tasks().await;
        drop(all);
        settle_tasks().await;
        ensure!(task.cancelled(), "a child goes on though nobody gathers it");
        ensure_eq!(dropped.get(), 1, "bodies that were dropped");
        Ok(())
    })
}

/// A task that gathers a task that gathers a task.
async fn level(depth: usize) -> u8 {
    let Some(next) = depth.checked_sub(1) else { return pending().await };
    let deeper: Pin<Box<dyn Future<Output = u8>>> = Box::pin(level(next));
    gather((deeper,)).await.map_or(1, |(value,)| value)
}

pub(super) fn gathers_may_be_deep(cx: &Context) -> Outcome {
    const DEPTH: usize = 20_000;
    let lp = cx.new_loop()?;
    for dropped in [false, true] {
        let task = lp.create_task(async move {
            let mut all = gather((level(DEPTH),));
            if dropped {
                let _ = catch_cancel(&mut all).await;
                drop(all);
                return pending().await;
            }
            all.await.map_or(1, |(value,)| value)
        })?;
        run_times(&lp, DEPTH + 4)?;
        ensure_eq!(lp.all_tasks().len(), DEPTH + 2, "tasks");
        ensure!(task.cancel(), "cancel() says false");
        run_times(&lp, 2 * DEPTH + 8)?;
        ensure_eq!(lp.all_tasks().len(), usize::from(dropped), "tasks that are left");
        task.cancel();
        run_times(&lp, 2)?;
        ensure!(task.cancelled(), "not cancelled");
    }
    Ok(())
}

pub(super) fn tasks_that_gather_each_other(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for which in 0..3 {
        let slot: Rc<RefCell<Option<Task<()>>>> = Rc::default();
        let theirs = slot.clone();
        let first = lp.create_task(async move {
            let second = theirs.take();
            let _ = gather((second.ok_or(Error::QueueEmpty)?,)).await;
            Ok::<_, Error>(())
        })?;
        let other = first.clone();
        let second = lp.create_task(async move {
            let _ = gather((other,)).await;
        })?;
        slot.replace(Some(second.clone()));
        let third = second.clone();
        let third = lp.create_task(async move { gather((third,)).await.map(drop) })?;
        run_times(&lp, 2)?;
        let accepted = [first.any(), second.any(), third.any()][which].cancel();
        ensure!(accepted, "cancel() says false");
        run_times(&lp, 8)?;
        let done = [first.done(), second.done(), third.done()];
        ensure_eq!(done, [true; 3], "done, when number {which} was cancelled");
    }
    Ok(())
}

/// The second way finds the request there already: the tasks still wait for their children.
pub(super) fn on_two_ways_to_the_same_gather(cx: &Context) -> Outcome {
    main(cx, async {
        let gate = Gate::new();
        let slow = create_task(slow_to_end(gate.clone(), false))?;
        let child = slow.clone();
        let middle = create_task(async move { gather((child,)).await.map(drop) })?;
        let sides = [middle.clone(), middle.clone()]
            .map(|middle| create_task(async move { gather((middle,)).await.map(drop) }));
        let [left, right] = sides;
        let task = create_task(gather((left?, right?)))?;
        settle_tasks().await;
        ensure!(task.cancel(), "cancel() says false");
        settle_tasks().await;
        ensure!(!slow.done() && !middle.done() && !task.done(), "somebody did not wait");
        gate.open();
        settle_tasks().await;
        ensure!(slow.cancelled() && middle.cancelled() && task.cancelled(), "not cancelled");
        Ok(())
    })
}

pub(super) fn a_cancelled_gather_is_cancelled_whatever_its_children_say(cx: &Context) -> Outcome {
    main(cx, async {
        for refuses in [false, true] {
            let gate = Gate::new();
            let slow = create_task(slow_to_end(gate.clone(), refuses))?;
            let child = slow.clone();
            let task = create_task(async move { gather_results((child,)).await.map(drop) })?;
            settle_tasks().await;
            task.cancel();
            settle_tasks().await;
            gate.open();
            settle_tasks().await;
            ensure_eq!(slow.cancelled(), !refuses, "the child was cancelled");
            ensure!(task.cancelled(), "the gather ended with {:?}", task.take_result());
        }
        // Through its handle.
        let all = gather_results((create_task(pending::<()>())?,));
        all.cancel();
        ensure_is!(all.await, Err(Error::Cancelled(_)));
        Ok(())
    })
}

/// The completion of the only child, of one of two, and the cancellation of who gathers them.
pub(super) fn every_order_of_cancel_and_completion(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        for way in interleavings::<2>() {
            for both in [false, true] {
                let (one, two) = (lp.create_future::<u8>(), lp.create_future::<u8>());
                if !both {
                    two.set_result(2)?;
                }
                let (a, b) = (one.clone(), two.clone());
                let task = create_task(async move { gather_results((a, b)).await.map(drop) })?;
                yield_now().await;
                way.play(|action| {
                    if action == 0 {
                        task.cancel();
                    } else {
                        // Cancelled together with the gather, perhaps.
                        one.set_unless_done(Ok(1));
                    }
                })
                .await;
                settle_tasks().await;
                let in_time = !both && way.apart(1, 0);
                ensure_eq!(task.cancelled(), !in_time, "{way:?}, two pending: {both}: cancelled");
                ensure!(task.done(), "{way:?}, two pending: {both}: the gather hangs");
                ensure_eq!(one.cancelled(), way.before(0, 1), "{way:?}: the child is cancelled");
                ensure_eq!(two.cancelled(), both, "{way:?}: the other child is cancelled");
            }
        }
        Ok(())
    })
}

pub(super) fn too_late_to_cancel_it(cx: &Context) -> Outcome {
    main(cx, async {
        let running = create_task(pending::<()>())?;
        let fails = ensure_future(async { Err::<(), Error>(Error::QueueEmpty) })?;
        let all = gather((running.clone(), fails));
        settle_tasks().await;
        ensure!(all.done(), "not done after an error");
        ensure!(!all.cancel(), "a gather that is done accepted a cancellation");
        settle_tasks().await;
        ensure_eq!((running.done(), running.cancelling()), (false, 0), "the child that goes on");
        ensure_is!(all.await, Err(Error::QueueEmpty));
        settle_tasks().await;
        ensure!(!running.done(), "the end of the gather cancelled a child");
        // The same by the task: it is cancelled at the await, and no child with it.
        let all = gather((running.clone(), async { Err::<(), Error>(Error::QueueEmpty) }));
        let task = create_task(all)?;
        yield_now().await;
        task.cancel();
        settle_tasks().await;
        ensure_eq!(running.done(), false, "done");
        running.cancel();
        Ok(())
    })
}

pub(super) fn children_of_two_loops_are_refused(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let (ours, theirs) = (lp.create_future::<u8>(), other.create_future::<u8>());
    let started = Counter::new();
    let count = started.clone();
    lp.run_until_complete(async move {
        let fresh = async move { count.add() };
        ensure_is!(gather((&ours, &theirs, fresh)).await, Err(Error::InvalidArg(_)));
        ensure_is!(gather(vec![theirs.clone(), ours.clone()]).await, Err(Error::InvalidArg(_)));
        settle_tasks().await;
        ensure_eq!(started.get(), 0, "children that were started");
        ensure!(!ours.done() && !theirs.done(), "a future was cancelled by the refusal");
        Ok(())
    })?
}

/// As any future of another loop (FUT-15).
pub(super) fn awaited_on_another_loop_it_is_refused(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let (values, results) =
        (gather((other.create_future::<u8>(),)), gather_results((other.create_future::<u8>(),)));
    ensure_is!(lp.run_until_complete(values)?, Err(Error::Usage(_)));
    ensure_is!(lp.run_until_complete(results)?, Err(Error::Usage(_)));
    Ok(())
}
