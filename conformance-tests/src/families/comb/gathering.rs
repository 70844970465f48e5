//! `gather`.

use std::future::pending;

use anyloop::{create_task, gather, gather_results, gather_vec};
use anyloop_api::sleep;

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
