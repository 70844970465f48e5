//! Waiters that are cancelled.

use anyloop::{Lock, create_task};

use crate::families::prelude::*;
use crate::tools::{first, interleavings, settle_tasks};

/// The waiter is cancelled before, in the same batch as, and after its wake-up; whoever comes next gets
/// the lock in any case.
pub(super) fn a_cancelled_waiter_leaves_no_trace(cx: &Context) -> Outcome {
    main(cx, async {
        for way in interleavings::<2>() {
            for next_one in [false, true] {
                let lock = Lock::new();
                lock.acquire().await?;
                let theirs = lock.clone();
                let waiter = create_task(async move { theirs.acquire().await })?;
                yield_now().await;
                let theirs = lock.clone();
                let next = create_task(async move {
                    if next_one {
                        theirs.acquire().await?;
                    }
                    anyloop::Result::<()>::Ok(())
                })?;
                yield_now().await;
                way.play(|action| {
                    if action == 0 {
                        waiter.cancel();
                    } else {
                        lock.release().expect("it is held");
                    }
                })
                .await;
                settle_tasks().await;
                if way.apart(1, 0) {
                    // Too late: it had the lock already.
                    ensure!(!waiter.cancelled(), "{way:?}: a finished task was cancelled");
                    lock.release()?;
                    settle_tasks().await;
                } else {
                    ensure!(waiter.cancelled(), "{way:?}: the waiter was not cancelled");
                }
                ensure!(next.done(), "{way:?}: the next one never got the lock");
                ensure_eq!(lock.locked(), next_one, "{way:?}: locked");
                ensure_eq!(lock.waiters(), 0, "{way:?}: waiters");
                if !next_one {
                    ensure!(lock.try_lock().is_some(), "{way:?}: the lock cannot be had any more");
                }
            }
        }
        Ok(())
    })
}

/// In Rust a wait can also be dropped without any cancellation.
pub(super) fn also_when_it_merely_loses_a_race(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        for way in interleavings::<2>() {
            let lock = Lock::new();
            lock.acquire().await?;
            let gate = lp.create_future::<()>();
            let (theirs, passed) = (lock.clone(), gate.clone());
            let racer = create_task(async move {
                let wait = async { passed.await.map(|()| "gate") };
                let acquire = async { theirs.acquire().await.map(|()| "lock") };
                first(wait, acquire).await
            })?;
            yield_now().await;
            let theirs = lock.clone();
            let next = create_task(async move { theirs.acquire().await })?;
            yield_now().await;
            way.play(|action| {
                if action == 0 {
                    gate.set_result(()).expect("once");
                } else {
                    lock.release().expect("it is held");
                }
            })
            .await;
            settle_tasks().await;
            if racer.await?? == "lock" {
                ensure!(way.apart(1, 0), "{way:?}: the gate was open and polled first");
                lock.release()?;
                settle_tasks().await;
            }
            ensure!(next.done(), "{way:?}: the next one never got the lock");
        }
        Ok(())
    })
}

pub(super) fn cancel_and_release_grant_it_to_exactly_one_other(cx: &Context) -> Outcome {
    main(cx, async {
        // Which of four waiters are cancelled together with the release, and whether before or after.
        for cancelled in 0..16_u32 {
            for release_first in [false, true] {
                let lock = Lock::new();
                lock.acquire().await?;
                let granted = Rc::new(RefCell::new(Vec::new()));
                let mut waiters = Vec::new();
                for number in 0..4 {
                    let (lock, granted) = (lock.clone(), granted.clone());
                    waiters.push(create_task(async move {
                        lock.acquire().await.map(|()| granted.borrow_mut().push(number))
                    })?);
                }
                yield_now().await;
                if release_first {
                    lock.release()?;
                }
                for (number, waiter) in waiters.iter().enumerate() {
                    if cancelled & (1 << number) != 0 {
                        waiter.cancel();
                    }
                }
                if !release_first {
                    lock.release()?;
                }
                settle_tasks().await;
                let expected: Vec<u32> =
                    (0..4).filter(|n| cancelled & (1 << n) == 0).take(1).collect();
                ensure_eq!(*granted.borrow(), expected, "who got it, {cancelled:04b} cancelled");
                ensure_eq!(
                    lock.locked(),
                    !expected.is_empty(),
                    "locked, {cancelled:04b} cancelled"
                );
            }
        }
        Ok(())
    })
}
