//! Tasks: steps, ends, names, owners.

use std::future::{pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::task::{Poll, Waker};

use anyloop_api::{
    AnyTask, EagerTaskFactory, Result, TaskFactory, TaskOptions, catch_cancel, sleep, sleep_until,
};

use super::prelude::*;
use crate::tools::{Gate, OnDrop, Seen, both};

cases! {
    TASK_01 => the_first_step_waits_its_turn, also_when_made_by_a_callback_or_a_task;
    TASK_02 => first_steps_in_creation_order;
    TASK_03 => nested_awaits_do_not_yield, done_awaits_do_not_yield;
    TASK_04 => values_and_errors_stay_in_the_task, a_panic_ends_the_task_only;
    TASK_05 => the_body_is_gone_before_joiners_resume;
    TASK_06 => there_are_no_setters;
    TASK_07 => a_bare_yield_goes_to_the_end;
    TASK_08 => awaiting_oneself_is_an_error;
    TASK_09 => current_is_the_stepped_task, interleaved_tasks_are_told_apart,
        also_in_destructors_and_after_a_panic;
    TASK_10 => the_unfinished_ones_are_listed, asked_from_another_thread;
    TASK_11 => names_are_numbered_or_given;
    TASK_12 => a_step_is_never_re_entered;
    TASK_13 => many_wakes_make_one_step, a_cancellation_makes_one_step, wakes_of_other_threads_too,
        late_wakes_are_ignored;
    TASK_14 => dropping_the_handle_detaches;
    TASK_15 => what_is_left_at_close_is_reported, internal_tasks_are_not_reported,
        destructors_at_close_may_do_anything;
    TASK_16 => a_lost_failure_is_reported_once, a_returned_error_too, a_look_is_enough;
    TASK_17 => a_factory_sees_every_task, a_factory_may_change_and_refuse;
    TASK_18 => a_refused_body_is_never_polled;
    TASK_19 => waiting_on_a_finished_task_does_not_suspend;
    TASK_20 => yielding_tasks_stay_together;
    TASK_21 => a_future_never_awaited_is_noticed;
}

fn the_first_step_waits_its_turn(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    lp.call_soon(trace.pusher("before"))?;
    let log = trace.clone();
    lp.create_task(async move { log.push("task") })?;
    lp.call_soon(trace.pusher("after"))?;
    trace.expect([])?;
    run_once(&lp)?;
    trace.expect(["before", "task", "after"])
}

fn also_when_made_by_a_callback_or_a_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        let (theirs, outer) = (log.clone(), inner.clone());
        let made = inner.create_task(async move {
            theirs.push("outer begins");
            let log = theirs.clone();
            let made = outer.create_task(async move { log.push("inner") });
            theirs.push(if made.is_ok() { "outer ends" } else { "no task" });
        });
        log.push(if made.is_ok() { "made" } else { "not made" });
    })?;
    lp.call_soon(trace.pusher("same batch"))?;
    run_once(&lp)?;
    trace.expect(["made", "same batch"])?;
    run_once(&lp)?;
    trace.expect(["outer begins", "outer ends"])?;
    run_once(&lp)?;
    trace.expect(["inner"])
}

fn first_steps_in_creation_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let order = Rc::new(RefCell::new(Vec::new()));
    for number in 0..100 {
        let order = order.clone();
        lp.create_task(async move { order.borrow_mut().push(number) })?;
    }
    run_once(&lp)?;
    ensure_eq!(*order.borrow(), (0..100).collect::<Vec<_>>(), "the order of the first steps");
    Ok(())
}

/// Awaits itself `depth` times, and `leaf` at the bottom.
fn nested(depth: usize, leaf: LoopFuture<u8>) -> Pin<Box<dyn Future<Output = Result<u8>>>> {
    Box::pin(async move { if depth == 0 { leaf.await } else { nested(depth - 1, leaf).await } })
}

fn nested_awaits_do_not_yield(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let done = lp.create_future();
    done.set_result(3)?;
    let task = lp.create_task(nested(500, done))?;
    run_once(&lp)?;
    ensure!(task.done(), "five hundred nested awaits of a done future took more than one step");
    ensure_is!(task.take_result(), Ok(Ok(3)));
    let later = lp.create_future();
    let task = lp.create_task(nested(500, later.clone()))?;
    run_once(&lp)?;
    ensure!(!task.done(), "the task did not wait");
    later.set_result(4)?;
    run_once(&lp)?;
    ensure!(task.done(), "the way back through five hundred awaits took more than one step");
    ensure_is!(task.take_result(), Ok(Ok(4)));
    Ok(())
}

fn done_awaits_do_not_yield(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let done = lp.create_future();
    done.set_result(1)?;
    let failed = lp.create_future::<usize>();
    failed.set_exception("on purpose")?;
    let finished = lp.create_task(ready(1))?;
    run_once(&lp)?;
    let past = lp.time();
    let log = trace.clone();
    lp.create_task(async move {
        let mut sum = 0;
        for _ in 0..1000 {
            sum += (&done).await.unwrap_or(0) + (&finished).await.unwrap_or(0) + ready(1).await;
            sum += usize::from((&failed).await.is_err());
        }
        log.push(sum.to_string());
        // The past is no reason to go on at once: this one yields.
        sleep_until(past).await;
        log.push("yielded");
    })?;
    lp.call_soon(trace.pusher("next"))?;
    run_once(&lp)?;
    trace.expect(["4000", "next"])?;
    run_once(&lp)?;
    trace.expect(["yielded"])
}

fn values_and_errors_stay_in_the_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let value = lp.create_task(async { 5 })?;
    let error = lp.create_task(async { Err::<u8, _>(Error::usage("on purpose")) })?;
    ensure_is!(value.result(), Err(Error::InvalidState(_)));
    ensure_is!(value.exception(), Err(Error::InvalidState(_)));
    lp.call_soon({
        let lp = lp.clone();
        move || lp.stop()
    })?;
    lp.run_forever()?;
    ensure!(value.done() && !value.cancelled(), "the task with the value is not done");
    ensure!(error.done() && !error.cancelled(), "the task with the error is not done");
    ensure_eq!(value.result()?, 5, "the value");
    ensure_is!(value.exception(), Ok(None));
    ensure_is!(error.result(), Ok(Err(Error::Usage(_))));
    ensure_is!(error.exception(), Ok(None));
    reports.none()
}

fn a_panic_ends_the_task_only(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    let freed = Counter::new();
    let token = freed.token();
    let task = lp.create_task(async move {
        yield_now().await;
        token.keep();
        panic!("in a step");
    })?;
    lp.call_soon(trace.pusher("same batch"))?;
    let waiting = task.clone();
    let joined = lp.create_task(waiting)?;
    run_once(&lp)?;
    lp.call_soon(trace.pusher("after the panic"))?;
    run_times(&lp, 2)?;
    trace.expect(["same batch", "after the panic"])?;
    ensure_eq!(freed.get(), 1, "bodies dropped");
    ensure!(task.done() && !task.cancelled(), "the task is not done, or cancelled");
    let is_it = |error: &Error| matches!(error, Error::Panicked(p) if p.message() == "in a step");
    ensure_is!(task.exception(), Ok(Some(error)) if is_it(&error));
    ensure_is!(joined.take_result(), Ok(Err(error)) if is_it(&error));
    drop((task, joined));
    reports.none()
}

/// Whatever way a task ends, what its body owns is gone when the others hear of it.
fn the_body_is_gone_before_joiners_resume(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let seen = Rc::new(RefCell::new(Vec::new()));
    for end in ["value", "panic", "cancelled"] {
        let freed = Counter::new();
        let (captured, go) = (freed.token(), Gate::new());
        let (theirs, wait) = (freed.clone(), go.clone());
        let task = lp.create_task(async move {
            captured.keep();
            // Kept across the last await, still alive when the body returns.
            let local = theirs.token();
            wait.wait().await;
            local.keep();
            assert!(end != "panic", "on purpose");
        })?;
        let (waiting, seen_by_joiner, count) = (task.clone(), seen.clone(), freed.clone());
        lp.create_task(async move {
            let _ = waiting.await;
            seen_by_joiner.borrow_mut().push((end, count.get()));
        })?;
        let (seen_by_callback, count) = (seen.clone(), freed.clone());
        task.add_done_callback(move |task| {
            seen_by_callback.borrow_mut().push((end, count.get()));
            task.mark_inspected();
        });
        run_once(&lp)?;
        if end == "cancelled" {
            task.cancel();
        } else {
            go.open();
        }
        run_times(&lp, 3)?;
    }
    let all = ["value", "value", "panic", "panic", "cancelled", "cancelled"].map(|end| (end, 2));
    ensure_eq!(*seen.borrow(), all, "tokens of the body that were dropped, as joiners saw it");
    Ok(())
}

/// If a task had these methods, they and not the trait's would be called here: a type error.
fn there_are_no_setters(cx: &Context) -> Outcome {
    struct Absent;
    trait Setters {
        fn set_result(&self, _: u8) -> Absent {
            Absent
        }
        fn set_exception(&self, _: Error) -> Absent {
            Absent
        }
        fn set_unless_done(&self, _: Result<u8>) -> Absent {
            Absent
        }
    }
    impl Setters for Task<u8> {}
    impl Setters for AnyTask {}

    let lp = cx.new_loop()?;
    let task = lp.create_task(ready(1))?;
    let Absent = task.set_result(2);
    let Absent = task.set_exception(Error::usage("on purpose"));
    let Absent = task.set_unless_done(Ok(2));
    let Absent = task.any().set_result(2);
    let Absent = task.any().set_exception(Error::usage("on purpose"));
    run_once(&lp)?;
    ensure_eq!(task.result()?, 1, "the value");
    Ok(())
}

fn a_bare_yield_goes_to_the_end(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    for kind in ["yield_now", "sleep(0)"] {
        let (log, inner) = (trace.clone(), lp.clone());
        lp.create_task(async move {
            log.push("before");
            let _ = inner.call_soon(log.pusher("queued by the step"));
            if kind == "yield_now" {
                yield_now().await;
            } else {
                sleep(Duration::ZERO).await;
            }
            log.push("after");
        })?;
        lp.call_soon(trace.pusher("queued before"))?;
        run_once(&lp)?;
        trace.expect(["before", "queued before"])?;
        run_once(&lp)?;
        trace.expect(["queued by the step", "after"])?;
    }
    Ok(())
}

fn awaiting_oneself_is_an_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let me: Rc<RefCell<Option<Task<u8>>>> = Rc::default();
    let own = me.clone();
    let errors = Rc::new(RefCell::new(Vec::new()));
    let theirs = errors.clone();
    let task = lp.create_task(async move {
        yield_now().await;
        let (by_reference, by_value) = (own.take(), own.take());
        let Some(me) = by_reference.or(by_value) else { return 0 };
        let result = (&me).await;
        theirs.borrow_mut().push(result.err());
        let result = me.clone().await;
        theirs.borrow_mut().push(result.err());
        if let Some(any) = current_task() {
            any.await;
        }
        8
    })?;
    me.replace(Some(task.clone()));
    ensure_eq!(lp.run_until_done(&task)?, 8, "the value of the task, which went on");
    let errors = errors.take();
    ensure!(
        matches!(&errors[..], [Some(Error::Usage(_)), Some(Error::Usage(_))]),
        "expected two errors of misuse, found {errors:?}"
    );
    Ok(())
}

/// The name of the current task, or a dash.
fn current_name() -> String {
    current_task().map_or_else(|| "-".to_owned(), |task| task.get_name().to_string())
}

fn current_is_the_stepped_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let say = {
        let trace = trace.clone();
        move |at: &str| trace.push(format!("{at} {}", current_name()))
    };
    say("outside");
    let inside = say.clone();
    let task = lp.task().name("t").spawn(async move {
        inside("first");
        yield_now().await;
        inside("second");
    })?;
    ensure!(current_task().is_none(), "creating a task made it current");
    let callback = say.clone();
    lp.call_soon(move || callback("callback"))?;
    let done = say.clone();
    task.add_done_callback(move |_| done("done"));
    let timer = say.clone();
    lp.call_later(Duration::ZERO, move || timer("timer"))?;
    run_for(&lp, ms(5))?;
    say("outside");
    let mut events = trace.take();
    events.sort();
    let all = ["callback -", "done -", "first t", "outside -", "outside -", "second t", "timer -"];
    ensure_eq!(events, all, "who was current");
    Ok(())
}

fn interleaved_tasks_are_told_apart(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let wrong = Counter::new();
    let steps = Counter::new();
    for number in 0..5 {
        let (wrong, steps) = (wrong.clone(), steps.clone());
        let name = format!("number {number}");
        lp.task().name(&name.clone()).spawn(async move {
            for _ in 0..=number {
                if current_name() != name {
                    wrong.add();
                }
                steps.add();
                yield_now().await;
            }
        })?;
    }
    run_times(&lp, 7)?;
    ensure_eq!((steps.get(), wrong.get()), (15, 0), "steps, and those with another current task");
    Ok(())
}

fn also_in_destructors_and_after_a_panic(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    for end in ["value", "cancelled", "panic"] {
        let log = trace.clone();
        let guard = OnDrop(move || log.push(current_name()));
        let task = lp.task().name(end).spawn(async move {
            guard.keep();
            if end == "cancelled" {
                pending::<()>().await;
            }
            assert!(end != "panic", "on purpose");
        })?;
        task.mark_inspected();
        if end == "cancelled" {
            run_once(&lp)?;
            task.cancel();
        }
        let log = trace.clone();
        lp.call_soon(move || log.push(current_name()))?;
        run_once(&lp)?;
        trace.expect([end, "-"])?;
    }
    Ok(())
}

fn names(tasks: &[AnyTask]) -> Vec<String> {
    let mut names: Vec<_> = tasks.iter().map(|task| task.get_name().to_string()).collect();
    names.sort();
    names
}

fn the_unfinished_ones_are_listed(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let task = |lp: &LoopRef, name: &str| {
        let gate = Gate::new();
        let wait = gate.clone();
        let task = lp.task().name(name).spawn(async move { wait.wait().await })?;
        Ok::<_, Error>((task, gate))
    };
    let (a, gate) = task(&lp, "a")?;
    let (b, _) = task(&lp, "b")?;
    let (elsewhere, _) = task(&other, "elsewhere")?;
    ensure_eq!(names(&lp.all_tasks()), ["a", "b"], "tasks that have not begun");
    let inner = lp.clone();
    let inside = lp.task().name("me").spawn(async move { names(&inner.all_tasks()) })?;
    ensure_eq!(lp.run_until_done(&inside)?, ["a", "b", "me"], "tasks, the current one included");
    gate.open();
    b.cancel();
    ensure_eq!(names(&lp.all_tasks()), ["a", "b"], "tasks that are about to end");
    run_times(&lp, 2)?;
    ensure_eq!(names(&lp.all_tasks()), [""; 0], "tasks after the last has ended");
    ensure!(a.done() && b.cancelled(), "the tasks did not end as they should");
    ensure_eq!(names(&other.all_tasks()), ["elsewhere"], "tasks of the other loop");
    elsewhere.mark_internal();
    Ok(())
}

fn asked_from_another_thread(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let remote = lp.remote();
    let stop = lp.remote();
    // Comes and goes while the other thread asks.
    let inner = lp.clone();
    lp.task().name("parent").spawn(async move {
        loop {
            let _ = inner.task().name("child").spawn(async { yield_now().await });
            yield_now().await;
        }
    })?;
    let thread = thread::spawn(move || {
        let mut parents = 0;
        for _ in 0..200 {
            let tasks = remote.all_tasks(Duration::from_secs(10))?;
            parents += tasks.iter().filter(|task| task.contains("parent")).count();
        }
        stop.stop();
        Ok::<_, Error>(parents)
    });
    lp.run_forever()?;
    ensure_eq!(join(thread)??, 200, "answers that named the task, of two hundred");
    ensure_is!(lp.remote().all_tasks(ms(10)), Err(Error::TimedOut(_)));
    lp.set_exception_handler(Some(Rc::new(|_, _| ())));
    lp.close()?;
    ensure_is!(lp.remote().all_tasks(ms(10)), Err(Error::Closed(_)));
    Ok(())
}

fn names_are_numbered_or_given(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let mut numbers = Vec::new();
    for lp in [&lp, &other, &lp, &other] {
        let name = lp.create_task(ready(()))?.get_name();
        let Some(number) = name.strip_prefix("Task-") else {
            return Err(Failure::new(format!("the name {name} does not begin with Task-")));
        };
        numbers.push(number.parse::<u64>()?);
    }
    let unique: std::collections::HashSet<_> = numbers.iter().collect();
    ensure_eq!(unique.len(), 4, "different names of four tasks of two loops: {numbers:?}");
    let odd = "  a name, kept as it is \u{e9}\n";
    let task = lp.task().name(odd).spawn(ready(()))?;
    ensure_eq!(&*task.get_name(), odd, "the name that was given");
    ensure_eq!(&*task.any().get_name(), odd, "the name, asked without the type");
    task.set_name("another");
    ensure_eq!(&*task.get_name(), "another", "the name that was changed");
    ensure!(format!("{task:?}").contains("another"), "the rendering does not name the task");
    run_times(&lp, 2)?;
    ensure_eq!(&*task.get_name(), "another", "the name of a finished task");
    run_times(&other, 2).map_err(Failure::from)
}

/// Everything that a body can do to be stepped again while it runs.
fn a_step_is_never_re_entered(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (inside, nested) = (Rc::new(Cell::new(false)), Counter::new());
    let enter = {
        let (inside, nested) = (inside.clone(), nested.clone());
        move || {
            if inside.replace(true) {
                nested.add();
            }
        }
    };
    let future = lp.create_future();
    let (inner, setter, left) = (lp.clone(), future.clone(), inside.clone());
    let task = lp.create_task(async move {
        enter();
        // A waker that is called in the middle of the step, a future completed under its awaiter,
        // a cancellation of something one waits for, an eager task that does all of it.
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Ready(())
        })
        .await;
        let mut wait = pin!(setter.clone());
        let waker = poll_fn(|cx| {
            let waiting = wait.as_mut().poll(cx).is_pending();
            Poll::Ready(waiting.then(|| cx.waker().clone()))
        })
        .await;
        let eager = inner.task().eager(true).spawn({
            let setter = setter.clone();
            async move {
                let _ = setter.set_result(9);
                if let Some(waker) = waker {
                    waker.wake();
                }
                yield_now().await;
            }
        });
        let value = wait.await;
        left.set(false);
        yield_now().await;
        enter();
        let done = eager.is_ok_and(|eager| eager.done());
        left.set(false);
        (value, done)
    })?;
    let result = lp.run_until_done(&task)?;
    ensure_is!(result, (Ok(9), _));
    ensure_eq!(nested.get(), 0, "steps inside a step");
    Ok(())
}

/// Counts its polls, and hands out its wakers.
async fn counted(polls: Counter, waker: Rc<RefCell<Option<Waker>>>, last: usize) {
    poll_fn(move |cx| {
        waker.replace(Some(cx.waker().clone()));
        if polls.add() < last { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

fn many_wakes_make_one_step(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (polls, waker) = (Counter::new(), Rc::new(RefCell::new(None::<Waker>)));
    let task = lp.create_task(counted(polls.clone(), waker.clone(), 4))?;
    run_times(&lp, 3)?;
    ensure_eq!(polls.get(), 1, "steps before any wake-up");
    for round in 2..4 {
        for _ in 0..10 {
            if let Some(waker) = &*waker.borrow() {
                waker.wake_by_ref();
                let own = waker.clone();
                waker.wake_by_ref();
                drop(own);
            }
        }
        run_times(&lp, 3)?;
        ensure_eq!(polls.get(), round, "steps after twenty wake-ups more");
    }
    task.cancel();

    // Two futures complete before one step sees both.
    let (a, b) = (lp.create_future(), lp.create_future());
    let (wait_a, wait_b) = (a.clone(), b.clone());
    let polls = Counter::new();
    let count = polls.clone();
    let task = lp.create_task(async move {
        let mut waits = pin!(both(wait_a, wait_b));
        poll_fn(|cx| {
            count.add();
            waits.as_mut().poll(cx)
        })
        .await
    })?;
    run_once(&lp)?;
    a.set_result(1)?;
    b.set_result(2)?;
    run_times(&lp, 3)?;
    ensure_is!(task.take_result(), Ok((Ok(1), Ok(2))));
    ensure_eq!(polls.get(), 2, "steps of the task that waits for both");
    Ok(())
}

fn a_cancellation_makes_one_step(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<()>();
    for knows in [false, true] {
        let (polls, waiting) = (Counter::new(), future.clone());
        let count = polls.clone();
        let task = lp.create_task(async move {
            let mut body = pin!(async move {
                let wait = async move {
                    if knows {
                        let _ = waiting.await;
                    }
                    pending::<()>().await;
                };
                let _ = catch_cancel(wait).await;
                pending::<()>().await;
            });
            poll_fn(|cx| {
                count.add();
                body.as_mut().poll(cx)
            })
            .await;
        })?;
        run_times(&lp, 3)?;
        task.cancel();
        run_times(&lp, 3)?;
        ensure_eq!(polls.get(), 2, "steps of a task that was cancelled once");
        task.mark_internal();
    }
    Ok(())
}

fn wakes_of_other_threads_too(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (polls, waker) = (Counter::new(), Rc::new(RefCell::new(None::<Waker>)));
    let task = lp.create_task(counted(polls.clone(), waker.clone(), 2))?;
    run_once(&lp)?;
    let Some(waker) = waker.take() else { return Err(Failure::new("the task did not begin")) };
    let wakers = (0..4).map(|_| {
        let waker = waker.clone();
        thread::spawn(move || (0..100).for_each(|_| waker.wake_by_ref()))
    });
    let wakers: Vec<_> = wakers.collect();
    wakers.into_iter().try_for_each(join)?;
    lp.run_until_done(&task)?;
    run_times(&lp, 3)?;
    ensure_eq!(polls.get(), 2, "steps after four hundred wake-ups by four threads");
    Ok(())
}

fn late_wakes_are_ignored(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (polls, waker) = (Counter::new(), Rc::new(RefCell::new(None::<Waker>)));
    let task = lp.create_task(counted(polls.clone(), waker.clone(), 2))?;
    run_once(&lp)?;
    let Some(waker) = waker.take() else { return Err(Failure::new("the task did not begin")) };
    waker.wake_by_ref();
    run_once(&lp)?;
    ensure!(task.done(), "the task is not done");
    waker.wake_by_ref();
    run_times(&lp, 2)?;
    lp.close()?;
    waker.wake_by_ref();
    let theirs = waker.clone();
    join(thread::spawn(move || theirs.wake()))?;
    waker.wake();
    ensure_eq!(polls.get(), 2, "steps");
    reports.none()
}

fn dropping_the_handle_detaches(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let gate = Gate::new();
    let (wait, log) = (gate.clone(), trace.clone());
    drop(lp.create_task(async move {
        log.push("begins");
        wait.wait().await;
        log.push("ends");
    })?);
    // Nobody but the loop knows of this one.
    let log = trace.clone();
    drop(lp.create_task(async move {
        sleep(ms(1)).await;
        log.push("slept");
    })?);
    run_for(&lp, ms(20))?;
    trace.expect(["begins", "slept"])?;
    ensure_eq!(lp.all_tasks().len(), 1, "tasks that are left");
    gate.open();
    run_once(&lp)?;
    trace.expect(["ends"])
}

fn what_is_left_at_close_is_reported(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let freed = Counter::new();
    let body = || {
        let token = freed.token();
        async move {
            token.keep();
            pending::<()>().await;
        }
    };
    let waiting = lp.task().name("waiting").spawn(body())?;
    let cancelled = lp.task().name("cancelled").spawn(body())?;
    drop(lp.task().name("detached").spawn(body())?);
    let done = lp.task().name("done").spawn(ready(()))?;
    run_once(&lp)?;
    drop(lp.task().name("not begun").spawn(body())?);
    cancelled.cancel();
    reports.none()?;
    lp.close()?;
    let reported: Vec<_> = reports.take();
    ensure!(
        reported.iter().all(|report| report.has("task") && report.message.contains("pending")),
        "a report that names no task, or another reason: {reported:?}"
    );
    let mut names: Vec<_> = reported.iter().filter_map(|report| report.task.as_deref()).collect();
    names.sort_unstable();
    ensure_eq!(names, ["cancelled", "detached", "not begun", "waiting"], "reported tasks");
    ensure_eq!(freed.get(), 4, "bodies that were dropped");
    ensure!(waiting.done() && done.done(), "a task is still pending after close");
    drop((waiting, cancelled, done));
    reports.none()
}

fn internal_tasks_are_not_reported(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (freed, inner) = (Counter::new(), lp.clone());
    let token = freed.token();
    let stopped = lp.run_until_complete(async move {
        inner.stop();
        pending::<()>().await;
        token.keep();
    });
    ensure_is!(stopped, Err(Error::Usage(_)));
    let task = lp.create_task(pending::<()>())?;
    task.mark_internal();
    lp.close()?;
    ensure_eq!(freed.get(), 1, "bodies that were dropped");
    reports.none()
}

/// A body whose destructors use the loop that is going away.
fn destructors_at_close_may_do_anything(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    lp.set_exception_handler(Some(Rc::new(|_, _| ())));
    let victim = lp.create_task(pending::<()>())?;
    let future = lp.create_future::<()>();
    let (waiting, log) = (future.clone(), trace.clone());
    lp.create_task(async move {
        let _guard = OnDrop(move || log.push("waiter dropped"));
        let _ = waiting.await;
    })?;
    let (inner, log, canceller) = (lp.downgrade(), trace.clone(), victim.clone());
    lp.create_task(async move {
        let _guard = OnDrop(move || {
            let Some(lp) = inner.upgrade() else { return };
            let refused = lp.create_task(ready(())).is_err() && lp.call_soon(|| ()).is_err();
            log.push(if refused { "refused" } else { "not refused" });
            canceller.cancel();
            let _ = future.set_result(());
            let _ = lp.all_tasks();
        });
        let _guard = OnDrop(|| panic!("in a destructor"));
        pending::<()>().await;
    })?;
    run_once(&lp)?;
    lp.close()?;
    trace.expect_in_any_order(["refused", "waiter dropped"])?;
    ensure!(victim.done(), "a task is still pending after close");
    ensure_eq!(lp.all_tasks().len(), 0, "tasks after close");
    Ok(())
}

fn a_lost_failure_is_reported_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    // Detached: when it ends.
    drop(lp.task().name("detached").spawn(async {
        yield_now().await;
        panic!("detached");
    })?);
    run_once(&lp)?;
    reports.none()?;
    run_once(&lp)?;
    let report = reports.one()?;
    ensure!(report.is_panic("detached"), "another report: {report:?}");
    ensure!(report.has("future") || report.has("task"), "it names no task: {report:?}");
    // Held: when the last handle goes.
    let (task, line) = (lp.create_task(async { panic!("held") })?, line!());
    let other = task.any();
    run_once(&lp)?;
    drop(task);
    run_once(&lp)?;
    reports.none()?;
    drop(other);
    let report = reports.one()?;
    ensure!(report.is_panic("held"), "another report: {report:?}");
    ensure_eq!(report.line, Some(line), "where the report says that the task was created");
    run_once(&lp)?;
    reports.none()
}

/// A body that returns an error nobody will see must not lose it.
fn a_returned_error_too(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    lp.create_task(async { Err::<(), _>(Error::usage("ours")) })?;
    lp.create_task(async { Err::<(), _>(std::io::Error::other("of the system")) })?;
    lp.create_task(async { Err::<(), Box<dyn std::error::Error>>("of anybody".into()) })?;
    lp.create_task(async {
        Err::<(), Box<dyn std::error::Error + Send + Sync>>("of any thread".into())
    })?;
    lp.create_task(async { Ok::<(), Error>(()) })?;
    lp.create_task(async { 3 })?;
    run_times(&lp, 2)?;
    let texts: Vec<_> = reports.take().iter().map(text).collect();
    ensure_eq!(texts, ["ours", "of the system", "of anybody", "of any thread"], "reported errors");
    Ok(())
}

fn text(seen: &Seen) -> String {
    seen.exception.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn a_look_is_enough(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let panicked = || -> Result<Task<u8>> {
        let task = lp.create_task(async { panic!("on purpose") })?;
        run_once(&lp)?;
        Ok(task)
    };
    ensure!(panicked()?.result().is_err(), "no error from result()");
    ensure!(panicked()?.take_result().is_err(), "no error from take_result()");
    ensure_is!(panicked()?.exception(), Ok(Some(_)));
    ensure_is!(panicked()?.any().exception(), Ok(Some(_)));
    let task = panicked()?;
    ensure!(lp.run_until_complete(task)?.is_err(), "no error from the await");
    ensure_is!(lp.run_until_complete(async { panic!("main") }), Err::<(), _>(Error::Panicked(_)));
    let cancelled = lp.create_task(pending::<()>())?;
    cancelled.cancel();
    run_once(&lp)?;
    drop(cancelled);
    let returned = lp.create_task(async { Err::<(), _>(Error::usage("on purpose")) })?;
    run_once(&lp)?;
    ensure_is!(returned.take_result(), Ok(Err(_)));
    drop(returned);
    reports.none()
}

/// Notes what it is asked for.
struct Recorder {
    trace: crate::tools::Trace,
    rename: bool,
    refuse: bool,
}

impl TaskFactory for Recorder {
    fn new_task(&self, _: &LoopRef, options: &mut TaskOptions) -> Result<()> {
        let name = options.name.as_deref().unwrap_or("-");
        self.trace.push(name.to_owned());
        if self.refuse {
            return Err(Error::usage("refused on purpose"));
        }
        if self.rename {
            options.name = Some(format!("renamed {name}").into());
        }
        Ok(())
    }
}

fn a_factory_sees_every_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    ensure!(lp.get_task_factory().is_none(), "a fresh loop has a factory");
    let factory = Recorder { trace: trace.clone(), rename: false, refuse: false };
    lp.set_task_factory(Some(Rc::new(factory)));
    ensure!(lp.get_task_factory().is_some(), "the factory is not there");
    lp.create_task(ready(()))?;
    lp.task().name("builder").spawn(ready(()))?;
    trace.expect(["-", "builder"])?;
    lp.run_until_complete(async {
        anyloop::create_task(ready(()))?;
        LoopRef::current()?.task().name("inner").eager(true).spawn(ready(()))?.await
    })??;
    trace.expect(["-", "-", "inner"])?;
    let remote = lp.remote();
    let thread = thread::spawn(move || remote.spawn(async { 4 })?.wait());
    let stop = lp.remote();
    let joiner = thread::spawn(move || {
        let value = thread.join();
        stop.stop();
        value
    });
    lp.run_forever()?;
    let value = join(joiner)?.map_err(|_| Failure::new("the thread panicked"))??;
    ensure_eq!(value, 4, "the value of the task of the other thread");
    trace.expect(["-"])?;
    lp.set_task_factory(None);
    lp.create_task(ready(()))?;
    ensure!(lp.get_task_factory().is_none(), "the factory is still there");
    trace.expect([])
}

fn a_factory_may_change_and_refuse(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let factory = Recorder { trace: trace.clone(), rename: true, refuse: false };
    lp.set_task_factory(Some(Rc::new(factory)));
    let var = ContextVar::new("var");
    let context = Vars::new();
    context.run(|| var.set(6));
    let task = lp.task().name("a").context(context).spawn({
        let var = var.clone();
        async move { var.get() }
    })?;
    ensure_eq!(&*task.get_name(), "renamed a", "the name");
    ensure_eq!(lp.run_until_done(&task)?, Some(6), "the variable in the context that was given");

    let factory = Recorder { trace: trace.clone(), rename: false, refuse: true };
    lp.set_task_factory(Some(Rc::new(factory)));
    ensure_is!(lp.create_task(ready(())), Err(Error::Usage(_)));
    ensure_is!(lp.run_until_complete(ready(())), Err(Error::Usage(_)));
    ensure_eq!(lp.all_tasks().len(), 0, "tasks that were refused and are there");

    // One that makes the loop itself unset it, in the middle of its work.
    struct Once;
    impl TaskFactory for Once {
        fn new_task(&self, lp: &LoopRef, _: &mut TaskOptions) -> Result<()> {
            lp.set_task_factory(Some(Rc::new(EagerTaskFactory)));
            lp.set_task_factory(None);
            Ok(())
        }
    }
    lp.set_task_factory(Some(Rc::new(Once)));
    ensure_eq!(lp.run_until_complete(ready(7))?, 7, "the value");
    ensure!(lp.get_task_factory().is_none(), "the factory is still there");
    Ok(())
}

/// Must not be polled; counts that it was dropped.
async fn never_polled(freed: crate::tools::Token, polled: Counter) {
    polled.add();
    freed.keep();
}

fn a_refused_body_is_never_polled(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    let (freed, polled) = (Counter::new(), Counter::new());
    let body = || never_polled(freed.token(), polled.clone());
    let refuse = Recorder { trace, rename: false, refuse: true };
    lp.set_task_factory(Some(Rc::new(refuse)));
    ensure_is!(lp.create_task(body()), Err(Error::Usage(_)));
    ensure_is!(lp.task().eager(true).spawn(body()), Err(Error::Usage(_)));
    ensure_eq!(freed.get(), 2, "bodies dropped by a factory's refusal");
    lp.set_task_factory(None);
    let unbegun = lp.create_task(body())?;
    unbegun.mark_internal();
    lp.close()?;
    ensure_eq!(freed.get(), 3, "bodies dropped after close()");
    ensure_is!(lp.create_task(body()), Err(Error::Closed(_)));
    ensure_is!(lp.task().name("n").spawn(body()), Err(Error::Closed(_)));
    ensure_is!(lp.run_until_complete(body()), Err(Error::Closed(_)));
    ensure_is!(anyloop::create_task(body()), Err(Error::Usage(_)));
    ensure_eq!((freed.get(), polled.get()), (7, 0), "bodies dropped, and polled");
    reports.none()
}

fn waiting_on_a_finished_task_does_not_suspend(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let value = lp.create_task(ready(1))?;
    let panicked = lp.create_task(async { panic!("on purpose") })?;
    let cancelled = lp.create_task(pending::<()>())?;
    cancelled.cancel();
    run_once(&lp)?;
    let log = trace.clone();
    lp.create_task(async move {
        let by_reference = matches!((&value).await, Ok(1)) && matches!((&value).await, Ok(1));
        value.any().await;
        let by_value = matches!(value.await, Ok(1));
        let failed = matches!(panicked.await, Err::<(), _>(Error::Panicked(_)));
        let cancelled = matches!(cancelled.await, Err(Error::Cancelled(_)));
        let all = by_reference && by_value && failed && cancelled;
        log.push(if all { "all as expected" } else { "not as expected" });
    })?;
    lp.call_soon(trace.pusher("next"))?;
    run_once(&lp)?;
    trace.expect(["all as expected", "next"])
}

fn yielding_tasks_stay_together(cx: &Context) -> Outcome {
    const TASKS: usize = 10;
    const ROUNDS: usize = 200;
    let lp = cx.new_loop()?;
    let rounds = Rc::new(RefCell::new([0; TASKS]));
    let furthest = Rc::new(Cell::new(0));
    for number in 0..TASKS {
        let (rounds, furthest) = (rounds.clone(), furthest.clone());
        lp.create_task(async move {
            for _ in 0..ROUNDS {
                rounds.borrow_mut()[number] += 1;
                let now = *rounds.borrow();
                let apart = now.iter().max().unwrap_or(&0) - now.iter().min().unwrap_or(&0);
                furthest.set(furthest.get().max(apart));
                if number % 2 == 0 {
                    yield_now().await;
                } else {
                    sleep(Duration::ZERO).await;
                }
            }
        })?;
    }
    run_times(&lp, ROUNDS + 1)?;
    ensure_eq!(*rounds.borrow(), [ROUNDS; TASKS], "rounds of each task");
    ensure_eq!(furthest.get(), 1, "rounds between the first and the last");
    Ok(())
}

/// The compiler warns, which the expectations below would miss; nothing else happens.
fn a_future_never_awaited_is_noticed(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (freed, polled) = (Counter::new(), Counter::new());
    #[expect(unused_must_use, reason = "this is what the clause is about")]
    {
        never_polled(freed.token(), polled.clone());
        sleep(FAR);
        yield_now();
        catch_cancel(ready(()));
        anyloop_api::shield(lp.create_future::<()>());
    }
    run_times(&lp, 2)?;
    ensure_eq!((freed.get(), polled.get()), (1, 0), "bodies dropped, and polled");
    reports.none()
}
