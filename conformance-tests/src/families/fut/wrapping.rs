//! Futures of other threads and other loops.

use std::sync::mpsc;

use anyloop::{ensure_future, run_coroutine_threadsafe, wrap_future};

use crate::families::prelude::*;

const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn a_threads_result_arrives_on_the_loop(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.run_in_executor(None, || thread::current().id())?;
    let here = Rc::new(Cell::new(None));
    let theirs = here.clone();
    future.add_done_callback(move |_| theirs.set(Some(thread::current().id())));
    let there = lp.run_until_complete(async move { (&future).await })??;
    run_once(&lp)?;
    ensure!(there != thread::current().id(), "the job ran on the loop's thread");
    ensure_eq!(here.get(), Some(thread::current().id()), "the thread of the done-callback");
    Ok(())
}

pub(super) fn cancelled_first_the_late_result_is_ignored(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let future = lp.run_in_executor(None, move || {
        let _ = tell.send("started");
        let _ = released.recv();
        7
    })?;
    ensure_eq!(told.recv_timeout(LIMIT), Ok("started"), "the job");
    ensure!(future.cancel(), "cancel() of a running job's future says false");
    release.send(())?;
    // The sender is gone: the job is over.
    ensure!(told.recv_timeout(LIMIT).is_err(), "the job said more");
    lp.run_until_complete(lp.run_in_executor(None, || ())?)??;
    run_for(&lp, ms(20))?;
    ensure!(future.cancelled(), "the late result replaced the cancellation");
    reports.none()
}

pub(super) fn cancelling_reaches_the_job(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.executor_threads(1))?;
    let (release, released) = mpsc::channel::<()>();
    let ran = Counter::new();
    let blocker = lp.run_in_executor(None, move || {
        let _ = released.recv();
    })?;
    let count = ran.clone();
    let queued = lp.run_in_executor(None, move || count.add())?;
    ensure!(queued.cancel(), "cancel() of a queued job's future says false");
    run_once(&lp)?;
    release.send(())?;
    lp.run_until_done(&blocker)?;
    lp.run_until_complete(lp.run_in_executor(None, || ())?)??;
    ensure_eq!(ran.get(), 0, "runs of a job that was cancelled in the queue");
    Ok(())
}

pub(super) fn work_of_another_loop_is_wrapped(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let reports = Reports::of(&lp);
    let remote = other.remote();
    let submit = |value| submit(&lp, &remote, value);
    let (wanted, cancelled, cancelled_late) = (submit(1)?, submit(2)?, submit(3)?);
    cancelled.cancel();
    run_times(&lp, 2)?;
    run_times(&other, 8)?;
    // The work is done there, and its outcome on its way to us: it arrives as a call on our loop.
    ensure!(!wanted.done(), "the outcome arrived while its loop did not run");
    cancelled_late.cancel();
    ensure_eq!(lp.run_until_complete(wanted)??, 1, "the outcome");
    run_times(&lp, 2)?;
    ensure!(cancelled.cancelled() && cancelled_late.cancelled(), "a late outcome was taken");
    reports.none()
}

/// Work for the loop behind `remote` that yields `value`, as a future of `lp`.
fn submit(lp: &LoopRef, remote: &RemoteHandle, value: u8) -> Result<LoopFuture<u8>, Error> {
    let work = async move {
        yield_now().await;
        value
    };
    let handle = run_coroutine_threadsafe(work, remote)?;
    lp.run_until_complete(async move { wrap_future(handle) })?
}

pub(super) fn a_late_outcome_is_nobody_elses(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let remote = other.remote();
    let cancelled = submit(&lp, &remote, 1)?;
    cancelled.cancel();
    run_times(&lp, 2)?;
    // Nobody may take it for the one whose work ends first.
    let wanted = submit(&lp, &remote, 2)?;
    run_times(&other, 8)?;
    ensure_eq!(lp.run_until_complete(wanted)??, 2, "the outcome");
    ensure!(cancelled.cancelled(), "a late outcome was taken");
    Ok(())
}

pub(super) fn wrapping_a_loops_future_gives_it_back(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    let ours = future.clone();
    lp.run_until_complete(async move {
        let wrapped = wrap_future(ours.clone())?;
        ensure!(wrapped.same(&ours), "it is another future");
        let twice = wrap_future(wrapped)?;
        ensure!(twice.same(&ours), "it is another future the second time");
        ours.set_result(1)?;
        ensure_eq!(twice.result()?, 1, "the value");
        Ok(())
    })?
}

pub(super) fn ensuring_a_task_gives_it_back(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.run_until_complete(async {
        let polls = Counter::new();
        let count = polls.clone();
        let task: Task<usize> = ensure_future(async move { Ok::<_, Error>(count.add()) })?;
        let same = ensure_future(task.clone())?;
        ensure!(same == task, "it is another task");
        let borrowed = ensure_future(&task)?;
        ensure!(borrowed == task, "it is another task, by reference");
        ensure_eq!(((&task).await?, (&borrowed).await?), (1, 1), "the outputs");
        ensure_eq!(polls.get(), 1, "runs");
        // One that is done is given back, too.
        let again = ensure_future(same.clone())?;
        ensure!(again == same && again.done(), "it was made a task again");
        Ok(())
    })?
}

pub(super) fn another_loops_task_is_refused(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let foreign = other.create_task(async { 1 })?;
    let theirs = foreign.clone();
    lp.run_until_complete(async move {
        ensure_is!(ensure_future(theirs.clone()), Err(Error::InvalidArg(_)));
        ensure_is!(ensure_future(&theirs), Err(Error::InvalidArg(_)));
        Ok::<_, Failure>(())
    })??;
    ensure_eq!(other.run_until_done(&foreign)?, 1, "the task on its own loop");
    ensure_is!(ensure_future(async {}), Err(Error::Usage(_)));
    Ok(())
}
