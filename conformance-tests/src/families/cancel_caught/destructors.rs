//! Scopes that are dropped, and destructors that do what they like.

use std::future::{pending, poll_fn, ready};
use std::task::Poll;

use anyloop_api::{AnyTask, catch_cancel, uncancellable};

use crate::families::prelude::*;
use crate::tools::{Gate, OnDrop, both, first};

/// A scope was told, and then loses a race before it is polled: the request goes further out.
pub(super) fn a_scope_that_is_dropped_passes_it_on(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    for masked in [false, true] {
        let (gate, log) = (Gate::new(), trace.clone());
        let wait = gate.clone();
        let task = lp.create_task(async move {
            let inner = async {
                if masked {
                    uncancellable(pending::<()>()).await;
                } else {
                    let _ = catch_cancel(pending::<()>()).await;
                    log.push("wrongly told");
                }
            };
            first(wait.wait(), inner).await;
            log.push("race over");
            let caught = catch_cancel(pending::<()>()).await;
            log.push(if caught.is_err() { "told" } else { "not told" });
        })?;
        run_once(&lp)?;
        let (canceller, opener) = (task.clone(), gate.clone());
        lp.call_soon(move || {
            canceller.cancel();
            opener.open();
        })?;
        run_times(&lp, 3)?;
        trace.expect(["race over", "told"])?;
        ensure!(task.done() && !task.cancelled(), "the task did not end well");
    }
    Ok(())
}

/// A future whose destructor panics.
struct Brittle;

impl Future for Brittle {
    type Output = ();

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for Brittle {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

pub(super) fn destructors_that_panic(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    let only = |what: &str| -> Result<(), Failure> {
        let report = reports.one()?;
        ensure!(report.is_panic("in a destructor"), "{what}: another report: {report:?}");
        Ok(())
    };
    // In a scope: the clean-up runs all the same.
    let log = trace.clone();
    let task = lp.task().name("scoped").spawn(async move {
        let caught = catch_cancel(Brittle).await;
        log.push(if caught.is_err() { "clean-up" } else { "wrong" });
    })?;
    run_once(&lp)?;
    task.cancel();
    run_once(&lp)?;
    trace.expect(["clean-up"])?;
    let report = reports.take().pop();
    ensure!(report.is_some_and(|r| r.is_panic("in a destructor")), "no report of the panic");
    ensure!(task.done() && !task.cancelled(), "the task did not end well");

    // The whole body: the task is cancelled, and those who wait for it hear of it.
    let task = lp.create_task(Brittle)?;
    let joined = lp.create_task(task.clone())?;
    run_once(&lp)?;
    task.cancel();
    run_times(&lp, 2)?;
    only("a body")?;
    ensure!(task.cancelled(), "the task is not cancelled");
    ensure!(joined.cancelled(), "who waited for it did not hear of it");

    // Never begun.
    let task = lp.create_task(Brittle)?;
    task.cancel();
    run_once(&lp)?;
    only("a body that never began")?;
    ensure!(task.cancelled(), "the task is not cancelled");

    // The value of a body that is cancelled at its end.
    let task = lp.create_task(async {
        if let Some(me) = current_task() {
            me.cancel();
        }
        vec![Brittle]
    })?;
    let joined = lp.create_task(task.clone())?;
    run_times(&lp, 2)?;
    only("a value")?;
    ensure!(task.cancelled(), "the task is not cancelled");
    ensure_is!(joined.take_result().map(|ended| ended.map(drop)), Ok(Err(Error::Cancelled(_))));

    // The value of a task that nobody holds.
    lp.create_task(async { vec![Brittle] })?;
    lp.call_soon(trace.pusher("same batch"))?;
    run_once(&lp)?;
    trace.expect(["same batch"])?;
    only("a value that nobody wants")?;
    ensure_eq!(lp.all_tasks().len(), 0, "tasks that are left");

    // At close.
    let task = lp.create_task(Brittle)?;
    task.mark_internal();
    let unbegun = lp.create_task(async move {
        Brittle.await;
    })?;
    run_once(&lp)?;
    unbegun.mark_internal();
    lp.close()?;
    ensure_eq!(reports.take().len(), 2, "reports of panics at close");
    ensure!(task.done() && unbegun.done(), "a task is pending after close");
    Ok(())
}

/// Destructors run inside the task, and may do to it what they like.
pub(super) fn destructors_that_use_the_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let reports = Reports::of(&lp);
    let future = lp.create_future::<()>();
    let (waiting, log, inner) = (future.clone(), trace.clone(), lp.clone());
    let task = lp.create_task(async move {
        let theirs = waiting.clone();
        let guard = OnDrop(move || {
            let Some(me) = current_task() else { return };
            me.set_name("renamed");
            let _ = (me.get_context(), me.waiting_for(), format!("{me:?}"));
            me.uncancel();
            theirs.cancel();
            let _ = inner.create_task(ready(()));
            let _ = inner.task().eager(true).spawn(ready(()));
            let _ = inner.all_tasks();
        });
        let caught = catch_cancel(async move {
            guard.keep();
            let _ = (&waiting).await;
        });
        let caught = caught.await.is_err();
        log.push(current_task().map_or_else(String::new, |me| me.get_name().to_string()));
        yield_now().await;
        caught
    })?;
    run_once(&lp)?;
    task.cancel();
    ensure!(lp.run_until_done(&task)?, "the cancellation was not caught");
    trace.expect(["renamed"])?;
    ensure_eq!(task.cancelling(), 0, "requests");

    // A waiter that is dropped by its task's own registration of another one.
    let future = lp.create_future::<()>();
    let canceller: Rc<RefCell<Option<AnyTask>>> = Rc::default();
    let theirs = canceller.clone();
    let guard = OnDrop(move || {
        if let Some(task) = theirs.take() {
            task.cancel();
            let _ = task.waiting_for();
        }
    });
    future.add_done_callback(move |_| guard.keep());
    let slot = Rc::new(RefCell::new(Some(future)));
    let (taken, inner) = (slot.clone(), lp.clone());
    let task = lp.create_task(async move {
        // The only handle; it goes away while the task still waits for it.
        poll_fn(|cx| match &mut *taken.borrow_mut() {
            Some(future) => std::pin::Pin::new(future).poll(cx).map(drop),
            None => Poll::Ready(()),
        })
        .await;
        let _ = catch_cancel(both(inner.create_future::<()>(), pending::<()>())).await;
    })?;
    canceller.replace(Some(task.any()));
    run_once(&lp)?;
    drop(slot.take());
    task.cancel();
    run_times(&lp, 4)?;
    ensure!(task.done(), "the task did not end");
    reports.none()
}

/// A scope is polled by one task, then by another: it belongs to whoever polls it.
pub(super) fn a_scope_may_change_its_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let gate = Gate::new();
    let wait = gate.clone();
    let mut scope = Box::pin(catch_cancel(async move { wait.wait().await }));
    let slot = Rc::new(RefCell::new(None));
    let theirs = slot.clone();
    let one = lp.create_task(async move {
        poll_fn(|cx| Poll::Ready(scope.as_mut().poll(cx).is_ready())).await;
        theirs.replace(Some(scope));
        pending::<()>().await;
    })?;
    run_once(&lp)?;
    let Some(scope) = slot.take() else { return Err(Failure::new("the scope is gone")) };
    let two = lp.create_task(scope)?;
    run_once(&lp)?;
    one.cancel();
    run_once(&lp)?;
    ensure!(one.cancelled(), "the first task is not cancelled");
    ensure!(!two.done(), "the second task was told of the first one's cancellation");
    two.cancel();
    run_once(&lp)?;
    ensure!(two.cancelled(), "the scope did not yield in the second task");
    Ok(())
}
