//! Groups that are cancelled, from wherever.

use std::future::pending;

use anyloop::{TaskGroup, create_task, task_group};
use anyloop_api::{catch_cancel, sleep};

use super::ending::{Done, endless};
use super::{errors, requests};
use crate::families::prelude::*;
use crate::tools::{Gate, settle_tasks};

pub(super) fn cancelled_from_outside(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        for body_waits in [false, true] {
            let log = trace.clone();
            let task = create_task(async move {
                let log = log.clone();
                let outcome = task_group(|group| async move {
                    group.create_task(endless(log.clone(), "a"))?;
                    group.create_task(endless(log.clone(), "b"))?;
                    if body_waits { endless(log, "body").await } else { Ok(()) }
                });
                outcome.await
            })?;
            settle_tasks().await;
            task.cancel();
            settle_tasks().await;
            ensure!(task.cancelled(), "ended with {:?}", task.take_result());
            if body_waits {
                trace.expect_in_any_order(["a", "b", "body"])?;
            } else {
                trace.expect(["a", "b"])?;
            }
        }
        Ok(())
    })
}

/// A child's failure and a request from outside, in both orders and up to four iterations apart. The errors
/// come first; the request strikes at the next suspension.
pub(super) fn every_order_of_a_failure_and_a_request(cx: &Context) -> Outcome {
    main(cx, async {
        for request_first in [false, true] {
            for gap in 0..5 {
                for body_waits in [false, true] {
                    let way = format!("request first: {request_first}, gap {gap}, {body_waits}");
                    let (gate, slow) = (Gate::new(), Gate::new());
                    let (fails, passed) = (gate.clone(), slow.clone());
                    let seen = Rc::new(RefCell::new(None));
                    let slot = seen.clone();
                    let task = create_task(async move {
                        let outcome = task_group(|group| async move {
                            // Fails in any case: in its clean-up if it is cancelled first.
                            group.create_task(async move {
                                drop(catch_cancel(fails.wait()).await);
                                Err::<(), Error>(Error::QueueEmpty)
                            })?;
                            group.create_task(async move {
                                let Err(cancelled) = catch_cancel(pending::<()>()).await else {
                                    return;
                                };
                                passed.wait().await;
                                cancelled.resume().await
                            })?;
                            if body_waits { pending::<Done>().await } else { Ok(()) }
                        });
                        let outcome = outcome.await;
                        *slot.borrow_mut() = Some((outcome, requests()));
                        yield_now().await;
                        "went on"
                    })?;
                    settle_tasks().await;
                    let act = |request: bool| {
                        if request {
                            task.cancel();
                        } else {
                            gate.open();
                        }
                    };
                    act(request_first);
                    for _ in 0..gap {
                        yield_now().await;
                    }
                    act(!request_first);
                    settle_tasks().await;
                    ensure!(!task.done(), "{way}: did not wait for its last child");
                    slow.open();
                    settle_tasks().await;
                    ensure!(task.cancelled(), "{way}: {:?}", task.take_result());
                    let seen = seen.take();
                    let (outcome, left) =
                        seen.ok_or_else(|| Failure::new(format!("{way}: no error")))?;
                    ensure_is!(&errors(outcome)?[..], [Error::QueueEmpty]);
                    ensure_eq!(left, 1, "{way}: requests left");
                }
            }
        }
        Ok(())
    })
}

pub(super) fn its_own_request_is_taken_back(cx: &Context) -> Outcome {
    main(cx, async {
        let before_and_after = |in_clean_up: bool| async move {
            if in_clean_up {
                drop(catch_cancel(pending::<()>()).await);
            }
            let before = requests();
            let ended = task_group(|group| async move {
                group.create_task(async { Err::<(), Error>(Error::QueueEmpty) })?;
                pending::<Done>().await
            });
            let failed = ended.await.is_err();
            let after = requests();
            // The task is healthy.
            yield_now().await;
            sleep(ms(1)).await;
            (failed, before, after, requests())
        };
        ensure_eq!(create_task(before_and_after(false))?.await?, (true, 0, 0, 0), "requests");
        let task = create_task(before_and_after(true))?;
        yield_now().await;
        task.cancel();
        ensure_eq!(task.await?, (true, 1, 1, 1), "requests, in a clean-up");
        Ok(())
    })
}

pub(super) fn repeated_requests_do_not_hurry_it(cx: &Context) -> Outcome {
    main(cx, async {
        let gate = Gate::new();
        let passed = gate.clone();
        let task = create_task(task_group(move |group| async move {
            group.create_task(async move {
                let Err(cancelled) = catch_cancel(pending::<()>()).await else { return };
                passed.wait().await;
                cancelled.resume().await
            })?;
            pending::<Done>().await
        }))?;
        settle_tasks().await;
        for _ in 0..4 {
            task.cancel();
            settle_tasks().await;
            ensure!(!task.done(), "it did not wait for its child");
        }
        gate.open();
        settle_tasks().await;
        ensure!(task.cancelled(), "ended with {:?}", task.take_result());
        Ok(())
    })
}

/// The body has ended, the group is aborting because of a child: a request that comes then.
pub(super) fn a_request_while_it_waits_goes_on(cx: &Context) -> Outcome {
    main(cx, async {
        for fails in [false, true] {
            let gate = Gate::new();
            let passed = gate.clone();
            let log = crate::tools::Trace::new();
            let theirs = log.clone();
            let task = create_task(async move {
                let outcome = task_group(|group| async move {
                    group.create_task(async move {
                        passed.wait().await;
                        if fails { Err(Error::QueueEmpty) } else { Ok(()) }
                    })?;
                    // One that swallows the group's cancellation.
                    group.create_task(async {
                        drop(catch_cancel(pending::<()>()).await);
                    })?;
                    Ok(())
                });
                theirs.push(format!("{}", outcome.await.is_err()));
                yield_now().await;
                theirs.push("went on");
            })?;
            settle_tasks().await;
            if fails {
                gate.open();
                yield_now().await;
            }
            task.cancel();
            settle_tasks().await;
            gate.open();
            settle_tasks().await;
            ensure!(task.cancelled(), "the request was dropped: {log}");
            if fails {
                log.expect(["true"])?;
            } else {
                log.expect([])?;
            }
        }
        Ok(())
    })
}

pub(super) fn a_stubborn_child_is_asked_once(cx: &Context) -> Outcome {
    main(cx, async {
        let gate = Gate::new();
        let passed = gate.clone();
        let child = Rc::new(RefCell::new(None));
        let slot = child.clone();
        let task = create_task(task_group(move |group| async move {
            let stubborn = group.create_task(async move {
                drop(catch_cancel(pending::<()>()).await);
                passed.wait().await;
                5
            })?;
            *slot.borrow_mut() = Some(stubborn);
            yield_now().await;
            group.create_task(async { Err::<(), Error>(Error::QueueEmpty) })?;
            pending::<Done>().await
        }))?;
        for _ in 0..3 {
            settle_tasks().await;
        }
        let child = child.take().ok_or_else(|| Failure::new("no child"))?;
        ensure!(!task.done() && !child.done(), "it did not wait for the stubborn child");
        ensure_eq!(child.cancelling(), 1, "requests to the child");
        gate.open();
        settle_tasks().await;
        ensure_is!(&errors(task.take_result()?)?[..], [Error::QueueEmpty]);
        ensure_eq!(child.result()?, 5, "what the child returned");
        Ok(())
    })
}

pub(super) fn cancelled_by_its_handle_it_ends_without_an_error(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        for body_waits in [false, true] {
            let log = trace.clone();
            let ended = task_group(|group| async move {
                group.create_task(endless(log.clone(), "a"))?;
                group.create_task(endless(log.clone(), "b"))?;
                yield_now().await;
                group.cancel();
                if body_waits { endless(log, "body").await } else { Ok(()) }
            });
            ensure_is!(ended.await, Ok(()));
            if body_waits {
                trace.expect_in_any_order(["a", "b", "body"])?;
            } else {
                trace.expect(["a", "b"])?;
            }
            ensure_eq!(requests(), 0, "requests");
            yield_now().await;
        }
        // A body that has a value by then keeps it.
        let value = task_group(|group| async move {
            group.create_task(pending::<()>())?;
            group.cancel();
            Ok(5)
        });
        ensure_eq!(value.await?, 5, "the value");
        Ok(())
    })
}

pub(super) fn a_cancelled_group_may_have_failed(cx: &Context) -> Outcome {
    main(cx, async {
        let ended = task_group(|group| async move {
            group.create_task(async {
                drop(catch_cancel(pending::<()>()).await);
                Err::<(), Error>(Error::QueueEmpty)
            })?;
            yield_now().await;
            group.cancel();
            pending::<Done>().await
        });
        ensure_is!(&errors(ended.await)?[..], [Error::QueueEmpty]);
        // A request from outside is not swallowed by the group's own.
        for outside_first in [false, true] {
            let group = TaskGroup::new();
            let task = create_task(group.run(pending::<Done>()))?;
            settle_tasks().await;
            if outside_first {
                task.cancel();
                group.cancel();
            } else {
                group.cancel();
                task.cancel();
            }
            settle_tasks().await;
            ensure!(task.cancelled(), "outside first: {outside_first}: {:?}", task.take_result());
        }
        Ok(())
    })
}

pub(super) fn cancelled_from_a_child_or_a_callback(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        for from_child in [false, true] {
            let inner = lp.clone();
            let ended = task_group(|group| async move {
                let theirs = group.clone();
                if from_child {
                    group.create_task(async move {
                        theirs.cancel();
                        // It is cancelled with the others.
                        pending::<()>().await;
                    })?;
                } else {
                    inner.call_soon(move || theirs.cancel())?;
                }
                group.create_task(pending::<()>())?;
                pending::<Done>().await
            });
            ensure_is!(ended.await, Ok(()));
            ensure_eq!(requests(), 0, "requests");
        }
        Ok(())
    })
}

/// The group knows an eager child only when its first step is over.
pub(super) fn cancelled_from_the_first_step_of_a_child(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let log = trace.clone();
        let ended = create_task(task_group(|group| async move {
            let theirs = group.clone();
            let child = async move {
                theirs.cancel();
                endless(log, "the child").await
            };
            group.task()?.eager(true).spawn(child)?;
            pending::<Done>().await
        }))?;
        settle_tasks().await;
        trace.expect(["the child"])?;
        ensure!(ended.done(), "the group waits for a child that nobody cancelled");
        ensure_is!(ended.await, Ok(Ok(())));
        Ok(())
    })
}
