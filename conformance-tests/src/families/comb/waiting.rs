//! `wait`.

use std::future::{Ready, pending};

use anyloop::{
    ReturnWhen, Waitable, as_completed, create_task, ensure_future, gather, wait, wait_for,
};
use anyloop_api::{AnyTask, sleep};

use super::ensure_idle;
use crate::families::prelude::*;
use crate::tools::{interleavings, settle_tasks};

const MODES: [ReturnWhen; 3] =
    [ReturnWhen::AllCompleted, ReturnWhen::FirstCompleted, ReturnWhen::FirstException];

fn futures<const N: usize>() -> anyloop::Result<[LoopFuture<usize>; N]> {
    let lp = LoopRef::current()?;
    Ok(std::array::from_fn(|_| lp.create_future()))
}

/// The positions in `all` of those in `some`.
fn positions(some: &[LoopFuture<usize>], all: &[LoopFuture<usize>]) -> Vec<usize> {
    some.iter().filter_map(|one| all.iter().position(|other| other.same(one))).collect()
}

pub(super) fn wait_takes_tasks_and_futures_each_once(cx: &Context) -> Outcome {
    // Whatever is no task yet is refused by the compiler.
    assert_not_impl!(Ready<()>: Waitable);
    assert_not_impl!(anyloop::Sleep: Waitable);
    assert_impl!(LoopFuture<u8>: Waitable);
    assert_impl!(Task<u8>: Waitable);
    assert_impl!(AnyTask: Waitable);
    main(cx, async {
        let task = create_task(async { 1 })?;
        let waited = wait([task.clone(), task.clone(), task.clone()]).await?;
        ensure_eq!((waited.done.len(), waited.pending.len()), (1, 0), "one task, three times");
        ensure!(waited.done[0].id() == task.id(), "another task came back");
        let all = futures::<3>()?;
        let twice = all.iter().chain(&all).cloned();
        let waited = wait(twice).timeout(Duration::ZERO).await?;
        ensure_eq!(positions(&waited.pending, &all), [0, 1, 2], "three futures, twice");
        let sets = std::collections::VecDeque::from([task.any()]);
        ensure_eq!(wait(sets).await?.done.len(), 1, "another kind of collection");
        Ok(())
    })
}

pub(super) fn wait_for_nothing_is_refused(cx: &Context) -> Outcome {
    main(cx, async {
        for mode in MODES {
            let nothing = wait(Vec::<Task<()>>::new()).return_when(mode).await;
            ensure_is!(nothing, Err(Error::InvalidArg(_)));
        }
        Ok(())
    })
}

pub(super) fn what_belongs_to_another_loop_is_refused(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let (future, task) = (other.create_future::<u8>(), other.create_task(pending::<u8>())?);
    let (theirs, work) = (future.clone(), task.clone());
    lp.run_until_complete(async move {
        let ours = create_task(pending::<u8>())?;
        ensure_is!(wait([theirs.clone()]).await, Err(Error::InvalidArg(_)));
        ensure_is!(wait([ours.clone(), work.clone()]).await, Err(Error::InvalidArg(_)));
        let mut completed = as_completed([ours.clone(), work.clone()]);
        ensure_is!(completed.next().await, Some(Err(Error::InvalidArg(_))));
        ensure!(completed.next().await.is_none(), "as_completed does not end after that");
        ensure_is!(ensure_future(work.clone()), Err(Error::InvalidArg(_)));
        ensure_is!(wait_for(theirs, FAR).await, Err(Error::Usage(_)));
        ensure_is!(wait_for(&work, FAR).await, Err(Error::Usage(_)));
        ensure!(!ours.done() && ours.cancelling() == 0, "our own task was cancelled");
        Outcome::Ok(())
    })??;
    // Nothing has happened to them.
    ensure!(!future.done() && !task.done() && task.cancelling() == 0, "they were cancelled");
    ensure_eq!(future.waiters(), 0, "callbacks");
    Ok(())
}

pub(super) fn wait_only_divides_its_input(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    lp.run_until_complete(async {
        let fine = ensure_future(async { Ok::<u8, Error>(1) })?;
        let fails = ensure_future(async { Err::<u8, Error>(Error::QueueEmpty) })?;
        let panics = ensure_future(async {
            assert!(current_task().is_none(), "on purpose");
            Ok::<u8, Error>(2)
        })?;
        let cancelled = ensure_future(pending::<Result<u8, Error>>())?;
        let goes_on = ensure_future(pending::<Result<u8, Error>>())?;
        let input = [&goes_on, &fails, &fine, &panics, &cancelled].map(|task| (*task).clone());
        yield_now().await;
        cancelled.cancel();
        let waited = wait(input.clone()).timeout(ms(5)).await?;
        let ids = |tasks: &[Task<u8>]| tasks.iter().map(Task::id).collect::<Vec<_>>();
        ensure_eq!(ids(&waited.done), ids(&input[1..]), "done, in the order of the input");
        ensure_eq!(ids(&waited.pending), ids(&input[..1]), "pending");
        ensure_eq!((goes_on.done(), goes_on.cancelling()), (false, 0), "the pending one");
        // It looked at no error: whoever wants them finds them, and the rest is reported.
        ensure_is!(fails.result(), Err(Error::QueueEmpty));
        goes_on.cancel();
        Outcome::Ok(())
    })??;
    lp.close()?;
    ensure!(reports.one()?.is_panic("on purpose"), "the panic that nobody looked at");
    Ok(())
}

/// Completes the second of three futures in some way, and then the others with values.
async fn returns_after(
    mode: ReturnWhen,
    second: fn(&LoopFuture<usize>) -> bool,
) -> Result<(Vec<usize>, Vec<usize>), Failure> {
    let all = futures::<3>()?;
    let task = create_task(wait(all.clone()).return_when(mode))?;
    yield_now().await;
    ensure!(!task.done(), "{mode:?}: done without any reason");
    ensure!(second(&all[1]), "the future was done");
    settle_tasks().await;
    if !task.done() {
        all[0].set_result(0)?;
        settle_tasks().await;
    }
    if !task.done() {
        all[2].set_result(2)?;
        settle_tasks().await;
    }
    ensure!(task.done(), "{mode:?}: waits on");
    let waited = task.take_result()??;
    // Look at the error, so that it is not reported.
    drop(all[1].exception());
    Ok((positions(&waited.done, &all), positions(&waited.pending, &all)))
}

fn succeeds(future: &LoopFuture<usize>) -> bool {
    future.set_result(1).is_ok()
}

fn fails(future: &LoopFuture<usize>) -> bool {
    future.set_exception(Error::QueueEmpty).is_ok()
}

fn is_cancelled(future: &LoopFuture<usize>) -> bool {
    future.cancel()
}

pub(super) fn the_three_modes(cx: &Context) -> Outcome {
    use ReturnWhen::{AllCompleted, FirstCompleted, FirstException};
    main(cx, async {
        let all = (vec![0, 1, 2], vec![]);
        let second = (vec![1], vec![0, 2]);
        for end in [succeeds, fails, is_cancelled] {
            ensure_eq!(returns_after(AllCompleted, end).await?, all, "all completed");
            ensure_eq!(returns_after(FirstCompleted, end).await?, second, "first completed");
        }
        ensure_eq!(returns_after(FirstException, fails).await?, second, "an exception");
        ensure_eq!(returns_after(FirstException, succeeds).await?, all, "no exception");
        ensure_eq!(ReturnWhen::default(), AllCompleted, "the default");
        // The output of a task says so, too.
        let tasks = [
            create_task(async { Err::<(), Error>(Error::QueueEmpty) })?,
            create_task(async {
                sleep(FAR).await;
                Ok(())
            })?,
        ];
        let waited = wait(tasks).return_when(FirstException).await?;
        ensure_eq!((waited.done.len(), waited.pending.len()), (1, 1), "done, pending");
        Ok(())
    })
}

pub(super) fn a_cancelled_child_is_no_exception(cx: &Context) -> Outcome {
    main(cx, async {
        let waited = returns_after(ReturnWhen::FirstException, is_cancelled).await?;
        ensure_eq!(waited, (vec![0, 1, 2], vec![]), "done and pending");
        Ok(())
    })
}

pub(super) fn who_ends_in_the_same_burst_is_done(cx: &Context) -> Outcome {
    main(cx, async {
        for way in interleavings::<2>() {
            let all = futures::<3>()?;
            let first = wait(all.clone()).return_when(ReturnWhen::FirstCompleted);
            let task = create_task(first)?;
            yield_now().await;
            way.play(|number| all[number].set_result(number).expect("once")).await;
            settle_tasks().await;
            let waited = task.take_result()??;
            let expected = if way.apart(0, 1) {
                vec![0]
            } else if way.apart(1, 0) {
                vec![1]
            } else {
                vec![0, 1]
            };
            ensure_eq!(positions(&waited.done, &all), expected, "{way:?}: done");
            ensure_eq!(waited.pending.len(), 3 - expected.len(), "{way:?}: pending");
        }
        Ok(())
    })
}

pub(super) fn a_timeout_returns_what_there_is(cx: &Context) -> Outcome {
    main(cx, async {
        for mode in MODES {
            let all = futures::<2>()?;
            if mode != ReturnWhen::FirstCompleted {
                all[1].set_result(1)?;
            }
            let begin = Instant::now();
            let waited = wait(all.clone()).return_when(mode).timeout(ms(5)).await?;
            ensure!(begin.elapsed() >= ms(5), "{mode:?}: returned before its timeout");
            let pending = if mode == ReturnWhen::FirstCompleted { vec![0, 1] } else { vec![0] };
            ensure_eq!(positions(&waited.pending, &all), pending, "{mode:?}: pending");
            ensure!(!all[0].done(), "{mode:?}: the timeout cancelled a future");
        }
        Ok(())
    })
}

pub(super) fn promptly_if_all_are_done(cx: &Context) -> Outcome {
    for mode in MODES {
        let lp = cx.new_loop()?;
        let all: [LoopFuture<usize>; 3] = std::array::from_fn(|_| lp.create_future());
        for (number, future) in all.iter().enumerate() {
            future.set_result(number)?;
        }
        let task = lp.create_task(wait(all).return_when(mode).timeout(FAR))?;
        run_times(&lp, 2)?;
        ensure!(task.done(), "{mode:?}: waits though all are done");
        let waited = task.take_result()??;
        ensure_eq!((waited.done.len(), waited.pending.len()), (3, 0), "{mode:?}: done, pending");
    }
    Ok(())
}

pub(super) fn a_cancelled_wait_leaves_nothing_behind(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<u8>();
    let child = lp.create_task(pending::<()>())?;
    run_once(&lp)?;
    let before = (future.waiters(), child.waiters());
    let mut tasks = Vec::new();
    for number in 0..50 {
        let limit = ms(5 + number);
        tasks.push(lp.create_task(wait([future.clone()]).timeout(limit))?.any());
        tasks.push(lp.create_task(wait([child.clone()]).timeout(limit))?.any());
    }
    run_once(&lp)?;
    ensure!(future.waiters() > before.0 && child.waiters() > before.1, "nobody waits");
    for task in &tasks {
        ensure!(task.cancel(), "a wait could not be cancelled");
    }
    run_times(&lp, 2)?;
    ensure!(tasks.iter().all(AnyTask::cancelled), "a wait was not cancelled");
    ensure!(!future.done() && child.cancelling() == 0, "a child was cancelled");
    ensure_eq!((future.waiters(), child.waiters()), before, "callbacks");
    ensure_idle(&lp, ms(60))?;
    // Where the end of a child and the cancellation meet.
    for way in interleavings::<2>() {
        let future = lp.create_future::<u8>();
        let theirs = future.clone();
        lp.run_until_complete(async move {
            let task = create_task(wait([theirs.clone()]))?;
            yield_now().await;
            way.play(|action| {
                if action == 0 {
                    task.cancel();
                } else {
                    theirs.set_result(1).expect("nobody else does it");
                }
            })
            .await;
            settle_tasks().await;
            ensure_eq!(task.cancelled(), !way.apart(1, 0), "{way:?}: cancelled");
            ensure_eq!(theirs.result()?, 1, "{way:?}: the child's value");
            Outcome::Ok(())
        })??;
    }
    Ok(())
}

/// Of tasks whose output type is forgotten, too.
pub(super) fn a_failure_that_somebody_has_seen_counts(cx: &Context) -> Outcome {
    main(cx, async {
        let fails = ensure_future(async { Err::<(), Error>(Error::QueueEmpty) })?;
        let returns = create_task(async { Err::<(), Error>(Error::QueueEmpty) })?;
        let works = create_task(async { Ok::<(), Error>(()) })?;
        let slow = create_task(pending::<()>())?;
        yield_now().await;
        ensure_is!(fails.exception(), Ok(Some(Error::QueueEmpty)));
        ensure_is!(returns.result(), Ok(Err(Error::QueueEmpty)));
        for failed in [fails.any(), returns.any()] {
            let waiting = wait([failed.clone(), works.any(), slow.any()]);
            let waiting = create_task(waiting.return_when(ReturnWhen::FirstException))?;
            settle_tasks().await;
            ensure!(waiting.done(), "it waits on, although one has failed");
            let waited = waiting.take_result()??;
            ensure_eq!((waited.done.len(), waited.pending.len()), (2, 1), "done, pending");
            // What a gather of them says is the failure.
            let gathered = gather((failed, slow.any())).await;
            ensure_is!(gathered, Err(Error::QueueEmpty));
        }
        let waiting = wait([works.any(), slow.any()]).return_when(ReturnWhen::FirstException);
        let waiting = create_task(waiting)?;
        settle_tasks().await;
        ensure!(!waiting.done(), "a value is taken for a failure");
        waiting.cancel();
        Ok(())
    })
}
