//! Task groups: their life here, failures in `tg/ending`, cancellations in `tg/cancelling`, those from several
//! sides in `tg/requests`.

mod cancelling;
mod ending;
mod requests;

use std::future::pending;

use anyloop::{TaskGroup, create_task, task_group};
use anyloop_api::{ContextVar, catch_cancel, sleep};

use self::cancelling::*;
use self::ending::*;
use self::requests::*;
use super::prelude::*;
use crate::tools::settle_tasks;

cases! {
    TG_01 => leaving_waits_for_all_children, children_may_add_children;
    TG_02 => one_failure_ends_them_all, every_order_of_two_failures,
        it_goes_with_its_future_to_another_task;
    TG_03 => a_cancelled_child_is_no_failure;
    TG_04 => the_bodys_error_is_one_of_the_group;
    TG_05 => failures_during_the_abort_are_collected, failures_beside_a_request_are_collected,
        what_is_dropped_before_its_end_reports_them,
        what_is_dropped_while_it_waits_reports_the_bodys;
    TG_06 => cancelled_from_outside;
    TG_07 => every_order_of_a_failure_and_a_request, a_failure_does_not_replace_the_request;
    TG_08 => its_own_request_is_taken_back;
    TG_09 => repeated_requests_do_not_hurry_it;
    TG_10 => a_request_while_it_waits_goes_on;
    TG_11 => nested_groups_each_with_its_own_errors,
        a_failure_does_not_replace_an_outer_deadline;
    TG_12 => no_children_before_it_and_after_it;
    TG_13 => entered_once_and_inside_a_task;
    TG_14 => children_that_have_ended_are_let_go;
    TG_15 => a_stubborn_child_is_asked_once;
    TG_16 => panics_come_bare, an_interrupt_comes_bare;
    TG_17 => cancelled_by_its_handle_it_ends_without_an_error,
        a_cancelled_group_may_have_failed, cancelled_from_a_child_or_a_callback,
        cancelled_from_the_first_step_of_a_child,
        cancelled_beside_a_branch_that_is_late;
    TG_18 => cancelled_before_the_entry, cancelled_again_and_too_late;
    TG_19 => children_have_names_and_contexts;
    TG_20 => children_start_in_the_order_of_creation;
}

/// The requests of the current task.
fn requests() -> usize {
    current_task().map_or(usize::MAX, |me| me.cancelling())
}

/// The errors of a group that failed.
fn errors<T>(outcome: anyloop::Result<T>) -> Result<Vec<Error>, Failure> {
    match outcome {
        Err(Error::Group(group)) => Ok(group.errors().to_vec()),
        Err(other) => Err(Failure::new(format!("expected an error group, found {other:?}"))),
        Ok(_) => Err(Failure::new("the group did not fail")),
    }
}

fn leaving_waits_for_all_children(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let log = trace.clone();
        let (one, two) = task_group(|group| async move {
            let (first, second) = (log.clone(), log.clone());
            let one = group.create_task(async move {
                sleep(ms(3)).await;
                first.push("one");
                1
            })?;
            let two = group.create_task(async move {
                yield_now().await;
                second.push("two");
                Ok::<_, Error>(2)
            })?;
            ensure_children(&group, 2)?;
            log.push("body");
            Ok((one, two))
        })
        .await?;
        trace.expect(["body", "two", "one"])?;
        ensure_eq!((one.result()?, two.result()?), (1, 2), "what the children returned");
        // Without children it does not even suspend.
        LoopRef::current()?.call_soon(trace.pusher("next"))?;
        ensure_eq!(task_group(|_| async { Ok(7) }).await?, 7, "the value of the body");
        trace.expect([])
    })
}

fn ensure_children(group: &TaskGroup, expected: usize) -> anyloop::Result<()> {
    if group.children() == expected {
        return Ok(());
    }
    Err(Error::usage(format!("expected {expected} children, found {}", group.children())))
}

fn children_may_add_children(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        fn descend(
            group: TaskGroup,
            depth: usize,
            log: crate::tools::Trace,
        ) -> anyloop::Result<()> {
            let theirs = group.clone();
            group.create_task(async move {
                yield_now().await;
                log.push(format!("{depth}"));
                if depth > 0 { descend(theirs, depth - 1, log) } else { Ok(()) }
            })?;
            Ok(())
        }
        let log = trace.clone();
        task_group(|group| async move { descend(group, 3, log) }).await?;
        trace.expect(["3", "2", "1", "0"])
    })
}

fn no_children_before_it_and_after_it(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let trace = cx.trace();
    let log = trace.clone();
    lp.run_until_complete(async move {
        let dropped = Counter::new();
        let refused = |group: &TaskGroup| {
            let (token, log) = (dropped.token(), log.clone());
            let refused = group.create_task(async move {
                token.keep();
                log.push("a refused child ran");
            });
            matches!(refused, Err(Error::Usage(_)))
        };
        let group = TaskGroup::new();
        ensure!(refused(&group), "a child before the entry");
        ensure_is!(group.task().map(drop), Err(Error::Usage(_)));
        let inner = group.clone();
        let aborted = group.run(async move {
            let shutting_down = inner.clone();
            let stubborn = inner.create_task(async move {
                drop(catch_cancel(pending::<()>()).await);
                yield_now().await;
                shutting_down.create_task(async {}).map(drop)
            })?;
            yield_now().await;
            inner.cancel();
            drop(stubborn);
            pending::<anyloop::Result<()>>().await
        });
        let refusals = errors(aborted.await)?;
        ensure_is!(&refusals[..], [Error::Usage(_)]);
        ensure!(refused(&group), "a child after the end");
        ensure_eq!(dropped.get(), 2, "bodies that were dropped");
        settle_tasks().await;
        Outcome::Ok(())
    })??;
    trace.expect([])?;
    lp.close()?;
    reports.none()
}

fn entered_once_and_inside_a_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.run_until_complete(async {
        let group = TaskGroup::new();
        group.run(async { Ok(()) }).await?;
        ensure_is!(group.run(async { Ok(()) }).await, Err(Error::Usage(_)));
        let active = TaskGroup::new();
        let inner = active.clone();
        let nested = active.run(async move { Ok(inner.run(async { Ok(()) }).await) });
        ensure_is!(nested.await, Ok(Err(Error::Usage(_))));
        Outcome::Ok(())
    })??;
    let found = Rc::new(RefCell::new(None));
    let slot = found.clone();
    lp.call_soon(move || {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let entered = std::pin::pin!(task_group(|_| async { Ok(()) })).poll(&mut cx);
        *slot.borrow_mut() = Some(entered);
    })?;
    run_once(&lp)?;
    ensure_is!(found.take(), Some(std::task::Poll::Ready(Err(Error::Usage(_)))));
    Ok(())
}

fn children_that_have_ended_are_let_go(cx: &Context) -> Outcome {
    main(cx, async {
        let dropped = Counter::new();
        let theirs = dropped.clone();
        task_group(|group| async move {
            for round in 1..=100 {
                let token = theirs.token();
                group.create_task(async move { vec![token] })?;
                yield_now().await;
                yield_now().await;
                if theirs.get() != round || group.children() != 0 {
                    let (kept, children) = (round - theirs.get(), group.children());
                    return Err(Error::usage(format!("{kept} results, {children} children kept")));
                }
            }
            Ok(())
        })
        .await?;
        Ok(())
    })
}

fn children_have_names_and_contexts(cx: &Context) -> Outcome {
    main(cx, async {
        let var = ContextVar::new("var");
        var.set("outside");
        let given = Vars::copy_current();
        given.run(|| var.set("given"));
        let (theirs, context) = (var.clone(), given.clone());
        let tasks = task_group(|group| async move {
            let look = |var: &ContextVar<&'static str>| {
                let var = var.clone();
                async move {
                    let found = var.get();
                    var.set("changed");
                    found
                }
            };
            let plain = group.task()?.name("plain").spawn(look(&theirs))?;
            let shared = group.task()?.name("shared").context(context).spawn(look(&theirs))?;
            let eager = group.task()?.name("eager").eager(true).spawn(look(&theirs))?;
            if !eager.done() || plain.done() {
                return Err(Error::usage("eager children start at once, others do not"));
            }
            Ok([plain, shared, eager])
        })
        .await?;
        let names: Vec<_> = tasks.iter().map(|task| task.get_name().to_string()).collect();
        ensure_eq!(names, ["plain", "shared", "eager"], "the names");
        let found: Vec<_> = tasks.iter().map(|task| task.result().ok().flatten()).collect();
        ensure_eq!(found, [Some("outside"), Some("given"), Some("outside")], "what they found");
        ensure_eq!(var.get(), Some("outside"), "the variable of the enclosing task");
        ensure_eq!(given.run(|| var.get()), Some("changed"), "the variable in the context given");
        Ok(())
    })
}

fn children_start_in_the_order_of_creation(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let log = trace.clone();
        task_group(|group| async move {
            for name in ["a", "b", "c", "d"] {
                let log = log.clone();
                group.create_task(async move { log.push(name) })?;
            }
            Ok(())
        })
        .await?;
        trace.expect(["a", "b", "c", "d"])
    })
}

fn cancelled_before_the_entry(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let group = TaskGroup::new();
        group.cancel();
        let (inner, log) = (group.clone(), trace.clone());
        let ended = group.run(async move {
            // On entry, so at the first suspension.
            log.push(if inner.create_task(async {}).is_err() { "refused" } else { "accepted" });
            yield_now().await;
            log.push("went on");
            Ok(())
        });
        ensure_is!(ended.await, Ok(()));
        trace.expect(["refused"])?;
        ensure_eq!(requests(), 0, "requests");
        yield_now().await;
        Ok(())
    })
}

fn cancelled_again_and_too_late(cx: &Context) -> Outcome {
    main(cx, async {
        let group = TaskGroup::new();
        let inner = group.clone();
        let ended = group.run(async move {
            let child = inner.create_task(pending::<()>())?;
            yield_now().await;
            for _ in 0..3 {
                inner.cancel();
            }
            if child.cancelling() != 1 {
                return Err(Error::usage("the child was asked several times"));
            }
            pending::<anyloop::Result<()>>().await
        });
        ensure_is!(ended.await, Ok(()));
        group.cancel();
        group.cancel();
        ensure_eq!(requests(), 0, "requests");
        for _ in 0..3 {
            yield_now().await;
        }
        // Nor does it concern a later group.
        let task = create_task(task_group(|group| async move {
            group.create_task(yield_now())?;
            Ok(5)
        }))?;
        ensure_eq!(task.await??, 5, "the value of a later group");
        Ok(())
    })
}
