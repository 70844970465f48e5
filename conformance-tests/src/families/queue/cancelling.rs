//! Waits that are cancelled or dropped: no item is lost, and nobody is forgotten.

use anyloop::{Queue, create_task};

use super::{Got, Put, drain, getter, got, putter};
use crate::families::prelude::*;
use crate::tools::{Gate, first, interleavings, settle_tasks};

/// Cancelled before, in the same batch as, and after the wake-up.
pub(super) fn a_cancelled_get_loses_no_item(cx: &Context) -> Outcome {
    main(cx, async {
        for way in interleavings::<2>() {
            for second in [false, true] {
                let queue = Queue::new(0);
                let get = getter(&queue)?;
                yield_now().await;
                let next = if second { Some(getter(&queue)?) } else { None };
                yield_now().await;
                way.play(|action| {
                    if action == 0 {
                        get.cancel();
                    } else {
                        queue.put_nowait(7).expect("there is no limit");
                    }
                })
                .await;
                settle_tasks().await;
                let in_time = way.apart(1, 0);
                ensure_eq!(get.cancelled(), !in_time, "{way:?}: cancelled");
                ensure_eq!(got(&get).is_some(), in_time, "{way:?}: the first one got it");
                let passed_on = next.as_ref().and_then(got);
                ensure_eq!(passed_on.is_some(), second && !in_time, "{way:?}: the next got it");
                let left = usize::from(!second && !in_time);
                ensure_eq!(queue.qsize(), left, "{way:?}: items left");
                ensure_eq!(
                    queue.waiters(),
                    (usize::from(second && in_time), 0),
                    "{way:?}: waiters"
                );
            }
        }
        Ok(())
    })
}

/// Any subset of four getters is cancelled together with two puts, before, between or after them.
pub(super) fn many_gets_cancelled_at_once(cx: &Context) -> Outcome {
    main(cx, async {
        for cancelled in 0..16_u32 {
            for puts_before in 0..=2 {
                let queue = Queue::new(0);
                let getters: Vec<Got> =
                    (0..4).map(|_| getter(&queue)).collect::<anyloop::Result<_>>()?;
                yield_now().await;
                for item in 0..puts_before {
                    queue.put_nowait(item)?;
                }
                for (number, get) in getters.iter().enumerate() {
                    if cancelled & (1 << number) != 0 {
                        get.cancel();
                    }
                }
                for item in puts_before..2 {
                    queue.put_nowait(item)?;
                }
                settle_tasks().await;
                let items: Vec<u32> = getters.iter().filter_map(got).collect();
                let survivors = 4 - cancelled.count_ones();
                let expected: Vec<u32> = (0..survivors.min(2)).collect();
                ensure_eq!(items, expected, "{cancelled:04b} cancelled after {puts_before} puts");
                let expected: Vec<u32> = (survivors.min(2)..2).collect();
                ensure_eq!(drain(&queue), expected, "{cancelled:04b} cancelled: left");
            }
        }
        Ok(())
    })
}

/// In Rust a wait can also be dropped without any cancellation.
pub(super) fn a_get_that_loses_a_race_loses_no_item(cx: &Context) -> Outcome {
    main(cx, async {
        for way in interleavings::<2>() {
            let (queue, gate) = (Queue::new(0), Gate::new());
            let (theirs, passed) = (queue.clone(), gate.clone());
            let racer = create_task(async move {
                let wait = async {
                    passed.wait().await;
                    None
                };
                let get = async { theirs.get().await.ok() };
                first(wait, get).await
            })?;
            yield_now().await;
            let next = getter(&queue)?;
            yield_now().await;
            way.play(|action| {
                if action == 0 {
                    gate.open();
                } else {
                    queue.put_nowait(7).expect("there is no limit");
                }
            })
            .await;
            settle_tasks().await;
            let items = [racer.await?, got(&next)];
            let found: Vec<u32> = items.into_iter().flatten().collect();
            ensure_eq!(found, [7], "{way:?}: what was got");
        }
        Ok(())
    })
}

pub(super) fn a_cancelled_put_inserts_nothing(cx: &Context) -> Outcome {
    main(cx, async {
        for way in interleavings::<2>() {
            for second in [false, true] {
                let queue = Queue::new(1);
                queue.put_nowait(0)?;
                let put = putter(&queue, 1)?;
                yield_now().await;
                let next = if second { Some(putter(&queue, 2)?) } else { None };
                yield_now().await;
                way.play(|action| {
                    if action == 0 {
                        put.cancel();
                    } else {
                        queue.get_nowait().expect("there is one");
                    }
                })
                .await;
                settle_tasks().await;
                let in_time = way.apart(1, 0);
                ensure_eq!(put.cancelled(), !in_time, "{way:?}: cancelled");
                let item = match (in_time, second) {
                    (true, _) => vec![1],
                    (false, true) => vec![2],
                    (false, false) => vec![],
                };
                if let Some(next) = next {
                    ensure_eq!(next.done(), !in_time, "{way:?}: the next one is done");
                    ensure_eq!(queue.waiters(), (0, usize::from(in_time)), "{way:?}: waiters");
                    next.cancel();
                    settle_tasks().await;
                }
                ensure_eq!(drain(&queue), item, "{way:?}: the items");
                ensure_eq!(queue.waiters(), (0, 0), "{way:?}: waiters");
            }
        }
        Ok(())
    })
}

pub(super) fn many_puts_cancelled_at_once(cx: &Context) -> Outcome {
    main(cx, async {
        for cancelled in 0..16_u32 {
            for gets_before in 0..=2 {
                let queue = Queue::new(2);
                queue.put_nowait(10)?;
                queue.put_nowait(11)?;
                let putters: Vec<Put> =
                    (0..4).map(|item| putter(&queue, item)).collect::<anyloop::Result<_>>()?;
                yield_now().await;
                for _ in 0..gets_before {
                    queue.get_nowait()?;
                }
                for (number, put) in putters.iter().enumerate() {
                    if cancelled & (1 << number) != 0 {
                        put.cancel();
                    }
                }
                for _ in gets_before..2 {
                    queue.get_nowait()?;
                }
                settle_tasks().await;
                let mut items = Vec::new();
                while let Ok(item) = queue.get_nowait() {
                    items.push(item);
                    settle_tasks().await;
                }
                let expected: Vec<u32> = (0..4).filter(|n| cancelled & (1 << n) == 0).collect();
                ensure_eq!(items, expected, "{cancelled:04b} cancelled after {gets_before} gets");
                ensure_eq!(queue.unfinished(), 2 + expected.len(), "{cancelled:04b}: unfinished");
            }
        }
        Ok(())
    })
}

pub(super) fn cancelled_waiters_are_forgotten(cx: &Context) -> Outcome {
    main(cx, async {
        let dropped = Counter::new();
        let queue = Queue::new(1);
        queue.put(dropped.token()).await?;
        let puts: Vec<_> = (0..100)
            .map(|_| create_task(queue.put(dropped.token())))
            .collect::<anyloop::Result<_>>()?;
        let idle = Queue::<u32>::new(0);
        let gets: Vec<Got> = (0..100).map(|_| getter(&idle)).collect::<anyloop::Result<_>>()?;
        let joins: Vec<_> =
            (0..100).map(|_| create_task(queue.join())).collect::<anyloop::Result<_>>()?;
        settle_tasks().await;
        ensure_eq!((queue.waiters(), idle.waiters()), ((0, 100), (100, 0)), "waiters");
        ensure!(puts.iter().all(|put| put.cancel()), "a put could not be cancelled");
        ensure!(gets.iter().all(|get| get.cancel()), "a get could not be cancelled");
        ensure!(joins.iter().all(|join| join.cancel()), "a join could not be cancelled");
        settle_tasks().await;
        ensure_eq!((queue.waiters(), idle.waiters()), ((0, 0), (0, 0)), "waiters, afterwards");
        ensure_eq!(dropped.get(), 100, "items of cancelled puts that were dropped");
        Ok(())
    })
}
