//! A `gather` that is cancelled.

use std::future::{Future, pending};
use std::pin::Pin;

use anyloop::{create_task, ensure_future, gather, gather_results};
use anyloop_api::catch_cancel;

use crate::families::prelude::*;
use crate::tools::{Gate, interleavings, settle_tasks};

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
