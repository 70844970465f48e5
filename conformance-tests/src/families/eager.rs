//! Tasks that take their first step inside the call that makes them.

use std::future::{Future, pending, ready};
use std::pin::Pin;

use anyloop::{TaskGroup, gather, task_group};
use anyloop_api::{EagerTaskFactory, TaskBuilder, catch_cancel, current_task};

use super::prelude::*;
use crate::tools::{Gate, OnDrop, Trace};

cases! {
    EAGER_01 => the_first_step_is_inside_the_call, only_on_the_loop_that_runs,
        the_second_step_is_an_ordinary_one;
    EAGER_02 => done_on_return, a_panic_stays_in_the_task;
    EAGER_03 => current_is_the_new_task_then_the_creator_again, also_if_the_step_panics;
    EAGER_04 => listed_while_it_is_not_finished;
    EAGER_05 => it_runs_in_its_own_context;
    EAGER_06 => cancelled_after_the_eager_step, cancelled_when_it_is_done,
        cancelled_inside_the_eager_step, the_creators_cancellation_reaches_it;
    EAGER_07 => gather_over_eager_results_is_done, one_that_suspended_is_waited_for;
    EAGER_08 => an_eager_failure_ends_the_group, an_eager_cancel_of_the_group_ends_it;
    EAGER_09 => never_on_the_thread_of_the_caller;
}

/// Makes an eager task on the loop that runs.
fn eager<F: Future + 'static>(future: F) -> Result<Task<F::Output>, Error> {
    LoopRef::current()?.task().eager(true).spawn(future)
}

fn the_first_step_is_inside_the_call(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    for way in ["builder", "factory"] {
        if way == "factory" {
            lp.set_task_factory(Some(Rc::new(EagerTaskFactory)));
        }
        let (inner, log) = (lp.clone(), trace.clone());
        lp.call_soon(move || {
            let _ = inner.call_soon(log.pusher("queued before"));
            let theirs = log.clone();
            let body = async move {
                theirs.push("first step");
                yield_now().await;
                theirs.push("second step");
            };
            let made = if way == "builder" { eager(body) } else { inner.create_task(body) };
            log.push(if made.is_ok_and(|task| !task.done()) { "made" } else { "not made" });
        })?;
        lp.call_soon(trace.pusher("same batch"))?;
        run_times(&lp, 2)?;
        trace.expect(["first step", "made", "same batch", "queued before", "second step"])?;
    }
    // By a task, through every level.
    lp.set_task_factory(None);
    let log = trace.clone();
    let task = lp.create_task(async move {
        let theirs = log.clone();
        let outer = eager(async move {
            let deepest = theirs.clone();
            let inner = eager(async move { deepest.push("inner") });
            theirs.push(if inner.is_ok_and(|inner| inner.done()) { "outer" } else { "not done" });
        });
        log.push(if outer.is_ok_and(|outer| outer.done()) { "creator" } else { "not done" });
    })?;
    lp.run_until_done(&task)?;
    trace.expect(["inner", "outer", "creator"])
}

fn only_on_the_loop_that_runs(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let trace = cx.trace();
    let log = trace.clone();
    lp.task().eager(true).spawn(async move { log.push("not before the run") })?;
    trace.push("made");
    let (log, theirs) = (trace.clone(), other.clone());
    lp.call_soon(move || {
        let step = log.clone();
        let made = theirs.task().eager(true).spawn(async move { step.push("on the other loop") });
        log.push(if made.is_ok() { "made for the other loop" } else { "not made" });
    })?;
    run_once(&lp)?;
    trace.expect(["made", "not before the run", "made for the other loop"])?;
    run_once(&other)?;
    trace.expect(["on the other loop"])?;
    lp.set_task_factory(Some(Rc::new(EagerTaskFactory)));
    let log = trace.clone();
    lp.create_task(async move { log.push("after the run") })?;
    trace.expect([])?;
    run_once(&lp)?;
    trace.expect(["after the run"])
}

/// What the eager step waits for ends before it has returned, or later.
fn the_second_step_is_an_ordinary_one(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (gate, future) = (Gate::new(), lp.create_future());
    let (log, wait, waiting) = (trace.clone(), gate.clone(), future.clone());
    lp.call_soon(move || {
        let (first, second) = (log.clone(), log.clone());
        let opened = wait.clone();
        let _ = eager(async move {
            first.push("leaf begins");
            opened.wait().await;
            first.push("leaf ends");
        });
        let theirs = waiting.clone();
        let _ = eager(async move {
            second.push("future begins");
            second.push(if theirs.await.is_ok() { "future ends" } else { "no value" });
        });
        wait.open();
        let _ = waiting.set_result(());
        log.push("both woken");
    })?;
    lp.call_soon(trace.pusher("same batch"))?;
    run_once(&lp)?;
    trace.expect(["leaf begins", "future begins", "both woken", "same batch"])?;
    run_once(&lp)?;
    trace.expect(["leaf ends", "future ends"])?;
    ensure_eq!(lp.all_tasks().len(), 0, "tasks that are left");
    Ok(())
}

fn done_on_return(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (freed, polls) = (Counter::new(), Counter::new());
    let (token, count, log) = (freed.token(), polls.clone(), trace.clone());
    let inner = lp.clone();
    let slot = Rc::new(RefCell::new(None));
    let theirs = slot.clone();
    lp.call_soon(move || {
        let done = inner.create_future();
        let _ = done.set_result(2);
        let finished = eager(ready(3));
        let body = async move {
            token.keep();
            count.add();
            let finished = finished?.await?;
            Ok::<_, Error>(done.await? + finished)
        };
        if let Ok(task) = eager(body) {
            let (done, left) = (task.done(), inner.all_tasks().len());
            log.push(format!("{done} {left} {:?}", task.result().ok().and_then(Result::ok)));
            let log = log.clone();
            task.add_done_callback(move |_| log.push("done-callback"));
            log_freed(&task, &theirs);
        }
    })?;
    lp.call_soon(trace.pusher("same batch"))?;
    run_once(&lp)?;
    trace.expect(["true 0 Some(5)", "same batch"])?;
    ensure_eq!((polls.get(), freed.get()), (1, 1), "steps, and bodies dropped");
    run_times(&lp, 3)?;
    trace.expect(["done-callback"])?;
    ensure_eq!(polls.get(), 1, "steps after more iterations");
    ensure!(slot.take().is_some_and(|task: Task<_>| task.done()), "the task is gone");
    Ok(())
}

/// Keeps a handle.
fn log_freed<T>(task: &Task<T>, slot: &Rc<RefCell<Option<Task<T>>>>) {
    slot.replace(Some(task.clone()));
}

fn a_panic_stays_in_the_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    let log = trace.clone();
    let task = lp.create_task(async move {
        let failed = eager(async { panic!("in the eager step") })?;
        log.push(if failed.done() { "goes on" } else { "not done" });
        failed.await
    })?;
    let result: Result<(), Error> = lp.run_until_done(&task)?;
    ensure_is!(result, Err(Error::Panicked(panic)) if panic.message() == "in the eager step");
    trace.expect(["goes on"])?;
    reports.none()?;
    // Nobody looks: reported, once.
    lp.call_soon(|| drop(eager(async { panic!("unseen") })))?;
    run_times(&lp, 2)?;
    let report = reports.one()?;
    ensure!(report.is_panic("unseen"), "another report: {report:?}");
    Ok(())
}

/// The name of the current task, or a dash.
fn current_name() -> String {
    current_task().map_or_else(|| "-".to_owned(), |task| task.get_name().to_string())
}

/// Makes an eager task inside an eager task, `depth` deep; each says who is current.
fn nested(lp: LoopRef, trace: Trace, depth: u32) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        trace.push(current_name());
        if depth > 0 {
            let name = format!("level {depth}");
            let inner = nested(lp.clone(), trace.clone(), depth - 1);
            let _ = lp.task().name(&name).eager(true).spawn(inner);
        }
        trace.push(current_name());
    })
}

fn current_is_the_new_task_then_the_creator_again(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    lp.task().name("creator").spawn(nested(lp.clone(), trace.clone(), 2))?;
    run_once(&lp)?;
    trace.expect(["creator", "level 2", "level 1", "level 1", "level 2", "creator"])?;
    // None before, none after.
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        let theirs = log.clone();
        let body = async move {
            theirs.push(current_name());
            yield_now().await;
            theirs.push(current_name());
        };
        let _ = inner.task().name("eager").eager(true).spawn(body);
        log.push(current_name());
    })?;
    run_times(&lp, 2)?;
    trace.expect(["eager", "-", "eager"])
}

fn also_if_the_step_panics(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    let task = lp.task().name("creator").spawn(async move {
        let theirs = log.clone();
        let failed = eager(async move {
            let _guard = OnDrop(move || theirs.push(current_name()));
            panic!("on purpose");
        });
        log.push(current_name());
        if let Ok(failed) = failed {
            failed.mark_inspected();
        }
    })?;
    lp.run_until_done(&task)?;
    let events = trace.take();
    ensure_eq!(events.last().map(AsRef::as_ref), Some("creator"), "who is current after it");
    ensure!(events.len() == 2 && events[0].starts_with("Task-"), "who was current: {events:?}");
    Ok(())
}

fn listed_while_it_is_not_finished(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let names = |lp: &LoopRef| {
        let mut names: Vec<_> = lp.all_tasks().iter().map(|task| task.get_name()).collect();
        names.sort();
        names.join(" ")
    };
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        for (name, waits) in [("ends", false), ("waits", true)] {
            let (theirs, lp) = (log.clone(), inner.clone());
            let body = async move {
                theirs.push(format!("inside: {}", names(&lp)));
                if waits {
                    yield_now().await;
                }
            };
            let _ = inner.task().name(name).eager(true).spawn(body);
            log.push(format!("after: {}", names(&inner)));
        }
    })?;
    run_once(&lp)?;
    trace.expect(["inside: ends", "after: ", "inside: waits", "after: waits"])?;
    run_once(&lp)?;
    ensure_eq!(lp.all_tasks().len(), 0, "tasks that are left");
    Ok(())
}

fn it_runs_in_its_own_context(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let var: ContextVar<&'static str> = ContextVar::new("var");
    let given = Vars::new();
    given.run(|| var.set("given"));
    let (log, own, context) = (trace.clone(), var.clone(), given.clone());
    let task = lp.create_task(async move {
        own.set("of the creator");
        let step = |log: Trace, var: ContextVar<&'static str>| async move {
            log.push(var.get().unwrap_or("-"));
            var.set("of the eager task");
            yield_now().await;
            log.push(var.get().unwrap_or("-"));
        };
        let first = eager(step(log.clone(), own.clone()))?;
        log.push(own.get().unwrap_or("-"));
        let builder = LoopRef::current()?.task().context(context).eager(true);
        let second = builder.spawn(step(log.clone(), own.clone()))?;
        log.push(own.get().unwrap_or("-"));
        own.set("of the creator, later");
        first.await?;
        second.await
    })?;
    lp.run_until_done(&task)??;
    trace.expect([
        "of the creator",
        "of the creator",
        "given",
        "of the creator",
        "of the eager task",
        "of the eager task",
    ])?;
    ensure_eq!(given.run(|| var.get()), Some("of the eager task"), "in the context given");
    Ok(())
}

fn cancelled_after_the_eager_step(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    // In the call that made it, in the same batch, an iteration later; with and without a scope.
    for when in ["at once", "same batch", "later"] {
        for scoped in [false, true] {
            let future = lp.create_future::<()>();
            let (waiting, log, slot) = (future.clone(), trace.clone(), Rc::new(RefCell::new(None)));
            let theirs = slot.clone();
            lp.call_soon(move || {
                let log = log.clone();
                let made = eager(async move {
                    if scoped {
                        let caught = catch_cancel(waiting).await;
                        log.push(if caught.is_err() { "caught" } else { "not caught" });
                    } else {
                        let _ = waiting.await;
                        log.push("went on");
                    }
                });
                if let Ok(task) = made {
                    if when == "at once" {
                        task.cancel();
                    }
                    theirs.replace(Some(task));
                }
            })?;
            let theirs = slot.clone();
            if when == "same batch" {
                lp.call_soon(move || {
                    if let Some(task) = &*theirs.borrow() {
                        task.cancel();
                    }
                })?;
            }
            run_once(&lp)?;
            let Some(task) = slot.take() else { return Err(Failure::new("no task")) };
            if when == "later" {
                ensure!(task.cancel(), "cancel() says false");
            }
            ensure!(future.cancelled(), "the awaited future is not cancelled ({when})");
            ensure!(!task.done(), "the task ended by the call itself ({when})");
            ensure_eq!(task.cancelling(), 1, "requests ({when})");
            run_once(&lp)?;
            ensure_eq!(task.cancelled(), !scoped, "whether the task is cancelled ({when})");
            if scoped {
                trace.expect(["caught"])?;
            }
            trace.expect([])?;
        }
    }
    Ok(())
}

fn cancelled_when_it_is_done(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let said = Rc::new(Cell::new(None));
    let theirs = said.clone();
    lp.call_soon(move || {
        if let Ok(task) = eager(ready(1)) {
            let accepted = task.cancel();
            theirs.set(Some((accepted, task.cancelling(), task.cancelled(), task.result().ok())));
        }
    })?;
    run_once(&lp)?;
    ensure_eq!(said.get(), Some((false, 0, false, Some(1))), "accepted, requests, state, value");
    Ok(())
}

/// By the body itself, and by the body of its creator.
fn cancelled_inside_the_eager_step(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    let task = lp.create_task(async move {
        // Returns at once: cancelled. Suspends: cancelled there.
        let returns = eager(async {
            current_task().map(|me| me.cancel());
        })?;
        log.push(if returns.cancelled() { "cancelled on return" } else { "not cancelled" });
        let theirs = log.clone();
        let suspends = eager(async move {
            current_task().map(|me| me.cancel());
            let caught = catch_cancel(pending::<()>()).await;
            theirs.push(if caught.is_err() { "caught in the eager step" } else { "not caught" });
        })?;
        log.push(if suspends.done() { "done on return" } else { "not done" });
        // The creator, whose own step is on the stack.
        let me = current_task();
        eager(async move {
            if let Some(creator) = me {
                creator.cancel();
            }
        })?;
        log.push("goes on");
        let caught = catch_cancel(pending::<()>()).await;
        log.push(if caught.is_err() { "creator caught" } else { "not caught" });
        Ok::<_, Error>(current_task().map_or(9, |me| me.cancelling()))
    })?;
    ensure_eq!(lp.run_until_done(&task)??, 1, "requests to the creator");
    trace.expect([
        "cancelled on return",
        "caught in the eager step",
        "done on return",
        "goes on",
        "creator caught",
    ])
}

fn the_creators_cancellation_reaches_it(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let gate = Gate::new();
    let (log, wait) = (trace.clone(), gate.clone());
    let task = lp.create_task(async move {
        let theirs = log.clone();
        let child = eager(async move {
            let Err(cancelled) = catch_cancel(pending::<()>()).await else { return };
            theirs.push("clean-up begins");
            wait.wait().await;
            theirs.push("clean-up ends");
            cancelled.resume::<()>().await;
        })?;
        let ended = child.await;
        log.push("creator went on");
        ended
    })?;
    run_once(&lp)?;
    task.cancel();
    run_times(&lp, 3)?;
    ensure!(!task.done(), "the creator did not wait for its child");
    gate.open();
    run_times(&lp, 3)?;
    trace.expect(["clean-up begins", "clean-up ends"])?;
    ensure!(task.cancelled(), "the creator is not cancelled");
    Ok(())
}

fn gather_over_eager_results_is_done(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.set_task_factory(Some(Rc::new(EagerTaskFactory)));
    let task = lp.create_task(async {
        let both = gather((eager(async { 6 })?, eager(async { 7 })?));
        let done = both.done();
        // Futures too: the factory makes eager tasks of them.
        let made = gather([1, 2].map(|n| async move { n }));
        Ok::<_, Error>((done, both.await?, made.done(), made.await?))
    })?;
    ensure_eq!(lp.run_until_done(&task)??, (true, (6, 7), true, vec![1, 2]), "done and values");
    Ok(())
}

fn one_that_suspended_is_waited_for(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let gate = Gate::new();
    let wait = gate.clone();
    let task = lp.create_task(async move {
        let slow = eager(async move {
            wait.wait().await;
            7
        })?;
        let both = gather((eager(async { 6 })?, slow));
        Ok::<_, Error>((both.done(), both.await?))
    })?;
    run_times(&lp, 3)?;
    ensure!(!task.done(), "gather did not wait for the task that suspended");
    gate.open();
    ensure_eq!(lp.run_until_done(&task)??, (false, (6, 7)), "done and values");
    Ok(())
}

/// A group with a sleeping child in which `begin` starts another one: how it ended, and what the task
/// that ran it looks like afterwards.
fn with_sibling(
    lp: &LoopRef,
    trace: &Trace,
    begin: impl FnOnce(&TaskGroup) -> Result<(), Error> + 'static,
) -> Result<(Result<(), Error>, usize), Error> {
    let log = trace.clone();
    let task = lp.create_task(async move {
        let theirs = log.clone();
        let ended = task_group(|group| async move {
            group.create_task(async move {
                let Err(cancelled) = catch_cancel(pending::<()>()).await else { return };
                theirs.push("sibling cancelled");
                cancelled.resume::<()>().await;
            })?;
            yield_now().await;
            begin(&group)?;
            pending::<Result<(), Error>>().await
        })
        .await;
        // Nothing of the group's own cancellation is left to hit this.
        yield_now().await;
        log.push("after the group");
        (ended, current_task().map_or(usize::MAX, |task| task.cancelling()))
    })?;
    lp.run_until_complete(task)?
}

fn an_eager_failure_ends_the_group(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (ended, cancelling) = with_sibling(&lp, &trace, |group| {
        let failing = async { Err::<(), _>(Error::invalid_arg("at once")) };
        let child = group.task()?.eager(true).spawn(failing)?;
        if child.done() { Ok(()) } else { Err(Error::usage("the child is not done on return")) }
    })?;
    let Err(Error::Group(group)) = ended else {
        return Err(Failure::new(format!("the group ended with {ended:?}")));
    };
    ensure_eq!(group.errors().len(), 1, "errors");
    ensure!(group.errors()[0].to_string().contains("at once"), "another error: {group}");
    ensure_eq!(cancelling, 0, "requests that are left");
    trace.expect(["sibling cancelled", "after the group"])
}

fn an_eager_cancel_of_the_group_ends_it(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    let (ended, cancelling) = with_sibling(&lp, &trace, move |group| {
        let whole = group.clone();
        group.task()?.eager(true).spawn(async move {
            whole.cancel();
            let Err(cancelled) = catch_cancel(pending::<()>()).await else { return };
            log.push("child cancelled");
            cancelled.resume::<()>().await;
        })?;
        Ok(())
    })?;
    ensure!(ended.is_ok(), "the group ended with {ended:?}");
    ensure_eq!(cancelling, 0, "requests that are left");
    trace.expect(["sibling cancelled", "child cancelled", "after the group"])
}

/// What could start a task on another thread's loop does not leave its own thread; what may leave it
/// starts the task where the loop runs.
fn never_on_the_thread_of_the_caller(cx: &Context) -> Outcome {
    assert_not_impl!(LoopRef: Send);
    assert_not_impl!(TaskBuilder: Send);
    let lp = cx.new_loop()?;
    lp.set_task_factory(Some(Rc::new(EagerTaskFactory)));
    let remote = lp.remote();
    let thread = thread::spawn(move || {
        let spawned = remote.spawn(async { thread::current().id() })?;
        let where_it_ran = spawned.wait()?;
        remote.stop();
        Ok::<_, Error>((thread::current().id(), where_it_ran))
    });
    lp.run_forever()?;
    let (caller, where_it_ran) = join(thread)??;
    ensure!(caller != where_it_ran, "the task ran on the thread of its creator");
    ensure_eq!(where_it_ran, thread::current().id(), "the thread of the task");
    Ok(())
}
