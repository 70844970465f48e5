//! Running loops in measured steps, and what that costs.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyloop_api::{Error, EventLoopExt, LoopRef, Result};

use crate::case::{Failure, Outcome};
use crate::tools::{Counter, Trace};

/// Runs exactly one iteration (LIFE-05).
///
/// # Errors
/// Those of the run.
pub fn run_once(lp: &LoopRef) -> Result<()> {
    lp.stop();
    lp.run_forever()
}

/// Runs exactly `iterations` iterations, one run each.
///
/// # Errors
/// Those of the runs.
pub fn run_times(lp: &LoopRef, iterations: usize) -> Result<()> {
    (0..iterations).try_for_each(|_| run_once(lp))
}

/// Runs `lp`, on which two callbacks are due that put their names, `a` and `b`, into `trace` and interrupt the
/// run: each has a run of its own (LIFE-18).
///
/// # Errors
/// What happened instead.
pub fn one_in_each_run(lp: &LoopRef, trace: &Trace) -> Outcome {
    ensure_is!(lp.run_forever(), Err(Error::Interrupt(_)));
    ensure_eq!(trace.len(), 1, "callbacks until the interrupt");
    ensure_is!(run_once(lp), Err(Error::Interrupt(_)));
    ensure_eq!(trace.len(), 2, "callbacks until the next one");
    run_times(lp, 3)?;
    trace.expect_in_any_order(["a", "b"])
}

/// Runs for `span`, in one run, and sleeps when nothing is to be done.
///
/// The span begins after the first iteration, and some more follow it: a process that was not given a
/// processor meanwhile finds everything due at once, and what is to happen within the span, with what
/// follows from it, happens all the same.
///
/// # Errors
/// Those of the run.
pub fn run_for(lp: &LoopRef, span: Duration) -> Result<()> {
    let weak = lp.downgrade();
    lp.call_soon(move || {
        let Some(lp) = weak.upgrade() else { return };
        // A loop that was closed meanwhile does not run any more.
        let _ = lp.call_later(span, move || {
            if let Some(lp) = weak.upgrade() {
                let _ = stop_after(&lp, 4);
            }
        });
    })?;
    lp.run_forever()
}

/// A chain of callbacks, each scheduling the next: `step` is called once per iteration with the number
/// of the iteration, until it says `false`.
///
/// # Errors
/// `Closed`.
pub fn every_iteration(lp: &LoopRef, step: impl FnMut(usize) -> bool + 'static) -> Result<()> {
    fn next(lp: &LoopRef, number: usize, mut step: impl FnMut(usize) -> bool + 'static) {
        let weak = lp.downgrade();
        // On a loop that was closed meanwhile the chain simply ends.
        let _ = lp.call_soon(move || {
            if let (true, Some(lp)) = (step(number), weak.upgrade()) {
                next(&lp, number + 1, step);
            }
        });
    }
    lp.state().check_open("every_iteration")?;
    next(lp, 1, step);
    Ok(())
}

/// Stops `lp` after `iterations` more iterations.
///
/// # Errors
/// `Closed`.
pub fn stop_after(lp: &LoopRef, iterations: usize) -> Result<()> {
    let weak = lp.downgrade();
    every_iteration(lp, move |number| {
        if number < iterations {
            return true;
        }
        if let Some(lp) = weak.upgrade() {
            lp.stop();
        }
        false
    })
}

/// Counts the iterations of `lp`, from the next one on, for as long as it lives. The loop never
/// sleeps meanwhile.
///
/// # Errors
/// `Closed`.
pub fn count_iterations(lp: &LoopRef) -> Result<Counter> {
    let counter = Counter::new();
    let theirs = counter.clone();
    every_iteration(lp, move |_| {
        theirs.add();
        true
    })?;
    Ok(counter)
}

/// Keeps the thread busy.
pub fn block_for(span: Duration) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// Waits, asleep, until `condition` holds: for what another thread is doing.
///
/// # Errors
/// After ten seconds.
#[track_caller]
pub fn wait_until(what: &str, condition: impl Fn() -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        if Instant::now() > deadline {
            return Err(Failure::new(format!("waited ten seconds for this: {what}")));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// What the calling thread has used of a processor so far.
#[must_use]
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Runs a loop on which nothing happens for a while: it is to sleep.
///
/// # Errors
/// If that takes processor time; those of the run.
#[track_caller]
pub fn rest(lp: &LoopRef) -> Result<(), Failure> {
    let before = cpu_time();
    run_for(lp, Duration::from_millis(100))?;
    let used = cpu_time() - before;
    if used < Duration::from_millis(50) {
        return Ok(());
    }
    Err(Failure::new(format!("the loop spins: {used:?} of processor time in 100 ms of nothing")))
}

/// How often the calling thread has gone to sleep so far; `None` where the system does not tell.
#[must_use]
pub fn sleeps() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

/// The result of a thread.
///
/// # Errors
/// If it panicked.
#[track_caller]
pub fn join<T>(thread: JoinHandle<T>) -> Result<T, Failure> {
    thread.join().map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Failure::new(format!("a thread panicked: {}", text.unwrap_or("(no text)")))
    })
}
