//! The end of the default pool.

use std::sync::Arc;

use super::{Gate, Threads, with_workers};
use crate::families::prelude::*;
use crate::tools::Trace;

pub(super) fn shutdown_waits_while_the_loop_turns(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (gate, wait) = Gate::new();
    let log: Trace = trace.clone();
    let job = lp.run_in_executor(None, move || {
        wait();
        log.push("the job ends");
    })?;
    gate.has_started()?;
    let log = trace.clone();
    lp.call_later(ms(50), move || {
        log.push("the loop turns");
        drop(gate);
    })?;
    lp.run_until_complete(lp.shutdown_default_executor(None))?;
    trace.push("shut down");
    trace.expect(["the loop turns", "the job ends", "shut down"])?;
    run_times(&lp, 2)?;
    ensure!(job.done(), "the outcome of the last job was lost");
    Ok(())
}

pub(super) fn shutdown_gives_up_in_time_with_a_warning(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (gate, wait) = Gate::new();
    let job = lp.run_in_executor(None, wait)?;
    gate.has_started()?;
    let begin = Instant::now();
    lp.run_until_complete(lp.shutdown_default_executor(Some(ms(30))))?;
    let took = begin.elapsed();
    ensure!(took >= ms(30), "gave up after {took:?} already");
    reports.one()?;
    ensure!(!job.done(), "the job is done");
    ensure_is!(lp.run_in_executor(None, || ()), Err(Error::Usage(_)));
    drop(gate);
    lp.run_until_done(&job)?;
    Ok(())
}

pub(super) fn shutdown_runs_what_is_queued(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(with_workers(1))?;
    let ran = Counter::new();
    for _ in 0..20 {
        let add = ran.adder();
        lp.run_in_executor(None, move || {
            thread::sleep(ms(1));
            add();
        })?;
    }
    lp.run_until_complete(lp.shutdown_default_executor(None))?;
    ensure_eq!(ran.get(), 20, "jobs that ran");
    Ok(())
}

/// The pool is the loop's no longer, so its close cannot make up for it.
pub(super) fn shut_down_though_nobody_waits(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let executor = Arc::new(Threads::default());
    lp.set_default_executor(executor.clone());
    drop(lp.shutdown_default_executor(None));
    lp.close()?;
    ensure_eq!(executor.shut_down.get(), 1, "shutdowns");
    Ok(())
}
