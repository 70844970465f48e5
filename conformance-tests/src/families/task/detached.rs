//! Tasks that nobody holds, and the end of their loop.

use std::future::{pending, ready};

use anyloop::{gather, gather_vec};
use anyloop_api::sleep;

use crate::families::prelude::*;
use crate::tools::{Gate, OnDrop};

pub(super) fn dropping_the_handle_detaches(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let gate = Gate::new();
    let (wait, log) = (gate.clone(), trace.clone());
    drop(lp.create_task(async move {
        log.push("begins");
        wait.wait().await;
        log.push("ends");
    })?);
    // Nobody but the loop knows of this one.
    let log = trace.clone();
    drop(lp.create_task(async move {
        sleep(ms(1)).await;
        log.push("slept");
    })?);
    run_for(&lp, ms(20))?;
    trace.expect(["begins", "slept"])?;
    ensure_eq!(lp.all_tasks().len(), 1, "tasks that are left");
    gate.open();
    run_once(&lp)?;
    trace.expect(["ends"])
}

pub(super) fn what_is_left_at_close_is_reported(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let freed = Counter::new();
    let body = || {
        let token = freed.token();
        async move {
            token.keep();
            pending::<()>().await;
        }
    };
    let waiting = lp.task().name("waiting").spawn(body())?;
    let cancelled = lp.task().name("cancelled").spawn(body())?;
    drop(lp.task().name("detached").spawn(body())?);
    let done = lp.task().name("done").spawn(ready(()))?;
    run_once(&lp)?;
    drop(lp.task().name("not begun").spawn(body())?);
    cancelled.cancel();
    reports.none()?;
    lp.close()?;
    let reported: Vec<_> = reports.take();
    ensure!(
        reported.iter().all(|report| report.has("task") && report.message.contains("pending")),
        "a report that names no task, or another reason: {reported:?}"
    );
    let mut names: Vec<_> = reported.iter().filter_map(|report| report.task.as_deref()).collect();
    names.sort_unstable();
    ensure_eq!(names, ["cancelled", "detached", "not begun", "waiting"], "reported tasks");
    ensure_eq!(freed.get(), 4, "bodies that were dropped");
    ensure!(waiting.done() && done.done(), "a task is still pending after close");
    drop((waiting, cancelled, done));
    reports.none()
}

pub(super) fn internal_tasks_are_not_reported(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (freed, inner) = (Counter::new(), lp.clone());
    let token = freed.token();
    let stopped = lp.run_until_complete(async move {
        inner.stop();
        pending::<()>().await;
        token.keep();
    });
    ensure_is!(stopped, Err(Error::Usage(_)));
    let task = lp.create_task(pending::<()>())?;
    task.mark_internal();
    // The children that a gather makes of futures; a task that it is given is somebody's.
    let named = lp.task().name("given").spawn(pending::<()>())?;
    let (given, tokens) = (named.clone(), [freed.token(), freed.token()]);
    let gathering = lp.create_task(async move {
        let made = tokens.map(|token| async move {
            pending::<()>().await;
            token.keep();
        });
        let _ = gather((gather_vec(made), given)).await;
    })?;
    gathering.mark_internal();
    run_times(&lp, 3)?;
    lp.close()?;
    ensure_eq!(freed.get(), 3, "bodies that were dropped");
    ensure_eq!(reports.one()?.task.as_deref(), Some("given"), "the task that is reported");
    drop(named);
    reports.none()
}

/// A body whose destructors use the loop that is going away.
pub(super) fn destructors_at_close_may_do_anything(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    lp.set_exception_handler(Some(Rc::new(|_, _| ())));
    let victim = lp.create_task(pending::<()>())?;
    let future = lp.create_future::<()>();
    let (waiting, log) = (future.clone(), trace.clone());
    lp.create_task(async move {
        let _guard = OnDrop(move || log.push("waiter dropped"));
        let _ = waiting.await;
    })?;
    let (inner, log, canceller) = (lp.downgrade(), trace.clone(), victim.clone());
    lp.create_task(async move {
        let _guard = OnDrop(move || {
            let Some(lp) = inner.upgrade() else { return };
            let refused = lp.create_task(ready(())).is_err() && lp.call_soon(|| ()).is_err();
            log.push(if refused { "refused" } else { "not refused" });
            canceller.cancel();
            let _ = future.set_result(());
            let _ = lp.all_tasks();
        });
        let _guard = OnDrop(|| panic!("in a destructor"));
        pending::<()>().await;
    })?;
    run_once(&lp)?;
    lp.close()?;
    trace.expect_in_any_order(["refused", "waiter dropped"])?;
    ensure!(victim.done(), "a task is still pending after close");
    ensure_eq!(lp.all_tasks().len(), 0, "tasks after close");
    Ok(())
}
