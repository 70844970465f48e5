//! The ready queue.

mod destroying;
mod turns;

use self::destroying::*;
use self::turns::*;
use super::prelude::*;
use crate::tools::{on_readable, socket_pair};

cases! {
    SCHED_01 => callbacks_run_in_order_once;
    SCHED_02 => not_called_before_the_run, not_called_inside_a_callback, not_called_when_refused;
    SCHED_03 => later_handles_wait_for_the_next_iteration, the_system_is_polled_in_between;
    SCHED_04 => timers_get_their_turn, other_threads_get_their_turn, input_gets_its_turn,
        signals_get_their_turn, slow_callbacks_let_timers_in;
    SCHED_05 => ready_work_is_not_kept_waiting, a_pending_stop_does_not_sleep, sleeps_to_the_deadline;
    SCHED_06 => handles_then_input_then_timers;
    SCHED_07 => what_waited_for_the_run_runs_in_order;
    SCHED_08 => cancelled_before_the_run, cancelled_in_the_same_batch;
    SCHED_09 => cancelling_frees_the_closure;
    SCHED_10 => calling_frees_the_closure, cancelling_afterwards_is_harmless;
    SCHED_11 => a_panic_is_reported_and_the_batch_goes_on, the_default_handler_survives_it;
    SCHED_12 => the_exception_handler_may_schedule, destructors_may_schedule,
        a_panicking_destructor_is_reported;
    SCHED_13 => #[heavy] a_million_links_need_no_stack;
    SCHED_14 => dropping_the_handle_changes_nothing;
    SCHED_15 => runs_in_the_captured_context, runs_in_the_given_context;
    SCHED_16 => only_plain_callbacks_are_accepted;
}

fn callbacks_run_in_order_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let order = Rc::new(RefCell::new(Vec::new()));
    for number in 0..1000 {
        let order = order.clone();
        lp.call_soon(move || order.borrow_mut().push(number))?;
    }
    run_times(&lp, 3)?;
    ensure_eq!(*order.borrow(), (0..1000).collect::<Vec<_>>(), "the order of 1000 callbacks");
    Ok(())
}

fn not_called_before_the_run(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    lp.call_soon(trace.pusher("called"))?;
    trace.expect([])?;
    run_once(&lp)?;
    trace.expect(["called"])
}

fn not_called_inside_a_callback(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        log.push("begin");
        let scheduled = inner.call_soon(log.pusher("inner"));
        log.push(if scheduled.is_ok() { "end" } else { "refused" });
    })?;
    run_times(&lp, 2)?;
    trace.expect(["begin", "end", "inner"])
}

fn not_called_when_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let freed = Counter::new();
    lp.close()?;
    let (token, log) = (freed.token(), trace.pusher("called"));
    ensure_is!(
        lp.call_soon(move || {
            token.keep();
            log();
        }),
        Err(Error::Closed(_))
    );
    trace.expect([])?;
    ensure_eq!(freed.get(), 1, "closures freed by the refusal");
    Ok(())
}

fn later_handles_wait_for_the_next_iteration(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        log.push("a");
        let _ = inner.call_soon(log.pusher("late"));
    })?;
    lp.call_soon(trace.pusher("b"))?;
    run_once(&lp)?;
    trace.expect(["a", "b"])?;
    run_once(&lp)?;
    trace.expect(["late"])
}

fn a_pending_stop_does_not_sleep(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    // Nothing is ready when the loop decides how long to sleep, but the stop is pending.
    lp.call_soon(move || inner.stop())?;
    lp.call_later(FAR, || ())?;
    let begin = Instant::now();
    lp.run_forever()?;
    run_times(&lp, 10)?;
    let took = begin.elapsed();
    ensure!(took < ms(5000), "stopping took {took:?}");
    Ok(())
}

fn sleeps_to_the_deadline(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (begin, busy) = (Instant::now(), cpu_time());
    run_for(&lp, ms(200))?;
    let (took, busy) = (begin.elapsed(), cpu_time() - busy);
    ensure!(took >= ms(200), "a timer of 200 ms ended a run after {took:?}");
    ensure!(busy < ms(50), "waiting for a timer of 200 ms took {busy:?} of processor time");
    Ok(())
}

fn handles_then_input_then_timers(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.poll_every_iteration(true))?;
    let trace = cx.trace();
    let (near, far) = socket_pair()?;
    on_readable(&lp, &near, trace.pusher("input"))?;
    run_once(&lp)?;
    let (inner, log) = (lp.clone(), trace.clone());
    let keep = Rc::new(far);
    let far = keep.clone();
    lp.call_soon(move || {
        let _ = inner.call_later(ms(1), log.pusher("timer"));
        let _ = std::io::Write::write(&mut &*far, b"x");
        block_for(ms(5));
        let _ = inner.call_soon(log.pusher("handle"));
    })?;
    run_once(&lp)?;
    trace.expect([])?;
    run_once(&lp)?;
    drop(keep);
    trace.expect(["handle", "input", "timer"])
}

fn what_waited_for_the_run_runs_in_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    lp.call_soon(trace.pusher("a"))?;
    let log = trace.clone();
    lp.create_task(async move { log.push("task") })?;
    lp.call_soon(trace.pusher("b"))?;
    lp.call_later(Duration::ZERO, trace.pusher("timer"))?;
    lp.call_soon(trace.pusher("c"))?;
    run_once(&lp)?;
    let events = trace.take();
    let queued: Vec<_> = events.iter().filter(|event| *event != "timer").collect();
    ensure_eq!(queued, ["a", "task", "b", "c"], "what was queued before the run");
    ensure_eq!(events.len(), 5, "events, with the timer that was due");
    Ok(())
}

fn cancelled_before_the_run(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    lp.call_soon(trace.pusher("a"))?;
    let handle = lp.call_soon(trace.pusher("b"))?;
    lp.call_soon(trace.pusher("c"))?;
    ensure!(!handle.cancelled(), "cancelled() is true before cancel()");
    handle.cancel();
    handle.cancel();
    ensure!(handle.cancelled(), "cancelled() is false after cancel()");
    run_times(&lp, 2)?;
    trace.expect(["a", "c"])
}

fn cancelled_in_the_same_batch(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let victim: Rc<RefCell<Option<Handle>>> = Rc::default();
    let (theirs, log) = (victim.clone(), trace.clone());
    lp.call_soon(move || {
        log.push("a");
        if let Some(handle) = theirs.take() {
            handle.cancel();
        }
    })?;
    *victim.borrow_mut() = Some(lp.call_soon(trace.pusher("b"))?);
    lp.call_soon(trace.pusher("c"))?;
    run_times(&lp, 2)?;
    trace.expect(["a", "c"])
}

fn cancelling_afterwards_is_harmless(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let handle = lp.call_soon(trace.pusher("a"))?;
    run_once(&lp)?;
    handle.cancel();
    lp.call_soon(trace.pusher("b"))?;
    handle.cancel();
    run_once(&lp)?;
    ensure!(!handle.cancelled(), "cancelled() turned true after the call");
    trace.expect(["a", "b"])
}

fn a_panic_is_reported_and_the_batch_goes_on(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    lp.call_soon(trace.pusher("a"))?;
    lp.call_soon(|| panic!("on purpose"))?;
    lp.call_soon(trace.pusher("b"))?;
    run_once(&lp)?;
    trace.expect(["a", "b"])?;
    let report = reports.one()?;
    ensure!(report.is_panic("on purpose"), "the report has no such panic: {report:?}");
    ensure!(report.has("handle"), "the report names no handle: {report:?}");
    lp.call_soon(trace.pusher("c"))?;
    run_once(&lp)?;
    trace.expect(["c"])
}

fn the_default_handler_survives_it(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    lp.call_soon(|| panic!("on purpose"))?;
    lp.call_later(ms(0), || panic!("on purpose too"))?;
    lp.call_soon(trace.pusher("b"))?;
    run_times(&lp, 2)?;
    trace.expect(["b"])
}

fn the_exception_handler_may_schedule(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    lp.set_exception_handler(Some(Rc::new(move |lp, _| {
        log.push("report");
        let _ = lp.call_soon(log.pusher("scheduled by the handler"));
    })));
    lp.call_soon(|| panic!("on purpose"))?;
    lp.call_soon(trace.pusher("b"))?;
    run_once(&lp)?;
    trace.expect(["report", "b"])?;
    run_once(&lp)?;
    trace.expect(["scheduled by the handler"])
}

fn a_million_links_need_no_stack(cx: &Context) -> Outcome {
    const LINKS: usize = 1_000_000;
    let lp = cx.new_loop()?;
    let reached = Rc::new(Cell::new(0));
    let theirs = reached.clone();
    every_iteration(&lp, move |number| {
        theirs.set(number);
        number < LINKS
    })?;
    while reached.get() < LINKS {
        stop_after(&lp, LINKS / 4)?;
        lp.run_forever()?;
    }
    ensure_eq!(reached.get(), LINKS, "links of the chain that ran");
    Ok(())
}

fn dropping_the_handle_changes_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    drop(lp.call_soon(trace.pusher("soon"))?);
    drop(lp.call_later(ms(0), trace.pusher("later"))?);
    run_times(&lp, 2)?;
    trace.expect_in_any_order(["later", "soon"])
}

fn runs_in_the_captured_context(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let var = ContextVar::new("var");
    let seen = Rc::new(RefCell::new(Vec::new()));
    var.set(1);
    for _ in 0..2 {
        let (var, seen) = (var.clone(), seen.clone());
        lp.call_soon(move || {
            seen.borrow_mut().push(var.get());
            var.set(7);
        })?;
    }
    var.set(2);
    run_once(&lp)?;
    // Each callback has a copy of its own: the 7 of the first is not seen by the second.
    ensure_eq!(*seen.borrow(), [Some(1), Some(1)], "the values seen by two callbacks");
    ensure_eq!(var.get(), Some(2), "the value outside");
    Ok(())
}

fn runs_in_the_given_context(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let var = ContextVar::new("var");
    var.set(1);
    let vars = Vars::copy_current();
    vars.run(|| var.set(2));
    let seen = Rc::new(Cell::new(None));
    let (theirs, inner) = (seen.clone(), var.clone());
    lp.call_soon_in(vars.clone(), move || {
        theirs.set(inner.get());
        inner.set(3);
    })?;
    run_once(&lp)?;
    ensure_eq!(seen.get(), Some(2), "the value seen in the given context");
    ensure_eq!(vars.run(|| var.get()), Some(3), "the value left in the given context");
    ensure_eq!(var.get(), Some(1), "the value outside");
    Ok(())
}

/// In Rust the type system refuses: a future is not callable, and a callback takes no argument.
fn only_plain_callbacks_are_accepted(cx: &Context) -> Outcome {
    assert_not_impl!(std::future::Ready<()>: FnOnce());
    assert_not_impl!(Box<dyn Fn(u8)>: FnOnce());
    let lp = cx.new_loop_with(|config| config.debug(true))?;
    let trace = cx.trace();
    lp.call_soon(trace.pusher("a plain closure"))?;
    run_once(&lp)?;
    trace.expect(["a plain closure"])
}
