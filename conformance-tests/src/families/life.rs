//! The life of a loop.

mod closing;
mod interrupts;
mod known;

use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use anyloop_api::{Interrupt, catch_cancel, raise_interrupt, uncancellable};

use self::closing::*;
use self::interrupts::*;
use self::known::*;
use super::prelude::*;
use crate::tools::{on_readable, one_in_each_run, socket_pair};

cases! {
    LIFE_01 => a_fresh_loop_is_idle, running_exactly_inside_a_run;
    LIFE_02 => an_idle_loop_sleeps_until_it_is_stopped;
    LIFE_03 => stop_lets_the_batch_finish, stop_from_a_timer_lets_the_batch_finish;
    LIFE_04 => handles_and_timers_survive_a_stop, tasks_and_watchers_survive_a_stop;
    LIFE_05 => stop_before_the_run_means_one_iteration, even_with_nothing_to_do;
    LIFE_06 => the_request_ends_with_the_run, many_stops_are_one;
    LIFE_07 => readiness_seen_while_stopping_is_dispatched_once;
    LIFE_08 => a_coroutine_runs_as_a_task, its_error_is_returned, its_panic_is_returned;
    LIFE_09 => a_finished_future_still_takes_an_iteration;
    LIFE_10 => a_stopped_future_stays_pending, a_stopped_task_stays_pending;
    LIFE_11 => consecutive_calls_share_their_tasks;
    LIFE_12 => a_late_completion_stops_nobody, completed_in_the_stopping_batch,
        completed_and_interrupted_in_one_batch,
        a_panic_that_leaves_stops_no_later_run;
    LIFE_13 => another_loops_future_is_refused;
    LIFE_14 => no_loop_inside_itself, no_second_loop_on_the_thread;
    LIFE_15 => close_is_refused_while_running;
    LIFE_16 => close_is_idempotent, scheduling_fails_afterwards, running_fails_afterwards,
        watching_fails_afterwards;
    LIFE_17 => getters_work_afterwards, nothing_is_left_to_remove;
    LIFE_18 => an_interrupt_leaves_at_once, an_interrupt_before_the_run_ends_it,
        what_the_poll_brought_waits_for_the_next_run,
        a_reader_that_interrupts_goes_before_the_writer, a_resumed_panic_leaves_at_once,
        data_that_interrupts_goes_before_resuming, a_datagram_that_interrupts_goes_before_resuming,
        an_error_that_interrupts_ends_the_flush, resuming_that_interrupts_goes_before_the_rest,
        newcomers_wait_for_the_next_run, an_answer_that_interrupts_goes_before_the_data;
    LIFE_19 => a_tasks_interrupt_is_its_error_and_ends_the_run, no_scope_catches_an_interrupt,
        no_stale_stop_is_left;
    LIFE_20 => what_is_queued_is_dropped_not_run, what_posts_itself_when_it_is_dropped,
        whatever_the_destructors_do, tasks_are_dropped_not_run;
    LIFE_21 => no_descriptor_is_left, a_remote_handle_keeps_none;
    LIFE_22 => signal_handlers_are_removed, also_when_their_destructors_misbehave;
    LIFE_23 => close_does_not_wait_for_jobs;
    LIFE_24 => dropping_an_open_loop_closes_it, its_transports_end_without_a_word;
    LIFE_25 => known_to_everything_it_calls, known_to_protocols_and_signal_handlers,
        unknown_outside_and_elsewhere;
    LIFE_26 => a_loop_lives_on_any_thread;
}

fn a_fresh_loop_is_idle(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    ensure!(!lp.is_running(), "a fresh loop is running");
    ensure!(!lp.is_closed(), "a fresh loop is closed");
    Ok(())
}

fn running_exactly_inside_a_run(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let seen = Rc::new(Cell::new(false));
    let (inner, theirs) = (lp.clone(), seen.clone());
    lp.call_soon(move || {
        theirs.set(inner.is_running());
        inner.stop();
    })?;
    ensure!(!lp.is_running(), "running before run_forever");
    lp.run_forever()?;
    ensure!(seen.get(), "not running inside run_forever");
    ensure!(!lp.is_running(), "running after run_forever");
    let inner = lp.clone();
    ensure!(
        lp.run_until_complete(async move { inner.is_running() })?,
        "not running inside run_until_complete"
    );
    ensure!(!lp.is_running(), "running after run_until_complete");
    lp.close()?;
    ensure!(!lp.is_running() && lp.is_closed(), "not closed after close, or running");
    Ok(())
}

fn an_idle_loop_sleeps_until_it_is_stopped(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let stopped = Counter::new();
    let (remote, before) = (lp.remote(), stopped.clone());
    let thread = thread::spawn(move || {
        thread::sleep(ms(200));
        before.add();
        remote.stop();
    });
    let busy = cpu_time();
    lp.run_forever()?;
    let busy = cpu_time() - busy;
    ensure_eq!(stopped.get(), 1, "calls of stop() when the run ended");
    ensure!(busy < ms(50), "200 ms with nothing to do took {busy:?} of processor time");
    join(thread)
}

fn stop_lets_the_batch_finish(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        log.push("a");
        let _ = inner.call_soon(log.pusher("late"));
        inner.stop();
        let _ = inner.call_soon(log.pusher("later"));
    })?;
    lp.call_soon(trace.pusher("b"))?;
    lp.run_forever()?;
    trace.expect(["a", "b"])?;
    run_once(&lp)?;
    trace.expect(["late", "later"])
}

fn stop_from_a_timer_lets_the_batch_finish(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    let when = lp.time() + ms(5);
    lp.call_at(when, move || {
        log.push("first");
        inner.stop();
        let _ = inner.call_soon(log.pusher("late"));
    })?;
    lp.call_at(when, trace.pusher("second"))?;
    lp.run_forever()?;
    trace.expect(["first", "second"])?;
    run_once(&lp)?;
    trace.expect(["late"])
}

fn handles_and_timers_survive_a_stop(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        let _ = inner.call_soon(log.pusher("handle"));
        inner.stop();
        // Not before: it must not be due when the iteration begins.
        let later = inner.clone();
        let _ = inner.call_later(ms(20), move || {
            log.push("timer");
            later.stop();
        });
    })?;
    lp.run_forever()?;
    trace.expect([])?;
    lp.run_forever()?;
    trace.expect(["handle", "timer"])
}

fn tasks_and_watchers_survive_a_stop(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let future = lp.create_future::<&str>();
    let (waiting, log) = (future.clone(), trace.clone());
    let task = lp.create_task(async move {
        if let Ok(value) = waiting.await {
            log.push(value);
        }
    })?;
    let (near, mut far) = socket_pair()?;
    let (inner, log) = (lp.clone(), trace.clone());
    on_readable(&lp, &near, move || {
        log.push("watcher");
        inner.stop();
    })?;
    run_times(&lp, 3)?;
    trace.expect([])?;
    ensure!(!task.done(), "the task is done after the first runs");
    future.set_result("task")?;
    far.write_all(b"x")?;
    lp.run_forever()?;
    run_times(&lp, 2)?;
    trace.expect_in_any_order(["task", "watcher"])?;
    ensure!(task.done(), "the task is not done after the last run");
    Ok(())
}

fn stop_before_the_run_means_one_iteration(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_later(FAR, || ())?;
    lp.call_soon(move || {
        log.push("a");
        let _ = inner.call_soon(log.pusher("late"));
    })?;
    lp.stop();
    lp.run_forever()?;
    trace.expect(["a"])
}

fn even_with_nothing_to_do(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let begin = Instant::now();
    for _ in 0..100 {
        lp.stop();
        lp.run_forever()?;
    }
    let took = begin.elapsed();
    ensure!(took < ms(5000), "100 stopped runs with nothing to do took {took:?}");
    Ok(())
}

fn the_request_ends_with_the_run(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.stop();
    lp.run_forever()?;
    a_run_is_not_cut_short(&lp)
}

fn many_stops_are_one(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for _ in 0..3 {
        lp.stop();
    }
    let inner = lp.clone();
    lp.call_soon(move || {
        inner.stop();
        inner.stop();
        inner.remote().stop();
    })?;
    lp.run_forever()?;
    a_run_is_not_cut_short(&lp)
}

fn readiness_seen_while_stopping_is_dispatched_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let seen = Counter::new();
    let (inner, theirs) = (lp.clone(), seen.clone());
    let fd = near.as_raw_fd();
    // Removed by its first call: a second dispatch of the same event is what must not happen.
    lp.add_reader(&near, move || {
        theirs.add();
        let _ = inner.remove_reader(&fd);
    })?;
    run_once(&lp)?;
    far.write_all(b"x")?;
    run_once(&lp)?;
    // Seen at the latest in the next iteration, for loops that look before they stop.
    run_once(&lp)?;
    ensure_eq!(seen.get(), 1, "calls of the watcher after the stopped runs");
    let inner = lp.clone();
    every_iteration(&lp, move |number| {
        if number == 5 {
            inner.stop();
        }
        number < 5
    })?;
    lp.run_forever()?;
    ensure_eq!(seen.get(), 1, "calls of the watcher after a later run");
    Ok(())
}

fn a_coroutine_runs_as_a_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    let found = lp.run_until_complete(async move {
        yield_now().await;
        let home = current_task().and_then(|task| task.get_loop());
        (7, home.is_some_and(|lp| lp.same(&inner)))
    })?;
    ensure_eq!(found, (7, true), "the value, and whether it ran in a task of the loop");
    Ok(())
}

fn its_error_is_returned(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let output = lp.run_until_complete(async {
        yield_now().await;
        Err::<(), _>("no luck")
    })?;
    ensure_eq!(output, Err("no luck"), "the output");
    Ok(())
}

fn its_panic_is_returned(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let result: Result<(), _> = lp.run_until_complete(async { panic!("on purpose") });
    ensure_is!(result, Err(Error::Panicked(panic)) if panic.message() == "on purpose");
    ensure_eq!(lp.run_until_complete(async { 1 })?, 1, "the value of the next run");
    reports.none()
}

fn a_finished_future_still_takes_an_iteration(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let future = lp.create_future();
    future.set_result(3)?;
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        log.push("queued");
        let _ = inner.call_soon(log.pusher("late"));
    })?;
    ensure_eq!(lp.run_until_done(&future)?, 3, "the value");
    trace.expect(["queued"])
}

fn a_stopped_future_stays_pending(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    let inner = lp.clone();
    lp.call_soon(move || inner.stop())?;
    ensure_is!(lp.run_until_done(&future), Err(Error::Usage(_)));
    ensure!(!future.done(), "the future is done");
    ensure_eq!(future.waiters(), 0, "callbacks left on the future");
    let theirs = future.clone();
    lp.call_soon(move || drop(theirs.set_result(5)))?;
    ensure_eq!(lp.run_until_done(&future)?, 5, "the value of the resumed run");
    Ok(())
}

fn a_stopped_task_stays_pending(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    let task = lp.create_task(async move {
        inner.stop();
        yield_now().await;
        yield_now().await;
        6
    })?;
    ensure_is!(lp.run_until_done(&task), Err(Error::Usage(_)));
    ensure!(!task.done(), "the task is done");
    ensure_eq!(lp.run_until_done(&task)?, 6, "the value of the resumed run");
    // The same for a coroutine: its task goes on in a later run.
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    let result = lp.run_until_complete(async move {
        inner.stop();
        yield_now().await;
        log.push("resumed");
    });
    ensure_is!(result, Err(Error::Usage(_)));
    trace.expect([])?;
    run_times(&lp, 2)?;
    trace.expect(["resumed"])
}

fn consecutive_calls_share_their_tasks(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let gate = lp.create_future::<()>();
    let (waiting, log) = (gate.clone(), trace.clone());
    let background = lp.create_task(async move {
        log.push("begins");
        let _ = waiting.await;
        log.push("ends");
    })?;
    ensure_eq!(lp.run_until_complete(async { 1 })?, 1, "the first value");
    trace.expect(["begins"])?;
    gate.set_result(())?;
    trace.expect([])?;
    let theirs = background.clone();
    let second = lp.run_until_complete(async move { theirs.await.map(|()| 2) })?;
    ensure_eq!(second?, 2, "the second value");
    trace.expect(["ends"])
}

/// Succeeds if a run of many iterations, with polls among them, is not cut short.
fn a_run_is_not_cut_short(lp: &LoopRef) -> Outcome {
    const MANY: usize = 300;
    let last = Rc::new(Cell::new(0));
    let (inner, theirs) = (lp.clone(), last.clone());
    every_iteration(lp, move |number| {
        theirs.set(number);
        if number == MANY {
            inner.stop();
        }
        number < MANY
    })?;
    lp.run_forever()?;
    ensure_eq!(last.get(), MANY, "iterations of an unrelated run");
    Ok(())
}

fn a_late_completion_stops_nobody(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    let inner = lp.clone();
    lp.call_soon(move || inner.stop())?;
    ensure_is!(lp.run_until_done(&future), Err(Error::Usage(_)));
    let theirs = future.clone();
    lp.call_soon(move || drop(theirs.set_result(())))?;
    a_run_is_not_cut_short(&lp)?;
    ensure!(future.done(), "the future was not completed");
    Ok(())
}

fn completed_in_the_stopping_batch(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    let (inner, theirs) = (lp.clone(), future.clone());
    lp.call_soon(move || {
        inner.stop();
        let _ = theirs.set_result(4);
    })?;
    // It is done when the run ends, so the stop was in vain.
    ensure_eq!(lp.run_until_done(&future)?, 4, "the value");
    a_run_is_not_cut_short(&lp)
}

fn completed_and_interrupted_in_one_batch(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future();
    let (inner, theirs) = (lp.clone(), future.clone());
    lp.call_soon(move || {
        let _ = theirs.set_result(4);
        inner.interrupt(Interrupt::new("on purpose"));
    })?;
    ensure_is!(lp.run_until_done(&future), Err(Error::Interrupt(_)));
    a_run_is_not_cut_short(&lp)
}

fn a_panic_that_leaves_stops_no_later_run(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.state().set_resume_panics(true);
    let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        lp.run_until_complete(async { panic!("out of the run") })
    }));
    ensure!(left.is_err(), "the panic has not left the run");
    let value = lp.run_until_complete(async {
        for _ in 0..3 {
            yield_now().await;
        }
        7
    })?;
    ensure_eq!(value, 7, "what the next run returns");
    Ok(())
}

fn another_loops_future_is_refused(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let trace = cx.trace();
    lp.call_soon(trace.pusher("ran"))?;
    other.call_soon(trace.pusher("the other ran"))?;
    let future = other.create_future::<()>();
    ensure_is!(lp.run_until_done(&future), Err(Error::InvalidArg(_)));
    let task = other.create_task(async {})?;
    ensure_is!(lp.run_until_done(&task), Err(Error::InvalidArg(_)));
    trace.expect([])?;
    ensure!(!future.done() && future.waiters() == 0, "the refused future was touched");
    run_once(&lp)?;
    run_once(&other)?;
    trace.expect(["ran", "the other ran"])
}

/// What running `target` gives, from a callback and from a task of `lp`, and whether `lp` went on.
fn refuses_to_run(lp: &LoopRef, target: &LoopRef, cx: &Context) -> Outcome {
    let trace = cx.trace();
    let (polled, freed) = (Counter::new(), Counter::new());
    let results = Rc::new(RefCell::new(Vec::new()));
    let attempt = {
        let (target, polled, freed) = (target.clone(), polled.clone(), freed.clone());
        let results = results.clone();
        move || {
            let (polled, token) = (polled.clone(), freed.token());
            let result = target.run_until_complete(async move {
                token.keep();
                polled.add();
            });
            results.borrow_mut().push(result);
            results.borrow_mut().push(target.run_forever());
        }
    };
    let again = attempt.clone();
    lp.call_soon(attempt)?;
    lp.create_task(async move { again() })?;
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        log.push(if inner.is_running() { "still running" } else { "running no more" });
        let stop = inner.clone();
        let _ = inner.call_soon(move || stop.stop());
    })?;
    lp.run_forever()?;
    let results = results.take();
    ensure_eq!(results.len(), 4, "attempts to run");
    for result in results {
        ensure_is!(result, Err(Error::AlreadyRunning(_)));
    }
    ensure_eq!((polled.get(), freed.get()), (0, 2), "coroutines polled and freed");
    trace.expect(["still running"])
}

fn no_loop_inside_itself(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    refuses_to_run(&lp, &lp, cx)
}

fn no_second_loop_on_the_thread(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    refuses_to_run(&lp, &other, cx)?;
    ensure!(!other.is_running(), "the refused loop is running");
    ensure_eq!(other.run_until_complete(async { 8 })?, 8, "the refused loop's own run, later");
    // Running one loop on two threads does not compile: a loop does not leave its thread.
    assert_not_impl!(LoopRef: Send);
    Ok(())
}

fn an_interrupt_leaves_at_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        inner.interrupt(Interrupt::new("on purpose"));
        log.push("a");
    })?;
    lp.call_soon(trace.pusher("b"))?;
    lp.call_soon(trace.pusher("c"))?;
    ensure_is!(lp.run_forever(), Err(Error::Interrupt(why)) if why.reason() == "on purpose");
    trace.expect(["a"])?;
    ensure!(!lp.is_closed() && !lp.is_running(), "the loop is closed, or running");
    ensure_is!(LoopRef::current(), Err(Error::Usage(_)));
    run_once(&lp)?;
    trace.expect(["b", "c"])?;
    reports.none()?;
    a_run_is_not_cut_short(&lp)
}

/// Nothing is waited for: what asked for it is over.
fn an_interrupt_before_the_run_ends_it(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let late = Counter::new();
    let timer = lp.call_later(Duration::from_secs(2), late.each())?;
    lp.call_soon(late.each())?;
    lp.interrupt(Interrupt::new("too early"));
    ensure_is!(lp.run_forever(), Err(Error::Interrupt(why)) if why.reason() == "too early");
    ensure_eq!(late.get(), 0, "callbacks of a run that was over");
    run_once(&lp)?;
    ensure_eq!(late.get(), 1, "callbacks of the next run");
    timer.cancel();
    a_run_is_not_cut_short(&lp)
}

fn what_the_poll_brought_waits_for_the_next_run(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let mut ends = Vec::new();
    for name in ["a", "b"] {
        let (near, far) = socket_pair()?;
        let (inner, log, mut reading) = (lp.clone(), trace.clone(), near.try_clone()?);
        lp.add_reader(&near, move || {
            // What is told twice is there once.
            if reading.read(&mut [0; 8]).is_ok() {
                log.push(name);
                inner.interrupt(Interrupt::new(name));
            }
        })?;
        ends.push((near, far));
    }
    run_once(&lp)?;
    for (_, far) in &mut ends {
        far.write_all(b"x")?;
    }
    one_in_each_run(&lp, &trace)?;
    for (near, _) in &ends {
        lp.remove_reader(near)?;
    }
    Ok(())
}

/// One event for both: the writer's turn is in the next run.
fn a_reader_that_interrupts_goes_before_the_writer(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (near, mut far) = socket_pair()?;
    far.write_all(b"x")?;
    let (inner, log, mut reading) = (lp.clone(), trace.clone(), near.try_clone()?);
    lp.add_reader(&near, move || {
        log.push("reader");
        let _ = reading.read(&mut [0; 8]);
        inner.interrupt(Interrupt::new("on purpose"));
    })?;
    let (inner, log, number) = (lp.clone(), trace.clone(), near.as_raw_fd());
    lp.add_writer(&near, move || {
        log.push("writer");
        let _ = inner.remove_writer(&number);
    })?;
    ensure_is!(lp.run_forever(), Err(Error::Interrupt(_)));
    trace.expect(["reader"])?;
    run_times(&lp, 3)?;
    trace.expect(["writer"])?;
    lp.remove_reader(&near)?;
    Ok(())
}

fn a_resumed_panic_leaves_at_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.resume_panics(true))?;
    let trace = cx.trace();
    lp.call_soon(trace.pusher("a"))?;
    lp.call_soon(|| panic!("on purpose"))?;
    lp.call_soon(trace.pusher("b"))?;
    let run = std::panic::AssertUnwindSafe(|| lp.run_forever());
    let unwound = std::panic::catch_unwind(run);
    let text = unwound.err().and_then(|payload| payload.downcast_ref::<&str>().copied());
    ensure_eq!(text, Some("on purpose"), "the panic that left run_forever");
    trace.expect(["a"])?;
    ensure!(!lp.is_closed() && !lp.is_running(), "the loop is closed, or running");
    run_once(&lp)?;
    trace.expect(["b"])?;
    a_run_is_not_cut_short(&lp)
}

fn a_tasks_interrupt_is_its_error_and_ends_the_run(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    let task = lp.create_task(async move {
        yield_now().await;
        raise_interrupt::<()>(Interrupt::new("on purpose")).await;
        log.push("went on");
    })?;
    ensure_is!(lp.run_forever(), Err(Error::Interrupt(why)) if why.reason() == "on purpose");
    ensure!(task.done(), "the task is not done");
    ensure_is!(task.exception(), Ok(Some(Error::Interrupt(_))));
    trace.expect([])?;
    a_run_is_not_cut_short(&lp)
}

/// It is no cancellation that a clean-up may refuse.
fn no_scope_catches_an_interrupt(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    let task = lp.create_task(async move {
        let interrupt = raise_interrupt::<()>(Interrupt::new("on purpose"));
        let caught = catch_cancel(catch_cancel(uncancellable(interrupt))).await;
        log.push(format!("caught {caught:?}"));
    })?;
    ensure_is!(lp.run_forever(), Err(Error::Interrupt(_)));
    ensure!(task.done(), "the task is not done");
    ensure_is!(task.exception(), Ok(Some(Error::Interrupt(_))));
    trace.expect([])?;
    a_run_is_not_cut_short(&lp)
}

fn no_stale_stop_is_left(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let result = lp.run_until_complete(raise_interrupt::<()>(Interrupt::new("on purpose")));
    ensure_is!(result, Err(Error::Interrupt(_)));
    a_run_is_not_cut_short(&lp)?;
    ensure_eq!(lp.run_until_complete(async { 9 })?, 9, "the value of a later run");
    Ok(())
}

fn a_loop_lives_on_any_thread(cx: &Context) -> Outcome {
    // In Rust: a loop is made inside the thread that will run it, whichever that is.
    for round in 0..5 {
        let factory = cx.factory();
        let value = join(thread::spawn(move || {
            let lp = factory.new_loop()?;
            let (near, mut far) = socket_pair()?;
            let readable = lp.create_future();
            let theirs = readable.clone();
            on_readable(&lp, &near, move || drop(theirs.set_result(round)))?;
            far.write_all(b"x")?;
            let value = lp.run_until_done(&readable)?;
            lp.close()?;
            Ok::<_, Failure>(value)
        }))??;
        ensure_eq!(value, round, "the value from a thread of its own");
    }
    let lp = cx.new_loop()?;
    ensure_eq!(lp.run_until_complete(async { 3 })?, 3, "the value from the first thread");
    Ok(())
}
