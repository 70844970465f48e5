//! How a task group ends when something fails or is cancelled.

use std::future::pending;

use anyloop::{create_task, task_group};
use anyloop_api::{Interrupt, catch_cancel, raise_interrupt, sleep, uncancellable};

use super::{errors, requests};
use crate::families::prelude::*;
use crate::tools::{Gate, interleavings, settle_tasks};

pub(super) type Done = anyloop::Result<()>;

/// Never ends by itself, and says when it is cancelled.
pub(super) async fn endless(log: crate::tools::Trace, name: &'static str) -> Done {
    match catch_cancel(pending::<Done>()).await {
        Ok(done) => done,
        Err(cancelled) => {
            log.push(name);
            cancelled.resume().await
        }
    }
}

/// Fails when the gate opens; cancelled before, it is merely cancelled.
pub(super) async fn fails_after(gate: Gate, error: Error) -> Done {
    gate.wait().await;
    Err(error)
}

pub(super) fn one_failure_ends_them_all(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        for body_waits in [true, false] {
            let log = trace.clone();
            let ended = task_group(|group| async move {
                group.create_task(endless(log.clone(), "a"))?;
                group.create_task(async {
                    yield_now().await;
                    Err::<(), Error>(Error::QueueEmpty)
                })?;
                group.create_task(endless(log.clone(), "b"))?;
                if body_waits { endless(log, "body").await } else { Ok(()) }
            });
            let errors = errors(ended.await)?;
            ensure_is!(&errors[..], [Error::QueueEmpty]);
            if body_waits {
                trace.expect_in_any_order(["a", "b", "body"])?;
            } else {
                trace.expect(["a", "b"])?;
            }
            ensure_eq!(requests(), 0, "requests");
        }
        Ok(())
    })
}

/// Two children fail, together or apart, and the body waits or has ended.
pub(super) fn every_order_of_two_failures(cx: &Context) -> Outcome {
    main(cx, async {
        for way in interleavings::<2>() {
            for body_waits in [false, true] {
                let gates = [Gate::new(), Gate::new()];
                let [one, two] = gates.clone();
                let task = create_task(task_group(move |group| async move {
                    group.create_task(fails_after(one, Error::QueueEmpty))?;
                    group.create_task(fails_after(two, Error::QueueFull))?;
                    if body_waits { pending::<Done>().await } else { Ok(()) }
                }))?;
                settle_tasks().await;
                way.play(|number| gates[number].open()).await;
                settle_tasks().await;
                ensure!(task.done(), "{way:?}: the group hangs");
                let errors = errors(task.take_result()?)?;
                // The second one may have been cancelled before it could fail.
                let first_is_right = match errors.first() {
                    Some(Error::QueueEmpty) => way.before(0, 1),
                    Some(Error::QueueFull) => way.before(1, 0),
                    _ => false,
                };
                ensure!(first_is_right && errors.len() <= 2, "{way:?}: {errors:?}");
            }
        }
        Ok(())
    })
}

pub(super) fn a_cancelled_child_is_no_failure(cx: &Context) -> Outcome {
    main(cx, async {
        let gate = Gate::new();
        let passed = gate.clone();
        let value = task_group(|group| async move {
            let cancelled = group.create_task(pending::<()>())?;
            let goes_on = group.create_task(async move {
                passed.wait().await;
                3
            })?;
            // One that ends as cancelled by its own choice.
            group.create_task(async { Err::<(), Error>(anyloop_api::Cancelled::new().into()) })?;
            yield_now().await;
            cancelled.cancel();
            settle_tasks().await;
            if !cancelled.cancelled() || goes_on.done() {
                return Err(Error::usage("the cancelled child concerned others"));
            }
            gate.open();
            goes_on.await
        });
        ensure_eq!(value.await?, 3, "the value");
        // Together with a failure it is not in the group of errors.
        let ended = task_group(|group| async move {
            group.create_task(pending::<()>())?.cancel();
            group.create_task(async { Err::<(), Error>(Error::QueueEmpty) })?;
            Ok(())
        });
        let errors = errors(ended.await)?;
        ensure_is!(&errors[..], [Error::QueueEmpty]);
        Ok(())
    })
}

pub(super) fn the_bodys_error_is_one_of_the_group(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let alone = task_group(|_| async { Err::<(), _>(Error::QueueFull) });
        ensure_is!(&errors(alone.await)?[..], [Error::QueueFull]);
        let log = trace.clone();
        let ended = task_group(|group| async move {
            group.create_task(endless(log, "cancelled"))?;
            group.create_task(async {
                drop(catch_cancel(pending::<()>()).await);
                Err::<(), Error>(Error::QueueEmpty)
            })?;
            yield_now().await;
            Err::<(), _>(Error::QueueFull)
        });
        let errors = errors(ended.await)?;
        trace.expect(["cancelled"])?;
        ensure_eq!(errors.len(), 2, "errors");
        let both = |found: fn(&Error) -> bool| errors.iter().filter(|error| found(error)).count();
        ensure_eq!(both(|error| matches!(error, Error::QueueFull)), 1, "the body's");
        ensure_eq!(both(|error| matches!(error, Error::QueueEmpty)), 1, "the child's");
        Ok(())
    })
}

pub(super) fn failures_during_the_abort_are_collected(cx: &Context) -> Outcome {
    main(cx, async {
        let ended = task_group(|group| async move {
            for number in 0..5_u16 {
                group.create_task(async move {
                    // Clean-ups of different lengths, all of which fail.
                    drop(catch_cancel(pending::<()>()).await);
                    for _ in 0..number {
                        yield_now().await;
                    }
                    Err::<(), Error>(Error::invalid_arg(number.to_string()))
                })?;
            }
            yield_now().await;
            group.create_task(async { Err::<(), Error>(Error::QueueEmpty) })?;
            drop(catch_cancel(pending::<()>()).await);
            yield_now().await;
            Err::<(), _>(Error::QueueFull)
        });
        let errors = errors(ended.await)?;
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        ensure_eq!(errors.len(), 7, "errors: {texts:?}");
        ensure_is!(&errors[0], Error::QueueEmpty);
        for number in 0..5 {
            let found = texts.iter().filter(|text| text.contains(&number.to_string())).count();
            ensure_eq!(found, 1, "errors of child {number}: {texts:?}");
        }
        Ok(())
    })
}

/// The request is held back or was made a moment before, so nothing of it was delivered.
pub(super) fn failures_beside_a_request_are_collected(cx: &Context) -> Outcome {
    main(cx, async {
        let ended = task_group(|group| async move {
            let gate = Gate::new();
            let critical = fails_after(gate.clone(), Error::QueueFull);
            group.create_task(uncancellable(critical))?;
            yield_now().await;
            group.create_task(async move {
                // After the group was aborted.
                LoopRef::current()?.call_soon(move || gate.open())?;
                Err::<(), Error>(Error::QueueEmpty)
            })?;
            pending::<Done>().await
        });
        ensure_is!(&errors(ended.await)?[..], [Error::QueueEmpty, Error::QueueFull]);
        let ended = task_group(|group| async move {
            let theirs = group.clone();
            group.create_task(async move {
                theirs.cancel();
                Err::<(), Error>(Error::QueueEmpty)
            })?;
            pending::<Done>().await
        });
        ensure_is!(&errors(ended.await)?[..], [Error::QueueEmpty]);
        Ok(())
    })
}

pub(super) fn nested_groups_each_with_its_own_errors(cx: &Context) -> Outcome {
    main(cx, async {
        // The inner body fails in its clean-up because the outer group aborts.
        let inner_errors = Rc::new(RefCell::new(Vec::new()));
        let slot = inner_errors.clone();
        let ended = task_group(|outer| async move {
            outer.create_task(async {
                yield_now().await;
                Err::<(), Error>(Error::QueueEmpty)
            })?;
            let inner = task_group(|inner| async move {
                inner.create_task(async {
                    drop(catch_cancel(pending::<()>()).await);
                    Err::<(), Error>(Error::QueueFull)
                })?;
                pending::<Done>().await
            });
            let outcome = inner.await;
            if let Err(Error::Group(group)) = &outcome {
                slot.borrow_mut().extend(group.errors().to_vec());
            }
            // The outer's request is pending still.
            match catch_cancel(yield_now()).await {
                Ok(()) => Err(Error::usage("the outer group's request was lost")),
                Err(_) => outcome,
            }
        });
        let outer_errors = errors(ended.await)?;
        ensure_is!(&inner_errors.take()[..], [Error::QueueFull]);
        ensure_is!(&outer_errors[..], [Error::QueueEmpty, Error::Group(_)]);
        ensure_eq!(requests(), 0, "requests");
        yield_now().await;
        // Both fail by themselves, in one batch.
        let gate = Gate::new();
        let (one, two) = (gate.clone(), gate.clone());
        let task = create_task(task_group(|outer| async move {
            outer.create_task(fails_after(one, Error::QueueEmpty))?;
            task_group(|inner| async move {
                inner.create_task(fails_after(two, Error::QueueFull))?;
                pending::<Done>().await
            })
            .await
        }))?;
        settle_tasks().await;
        gate.open();
        settle_tasks().await;
        let found = errors(task.take_result()?)?;
        ensure_is!(&found[..], [Error::QueueEmpty, Error::Group(_)]);
        Ok(())
    })
}

pub(super) fn panics_come_bare(cx: &Context) -> Outcome {
    for in_body in [false, true] {
        let lp = cx.new_loop()?;
        let reports = Reports::of(&lp);
        let trace = cx.trace();
        let log = trace.clone();
        let task = lp.create_task(task_group(move |group| async move {
            group.create_task(endless(log, "cancelled"))?;
            group.create_task(async {
                drop(catch_cancel(pending::<()>()).await);
                Err::<(), Error>(Error::QueueEmpty)
            })?;
            yield_now().await;
            if in_body {
                panic!("on purpose");
            }
            group.create_task(async { assert_eq!(1, 2, "on purpose") })?;
            pending::<Done>().await
        }))?;
        let outcome = lp.run_until_done(&task);
        let outcome = if in_body { outcome.map(drop) } else { outcome?.map(drop) };
        ensure_is!(outcome, Err(Error::Panicked(_)));
        // After all have ended.
        trace.expect(["cancelled"])?;
        ensure_is!(reports.one()?.exception, Some(Error::QueueEmpty));
    }
    Ok(())
}

pub(super) fn an_interrupt_comes_bare(cx: &Context) -> Outcome {
    for in_body in [false, true] {
        let lp = cx.new_loop()?;
        let reports = Reports::of(&lp);
        let trace = cx.trace();
        let log = trace.clone();
        let task = lp.create_task(task_group(move |group| async move {
            group.create_task(endless(log, "cancelled"))?;
            group.create_task(async {
                drop(catch_cancel(pending::<()>()).await);
                Err::<(), Error>(Error::QueueEmpty)
            })?;
            yield_now().await;
            if in_body {
                return Err(Error::Interrupt(Interrupt::new("on purpose")));
            }
            group.create_task(raise_interrupt::<()>(Interrupt::new("on purpose")))?;
            pending::<Done>().await
        }))?;
        if !in_body {
            // It ends the run first, as every interrupt; the group goes on in the next one.
            ensure_is!(lp.run_forever(), Err(Error::Interrupt(_)));
        }
        run_times(&lp, 8)?;
        ensure!(task.done(), "the group hangs");
        ensure_is!(task.take_result()?, Err(Error::Interrupt(why)) if why.reason() == "on purpose");
        trace.expect(["cancelled"])?;
        ensure_is!(reports.one()?.exception, Some(Error::QueueEmpty));
    }
    Ok(())
}

/// As the branch of a `select!` that lost.
pub(super) fn what_is_dropped_before_its_end_reports_them(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let gate = Gate::new();
    let (opens, theirs) = (gate.clone(), gate.clone());
    lp.run_until_complete(async move {
        let mut group = Box::pin(task_group(|group| async move {
            group.create_task(fails_after(theirs, Error::QueueEmpty))?;
            group.create_task(async { Ok::<(), Error>(()) })?;
            // Keeps the group waiting.
            group.create_task(uncancellable(pending::<()>()))?;
            pending::<Done>().await
        }));
        std::future::poll_fn(|cx| std::task::Poll::Ready(group.as_mut().poll(cx).is_pending()))
            .await;
        settle_tasks().await;
        opens.open();
        settle_tasks().await;
        drop(group);
    })?;
    ensure_is!(reports.one()?.exception, Some(Error::QueueEmpty));
    lp.close()?;
    let left = reports.one()?;
    ensure!(left.exception.is_none(), "the task that was left: {left:?}");
    Ok(())
}

/// The body has failed, the children have not ended, and then nobody waits any more.
pub(super) fn what_is_dropped_while_it_waits_reports_the_bodys(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let inner = reports.clone();
    lp.run_until_complete(async move {
        for way in ["error", "panic", "cancelled", "interrupt", "value"] {
            let mut group = Box::pin(task_group(move |group| async move {
                let stubborn = group.create_task(uncancellable(sleep(ms(1))))?;
                // Its task is known to the group only.
                drop(stubborn);
                match way {
                    "error" => Err(Error::QueueEmpty),
                    "panic" => panic!("of the body"),
                    "cancelled" => Err(anyloop_api::Cancelled::new().into()),
                    "interrupt" => Err(Interrupt::new("now").into()),
                    _ => Ok(()),
                }
            }));
            std::future::poll_fn(|cx| std::task::Poll::Ready(group.as_mut().poll(cx).is_pending()))
                .await;
            settle_tasks().await;
            drop(group);
            let found = inner.take().into_iter().map(|report| report.exception).collect::<Vec<_>>();
            match way {
                "error" => ensure_is!(&found[..], [Some(Error::QueueEmpty)]),
                "panic" => ensure_is!(&found[..], [Some(Error::Panicked(_))]),
                _ => ensure_is!(&found[..], []),
            }
        }
        Ok::<_, Failure>(())
    })?
}
