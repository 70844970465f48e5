//! Signals.

mod floods;
mod loops;

use std::io::{Read, Write};
use std::process::Command;

use self::floods::*;
use self::loops::*;
use super::prelude::*;
use crate::tools::{Dispositions, SIGCHLD, SIGUSR1, SIGUSR2, raise, socket_pair};

cases! {
    SIG_01 => the_handler_waits_for_its_turn, it_runs_in_the_context_of_its_registration,
        its_panic_is_reported, called_for_its_own_signal_only;
    SIG_02 => a_signal_ends_the_sleep;
    SIG_03 => another_threads_loop_gets_its_signals_or_is_refused;
    SIG_04 => numbers_that_are_none, uncatchable_ones;
    SIG_05 => the_second_handler_replaces_the_first, also_from_inside, with_a_context_of_its_own;
    SIG_06 => removing_says_whether, the_default_is_back;
    SIG_07 => #[heavy] called_after_the_last_of_a_flood, #[heavy] a_flood_loses_no_other_signal,
        every_signal_of_a_burst_is_seen;
    SIG_08 => a_signal_between_runs_waits_for_the_next;
    SIG_09 => a_handler_outlives_runs;
    SIG_10 => a_blocking_read_goes_on;
    SIG_11 => a_loop_without_handlers_changes_nothing;
    SIG_12 => a_handler_removes_itself, a_handler_stops_the_loop;
    SIG_13 => sigchld_is_refused_or_harmless;
    SIG_14 => two_loops_have_their_own, one_signal_for_two_loops, two_threads_have_their_own,
        #[heavy] two_threads_come_and_go;
}

/// Iterations within which a signal that has been sent must have been handled: it is seen in a poll,
/// and its handler is queued.
const SOON: usize = 4;

fn the_handler_waits_for_its_turn(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log, home) = (lp.clone(), trace.clone(), thread::current().id());
    lp.add_signal_handler(SIGUSR1, move || {
        let here = inner.is_running() && thread::current().id() == home;
        log.push(if here { "handler" } else { "handler elsewhere" });
        // What only a callback of the loop may do: allocate, schedule.
        let _ = inner.call_soon(log.pusher("scheduled by the handler"));
    })?;
    let log = trace.clone();
    lp.call_soon(move || {
        log.push(if raise(SIGUSR1).is_ok() { "raised" } else { "cannot raise" });
        // In signal context the handler would come here.
        log.push("the callback ends");
    })?;
    run_times(&lp, SOON)?;
    trace.expect(["raised", "the callback ends", "handler", "scheduled by the handler"])
}

fn it_runs_in_the_context_of_its_registration(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let var = ContextVar::new("var");
    var.set("registered");
    let (theirs, log) = (var.clone(), trace.clone());
    lp.add_signal_handler(SIGUSR1, move || {
        log.push(theirs.get().unwrap_or("nothing"));
        theirs.set("changed");
    })?;
    var.set("later");
    for _ in 0..2 {
        raise(SIGUSR1)?;
        run_times(&lp, SOON)?;
    }
    trace.expect(["registered", "registered"])
}

fn its_panic_is_reported(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let calls = Counter::new();
    let theirs = calls.clone();
    lp.add_signal_handler(SIGUSR1, move || assert!(theirs.add() > 1, "the first time"))?;
    raise(SIGUSR1)?;
    run_times(&lp, SOON)?;
    let seen = reports.one()?;
    ensure!(seen.is_panic("the first time"), "the panic is not in {seen:?}");
    raise(SIGUSR1)?;
    run_times(&lp, SOON)?;
    ensure_eq!(calls.get(), 2, "calls of a handler that panicked once");
    reports.none()
}

fn called_for_its_own_signal_only(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    for (signal, name) in [(SIGUSR1, "one"), (SIGUSR2, "two")] {
        let log = trace.clone();
        lp.add_signal_handler(signal, move || log.push(name))?;
    }
    for signal in [SIGUSR1, SIGUSR2, SIGUSR2, SIGUSR1] {
        raise(signal)?;
        run_times(&lp, SOON)?;
    }
    trace.expect(["one", "two", "two", "one"])
}

fn a_signal_ends_the_sleep(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let sent = Counter::new();
    let (inner, before) = (lp.clone(), sent.clone());
    lp.add_signal_handler(SIGUSR1, move || inner.stop())?;
    let busy = cpu_time();
    let thread = thread::spawn(move || {
        thread::sleep(ms(200));
        before.add();
        raise(SIGUSR1)
    });
    lp.run_forever()?;
    let busy = cpu_time() - busy;
    ensure_eq!(sent.get(), 1, "signals sent when the run ended");
    ensure!(busy < ms(50), "200 ms with nothing to do took {busy:?} of processor time");
    join(thread)??;
    Ok(())
}

fn numbers_that_are_none(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let before = Dispositions::now()?;
    let freed = Counter::new();
    for number in [0, -1, 65, 1000, i32::MAX, i32::MIN] {
        let token = freed.token();
        ensure_is!(lp.add_signal_handler(number, move || token.keep()), Err(Error::InvalidArg(_)));
        ensure_is!(lp.remove_signal_handler(number), Err(Error::InvalidArg(_)));
    }
    ensure_eq!(freed.get(), 6, "refused handlers that were freed");
    ensure_eq!(Dispositions::now()?, before, "dispositions afterwards");
    Ok(())
}

fn uncatchable_ones(cx: &Context) -> Outcome {
    const SIGKILL: i32 = 9;
    const SIGSTOP: i32 = rustix::process::Signal::STOP.as_raw();
    let lp = cx.new_loop()?;
    let before = Dispositions::now()?;
    let freed = Counter::new();
    for signal in [SIGKILL, SIGSTOP] {
        let token = freed.token();
        ensure_is!(lp.add_signal_handler(signal, move || token.keep()), Err(Error::Usage(_)));
    }
    ensure_eq!(freed.get(), 2, "refused handlers that were freed");
    ensure_eq!(Dispositions::now()?, before, "dispositions afterwards");
    // Nor does a refusal disturb what follows.
    let calls = Counter::new();
    lp.add_signal_handler(SIGUSR1, calls.each())?;
    raise(SIGUSR1)?;
    run_times(&lp, SOON)?;
    ensure_eq!(calls.get(), 1, "calls of a handler after refused ones");
    Ok(())
}

fn the_second_handler_replaces_the_first(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let freed = Counter::new();
    let (log, token) = (trace.clone(), freed.token());
    lp.add_signal_handler(SIGUSR1, move || {
        token.keep();
        log.push("first");
    })?;
    let log = trace.clone();
    lp.add_signal_handler(SIGUSR1, move || log.push("second"))?;
    ensure_eq!(freed.get(), 1, "replaced handlers that were freed");
    raise(SIGUSR1)?;
    run_times(&lp, SOON)?;
    trace.expect(["second"])?;
    ensure!(lp.remove_signal_handler(SIGUSR1)?, "there was nothing to remove");
    ensure!(Dispositions::now()?.leaves(SIGUSR1), "SIGUSR1 is still handled");
    Ok(())
}

fn also_from_inside(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    lp.add_signal_handler(SIGUSR1, move || {
        log.push("first");
        let log = log.clone();
        if let Err(error) = inner.add_signal_handler(SIGUSR1, move || log.push("second")) {
            panic!("{error}");
        }
    })?;
    for _ in 0..3 {
        raise(SIGUSR1)?;
        run_times(&lp, SOON)?;
    }
    trace.expect(["first", "second", "second"])
}

fn with_a_context_of_its_own(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let var = ContextVar::new("var");
    for name in ["first", "second"] {
        var.set(name);
        let (theirs, log) = (var.clone(), trace.clone());
        lp.add_signal_handler(SIGUSR1, move || log.push(theirs.get().unwrap_or("nothing")))?;
    }
    raise(SIGUSR1)?;
    run_times(&lp, SOON)?;
    trace.expect(["second"])
}

fn removing_says_whether(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    ensure!(!lp.remove_signal_handler(SIGUSR1)?, "removed what was not there");
    lp.add_signal_handler(SIGUSR1, || ())?;
    ensure!(!lp.remove_signal_handler(SIGUSR2)?, "removed another signal's handler");
    ensure!(lp.remove_signal_handler(SIGUSR1)?, "did not remove what was there");
    ensure!(!lp.remove_signal_handler(SIGUSR1)?, "removed it twice");
    Ok(())
}

fn the_default_is_back(cx: &Context) -> Outcome {
    let before = Dispositions::now()?;
    let lp = cx.new_loop()?;
    // Several times, because the first registration may be special.
    for round in 0..3 {
        let calls = Counter::new();
        lp.add_signal_handler(SIGUSR1, calls.each())?;
        ensure!(Dispositions::now()?.catches(SIGUSR1), "SIGUSR1 is not handled in round {round}");
        raise(SIGUSR1)?;
        run_times(&lp, SOON)?;
        ensure_eq!(calls.get(), 1, "calls in round {round}");
        lp.remove_signal_handler(SIGUSR1)?;
        ensure_eq!(Dispositions::now()?, before, "dispositions after round {round}");
    }
    Ok(())
}

fn a_signal_between_runs_waits_for_the_next(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    lp.add_signal_handler(SIGUSR1, move || log.push("handler"))?;
    raise(SIGUSR1)?;
    trace.expect([])?;
    run_times(&lp, SOON)?;
    trace.expect(["handler"])?;
    raise(SIGUSR1)?;
    trace.expect([])?;
    run_times(&lp, SOON)?;
    trace.expect(["handler"])
}

fn a_handler_outlives_runs(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let calls = Counter::new();
    let (inner, theirs) = (lp.clone(), calls.clone());
    lp.add_signal_handler(SIGUSR1, move || {
        theirs.add();
        inner.stop();
    })?;
    for run in 1..=5 {
        lp.call_soon(|| drop(raise(SIGUSR1)))?;
        lp.run_forever()?;
        ensure_eq!(calls.get(), run, "calls after run {run}");
    }
    Ok(())
}

fn a_blocking_read_goes_on(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let calls = Counter::new();
    lp.add_signal_handler(SIGUSR1, calls.each())?;
    let (mut near, mut far) = socket_pair()?;
    near.set_nonblocking(false)?;
    let begun = Counter::new();
    let reading = begun.clone();
    // The process has one thread that takes signals for sure: the one that reads.
    let sender = thread::spawn(move || -> Outcome {
        wait_until("the read to begin", || reading.get() == 1)?;
        for _ in 0..20 {
            thread::sleep(ms(5));
            raise(SIGUSR1)?;
        }
        far.write_all(b"x")?;
        Ok(())
    });
    let outcome = Rc::new(RefCell::new(None));
    let theirs = outcome.clone();
    lp.call_soon(move || {
        begun.add();
        let mut byte = [0];
        *theirs.borrow_mut() = Some(near.read(&mut byte).map(|count| (count, byte)));
    })?;
    run_times(&lp, SOON)?;
    join(sender)??;
    let read = outcome.borrow_mut().take();
    ensure_is!(read, Some(Ok((1, [b'x']))));
    ensure!(calls.get() > 0, "the handler was not called");
    Ok(())
}

fn a_loop_without_handlers_changes_nothing(cx: &Context) -> Outcome {
    let before = Dispositions::now()?;
    let lp = cx.new_loop()?;
    ensure_eq!(Dispositions::now()?, before, "dispositions once there is a loop");
    let (inner, found) = (lp.clone(), Rc::new(RefCell::new(None)));
    let theirs = found.clone();
    let job = lp.run_in_executor(None, || Dispositions::now().map(|now| now.blocked).ok())?;
    lp.call_later(ms(5), move || {
        *theirs.borrow_mut() = Some(Dispositions::now());
        inner.stop();
    })?;
    lp.run_forever()?;
    let during = found.borrow_mut().take();
    ensure_is!(during, Some(Ok(now)) if now == before);
    ensure_eq!(lp.run_until_done(&job)?, Some(before.blocked), "signals blocked by a worker");
    lp.close()?;
    ensure_eq!(Dispositions::now()?, before, "dispositions after close()");
    Ok(())
}

fn a_handler_removes_itself(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let freed = Counter::new();
    let (inner, log, token) = (lp.clone(), trace.clone(), freed.token());
    lp.add_signal_handler(SIGUSR1, move || {
        token.keep();
        let removed = inner.remove_signal_handler(SIGUSR1);
        log.push(format!("removed itself: {removed:?}"));
    })?;
    raise(SIGUSR1)?;
    run_times(&lp, SOON)?;
    trace.expect(["removed itself: Ok(true)"])?;
    ensure_eq!(freed.get(), 1, "handlers freed");
    ensure!(Dispositions::now()?.leaves(SIGUSR1), "SIGUSR1 is still handled");
    Ok(())
}

fn a_handler_stops_the_loop(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    lp.add_signal_handler(SIGUSR1, move || {
        log.push("handler");
        inner.stop();
        let _ = inner.call_soon(log.pusher("later"));
    })?;
    lp.call_later(ms(10), || drop(raise(SIGUSR1)))?;
    lp.run_forever()?;
    trace.expect(["handler"])
}

fn sigchld_is_refused_or_harmless(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (inner, calls) = (lp.clone(), Counter::new());
    let theirs = calls.clone();
    let added = lp.add_signal_handler(SIGCHLD, move || {
        theirs.add();
        inner.stop();
    });
    match added {
        Err(Error::Usage(_)) => return Ok(()),
        added => added?,
    }
    let mut child = Command::new("true").spawn()?;
    lp.run_forever()?;
    ensure!(calls.get() > 0, "SIGCHLD was not handled");
    // The loop has not waited for a child that is not its own.
    ensure_eq!(child.wait()?.code(), Some(0), "the status of the child");
    Ok(())
}
