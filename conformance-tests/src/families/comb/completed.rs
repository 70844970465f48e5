//! `as_completed`.

use anyloop::{AsCompleted, as_completed, create_task};
use anyloop_api::sleep;

use super::{ensure_idle, follows};
use crate::families::prelude::*;
use crate::tools::{interleavings, settle_tasks};

fn futures<const N: usize>() -> anyloop::Result<[LoopFuture<usize>; N]> {
    let lp = LoopRef::current()?;
    Ok(std::array::from_fn(|_| lp.create_future()))
}

/// The values of all that come.
async fn values(mut completed: AsCompleted<LoopFuture<usize>>) -> anyloop::Result<Vec<usize>> {
    let mut values = Vec::new();
    while let Some(future) = completed.next().await {
        values.push(future?.result()?);
    }
    Ok(values)
}

pub(super) fn each_once_the_earliest_first(cx: &Context) -> Outcome {
    main(cx, async {
        let all = futures::<4>()?;
        let twice = all.iter().chain(&all).cloned();
        let completed = as_completed(twice);
        ensure_eq!(completed.left(), 4, "items to come");
        let task = create_task(values(completed))?;
        // Two of them in one batch.
        for numbers in [vec![2], vec![3, 0], vec![1]] {
            yield_now().await;
            for number in numbers {
                all[number].set_result(number)?;
            }
        }
        ensure_eq!(task.await??, [2, 3, 0, 1], "the order");
        // Those that are done come first.
        let all = futures::<3>()?;
        all[1].set_result(1)?;
        let task = create_task(values(as_completed(all.clone())))?;
        yield_now().await;
        all[2].set_result(2)?;
        all[0].set_result(0)?;
        ensure_eq!(task.await??, [1, 2, 0], "the order, with one that was done");
        ensure_eq!(values(as_completed([])).await?, [], "of nothing");
        Ok(())
    })
}

pub(super) fn the_very_tasks_that_were_passed_in(cx: &Context) -> Outcome {
    main(cx, async {
        let slow = create_task(sleep(ms(5)))?;
        let quick = create_task(async {})?;
        let mut completed = as_completed([slow.clone(), quick.clone()]);
        let mut ids = Vec::new();
        while let Some(task) = completed.next().await {
            let task = task?;
            ensure!(task.done(), "an item is not done");
            ids.push(task.id());
        }
        ensure_eq!(ids, [quick.id(), slow.id()], "the tasks");
        // Bare futures are made tasks on the way in.
        let bare = [3, 1].map(|turns| async move {
            for _ in 0..turns {
                yield_now().await;
            }
            turns
        });
        let tasks = bare.into_iter().map(create_task).collect::<anyloop::Result<Vec<_>>>()?;
        let mut completed = as_completed(tasks);
        let mut results = Vec::new();
        while let Some(task) = completed.next().await {
            results.push(task?.result()?);
        }
        ensure_eq!(results, [1, 3], "the results");
        Ok(())
    })
}

pub(super) fn awaitables_in_any_order(cx: &Context) -> Outcome {
    main(cx, async {
        let all = futures::<3>()?;
        let awaitables: Vec<_> = as_completed(all.clone()).awaitables().collect();
        ensure_eq!(awaitables.len(), 3, "awaitables");
        let task = create_task(async move {
            let mut values = Vec::new();
            for awaitable in awaitables.into_iter().rev() {
                values.push(awaitable.await?.result()?);
            }
            Ok::<_, Error>(values)
        })?;
        for number in [1, 2, 0] {
            yield_now().await;
            all[number].set_result(number)?;
        }
        ensure_eq!(task.await??, [1, 2, 0], "the values, as they were completed");
        Ok(())
    })
}

pub(super) fn awaitables_at_once(cx: &Context) -> Outcome {
    main(cx, async {
        let all = futures::<4>()?;
        let tasks = as_completed(all.clone())
            .awaitables()
            .map(|next| create_task(async move { next.await?.result() }))
            .collect::<anyloop::Result<Vec<_>>>()?;
        yield_now().await;
        // One of those who wait gives up; its item goes to the next one.
        tasks[1].cancel();
        for number in [3, 1, 0] {
            all[number].set_result(number)?;
        }
        settle_tasks().await;
        let values: Vec<_> = [0, 2, 3].iter().map(|at| tasks[*at].take_result()).collect();
        for (found, expected) in values.into_iter().zip([3, 1, 0]) {
            ensure_eq!(found??, expected, "the value, in the order of those who wait");
        }
        Ok(())
    })
}

pub(super) fn abandoned_and_resumed(cx: &Context) -> Outcome {
    main(cx, async {
        let all = futures::<4>()?;
        let mut completed = as_completed(all.clone());
        all[2].set_result(2)?;
        let mut found = Vec::new();
        for _ in 0..2 {
            // Nothing comes the second time: the wait is given up.
            if let Ok(next) = anyloop::timeout(ms(2), completed.next()).await {
                found.push(next.ok_or_else(|| Failure::new("it has ended"))??.result()?);
            }
        }
        ensure_eq!(found, [2], "the first ones");
        all[0].set_result(0)?;
        all[3].set_result(3)?;
        settle_tasks().await;
        all[1].set_result(1)?;
        ensure_eq!(values(completed).await?, [0, 3, 1], "the others, later");
        Ok(())
    })
}

pub(super) fn every_order_of_completion_and_abandonment(cx: &Context) -> Outcome {
    main(cx, async {
        for way in interleavings::<3>() {
            let all = futures::<2>()?;
            let completed = Rc::new(RefCell::new(Some(as_completed(all.clone()))));
            let found = Rc::new(RefCell::new(Vec::new()));
            let (theirs, list) = (completed.clone(), found.clone());
            let task = create_task(async move {
                // Gives the rest back when it is cancelled.
                let Some(mut mine) = theirs.take() else { return };
                let collect = async {
                    while let Some(Ok(future)) = mine.next().await {
                        list.borrow_mut().push(future.result().unwrap_or(9));
                    }
                };
                drop(anyloop::catch_cancel(collect).await);
                *theirs.borrow_mut() = Some(mine);
            })?;
            yield_now().await;
            way.play(|action| match action {
                2 => {
                    task.cancel();
                }
                number => all[number].set_result(number).expect("once"),
            })
            .await;
            settle_tasks().await;
            let rest = completed.take().ok_or_else(|| Failure::new("it was not given back"))?;
            let rest = values(rest).await?;
            found.borrow_mut().extend(rest);
            let expected = if way.before(0, 1) { [0, 1] } else { [1, 0] };
            ensure_eq!(*found.borrow(), expected, "{way:?}: the values");
        }
        Ok(())
    })
}

pub(super) fn items_that_come_too_late(cx: &Context) -> Outcome {
    main(cx, async {
        let all = futures::<3>()?;
        all[1].set_result(1)?;
        let begin = Instant::now();
        let mut completed = as_completed(all.clone()).timeout(ms(5))?;
        let first = completed.next().await.ok_or_else(|| Failure::new("it has ended"))??;
        ensure_eq!(first.result()?, 1, "the first one");
        for _ in 0..2 {
            let late = completed.next().await.ok_or_else(|| Failure::new("it has ended"))?;
            ensure_is!(late, Err(Error::TimedOut(_)));
        }
        ensure!(begin.elapsed() >= ms(5), "too late before its time");
        ensure!(completed.next().await.is_none(), "it does not end");
        ensure!(!all[0].done() && !all[2].done(), "the timeout cancelled a future");
        ensure_eq!(all[0].waiters(), 0, "callbacks");
        // What had ended before the deadline and was not fetched is no late item.
        let all = futures::<2>()?;
        let mut completed = as_completed(all.clone()).timeout(ms(1))?;
        all[0].set_result(0)?;
        sleep(ms(5)).await;
        let first = completed.next().await.ok_or_else(|| Failure::new("it has ended"))??;
        ensure_eq!(first.result()?, 0, "what had ended in time");
        let late = completed.next().await.ok_or_else(|| Failure::new("it has ended"))?;
        ensure_is!(late, Err(Error::TimedOut(_)));
        Ok(())
    })
}

pub(super) fn an_unused_timer_is_cancelled(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    lp.run_until_complete(async move {
        for number in 0..50 {
            let future = inner.create_future::<u8>();
            let task = follows(&future)?;
            let mut ends = as_completed([task]).timeout(ms(5 + number))?;
            future.set_result(1)?;
            while ends.next().await.is_some() {}
            let left = inner.dump().timers;
            ensure!(left.is_empty(), "all have ended, and a timer is left: {left:?}");
            // Dropped before its end.
            drop(as_completed([inner.create_future::<u8>()]).timeout(ms(5 + number))?);
        }
        Outcome::Ok(())
    })??;
    ensure_idle(&lp, ms(60))
}

pub(super) fn an_awaitable_takes_one_completion(cx: &Context) -> Outcome {
    main(cx, async {
        let all = futures::<2>()?;
        all[0].set_result(0)?;
        all[1].set_result(1)?;
        let mut completed: Vec<_> = as_completed(all).awaitables().collect();
        ensure_eq!((&mut completed[0]).await?.result()?, 0, "the first one");
        // Polled again by mistake, it leaves the other one its own.
        ensure_is!((&mut completed[0]).await, Err(Error::Usage(_)));
        ensure_eq!((&mut completed[1]).await?.result()?, 1, "the second one");
        ensure_is!((&mut completed[1]).await, Err(Error::Usage(_)));
        Ok(())
    })
}
