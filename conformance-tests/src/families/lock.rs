//! Locks, and what all primitives have in common.

mod cancelling;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

use anyloop::{
    Barrier, Condition, Event, Lock, PriorityQueue, Queue, Semaphore, create_task, timeout,
};

use self::cancelling::*;
use super::prelude::*;
use crate::tools::settle_tasks;

cases! {
    LOCK_01 => a_free_lock_does_not_suspend;
    LOCK_02 => waiters_are_served_in_order, nobody_overtakes_a_woken_one,
        whoever_polled_last_is_woken;
    LOCK_03 => release_wakes_one, releasing_a_free_lock_is_an_error;
    LOCK_04 => another_task_may_release;
    LOCK_05 => a_cancelled_waiter_leaves_no_trace, also_when_it_merely_loses_a_race;
    LOCK_06 => cancel_and_release_grant_it_to_exactly_one_other;
    LOCK_07 => the_guard_releases_on_every_way_out, a_guard_releases_only_its_own;
    LOCK_08 => another_loop_is_refused, without_waiting_any_loop_will_do;
}

fn a_free_lock_does_not_suspend(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    lp.create_task(async move {
        let lock = Lock::new();
        for _ in 0..3 {
            lock.acquire().await?;
            ensure!(lock.locked(), "an acquired lock is not locked");
            lock.release()?;
            drop(lock.lock().await?);
            ensure!(!lock.locked(), "a lock is locked without its guard");
        }
        log.push("task");
        Outcome::Ok(())
    })?;
    lp.call_soon(trace.pusher("next"))?;
    run_once(&lp)?;
    trace.expect(["task", "next"])
}

/// A wait may move from one task to another, or from one branch of it.
fn whoever_polled_last_is_woken(cx: &Context) -> Outcome {
    type Wait = Pin<Box<dyn Future<Output = anyloop::Result<()>>>>;
    main(cx, async move {
        let (lock, semaphore, event) = (Lock::new(), Semaphore::new(1), Event::new());
        lock.acquire().await?;
        semaphore.acquire().await?;
        let (theirs, its, happens) = (lock.clone(), semaphore.clone(), event.clone());
        let waits: [(Wait, Box<dyn FnOnce()>); 3] = [
            (
                Box::pin(async move { theirs.acquire().await }),
                Box::new(move || drop(lock.release())),
            ),
            (
                Box::pin(async move { its.acquire().await }),
                Box::new(move || drop(semaphore.release())),
            ),
            (Box::pin(async move { happens.wait().await }), Box::new(move || event.set())),
        ];
        for (mut wait, end) in waits {
            let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
            ensure!(wait.as_mut().poll(&mut nobody).is_pending(), "it does not wait");
            LoopRef::current()?.call_soon(end)?;
            wait.await?;
        }
        Ok(())
    })
}

/// A task that takes the lock, says so, and gives it back an iteration later.
fn user(lock: &Lock, name: &'static str, log: &crate::tools::Trace) -> anyloop::Result<Task<()>> {
    let (lock, log) = (lock.clone(), log.clone());
    create_task(async move {
        if let Ok(_guard) = lock.lock().await {
            log.push(name);
            yield_now().await;
        }
    })
}

fn waiters_are_served_in_order(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let lock = Lock::new();
        lock.acquire().await?;
        for name in ["a", "b", "c", "d"] {
            user(&lock, name, &trace)?;
        }
        settle_tasks().await;
        trace.expect([])?;
        ensure_eq!(lock.waiters(), 4, "waiters");
        lock.release()?;
        settle_tasks().await;
        settle_tasks().await;
        trace.expect(["a", "b", "c", "d"])
    })
}

fn nobody_overtakes_a_woken_one(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let lock = Lock::new();
        lock.acquire().await?;
        user(&lock, "waiter", &trace)?;
        yield_now().await;
        lock.release()?;
        // The waiter has been woken and has not run: the lock looks free.
        ensure!(!lock.locked(), "the lock is locked before the woken waiter ran");
        ensure!(lock.try_lock().is_none(), "a newcomer was faster than a woken waiter");
        let log = trace.clone();
        lock.acquire().await?;
        log.push("newcomer");
        lock.release()?;
        trace.expect(["waiter", "newcomer"])
    })
}

fn release_wakes_one(cx: &Context) -> Outcome {
    main(cx, async {
        let lock = Lock::new();
        lock.acquire().await?;
        let taken = Rc::new(Cell::new(0));
        for _ in 0..3 {
            let (lock, taken) = (lock.clone(), taken.clone());
            create_task(async move { lock.acquire().await.map(|()| taken.set(taken.get() + 1)) })?;
        }
        settle_tasks().await;
        for round in 1..=3 {
            lock.release()?;
            // Twice is once too often, also before the woken one has run.
            ensure_is!(lock.release(), Err(Error::Usage(_)));
            settle_tasks().await;
            ensure_eq!(taken.get(), round, "tasks that got the lock");
            ensure!(lock.locked(), "the lock is free though somebody got it");
        }
        Ok(())
    })
}

fn releasing_a_free_lock_is_an_error(cx: &Context) -> Outcome {
    main(cx, async {
        let lock = Lock::new();
        ensure_is!(lock.release(), Err(Error::Usage(_)));
        lock.acquire().await?;
        lock.release()?;
        ensure_is!(lock.release(), Err(Error::Usage(_)));
        // Nothing was broken by that.
        lock.acquire().await?;
        ensure!(lock.locked(), "a lock that was acquired is not locked");
        Ok(())
    })
}

fn another_task_may_release(cx: &Context) -> Outcome {
    main(cx, async {
        let lock = Lock::new();
        lock.acquire().await?;
        let theirs = lock.clone();
        create_task(async move { theirs.release() })?.await??;
        ensure!(!lock.locked(), "another task's release had no effect");
        // A guard may go to another task as well.
        let guard = lock.lock().await?;
        create_task(async move { drop(guard) })?.await?;
        ensure!(!lock.locked(), "another task dropped the guard, and the lock is held");
        Ok(())
    })
}

fn the_guard_releases_on_every_way_out(cx: &Context) -> Outcome {
    main(cx, async {
        let lock = Lock::new();
        let value = create_task({
            let lock = lock.clone();
            async move { lock.lock().await.map(|_guard| 1) }
        })?;
        value.await??;
        ensure!(!lock.locked(), "locked after a value");
        let error = create_task({
            let lock = lock.clone();
            async move {
                let _guard = lock.lock().await?;
                Err::<(), Error>(Error::QueueEmpty)
            }
        })?;
        ensure!(error.await?.is_err(), "the error is lost");
        ensure!(!lock.locked(), "locked after an error");
        let panic = create_task({
            let lock = lock.clone();
            async move {
                let _guard = lock.lock().await;
                panic!("on purpose");
            }
        })?;
        ensure_is!(panic.await, Err(Error::Panicked(_)));
        ensure!(!lock.locked(), "locked after a panic");
        let cancelled = create_task({
            let lock = lock.clone();
            async move {
                let _guard = lock.lock().await;
                anyloop::sleep(FAR).await;
            }
        })?;
        yield_now().await;
        ensure!(lock.locked(), "the guard does not hold the lock");
        cancelled.cancel();
        ensure_is!(cancelled.await, Err(Error::Cancelled(_)));
        ensure!(!lock.locked(), "locked after a cancellation");
        let late = timeout(ms(1), async {
            let _guard = lock.lock().await;
            anyloop::sleep(FAR).await;
        });
        ensure_is!(late.await, Err(Error::TimedOut(_)));
        ensure!(!lock.locked(), "locked after a timeout");
        Ok(())
    })
}

fn a_guard_releases_only_its_own(cx: &Context) -> Outcome {
    main(cx, async {
        let lock = Lock::new();
        let guard = lock.lock().await?;
        lock.release()?;
        lock.acquire().await?;
        drop(guard);
        ensure!(lock.locked(), "a guard whose lock had been released took it from the next holder");
        Ok(())
    })
}

/// Makes a task of the loop wait for something, until the loop is stopped.
fn waits(lp: &LoopRef, wait: impl Future<Output = anyloop::Result<()>> + 'static) -> Outcome {
    lp.create_task(wait)?;
    Ok(run_times(lp, 2)?)
}

fn another_loop_is_refused(cx: &Context) -> Outcome {
    type Wait = Box<dyn Fn() -> Pin<Box<dyn Future<Output = anyloop::Result<()>>>>>;
    let (lock, event, condition) = (Lock::new(), Event::new(), Condition::new());
    let (semaphore, barrier) = (Semaphore::new(0), Barrier::new(4)?);
    let (queue, full, joined) = (Queue::<u8>::new(0), PriorityQueue::new(1), Queue::new(0));
    full.put_nowait(1)?;
    joined.put_nowait(1)?;
    let held = lock.try_lock();
    ensure!(held.is_some(), "a new lock is locked");
    let waits_for: [(&str, Wait); 8] = [
        ("lock", Box::new(move || Box::pin(lock.acquire()))),
        ("event", Box::new(move || Box::pin(event.wait()))),
        ("semaphore", Box::new(move || Box::pin(semaphore.acquire()))),
        (
            "barrier",
            Box::new(move || {
                let wait = barrier.wait();
                Box::pin(async { wait.await.map(drop) })
            }),
        ),
        (
            "condition",
            Box::new(move || {
                let condition = condition.clone();
                Box::pin(async move {
                    if !condition.locked() {
                        condition.acquire().await?;
                    }
                    condition.wait().await
                })
            }),
        ),
        (
            "get",
            Box::new(move || {
                let get = queue.get();
                Box::pin(async { get.await.map(drop) })
            }),
        ),
        (
            "put",
            Box::new(move || {
                let put = full.put(2);
                Box::pin(async { Ok(put.await?) })
            }),
        ),
        ("join", Box::new(move || Box::pin(joined.join()))),
    ];
    let (home, other) = (cx.new_loop()?, cx.new_loop()?);
    for (what, wait) in waits_for {
        waits(&home, wait())?;
        let refused = other.run_until_complete(wait())?;
        ensure!(
            matches!(refused, Err(Error::Usage(_))),
            "{what}: waited for on two loops, with {refused:?}"
        );
        // Its own loop may still wait.
        let mut again = Box::pin(wait());
        let pending = home.run_until_complete(std::future::poll_fn(move |cx| {
            std::task::Poll::Ready(again.as_mut().poll(cx).is_pending())
        }))?;
        ensure!(pending, "{what}: its own loop cannot wait for it any more");
    }
    Ok(())
}

fn without_waiting_any_loop_will_do(cx: &Context) -> Outcome {
    let (lock, semaphore, queue) = (Lock::new(), Semaphore::new(1), Queue::new(0));
    for _ in 0..2 {
        let (lock, semaphore, queue) = (lock.clone(), semaphore.clone(), queue.clone());
        main(cx, async move {
            drop(lock.lock().await?);
            drop(semaphore.permit().await?);
            queue.put(1).await?;
            queue.get().await?;
            Ok(())
        })?;
    }
    // Outside of every loop there is nobody to wait for it.
    drop(lock.try_lock());
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let mut held = std::task::Context::from_waker(std::task::Waker::noop());
        let _guard = lock.try_lock();
        std::pin::pin!(lock.acquire()).poll(&mut held)
    }));
    ensure_is!(polled, Ok(std::task::Poll::Ready(Err(Error::Usage(_)))));
    Ok(())
}
