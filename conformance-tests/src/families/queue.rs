//! Queues; those whose items use the queue while they are compared are in `queue/meddling`.

mod cancelling;
mod meddling;
mod shutting_down;

use anyloop::queue::{Order, Rejected};
use anyloop::{LifoQueue, PriorityQueue, Queue, create_task};

use self::cancelling::*;
use self::meddling::*;
use self::shutting_down::*;
use super::prelude::*;
use crate::tools::{interleavings, settle_tasks};

cases! {
    QUEUE_01 => first_in_first_out, the_smallest_first, last_in_first_out,
        an_order_that_uses_the_queue, an_order_that_ends_the_queue;
    QUEUE_02 => room_and_items_do_not_suspend;
    QUEUE_03 => without_a_limit_never_full;
    QUEUE_04 => put_looks_again_after_its_wake_up, get_looks_again_after_its_wake_up;
    QUEUE_05 => woken_in_the_order_of_waiting, a_newcomer_may_be_faster_and_nobody_is_forgotten;
    QUEUE_06 => a_cancelled_get_loses_no_item, many_gets_cancelled_at_once,
        a_get_that_loses_a_race_loses_no_item;
    QUEUE_07 => a_cancelled_put_inserts_nothing, many_puts_cancelled_at_once;
    QUEUE_08 => cancelled_waiters_are_forgotten;
    QUEUE_09 => nowait_works_in_callbacks;
    QUEUE_10 => unfinished_counts_up_and_down;
    QUEUE_11 => join_waits_for_the_last_one, a_cancelled_join_concerns_nobody_else;
    QUEUE_12 => after_shutdown_puts_fail_and_gets_drain, every_order_of_shutdown_and_its_rivals;
    QUEUE_13 => immediate_shutdown_discards;
    QUEUE_14 => shutdown_wakes_each_exactly_once;
}

type Got = Task<anyloop::Result<u32>>;
type Put = Task<Result<(), Rejected<u32>>>;

fn getter(queue: &Queue<u32>) -> anyloop::Result<Got> {
    create_task(queue.get())
}

fn putter(queue: &Queue<u32>, item: u32) -> anyloop::Result<Put> {
    create_task(queue.put(item))
}

/// What the task got, if it has ended well.
fn got(task: &Got) -> Option<u32> {
    if task.done() { task.take_result().ok()?.ok() } else { None }
}

/// Everything that is in the queue.
fn drain<T, O: Order<T>>(queue: &Queue<T, O>) -> Vec<T> {
    std::iter::from_fn(|| queue.get_nowait().ok()).collect()
}

fn first_in_first_out(cx: &Context) -> Outcome {
    main(cx, async {
        let queue = Queue::new(0);
        for item in [3, 1, 2] {
            queue.put(item).await?;
        }
        ensure_eq!(queue.get().await?, 3, "the first item");
        queue.put_nowait(0)?;
        ensure_eq!(drain(&queue), [1, 2, 0], "the items");
        Ok(())
    })
}

fn the_smallest_first(cx: &Context) -> Outcome {
    main(cx, async {
        let queue = PriorityQueue::new(0);
        for item in [(3, "c"), (1, "a"), (2, "b"), (1, "a")] {
            queue.put(item).await?;
        }
        ensure_eq!(queue.get().await?, (1, "a"), "the first item");
        queue.put_nowait((0, "new"))?;
        ensure_eq!(drain(&queue), [(0, "new"), (1, "a"), (2, "b"), (3, "c")], "the items");
        Ok(())
    })
}

fn last_in_first_out(cx: &Context) -> Outcome {
    main(cx, async {
        let queue = LifoQueue::new(0);
        for item in [3, 1, 2] {
            queue.put(item).await?;
        }
        ensure_eq!(queue.get().await?, 2, "the first item");
        queue.put_nowait(0)?;
        ensure_eq!(drain(&queue), [0, 1, 3], "the items");
        Ok(())
    })
}

fn room_and_items_do_not_suspend(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let queue = Queue::new(2);
        LoopRef::current()?.call_soon(trace.pusher("next"))?;
        for _ in 0..3 {
            queue.put(1).await?;
            queue.put(2).await?;
            ensure_eq!((queue.get().await?, queue.get().await?), (1, 2), "the items");
        }
        trace.expect([])
    })
}

fn without_a_limit_never_full(cx: &Context) -> Outcome {
    main(cx, async {
        let queue = Queue::new(0);
        for item in 0..1000 {
            queue.put_nowait(item)?;
            ensure!(!queue.full(), "full with {} items", queue.qsize());
        }
        ensure_eq!((queue.qsize(), queue.maxsize(), queue.empty()), (1000, 0, false), "counted");
        let small = Queue::new(1);
        ensure!(!small.full() && small.empty(), "a new queue is full, or not empty");
        small.put_nowait(1)?;
        ensure!(small.full() && !small.empty(), "one of one, and it is not full, or empty");
        Ok(())
    })
}

fn put_looks_again_after_its_wake_up(cx: &Context) -> Outcome {
    main(cx, async {
        let queue = Queue::new(1);
        queue.put_nowait(1)?;
        let put = putter(&queue, 2)?;
        settle_tasks().await;
        ensure!(!put.done(), "put did not wait for room");
        // The room that it was woken for is taken before it runs.
        ensure_eq!(queue.get_nowait()?, 1, "the item");
        queue.put_nowait(3)?;
        settle_tasks().await;
        ensure!(!put.done() && queue.qsize() == 1, "put went over the limit");
        ensure_eq!(queue.get_nowait()?, 3, "the item");
        settle_tasks().await;
        ensure!(put.done(), "put was forgotten");
        ensure_eq!(drain(&queue), [2], "the items");
        Ok(())
    })
}

fn get_looks_again_after_its_wake_up(cx: &Context) -> Outcome {
    main(cx, async {
        let queue = Queue::new(0);
        let get = getter(&queue)?;
        settle_tasks().await;
        queue.put_nowait(1)?;
        ensure_eq!(queue.get_nowait()?, 1, "the item");
        settle_tasks().await;
        ensure!(!get.done(), "get ended without an item");
        queue.put_nowait(2)?;
        ensure_eq!(get.await??, 2, "the item");
        Ok(())
    })
}

fn woken_in_the_order_of_waiting(cx: &Context) -> Outcome {
    main(cx, async {
        let queue = Queue::new(0);
        let getters: Vec<Got> = (0..4).map(|_| getter(&queue)).collect::<anyloop::Result<_>>()?;
        settle_tasks().await;
        for item in 0..4 {
            queue.put_nowait(item)?;
        }
        settle_tasks().await;
        let items: Vec<_> = getters.iter().map(got).collect();
        ensure_eq!(items, (0..4).map(Some).collect::<Vec<_>>(), "what the getters got");

        let queue = Queue::new(1);
        queue.put_nowait(9)?;
        for item in 0..4 {
            putter(&queue, item)?;
        }
        settle_tasks().await;
        let mut items = Vec::new();
        for _ in 0..5 {
            items.push(queue.get_nowait()?);
            settle_tasks().await;
        }
        ensure_eq!(items, [9, 0, 1, 2, 3], "the items, in the order of the puts");
        Ok(())
    })
}

/// Of three getters two are woken, and a newcomer takes an item; whoever found nothing stays ahead of
/// those who came later.
fn a_newcomer_may_be_faster_and_nobody_is_forgotten(cx: &Context) -> Outcome {
    main(cx, async {
        let queue = Queue::new(0);
        let getters: Vec<Got> = (0..3).map(|_| getter(&queue)).collect::<anyloop::Result<_>>()?;
        settle_tasks().await;
        queue.put_nowait(1)?;
        queue.put_nowait(2)?;
        ensure_eq!(queue.get().await?, 1, "what the newcomer found");
        settle_tasks().await;
        let late = getter(&queue)?;
        settle_tasks().await;
        queue.put_nowait(3)?;
        queue.put_nowait(4)?;
        queue.put_nowait(5)?;
        settle_tasks().await;
        let items: Vec<_> = getters.iter().chain([&late]).map(got).collect();
        ensure_eq!(items, [Some(2), Some(3), Some(4), Some(5)], "what the getters got");
        Ok(())
    })
}

fn nowait_works_in_callbacks(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (queue, log) = (Queue::new(1), trace.clone());
    let theirs = queue.clone();
    let get = lp.create_task(queue.get())?;
    run_once(&lp)?;
    lp.call_soon(move || {
        log.push(format!("{:?}", theirs.get_nowait()));
        log.push(format!("{:?}", theirs.put_nowait(1)));
        match theirs.put_nowait(2) {
            Err(Rejected { item, error: Error::QueueFull }) => log.push(format!("full: {item}")),
            other => log.push(format!("{other:?}")),
        }
    })?;
    run_times(&lp, 2)?;
    trace.expect(["Err(QueueEmpty)", "Ok(())", "full: 2"])?;
    ensure_eq!(get.take_result()??, 1, "what the callback put");
    // Outside of every loop, too.
    queue.put_nowait(3)?;
    ensure_eq!(queue.get_nowait()?, 3, "the item");
    Ok(())
}

fn unfinished_counts_up_and_down(cx: &Context) -> Outcome {
    main(cx, async {
        let queue = Queue::new(0);
        ensure_is!(queue.task_done(), Err(Error::InvalidArg(_)));
        queue.put(1).await?;
        queue.put_nowait(2)?;
        ensure_eq!(queue.unfinished(), 2, "after two puts");
        queue.get().await?;
        ensure_eq!(queue.unfinished(), 2, "after a get");
        queue.task_done()?;
        queue.task_done()?;
        ensure_is!(queue.task_done(), Err(Error::InvalidArg(_)));
        ensure_eq!((queue.unfinished(), queue.qsize()), (0, 1), "unfinished, and items");
        queue.put(3).await?;
        ensure_eq!(queue.unfinished(), 1, "after one too many: nothing was broken");
        Ok(())
    })
}

fn join_waits_for_the_last_one(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let queue = Queue::new(0);
        LoopRef::current()?.call_soon(trace.pusher("next"))?;
        queue.join().await?;
        trace.expect([])?;
        queue.put(1).await?;
        queue.put(2).await?;
        let joins: Vec<_> =
            (0..3).map(|_| create_task(queue.join())).collect::<anyloop::Result<_>>()?;
        queue.task_done()?;
        drain(&queue);
        settle_tasks().await;
        ensure!(joins.iter().all(|join| !join.done()), "joined with an item to do");
        queue.task_done()?;
        // Work that comes before they run is no reason to wait again.
        queue.put(3).await?;
        settle_tasks().await;
        for join in joins {
            ensure!(join.done(), "a joiner was forgotten");
            join.take_result()??;
        }
        Ok(())
    })
}

fn a_cancelled_join_concerns_nobody_else(cx: &Context) -> Outcome {
    main(cx, async {
        for way in interleavings::<2>() {
            let queue = Queue::new(0);
            queue.put_nowait(1)?;
            let (one, two) = (create_task(queue.join())?, create_task(queue.join())?);
            yield_now().await;
            way.play(|action| {
                if action == 0 {
                    one.cancel();
                } else {
                    queue.task_done().expect("one is to do");
                }
            })
            .await;
            settle_tasks().await;
            ensure_eq!(one.cancelled(), !way.apart(1, 0), "{way:?}: cancelled");
            ensure!(two.done() && !two.cancelled(), "{way:?}: the other joiner was forgotten");
        }
        Ok(())
    })
}
