//! Generators that are dropped before their end.

use std::future::pending;
use std::task::{Poll, Waker};

use anyloop::{Generator, create_task, generator, timeout};
use anyloop_api::{Cancelled, sleep};

use super::numbers;
use crate::families::prelude::*;
use crate::tools::{OnDrop, settle_tasks};

pub(super) fn dropped_half_way_its_loop_finalises_it(cx: &Context) -> Outcome {
    // No other thread can drop it.
    assert_not_impl!(Generator<u32>: Send);
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    for how in ["break", "cancel", "outside"] {
        let log = trace.clone();
        let inner = lp.clone();
        let left = lp.run_until_complete(async move {
            let mut open = numbers(&log);
            match how {
                "break" => {
                    while let Some(number) = open.next().await {
                        if number == 2 {
                            break;
                        }
                    }
                    Ok(None)
                }
                "cancel" => {
                    let task =
                        inner.create_task(async move { while open.next().await.is_some() {} })?;
                    settle_tasks().await;
                    task.cancel();
                    settle_tasks().await;
                    Ok(None)
                }
                _ => {
                    open.next().await;
                    Ok::<_, Failure>(Some(open))
                }
            }
        })??;
        // While the loop does not run, too.
        drop(left);
        let log = trace.clone();
        lp.run_until_complete(async move {
            while log.len() < 3 {
                sleep(ms(1)).await;
            }
        })?;
        trace.expect(["body dropped", "clean-up", "cleaned up"])?;
    }
    Ok(())
}

pub(super) fn a_body_whose_destructor_panics_is_finalised(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let trace = cx.trace();
    let log = trace.clone();
    lp.run_until_complete(async move {
        let open = || {
            let log = log.clone();
            generator(|out| async move {
                let _guard = OnDrop(|| panic!("in the destructor"));
                out.finally(move || async move {
                    yield_now().await;
                    log.push("cleaned up");
                    Ok(())
                });
                out.emit(1).await;
                out.emit(2).await;
            })
        };
        let mut dropped = open();
        dropped.next().await;
        let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(dropped)));
        ensure!(payload.is_err(), "the panic is the consumer's");
        settle_tasks().await;
        log.expect(["cleaned up"])?;
        // And in the middle of another panic, which goes on.
        let mut dropped = open();
        dropped.next().await;
        let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _dropped = dropped;
            panic!("the first");
        }));
        let text = payload.err().and_then(|payload| payload.downcast_ref::<&str>().copied());
        ensure_eq!(text, Some("the first"), "the panic");
        settle_tasks().await;
        log.expect(["cleaned up"])?;
        let mut closed = open();
        closed.next().await;
        let closing = create_task(closed.aclose())?;
        settle_tasks().await;
        ensure_is!(closing.await, Err(Error::Panicked(_)));
        log.expect(["cleaned up"])
    })??;
    ensure_is!(reports.one()?.exception, Some(Error::Panicked(_)));
    Ok(())
}

pub(super) fn its_body_is_dropped_at_once(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let mut open = numbers(&trace);
        open.next().await;
        drop(open);
        trace.expect(["body dropped"])?;
        // A timeout that strikes in the middle of `next` leaves the generator whole.
        let mut slow = generator(|out| async move {
            sleep(ms(200)).await;
            out.emit(1).await;
            pending::<()>().await;
        });
        ensure_is!(timeout(Duration::ZERO, slow.next()).await, Err(Error::TimedOut(_)));
        ensure_eq!(slow.next().await, Some(1), "the value, later");
        Ok(())
    })
}

pub(super) fn of_a_loop_that_has_closed(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    let mut open = lp.run_until_complete(async move {
        let mut open = numbers(&log);
        open.next().await;
        open
    })?;
    lp.close()?;
    // It was not shut down: nobody can await the clean-up any more; the body is dropped all the same.
    let mut task = std::task::Context::from_waker(Waker::noop());
    ensure!(std::pin::pin!(open.next()).poll(&mut task).is_pending() || trace.len() == 1, "polled");
    drop(open);
    ensure_eq!(trace.count("body dropped"), 1, "bodies that were dropped");
    ensure_eq!(trace.count("cleaned up"), 0, "clean-ups");
    Ok(())
}

pub(super) fn never_iterated_nothing_to_finalise(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let unused = numbers(&trace);
    drop(unused);
    let unused = numbers(&trace);
    lp.run_until_complete(lp.shutdown_asyncgens())?;
    drop(unused);
    run_times(&lp, 3)?;
    trace.expect([])?;
    // Polled outside of every loop, it belongs to none.
    let mut plain = generator(|out| async move { out.emit(Cancelled::new()).await });
    let mut task = std::task::Context::from_waker(Waker::noop());
    ensure_is!(std::pin::pin!(plain.next()).poll(&mut task), Poll::Ready(Some(_)));
    Ok(())
}

pub(super) fn a_panic_costs_nobody_the_clean_up(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let trace = cx.trace();
    // One whose clean-up panics, one whose body does when it is dropped, and one that is well.
    let open = |body_panics: bool, clean_up_panics: bool| {
        let log = trace.clone();
        generator(move |out| async move {
            let _guard = OnDrop(move || assert!(!body_panics, "in a destructor"));
            out.finally(move || async move {
                log.push("cleaned up");
                Ok(())
            });
            out.finally(move || {
                assert!(!clean_up_panics, "before the clean-up");
                std::future::ready(Ok(()))
            });
            out.finally(move || async move {
                yield_now().await;
                assert!(!clean_up_panics, "in the clean-up");
                Ok(())
            });
            out.emit(1).await;
        })
    };
    let mut all = [open(false, true), open(true, false), open(false, false)];
    let held = lp.run_until_complete(async move {
        for one in &mut all {
            one.next().await;
        }
        all
    })?;
    lp.state().add_finaliser(|| panic!("no finaliser"));
    let (log, later) = (trace.clone(), trace.clone());
    lp.state().add_finaliser(move || {
        log.push("another finaliser");
        Box::pin(async { panic!("in a finaliser") })
    });
    lp.state().add_finaliser(move || {
        Box::pin(async move {
            later.push("the last finaliser");
            Ok(())
        })
    });
    lp.run_until_complete(lp.shutdown_asyncgens())?;
    trace.expect([
        "another finaliser",
        "cleaned up",
        "cleaned up",
        "cleaned up",
        "the last finaliser",
    ])?;
    let reported = reports.take();
    ensure_eq!(reported.len(), 5, "reports");
    for report in reported {
        ensure_is!(report.exception, Some(Error::Panicked(_)));
    }
    drop(held);
    // Closed by hand: the panic is the error.
    let mut one = open(false, true);
    let closed = lp.run_until_complete(async move {
        one.next().await;
        one.aclose().await
    })?;
    ensure_is!(closed, Err(Error::Panicked(_)));
    trace.expect(["cleaned up"])
}
