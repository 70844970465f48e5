//! What ends a run from inside: interrupts, panics that are let out.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use anyloop_api::{Interrupt, catch_cancel, raise_interrupt, uncancellable};

use super::a_run_is_not_cut_short;
use crate::families::prelude::*;
use crate::tools::{one_in_each_run, socket_pair};

pub(super) fn an_interrupt_leaves_at_once(cx: &Context) -> Outcome {
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
pub(super) fn an_interrupt_before_the_run_ends_it(cx: &Context) -> Outcome {
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

pub(super) fn what_the_poll_brought_waits_for_the_next_run(cx: &Context) -> Outcome {
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
pub(super) fn a_reader_that_interrupts_goes_before_the_writer(cx: &Context) -> Outcome {
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

pub(super) fn a_resumed_panic_leaves_at_once(cx: &Context) -> Outcome {
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

pub(super) fn a_tasks_interrupt_is_its_error_and_ends_the_run(cx: &Context) -> Outcome {
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
pub(super) fn no_scope_catches_an_interrupt(cx: &Context) -> Outcome {
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

pub(super) fn no_stale_stop_is_left(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let result = lp.run_until_complete(raise_interrupt::<()>(Interrupt::new("on purpose")));
    ensure_is!(result, Err(Error::Interrupt(_)));
    a_run_is_not_cut_short(&lp)?;
    ensure_eq!(lp.run_until_complete(async { 9 })?, 9, "the value of a later run");
    Ok(())
}
