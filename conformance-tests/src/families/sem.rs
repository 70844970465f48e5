//! Semaphores.

use anyloop::{BoundedSemaphore, Semaphore, create_task};

use super::prelude::*;
use crate::tools::{Trace, interleavings, settle_tasks};

cases! {
    SEM_01 => a_free_permit_does_not_suspend, not_while_somebody_waits;
    SEM_02 => in_order_over_repeated_cycles;
    SEM_03 => back_to_back_releases_wake_as_many, more_releases_than_waiters_are_kept;
    SEM_04 => a_cancelled_waiter_passes_its_permit_on, many_cancelled_at_once;
    SEM_05 => locked_tells_whether_acquire_would_wait;
    SEM_06 => only_bounded_ones_refuse_to_grow, no_negative_counts;
}

fn a_free_permit_does_not_suspend(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let semaphore = Semaphore::new(2);
        LoopRef::current()?.call_soon(trace.pusher("next"))?;
        for _ in 0..3 {
            let _permit = semaphore.permit().await?;
            semaphore.acquire().await?;
            ensure!(semaphore.locked(), "two of two permits are out, and it is not locked");
            semaphore.release()?;
        }
        ensure_eq!(semaphore.available(), 2, "free permits");
        trace.expect([])
    })
}

/// A permit is free while the waiters for whom others were released are still on their way: a newcomer
/// queues behind them.
fn not_while_somebody_waits(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let semaphore = Semaphore::new(0);
        user(&semaphore, "waiter", &trace)?;
        yield_now().await;
        semaphore.release()?;
        semaphore.release()?;
        ensure!(semaphore.locked(), "not locked, though a woken waiter has not run");
        ensure!(semaphore.try_permit().is_none(), "a newcomer was faster than a woken waiter");
        semaphore.acquire().await?;
        trace.expect(["waiter"])?;
        Ok(())
    })
}

/// A task that acquires once and says so.
fn user(semaphore: &Semaphore, name: &'static str, log: &Trace) -> anyloop::Result<Task<()>> {
    let (semaphore, log) = (semaphore.clone(), log.clone());
    create_task(async move {
        if semaphore.acquire().await.is_ok() {
            log.push(name);
        }
    })
}

fn in_order_over_repeated_cycles(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let semaphore = Semaphore::new(1);
        for name in ["a", "b", "c"] {
            let (semaphore, log) = (semaphore.clone(), trace.clone());
            create_task(async move {
                for _ in 0..3 {
                    semaphore.acquire().await?;
                    log.push(name);
                    // Released and wanted again at once: behind the others all the same.
                    semaphore.release()?;
                }
                anyloop::Result::<()>::Ok(())
            })?;
        }
        // The first one holds it long enough for the others to queue.
        semaphore.acquire().await?;
        yield_now().await;
        semaphore.release()?;
        for _ in 0..4 {
            settle_tasks().await;
        }
        trace.expect(["a", "b", "c", "a", "b", "c", "a", "b", "c"])
    })
}

fn back_to_back_releases_wake_as_many(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let semaphore = Semaphore::new(0);
        for name in ["a", "b", "c", "d"] {
            user(&semaphore, name, &trace)?;
        }
        settle_tasks().await;
        for _ in 0..3 {
            semaphore.release()?;
        }
        yield_now().await;
        trace.expect(["a", "b", "c"])?;
        semaphore.release()?;
        yield_now().await;
        trace.expect(["d"])?;
        ensure_eq!(semaphore.available(), 0, "free permits");
        Ok(())
    })
}

fn more_releases_than_waiters_are_kept(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let semaphore = Semaphore::new(0);
        user(&semaphore, "a", &trace)?;
        yield_now().await;
        for _ in 0..3 {
            semaphore.release()?;
        }
        // Comes while the first one is on its way, and gets one that was kept.
        user(&semaphore, "b", &trace)?;
        settle_tasks().await;
        trace.expect(["a", "b"])?;
        ensure_eq!((semaphore.available(), semaphore.locked()), (1, false), "what is left");
        Ok(())
    })
}

fn a_cancelled_waiter_passes_its_permit_on(cx: &Context) -> Outcome {
    main(cx, async move {
        for way in interleavings::<2>() {
            for next_one in [false, true] {
                let semaphore = Semaphore::new(0);
                let theirs = semaphore.clone();
                let waiter = create_task(async move { theirs.acquire().await })?;
                yield_now().await;
                let theirs = semaphore.clone();
                let next =
                    create_task(
                        async move { if next_one { theirs.acquire().await } else { Ok(()) } },
                    )?;
                yield_now().await;
                way.play(|action| {
                    if action == 0 {
                        waiter.cancel();
                    } else {
                        semaphore.release().expect("it is not bounded");
                    }
                })
                .await;
                settle_tasks().await;
                let waiter_got_it = way.apart(1, 0);
                ensure_eq!(waiter.cancelled(), !waiter_got_it, "{way:?}: cancelled");
                ensure_eq!(
                    next.done(),
                    !waiter_got_it || !next_one,
                    "{way:?}: the next one has it"
                );
                let left = usize::from(!waiter_got_it && !next_one);
                ensure_eq!(semaphore.available(), left, "{way:?}: free permits");
                next.cancel();
            }
        }
        Ok(())
    })
}

/// Two permits come while some of five waiters are cancelled, before or after, in the same batch: the first
/// two of the others get them.
fn many_cancelled_at_once(cx: &Context) -> Outcome {
    main(cx, async move {
        for cancelled in 0..32_u32 {
            for release_at in 0..3 {
                let semaphore = Semaphore::new(0);
                let got = Rc::new(RefCell::new(Vec::new()));
                let mut tasks = Vec::new();
                for number in 0..5_u32 {
                    let (semaphore, got) = (semaphore.clone(), got.clone());
                    tasks.push(create_task(async move {
                        semaphore.acquire().await.map(|()| got.borrow_mut().push(number))
                    })?);
                }
                yield_now().await;
                for (number, task) in tasks.iter().enumerate() {
                    if number == release_at {
                        semaphore.release()?;
                        semaphore.release()?;
                    }
                    if cancelled & (1 << number) != 0 {
                        task.cancel();
                    }
                }
                settle_tasks().await;
                let alive: Vec<u32> = (0..5).filter(|n| cancelled & (1 << n) == 0).collect();
                let expected: Vec<u32> = alive.iter().copied().take(2).collect();
                ensure_eq!(*got.borrow(), expected, "{cancelled:05b} cancelled, at {release_at}");
                let left = 2 - expected.len();
                ensure_eq!(semaphore.available(), left, "{cancelled:05b} cancelled, permits");
            }
        }
        Ok(())
    })
}

fn locked_tells_whether_acquire_would_wait(cx: &Context) -> Outcome {
    main(cx, async {
        let semaphore = Semaphore::new(1);
        ensure!(!semaphore.locked(), "locked with a free permit");
        semaphore.acquire().await?;
        ensure!(semaphore.locked(), "not locked without a free permit");
        let theirs = semaphore.clone();
        let waiter = create_task(async move { theirs.acquire().await })?;
        yield_now().await;
        semaphore.release()?;
        ensure!(semaphore.locked(), "not locked while the permit is on its way");
        waiter.await??;
        ensure!(semaphore.locked(), "not locked while the permit is out");
        semaphore.release()?;
        ensure!(!semaphore.locked(), "locked after the last release");
        Ok(())
    })
}

fn only_bounded_ones_refuse_to_grow(cx: &Context) -> Outcome {
    main(cx, async {
        let plain = Semaphore::new(1);
        plain.release()?;
        ensure_eq!(plain.available(), 2, "permits after one release too many");
        let bounded = BoundedSemaphore::new(2);
        ensure_is!(bounded.release(), Err(Error::InvalidArg(_)));
        bounded.acquire().await?;
        bounded.release()?;
        ensure_is!(bounded.release(), Err(Error::InvalidArg(_)));
        ensure_eq!(bounded.available(), 2, "permits of a bounded one");
        // One that was refused is not lost either.
        let permit = bounded.permit().await?;
        bounded.release()?;
        drop(permit);
        ensure_eq!(bounded.available(), 2, "permits, with one given back twice");
        // One that is on its way to a waiter counts.
        let busy = BoundedSemaphore::new(1);
        busy.acquire().await?;
        let theirs = busy.clone();
        let waiter = create_task(async move { theirs.acquire().await })?;
        yield_now().await;
        busy.release()?;
        ensure_is!(busy.release(), Err(Error::InvalidArg(_)));
        waiter.await??;
        ensure_eq!(busy.available(), 0, "permits, with one held");
        Ok(())
    })
}

/// What Python refuses does not compile.
fn no_negative_counts(_: &Context) -> Outcome {
    let _: fn(usize) -> Semaphore = Semaphore::new;
    let _: fn(usize) -> BoundedSemaphore = BoundedSemaphore::new;
    assert_not_impl!(i32: Into<usize>);
    ensure!(Semaphore::new(0).locked(), "a semaphore without permits is not locked");
    Ok(())
}
