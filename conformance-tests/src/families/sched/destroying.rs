//! When closures are dropped, and what their destructors may do.

use crate::families::prelude::*;
use crate::tools::Seen;

pub(super) fn cancelling_frees_the_closure(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let freed = Counter::new();
    let token = freed.token();
    let handle = lp.call_soon(move || token.keep())?;
    ensure_eq!(freed.get(), 0, "closures freed before cancel()");
    handle.cancel();
    ensure_eq!(freed.get(), 1, "closures freed by cancel()");
    run_once(&lp)?;
    ensure_eq!(freed.get(), 1, "closures freed after an iteration");
    Ok(())
}

pub(super) fn calling_frees_the_closure(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let freed = Counter::new();
    let token = freed.token();
    let handle = lp.call_soon(move || token.keep())?;
    let (seen, in_between) = (Rc::new(Cell::new(0)), freed.clone());
    let theirs = seen.clone();
    lp.call_soon(move || theirs.set(in_between.get()))?;
    run_once(&lp)?;
    ensure_eq!(seen.get(), 1, "closures freed when the next callback of the batch runs");
    ensure!(!handle.cancelled(), "cancelled() is true after a normal call");
    Ok(())
}

/// Schedules a callback when it is dropped.
struct Scheduling {
    lp: anyloop_api::WeakLoop,
    callback: Option<Box<dyn FnOnce()>>,
}

impl Scheduling {
    fn new(lp: &LoopRef, callback: impl FnOnce() + 'static) -> Self {
        Self { lp: lp.downgrade(), callback: Some(Box::new(callback)) }
    }

    fn keep(&self) {}
}

impl Drop for Scheduling {
    fn drop(&mut self) {
        if let (Some(lp), Some(callback)) = (self.lp.upgrade(), self.callback.take()) {
            let _ = lp.call_soon(callback);
        }
    }
}

pub(super) fn destructors_may_schedule(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let on_cancel = Scheduling::new(&lp, trace.pusher("after cancel"));
    let on_call = Scheduling::new(&lp, trace.pusher("after call"));
    let on_timer = Scheduling::new(&lp, trace.pusher("after timer"));
    let on_close = Scheduling::new(&lp, trace.pusher("after close"));
    let victim = lp.call_soon(move || on_cancel.keep())?;
    let timer = lp.call_later(FAR, move || on_timer.keep())?;
    lp.call_soon(move || on_call.keep())?;
    let canceller = {
        let log = trace.clone();
        move || {
            victim.cancel();
            timer.cancel();
            log.push("cancelled both");
        }
    };
    lp.call_soon(canceller)?;
    run_once(&lp)?;
    trace.expect(["cancelled both"])?;
    run_once(&lp)?;
    trace.expect_in_any_order(["after call", "after cancel", "after timer"])?;
    lp.call_soon(move || on_close.keep())?;
    lp.close()?;
    trace.expect([])
}

/// Panics when it is dropped.
struct Fragile;

impl Fragile {
    fn keep(&self) {}
}

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("a fragile thing was dropped");
    }
}

pub(super) fn a_panicking_destructor_is_reported(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    let (called, cancelled, timer) = (Fragile, Fragile, Fragile);
    lp.call_soon(move || called.keep())?;
    let victim = lp.call_soon(move || cancelled.keep())?;
    let timer = lp.call_later(FAR, move || timer.keep())?;
    let log = trace.clone();
    lp.call_soon(move || {
        victim.cancel();
        log.push("cancelled a handle");
        timer.cancel();
        log.push("cancelled a timer");
    })?;
    // The order matters: the victim is cancelled while it is in the queue.
    lp.call_soon(trace.pusher("b"))?;
    run_times(&lp, 2)?;
    trace.expect(["cancelled a handle", "cancelled a timer", "b"])?;
    let reports = reports.take();
    let right = |seen: &Seen| seen.is_panic("a fragile thing was dropped") && seen.has("handle");
    ensure!(reports.len() == 3 && reports.iter().all(right), "the reports are {reports:?}");
    Ok(())
}
