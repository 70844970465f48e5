//! Asynchronous generators, and what their loop does about those that are not finished.

mod finalising;

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};

use anyloop::{Generator, create_task, generator, try_generator};
use anyloop_api::{catch_cancel, sleep};

use self::finalising::*;
use super::prelude::*;
use crate::tools::{OnDrop, Trace, interleavings, settle_tasks};

cases! {
    AGEN_01 => shutdown_finalises_what_is_not_finished, errors_of_finalisers_are_reported,
        a_finished_generator_is_not_finalised_again, values_in_order_and_only_on_demand,
        the_last_item_may_be_an_error, closed_by_hand, every_order_of_a_value_and_a_cancellation,
        a_panic_costs_nobody_the_clean_up, branches_that_are_polled_only_when_woken;
    AGEN_02 => dropped_half_way_its_loop_finalises_it, its_body_is_dropped_at_once,
        a_body_whose_destructor_panics_is_finalised, of_a_loop_that_has_closed,
        never_iterated_nothing_to_finalise;
}

/// Emits 1, 2, 3, …; says what happens to it, and cleans up asynchronously.
fn numbers(log: &Trace) -> Generator<u32> {
    let log = log.clone();
    generator(|out| async move {
        let (dropped, cleaned) = (log.clone(), log.clone());
        let _guard = OnDrop(move || dropped.push("body dropped"));
        out.finally(move || async move {
            cleaned.push("clean-up");
            yield_now().await;
            sleep(ms(1)).await;
            cleaned.push("cleaned up");
            Ok(())
        });
        for number in 1.. {
            yield_now().await;
            out.emit(number).await;
        }
    })
}

fn shutdown_finalises_what_is_not_finished(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    let held = lp.run_until_complete(async move {
        let (mut one, mut two) = (numbers(&log), numbers(&log));
        ensure_eq!(one.next().await, Some(1), "the first value");
        ensure_eq!(two.next().await, Some(1), "the first value");
        ensure_eq!(two.next().await, Some(2), "the second value");
        Ok::<_, Failure>((one, two))
    })?;
    let (mut one, two) = held?;
    trace.expect([])?;
    lp.run_until_complete(lp.shutdown_asyncgens())?;
    let events = ["body dropped", "clean-up", "cleaned up"];
    for event in events {
        ensure_eq!(trace.count(event), 2, "{event}");
    }
    ensure_eq!(trace.take().len(), 6, "events");
    // They have ended, and nothing happens twice.
    let ended = lp.run_until_complete(async move { one.next().await })?;
    ensure_eq!(ended, None, "the next value after the end");
    drop(two);
    lp.run_until_complete(lp.shutdown_asyncgens())?;
    trace.expect([])?;
    // `run` does it as well.
    let log = trace.clone();
    let kept = Rc::new(RefCell::new(None));
    let slot = kept.clone();
    let factory = cx.factory();
    anyloop::Runner::new().loop_factory(move || factory.new_loop()).run(async move {
        let mut numbers = numbers(&log);
        numbers.next().await;
        *slot.borrow_mut() = Some(numbers);
    })?;
    trace.expect(["body dropped", "clean-up", "cleaned up"])?;
    drop(kept);
    Ok(())
}

fn errors_of_finalisers_are_reported(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let trace = cx.trace();
    let log = trace.clone();
    let held = lp.run_until_complete(async move {
        let mut failing = generator(|out| async move {
            let theirs = log.clone();
            out.finally(move || async move {
                theirs.push("second");
                Ok(())
            });
            out.finally(move || async move {
                log.push("first");
                yield_now().await;
                Err(Error::QueueEmpty)
            });
            out.emit(1).await;
        });
        failing.next().await;
        failing
    })?;
    lp.run_until_complete(lp.shutdown_asyncgens())?;
    // The newest first, and a failure does not keep the others from running.
    trace.expect(["first", "second"])?;
    ensure_is!(reports.one()?.exception, Some(Error::QueueEmpty));
    drop(held);
    reports.none()
}

fn a_finished_generator_is_not_finalised_again(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    let held = lp.run_until_complete(async move {
        let mut short = generator(|out| async move {
            let theirs = log.clone();
            out.finally(move || async move {
                theirs.push("cleaned up");
                Ok(())
            });
            out.emit(1).await;
            log.push("end of the body");
        });
        let items = (short.next().await, short.next().await, short.next().await);
        ensure_eq!(items, (Some(1), None, None), "the items");
        Ok::<_, Failure>(short)
    })?;
    trace.expect(["end of the body", "cleaned up"])?;
    lp.run_until_complete(lp.shutdown_asyncgens())?;
    drop(held);
    run_times(&lp, 3)?;
    trace.expect([])
}

fn values_in_order_and_only_on_demand(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let log = trace.clone();
        let mut lazy = generator(|out| async move {
            for name in ["a", "b", "c"] {
                log.push(name);
                out.emit(name).await;
            }
        });
        settle_tasks().await;
        trace.expect([])?;
        ensure_eq!(lazy.next().await, Some("a"), "the first value");
        settle_tasks().await;
        trace.expect(["a"])?;
        ensure_eq!(lazy.collect::<Vec<_>>().await, ["b", "c"], "the other values");
        trace.expect(["b", "c"])?;
        // Between two values the consumer's task runs, and no other.
        let me = current_task().map(|task| task.id());
        let mut whose = generator(|out| async move {
            out.emit(current_task().map(|task| task.id())).await;
        });
        ensure_eq!(whose.next().await, Some(me), "the task in which the body runs");
        Ok(())
    })
}

fn the_last_item_may_be_an_error(cx: &Context) -> Outcome {
    main(cx, async {
        let mut items = try_generator(|out| async move {
            out.emit(Ok(1)).await;
            Err(Error::QueueEmpty)
        });
        ensure_is!(items.next().await, Some(Ok(1)));
        ensure_is!(items.next().await, Some(Err(Error::QueueEmpty)));
        ensure_is!(items.next().await, None);
        Ok(())
    })
}

fn closed_by_hand(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let mut open = numbers(&trace);
        open.next().await;
        open.aclose().await?;
        trace.expect(["body dropped", "clean-up", "cleaned up"])?;
        let mut failing = generator(|out| async move {
            out.finally(|| async { Err(Error::QueueEmpty) });
            out.emit(1).await;
        });
        failing.next().await;
        ensure_is!(failing.aclose().await, Err(Error::QueueEmpty));
        // A clean-up that has begun runs to its end.
        let log = trace.clone();
        let task = create_task(async move {
            let mut open = numbers(&log);
            open.next().await;
            open.aclose().await
        })?;
        while trace.count("clean-up") == 0 {
            yield_now().await;
        }
        task.cancel();
        ensure_is!(task.await, Err(Error::Cancelled(_)));
        trace.expect(["body dropped", "clean-up", "cleaned up"])
    })
}

/// The consumer is cancelled before, with and after the value that it waits for: the value is not lost
/// to whoever asks next.
fn every_order_of_a_value_and_a_cancellation(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        for way in interleavings::<2>() {
            let source = lp.create_future::<u32>();
            let theirs = source.clone();
            let shared = Rc::new(RefCell::new(Some(generator(|out| async move {
                // A value that somebody else cancelled is none.
                let first = anyloop_api::shield(theirs).await.unwrap_or(0);
                out.emit(first).await;
                out.emit(8).await;
            }))));
            let slot = shared.clone();
            let task = create_task(async move {
                let mut items = slot.take()?;
                let found = catch_cancel(items.next()).await;
                *slot.borrow_mut() = Some(items);
                found.ok().flatten()
            })?;
            yield_now().await;
            way.play(|action| {
                if action == 0 {
                    task.cancel();
                } else {
                    source.set_result(7).expect("nobody cancels it");
                }
            })
            .await;
            settle_tasks().await;
            let mut items: Vec<u32> = task.take_result()?.into_iter().collect();
            let rest = shared.take().ok_or_else(|| Failure::new("it was not given back"))?;
            items.extend(rest.collect::<Vec<_>>().await);
            ensure_eq!(items, [7, 8], "{way:?}: the items");
        }
        Ok(())
    })
}

/// A branch that is polled only when it was woken, as collections of futures do it.
struct WhenWoken {
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    called: Arc<Called>,
}

/// Notes that it was called, and passes that on.
struct Called {
    again: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

impl Wake for Called {
    fn wake(self: Arc<Self>) {
        self.again.store(true, Ordering::Release);
        let outer = self.outer.lock().ok().and_then(|outer| outer.clone());
        outer.into_iter().for_each(Waker::wake);
    }
}

impl WhenWoken {
    fn new(future: impl Future<Output = ()> + 'static) -> Self {
        let called = Called { again: AtomicBool::new(true), outer: Mutex::new(None) };
        Self { future: Some(Box::pin(future)), called: Arc::new(called) }
    }

    fn poll(&mut self, cx: &std::task::Context<'_>) -> Poll<()> {
        let Some(future) = &mut self.future else { return Poll::Ready(()) };
        if let Ok(mut outer) = self.called.outer.lock() {
            *outer = Some(cx.waker().clone());
        }
        if self.called.again.swap(false, Ordering::AcqRel) {
            let waker = Waker::from(self.called.clone());
            if future.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_ready() {
                self.future = None;
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

fn branches_that_are_polled_only_when_woken(cx: &Context) -> Outcome {
    main(cx, async {
        let numbers = generator(|out| async move {
            let out = Rc::new(out);
            let branch = |number| {
                let out = out.clone();
                WhenWoken::new(async move {
                    out.emit(number).await;
                    yield_now().await;
                    out.emit(number + 1).await;
                })
            };
            let (mut one, mut two) = (branch(10), branch(20));
            std::future::poll_fn(|cx| {
                let ready = [one.poll(cx), two.poll(cx)];
                if ready.iter().all(Poll::is_ready) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        });
        let collecting = create_task(numbers.collect::<Vec<_>>())?;
        for _ in 0..3 {
            settle_tasks().await;
        }
        ensure!(collecting.done(), "the generator hangs");
        let mut numbers = collecting.take_result()?;
        numbers.sort_unstable();
        ensure_eq!(numbers, [10, 11, 20, 21], "the values");
        Ok(())
    })
}
