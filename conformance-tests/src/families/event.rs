//! Events.

use anyloop::{Event, create_task};

use super::prelude::*;
use crate::tools::{Trace, interleavings, settle_tasks};

cases! {
    EVENT_01 => set_releases_everybody, a_set_event_does_not_suspend;
    EVENT_02 => set_and_clear_release_who_waits, later_waiters_block;
    EVENT_03 => a_cancelled_waiter_disturbs_nobody, set_among_cancelled_waiters;
}

fn waiter(event: &Event, name: &'static str, log: &Trace) -> anyloop::Result<Task<()>> {
    let (event, log) = (event.clone(), log.clone());
    create_task(async move {
        if event.wait().await.is_ok() {
            log.push(name);
        }
    })
}

fn set_releases_everybody(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let event = Event::new();
        for name in ["a", "b", "c"] {
            waiter(&event, name, &trace)?;
        }
        settle_tasks().await;
        ensure_eq!((event.is_set(), event.waiters()), (false, 3), "set, and waiters");
        trace.expect([])?;
        event.set();
        // All in one iteration, in their order.
        yield_now().await;
        trace.expect(["a", "b", "c"])?;
        ensure_eq!((event.is_set(), event.waiters()), (true, 0), "set, and waiters, afterwards");
        Ok(())
    })
}

fn a_set_event_does_not_suspend(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let event = Event::new();
        event.set();
        event.set();
        LoopRef::current()?.call_soon(trace.pusher("next"))?;
        event.wait().await?;
        event.wait().await?;
        trace.expect([])
    })
}

fn set_and_clear_release_who_waits(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let event = Event::new();
        waiter(&event, "a", &trace)?;
        waiter(&event, "b", &trace)?;
        settle_tasks().await;
        event.set();
        event.clear();
        ensure!(!event.is_set(), "a cleared event is set");
        settle_tasks().await;
        trace.expect(["a", "b"])
    })
}

fn later_waiters_block(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let event = Event::new();
        waiter(&event, "early", &trace)?;
        settle_tasks().await;
        event.set();
        event.clear();
        // Begins to wait while the early one has been released and has not run.
        waiter(&event, "late", &trace)?;
        settle_tasks().await;
        trace.expect(["early"])?;
        event.set();
        settle_tasks().await;
        trace.expect(["late"])
    })
}

fn a_cancelled_waiter_disturbs_nobody(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        for way in interleavings::<2>() {
            let event = Event::new();
            let first = waiter(&event, "first", &trace)?;
            waiter(&event, "second", &trace)?;
            yield_now().await;
            way.play(|action| match action {
                0 => drop(first.cancel()),
                _ => event.set(),
            })
            .await;
            settle_tasks().await;
            if way.apart(1, 0) {
                trace.expect(["first", "second"])?;
            } else {
                ensure!(first.cancelled(), "{way:?}: the waiter was not cancelled");
                trace.expect(["second"])?;
            }
            ensure_eq!(event.waiters(), 0, "{way:?}: waiters");
        }
        Ok(())
    })
}

fn set_among_cancelled_waiters(cx: &Context) -> Outcome {
    main(cx, async move {
        for cancelled in 0..32_u32 {
            let event = Event::new();
            let released = Rc::new(RefCell::new(Vec::new()));
            let mut tasks = Vec::new();
            for number in 0..5_u32 {
                let (event, released) = (event.clone(), released.clone());
                tasks.push(create_task(async move {
                    event.wait().await.map(|()| released.borrow_mut().push(number))
                })?);
            }
            yield_now().await;
            // Some before, some after, all in one batch with the set.
            let cancel = |number: usize| {
                if cancelled & (1 << number) != 0 {
                    tasks[number].cancel();
                }
            };
            (0..3).for_each(cancel);
            event.set();
            (3..5).for_each(cancel);
            settle_tasks().await;
            let expected: Vec<u32> = (0..5).filter(|n| cancelled & (1 << n) == 0).collect();
            ensure_eq!(*released.borrow(), expected, "released, {cancelled:05b} cancelled");
            ensure_eq!(event.waiters(), 0, "waiters, {cancelled:05b} cancelled");
        }
        Ok(())
    })
}
