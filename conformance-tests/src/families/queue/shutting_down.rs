//! The end of a queue.

use std::future::poll_fn;

use anyloop::queue::Rejected;
use anyloop::{Queue, create_task};

use super::{drain, getter, got, putter};
use crate::families::prelude::*;
use crate::tools::{interleavings, settle_tasks};

pub(super) fn after_shutdown_puts_fail_and_gets_drain(cx: &Context) -> Outcome {
    main(cx, async {
        let queue = Queue::new(2);
        queue.put(1).await?;
        queue.put(2).await?;
        let (blocked, join) = (putter(&queue, 3)?, create_task(queue.join())?);
        yield_now().await;
        queue.shutdown(false);
        queue.shutdown(false);
        settle_tasks().await;
        let refused = blocked.take_result()?;
        ensure_is!(&refused, Err(Rejected { item: 3, error: Error::QueueShutDown }));
        let refused = queue.put(4).await;
        ensure_is!(&refused, Err(Rejected { item: 4, error: Error::QueueShutDown }));
        let refused = queue.put_nowait(5);
        ensure_is!(&refused, Err(Rejected { item: 5, error: Error::QueueShutDown }));
        ensure_eq!((queue.get().await?, queue.get_nowait()?), (1, 2), "what was left");
        ensure_is!(queue.get().await, Err(Error::QueueShutDown));
        ensure_is!(queue.get_nowait(), Err(Error::QueueShutDown));
        ensure!(!join.done(), "joined with two items to do");
        queue.task_done()?;
        queue.task_done()?;
        join.await??;
        Ok(())
    })
}

/// A get, its cancellation, a put and the end of the queue, in every order: an item that was put is got
/// or is still there, and nobody hangs.
pub(super) fn every_order_of_shutdown_and_its_rivals(cx: &Context) -> Outcome {
    main(cx, async {
        for way in interleavings::<3>() {
            let queue = Queue::new(0);
            let (one, two) = (getter(&queue)?, getter(&queue)?);
            yield_now().await;
            let mut put = false;
            way.play(|action| match action {
                0 => {
                    one.cancel();
                }
                1 => put = queue.put_nowait(7).is_ok(),
                _ => queue.shutdown(false),
            })
            .await;
            settle_tasks().await;
            ensure_eq!(put, way.before(1, 2), "{way:?}: the put succeeded");
            ensure!(one.done() && two.done(), "{way:?}: somebody still waits");
            let mut found = [got(&one), got(&two)].into_iter().flatten().collect::<Vec<_>>();
            found.extend(drain(&queue));
            ensure_eq!(found.len(), usize::from(put), "{way:?}: items found");
        }
        Ok(())
    })
}

pub(super) fn immediate_shutdown_discards(cx: &Context) -> Outcome {
    main(cx, async {
        let dropped = Counter::new();
        let queue = Queue::new(3);
        for _ in 0..3 {
            queue.put(dropped.token()).await?;
        }
        let taken = queue.get().await?;
        queue.put(dropped.token()).await?;
        let blocked = create_task(queue.put(dropped.token()))?;
        let join = create_task(queue.join())?;
        yield_now().await;
        queue.shutdown(true);
        ensure_eq!(dropped.get(), 3, "items that were dropped");
        ensure_is!(queue.get_nowait(), Err(Error::QueueShutDown));
        ensure_is!(queue.get().await, Err(Error::QueueShutDown));
        settle_tasks().await;
        ensure!(
            matches!(blocked.take_result()?, Err(rejected) if matches!(rejected.error, Error::QueueShutDown)),
            "the blocked put"
        );
        // The one that was taken is still to do.
        ensure_eq!(queue.unfinished(), 1, "unfinished");
        ensure!(!join.done(), "joined with one to do");
        queue.task_done()?;
        join.await??;
        ensure_is!(queue.task_done(), Err(Error::InvalidArg(_)));
        drop(taken);

        // With nothing taken it ends the joiners itself.
        let queue = Queue::new(0);
        queue.put_nowait(1)?;
        let join = create_task(queue.join())?;
        yield_now().await;
        queue.shutdown(false);
        queue.shutdown(true);
        join.await??;
        Ok(())
    })
}

/// Counts how often a future is polled.
pub(super) async fn counted<T>(polls: Counter, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| {
        polls.add();
        future.as_mut().poll(cx)
    })
    .await
}

pub(super) fn shutdown_wakes_each_exactly_once(cx: &Context) -> Outcome {
    main(cx, async {
        for immediate in [false, true] {
            let (gets, puts) = (Counter::new(), Counter::new());
            let (empty, full) = (Queue::<u32>::new(0), Queue::new(1));
            full.put_nowait(1)?;
            let mut getters = Vec::new();
            let mut putters = Vec::new();
            for _ in 0..5 {
                getters.push(create_task(counted(gets.clone(), empty.get()))?);
                putters.push(create_task(counted(puts.clone(), full.put(2)))?);
            }
            settle_tasks().await;
            empty.shutdown(immediate);
            full.shutdown(immediate);
            // Once is enough.
            empty.shutdown(immediate);
            full.shutdown(immediate);
            settle_tasks().await;
            for (get, put) in getters.iter().zip(&putters) {
                ensure_is!(get.take_result()?, Err(Error::QueueShutDown));
                ensure!(put.take_result()?.is_err(), "a put succeeded after the end");
            }
            ensure_eq!((gets.get(), puts.get()), (10, 10), "polls of five getters, and putters");
        }
        Ok(())
    })
}
