//! Conditions.

use anyloop::{Condition, Lock, create_task, timeout};

use super::prelude::*;
use crate::tools::{Trace, first, interleavings, settle_tasks};

cases! {
    COND_01 => wait_needs_the_lock, the_lock_is_free_meanwhile_and_held_afterwards,
        also_when_cancelled_or_too_late, a_wait_that_lost_a_race_holds_nothing;
    COND_02 => a_cancel_during_re_acquisition_waits_for_the_lock, its_place_in_the_queue_is_kept;
    COND_03 => notify_wakes_so_many_in_order, notify_needs_the_lock_and_keeps_it;
    COND_04 => a_notified_waiter_that_is_cancelled_passes_it_on;
    COND_05 => wait_for_checks_again_and_returns_the_value;
    COND_06 => several_conditions_share_a_lock;
}

fn wait_needs_the_lock(cx: &Context) -> Outcome {
    main(cx, async {
        let condition = Condition::new();
        ensure_is!(condition.wait().await, Err(Error::Usage(_)));
        ensure_is!(condition.wait_for(|| true).await, Err(Error::Usage(_)));
        ensure!(!condition.locked(), "a refused wait took the lock");
        Ok(())
    })
}

/// Waits once, with the lock, and says when it goes on and whether it holds the lock then.
fn waiter(condition: &Condition, name: &'static str, log: &Trace) -> anyloop::Result<Task<()>> {
    let (condition, log) = (condition.clone(), log.clone());
    create_task(async move {
        let Ok(_guard) = condition.lock().await else { return };
        // Says so however the wait ends.
        let held = condition.get_lock().clone();
        let _end = crate::tools::OnDrop(move || {
            log.push(if held.locked() { name } else { "without the lock" });
        });
        let _ = condition.wait().await;
    })
}

fn the_lock_is_free_meanwhile_and_held_afterwards(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let condition = Condition::new();
        let task = waiter(&condition, "waiter", &trace)?;
        settle_tasks().await;
        ensure!(!condition.locked(), "the lock is held while its holder waits");
        let guard = condition.lock().await?;
        condition.notify(1)?;
        settle_tasks().await;
        trace.expect([])?;
        drop(guard);
        task.await?;
        trace.expect(["waiter"])?;
        ensure!(!condition.locked(), "the lock is held after its guard is gone");
        Ok(())
    })
}

fn also_when_cancelled_or_too_late(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        for held_by_other in [false, true] {
            let condition = Condition::new();
            let cancelled = waiter(&condition, "cancelled", &trace)?;
            settle_tasks().await;
            let guard = if held_by_other { Some(condition.lock().await?) } else { None };
            cancelled.cancel();
            settle_tasks().await;
            ensure_eq!(cancelled.done(), !held_by_other, "ended, the lock held: {held_by_other}");
            drop(guard);
            ensure_is!(cancelled.await, Err(Error::Cancelled(_)));
            trace.expect(["cancelled"])?;

            let theirs = condition.clone();
            let late = create_task(async move {
                let _guard = theirs.lock().await?;
                let late = timeout(ms(5), theirs.wait()).await;
                ensure_is!(late, Err(Error::TimedOut(_)));
                ensure!(theirs.locked(), "the lock is not held after a timeout");
                let me = current_task().map(|task| task.cancelling());
                ensure_eq!(me, Some(0), "requests after a timeout");
                Outcome::Ok(())
            })?;
            settle_tasks().await;
            let guard = if held_by_other { Some(condition.lock().await?) } else { None };
            anyloop::sleep(ms(10)).await;
            ensure!(late.done() || held_by_other, "ended, though the lock is held elsewhere");
            drop(guard);
            late.await??;
            ensure!(!condition.locked(), "the lock is held after everybody has left");
        }
        Ok(())
    })
}

/// A wait that is dropped without a cancellation cannot take the lock again: the guard of before is
/// without effect then, and nobody else's lock is released.
fn a_wait_that_lost_a_race_holds_nothing(cx: &Context) -> Outcome {
    main(cx, async {
        for taken_by_other in [false, true] {
            let condition = Condition::new();
            let guard = condition.lock().await?;
            let gate = LoopRef::current()?.create_future::<()>();
            let (open, passing) = (gate.clone(), async { gate.await.map(|()| "gate") });
            let theirs = condition.clone();
            create_task(async move {
                if taken_by_other {
                    theirs.acquire().await?;
                }
                open.set_result(())
            })?;
            let waiting = async { condition.wait().await.map(|()| "condition") };
            ensure_eq!(first(passing, waiting).await?, "gate", "the race");
            ensure_eq!(condition.locked(), taken_by_other, "locked");
            drop(guard);
            ensure_eq!(condition.locked(), taken_by_other, "locked after the stale guard went");
            ensure_eq!(condition.waiters(), 0, "waiters");
        }
        Ok(())
    })
}

fn a_cancel_during_re_acquisition_waits_for_the_lock(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        // One request, or several; before or after the notified one has run.
        for (requests, ran) in [(1, false), (1, true), (3, false), (3, true)] {
            let condition = Condition::new();
            let task = waiter(&condition, "waiter", &trace)?;
            settle_tasks().await;
            let guard = condition.lock().await?;
            condition.notify(1)?;
            if ran {
                settle_tasks().await;
            }
            for _ in 0..requests {
                ensure!(task.cancel(), "a pending task refuses a request");
                settle_tasks().await;
                ensure!(!task.done(), "ended without the lock");
            }
            trace.expect([])?;
            drop(guard);
            ensure_is!(task.await, Err(Error::Cancelled(_)));
            trace.expect(["waiter"])?;
            ensure!(!condition.locked(), "the lock is held after the waiter has left");
        }
        Ok(())
    })
}

fn its_place_in_the_queue_is_kept(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let condition = Condition::new();
        let task = waiter(&condition, "waiter", &trace)?;
        settle_tasks().await;
        let guard = condition.lock().await?;
        condition.notify(1)?;
        settle_tasks().await;
        let (theirs, log) = (condition.clone(), trace.clone());
        let other = create_task(async move {
            let _guard = theirs.lock().await;
            log.push("other");
        })?;
        settle_tasks().await;
        task.cancel();
        settle_tasks().await;
        drop(guard);
        other.await?;
        trace.expect(["waiter", "other"])
    })
}

fn notify_wakes_so_many_in_order(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let condition = Condition::new();
        for name in ["a", "b", "c", "d", "e", "f"] {
            waiter(&condition, name, &trace)?;
        }
        settle_tasks().await;
        settle_tasks().await;
        let notify = async |n: usize| {
            let _guard = condition.lock().await?;
            if n == 0 { condition.notify_all() } else { condition.notify(n) }
        };
        notify(1).await?;
        settle_tasks().await;
        trace.expect(["a"])?;
        notify(3).await?;
        settle_tasks().await;
        trace.expect(["b", "c", "d"])?;
        ensure_eq!(condition.waiters(), 2, "waiters");
        notify(0).await?;
        settle_tasks().await;
        trace.expect(["e", "f"])?;
        notify(5).await?;
        ensure_eq!(condition.waiters(), 0, "waiters");
        Ok(())
    })
}

fn notify_needs_the_lock_and_keeps_it(cx: &Context) -> Outcome {
    main(cx, async {
        let condition = Condition::new();
        ensure_is!(condition.notify(1), Err(Error::Usage(_)));
        ensure_is!(condition.notify_all(), Err(Error::Usage(_)));
        condition.acquire().await?;
        condition.notify(1)?;
        condition.notify_all()?;
        ensure!(condition.locked(), "notify released the lock");
        condition.release()?;
        Ok(())
    })
}

/// One notification, and one of two waiters is cancelled before, with or after it: the other one gets it,
/// unless the first one had it for good.
fn a_notified_waiter_that_is_cancelled_passes_it_on(cx: &Context) -> Outcome {
    main(cx, async {
        for way in interleavings::<3>() {
            let condition = Condition::new();
            let notified = Rc::new(RefCell::new(Vec::new()));
            let mut tasks = Vec::new();
            for name in ["first", "second"] {
                let (condition, notified) = (condition.clone(), notified.clone());
                tasks.push(create_task(async move {
                    let _guard = condition.lock().await?;
                    condition.wait().await?;
                    notified.borrow_mut().push(name);
                    anyloop::Result::<()>::Ok(())
                })?);
            }
            settle_tasks().await;
            condition.acquire().await?;
            // The lock is released after, before and between them.
            let mut locked = true;
            let mut missed = false;
            way.play(|action| match action {
                0 => drop(tasks[0].cancel()),
                1 if locked => condition.notify(1).expect("it is held"),
                1 => missed = true,
                _ => {
                    locked = false;
                    condition.release().expect("it is held");
                }
            })
            .await;
            settle_tasks().await;
            if missed {
                // Released first: notify from another holder.
                let _guard = condition.lock().await?;
                condition.notify(1)?;
            }
            settle_tasks().await;
            let notified = notified.borrow().clone();
            ensure_eq!(notified.len(), 1, "{way:?}: went on: {notified:?}, so many");
            let cancelled = tasks[0].cancelled();
            ensure_eq!(notified[0] == "second", cancelled, "{way:?}: {notified:?} went on");
            ensure!(!condition.locked(), "{way:?}: the lock is held");
            tasks[1].cancel();
            settle_tasks().await;
        }
        Ok(())
    })
}

fn wait_for_checks_again_and_returns_the_value(cx: &Context) -> Outcome {
    main(cx, async {
        let condition = Condition::new();
        let value = Rc::new(Cell::new(0));
        let checks = Rc::new(Cell::new(0));
        let (theirs, seen, count) = (condition.clone(), value.clone(), checks.clone());
        let task = create_task(async move {
            let _guard = theirs.lock().await?;
            let predicate = || {
                assert!(theirs.locked(), "checked without the lock");
                count.set(count.get() + 1);
                (seen.get() >= 3).then(|| seen.get() * 10)
            };
            theirs.wait_for(predicate).await
        })?;
        for step in 1..=3 {
            settle_tasks().await;
            ensure_eq!(checks.get(), step, "checks before change {step}");
            let _guard = condition.lock().await?;
            value.set(step);
            condition.notify(1)?;
        }
        ensure_eq!(task.await??, 30, "what the predicate said at last");
        ensure_eq!(checks.get(), 4, "checks");
        let _guard = condition.lock().await?;
        ensure!(condition.wait_for(|| true).await?, "what a plain predicate says at last");
        Ok(())
    })
}

fn several_conditions_share_a_lock(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let lock = Lock::new();
        let (full, empty) = (Condition::with_lock(&lock), Condition::with_lock(&lock));
        waiter(&full, "full", &trace)?;
        waiter(&empty, "empty", &trace)?;
        settle_tasks().await;
        let guard = lock.lock().await?;
        ensure!(full.locked() && empty.locked(), "conditions do not see their common lock");
        empty.notify_all()?;
        drop(guard);
        settle_tasks().await;
        trace.expect(["empty"])?;
        let guard = full.lock().await?;
        full.notify(1)?;
        drop(guard);
        settle_tasks().await;
        trace.expect(["full"])
    })
}
