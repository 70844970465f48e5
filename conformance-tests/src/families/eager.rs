//! Tasks that take their first step inside the call that makes them.

mod cancelling;
mod combined;

use std::future::{Future, ready};
use std::pin::Pin;

use anyloop_api::{EagerTaskFactory, TaskBuilder, current_task};

use self::cancelling::*;
use self::combined::*;
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
