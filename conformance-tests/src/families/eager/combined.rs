//! Eager tasks in gathers and groups.

use std::future::pending;

use anyloop::{TaskGroup, gather, task_group};
use anyloop_api::{EagerTaskFactory, catch_cancel, current_task};

use super::eager;
use crate::families::prelude::*;
use crate::tools::{Gate, Trace};

pub(super) fn gather_over_eager_results_is_done(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.set_task_factory(Some(Rc::new(EagerTaskFactory)));
    let task = lp.create_task(async {
        let both = gather((eager(async { 6 })?, eager(async { 7 })?));
        let done = both.done();
        // Futures too: the factory makes eager tasks of them.
        let made = gather([1, 2].map(|n| async move { n }));
        Ok::<_, Error>((done, both.await?, made.done(), made.await?))
    })?;
    ensure_eq!(lp.run_until_done(&task)??, (true, (6, 7), true, vec![1, 2]), "done and values");
    Ok(())
}

pub(super) fn one_that_suspended_is_waited_for(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let gate = Gate::new();
    let wait = gate.clone();
    let task = lp.create_task(async move {
        let slow = eager(async move {
            wait.wait().await;
            7
        })?;
        let both = gather((eager(async { 6 })?, slow));
        Ok::<_, Error>((both.done(), both.await?))
    })?;
    run_times(&lp, 3)?;
    ensure!(!task.done(), "gather did not wait for the task that suspended");
    gate.open();
    ensure_eq!(lp.run_until_done(&task)??, (false, (6, 7)), "done and values");
    Ok(())
}

/// A group with a sleeping child in which `begin` starts another one: how it ended, and what the task
/// that ran it looks like afterwards.
fn with_sibling(
    lp: &LoopRef,
    trace: &Trace,
    begin: impl FnOnce(&TaskGroup) -> Result<(), Error> + 'static,
) -> Result<(Result<(), Error>, usize), Error> {
    let log = trace.clone();
    let task = lp.create_task(async move {
        let theirs = log.clone();
        let ended = task_group(|group| async move {
            group.create_task(async move {
                let Err(cancelled) = catch_cancel(pending::<()>()).await else { return };
                theirs.push("sibling cancelled");
                cancelled.resume::<()>().await;
            })?;
            yield_now().await;
            begin(&group)?;
            pending::<Result<(), Error>>().await
        })
        .await;
        // Nothing of the group's own cancellation is left to hit this.
        yield_now().await;
        log.push("after the group");
        (ended, current_task().map_or(usize::MAX, |task| task.cancelling()))
    })?;
    lp.run_until_complete(task)?
}

pub(super) fn an_eager_failure_ends_the_group(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (ended, cancelling) = with_sibling(&lp, &trace, |group| {
        let failing = async { Err::<(), _>(Error::invalid_arg("at once")) };
        let child = group.task()?.eager(true).spawn(failing)?;
        if child.done() { Ok(()) } else { Err(Error::usage("the child is not done on return")) }
    })?;
    let Err(Error::Group(group)) = ended else {
        return Err(Failure::new(format!("the group ended with {ended:?}")));
    };
    ensure_eq!(group.errors().len(), 1, "errors");
    ensure!(group.errors()[0].to_string().contains("at once"), "another error: {group}");
    ensure_eq!(cancelling, 0, "requests that are left");
    trace.expect(["sibling cancelled", "after the group"])
}

pub(super) fn an_eager_cancel_of_the_group_ends_it(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let log = trace.clone();
    let (ended, cancelling) = with_sibling(&lp, &trace, move |group| {
        let whole = group.clone();
        group.task()?.eager(true).spawn(async move {
            whole.cancel();
            let Err(cancelled) = catch_cancel(pending::<()>()).await else { return };
            log.push("child cancelled");
            cancelled.resume::<()>().await;
        })?;
        Ok(())
    })?;
    ensure!(ended.is_ok(), "the group ended with {ended:?}");
    ensure_eq!(cancelling, 0, "requests that are left");
    trace.expect(["sibling cancelled", "child cancelled", "after the group"])
}
