//! First steps.

use crate::families::prelude::*;

pub(super) fn the_first_step_waits_its_turn(cx: &Context) -> Outcome {
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

pub(super) fn also_when_made_by_a_callback_or_a_task(cx: &Context) -> Outcome {
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

pub(super) fn first_steps_in_creation_order(cx: &Context) -> Outcome {
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
