//! The life of a loop.

mod closed;
mod closing;
mod completing;
mod interrupts;
mod known;
mod leaving;

use std::io::Write;
use std::os::fd::AsRawFd;

use self::closed::*;
use self::closing::*;
use self::completing::*;
use self::interrupts::*;
use self::known::*;
use self::leaving::*;
use super::prelude::*;
use crate::tools::{on_readable, socket_pair};

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
