//! The context of what fails.

use std::io::Write;
use std::rc::Rc;

use anyloop_api::catch_cancel;

use super::tasks::{Var, noter};
use crate::families::prelude::*;
use crate::tools::{OnDrop, SIGUSR1, raise, socket_pair};

pub(super) fn the_handler_runs_in_the_context_of_what_failed(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let var = Var::new("var");
    let note = noter(&trace, &var);
    let own = var.clone();
    lp.set_exception_handler(Some(Rc::new(move |_, report| {
        note(if report.task.is_some() { "task" } else { "handle" });
        own.set("of the handler");
    })));
    var.set("of the callback");
    lp.call_soon(|| panic!("in a callback"))?;
    let given = Vars::new();
    given.run(|| var.set("given"));
    lp.call_soon_in(given.clone(), || panic!("in a callback"))?;
    var.set("outside");
    run_once(&lp)?;
    trace.expect(["handle of the callback", "handle given"])?;
    ensure_eq!(given.run(|| var.get()), Some("given"), "the value in the context of the handle");

    // A destructor in the middle of a step, and one at the end of a cancelled task.
    let own = var.clone();
    let task = lp.create_task(async move {
        own.set("first step");
        let caught = catch_cancel(async {
            let _guard = OnDrop(|| panic!("in a destructor"));
            std::future::pending::<()>().await;
        });
        let _ = caught.await;
        own.set("second step");
        let _guard = OnDrop(|| panic!("in a destructor"));
        std::future::pending::<()>().await;
    })?;
    run_once(&lp)?;
    task.cancel();
    run_once(&lp)?;
    trace.expect(["task first step"])?;
    task.cancel();
    run_once(&lp)?;
    trace.expect(["task second step"])?;

    // Destroyed while pending.
    let own = var.clone();
    lp.create_task(async move {
        own.set("pending");
        std::future::pending::<()>().await;
    })?;
    run_once(&lp)?;
    lp.close()?;
    trace.expect(["task pending"])?;
    ensure_eq!(var.get(), Some("outside"), "the value outside");
    Ok(())
}

pub(super) fn of_watchers_and_signal_handlers_too(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let var = Var::new("var");
    let note = noter(&trace, &var);
    lp.set_exception_handler(Some(Rc::new(move |_, _| note("handler"))));
    let (near, mut far) = socket_pair()?;
    far.write_all(b"x")?;
    var.set("of the reader");
    lp.add_reader(&near, || panic!("in a reader"))?;
    var.set("of the writer");
    lp.add_writer(&near, || panic!("in a writer"))?;
    var.set("outside");
    run_once(&lp)?;
    trace.expect(["handler of the reader", "handler of the writer"])?;
    lp.remove_reader(&near)?;
    lp.remove_writer(&near)?;
    var.set("of the signal");
    lp.add_signal_handler(SIGUSR1, || panic!("in a signal handler"))?;
    var.set("outside");
    raise(SIGUSR1)?;
    run_times(&lp, 4)?;
    trace.expect(["handler of the signal"])?;
    ensure_eq!(var.get(), Some("outside"), "the value outside");
    Ok(())
}

pub(super) fn a_failing_callback_leaves_nothing_behind(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    let var = Var::new("var");
    let note = noter(&trace, &var);
    let shared = Vars::new();
    let failing = |value: &'static str| {
        let var = var.clone();
        move || {
            var.set(value);
            panic!("on purpose");
        }
    };
    let noting = |at: &'static str| {
        let note = note.clone();
        move || note(at)
    };
    lp.call_soon(failing("in a callback"))?;
    lp.call_soon(noting("after a callback"))?;
    lp.call_soon_in(shared.clone(), failing("in a context"))?;
    lp.call_soon(noting("after a context"))?;
    let own = var.clone();
    let task = lp.create_task(async move {
        own.set("in a task");
        panic!("on purpose");
    })?;
    task.mark_inspected();
    lp.call_soon(noting("after a task"))?;
    run_once(&lp)?;
    note("outside");
    trace.expect(["after a callback -", "after a context -", "after a task -", "outside -"])?;
    ensure_eq!(reports.take().len(), 2, "reports");
    // What it changed before it failed stays in the context that was given.
    ensure_eq!(shared.run(|| var.get()), Some("in a context"), "the value in the shared context");
    // By hand, outside of any loop.
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        shared.run(|| {
            var.set("by hand");
            panic!("on purpose");
        })
    }));
    ensure!(panicked.is_err(), "the panic is gone");
    ensure_eq!(var.get(), None, "the value outside");
    ensure_eq!(shared.run(|| var.get()), Some("by hand"), "the value in the shared context");
    Ok(())
}

/// A value of a context that is dropped with the last one to hold it.
#[derive(Clone)]
struct Fragile(std::sync::Arc<()>);

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(std::sync::Arc::strong_count(&self.0) > 1, "in a destructor");
    }
}

pub(super) fn a_value_whose_destructor_panics_stops_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let trace = cx.trace();
    let var = ContextVar::new("var");
    let registered = |register: &dyn Fn() -> anyloop_api::Result<()>| {
        Vars::new().run(|| {
            var.set(Fragile(std::sync::Arc::default()));
            register()
        })
    };
    let calls = [trace.pusher("callback"), trace.pusher("timer")].map(|call| Cell::new(Some(call)));
    registered(&|| lp.call_soon(calls[0].take().expect("once")).map(drop))?;
    registered(&|| lp.call_later(Duration::ZERO, calls[1].take().expect("once")).map(drop))?;
    registered(&|| lp.remote().call_soon_threadsafe(|| ()).map(drop))?;
    registered(&|| lp.create_task(yield_now()).map(drop))?;
    lp.call_soon(trace.pusher("the next one"))?;
    run_times(&lp, 4)?;
    trace.expect_in_any_order(["callback", "timer", "the next one"])?;
    let reported = reports.take();
    ensure_eq!(reported.len(), 4, "reports");
    for report in reported {
        ensure_is!(report.exception, Some(Error::Panicked(_)));
    }
    Ok(())
}
