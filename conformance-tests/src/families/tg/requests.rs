//! Requests from several sides: from outside, of a timeout, of the group itself.

use std::future::{pending, poll_fn};
use std::task::Poll;

use anyloop::{TaskGroup, TimeoutHandle, create_task, task_group};
use anyloop_api::{catch_cancel, sleep};

use super::ending::{Done, fails_after};
use super::{errors, requests};
use crate::families::prelude::*;
use crate::tools::{Gate, both, interleavings, settle_tasks};

/// What a body waits for.
#[derive(Clone, Copy, Debug)]
enum Wait {
    /// Accepts a request at once.
    Timer,
    /// Passes it on.
    Child,
    /// The loop does not know it.
    Nothing,
}

impl Wait {
    const ALL: [Self; 3] = [Self::Timer, Self::Child, Self::Nothing];

    async fn forever(self, group: &TaskGroup) -> Done {
        match self {
            Self::Timer => sleep(FAR).await,
            Self::Child => group.create_task(pending::<()>())?.await?,
            Self::Nothing => pending().await,
        }
        Ok(())
    }
}

/// The body of the parent is on its way to hear of the request when a child fails, or the other way
/// round.
pub(super) fn a_failure_does_not_replace_the_request(cx: &Context) -> Outcome {
    main(cx, async {
        for way in interleavings::<2>() {
            for wait in Wait::ALL {
                let gate = Gate::new();
                let fails = gate.clone();
                let seen = Rc::new(RefCell::new(None));
                let slot = seen.clone();
                let task = create_task(async move {
                    let ended = task_group(|group| async move {
                        group.create_task(fails_after(fails, Error::QueueEmpty))?;
                        wait.forever(&group).await
                    });
                    *slot.borrow_mut() = Some((ended.await, requests()));
                    yield_now().await;
                    "went on"
                })?;
                settle_tasks().await;
                let act = |number| {
                    if number == 0 {
                        gate.open();
                    } else {
                        task.cancel();
                    }
                };
                way.play(act).await;
                settle_tasks().await;
                ensure!(task.cancelled(), "{way:?}, {wait:?}: {:?}", task.take_result());
                if let Some((outcome, left)) = seen.take() {
                    ensure_is!(&errors(outcome)?[..], [Error::QueueEmpty]);
                    ensure_eq!(left, 1, "{way:?}, {wait:?}: requests left");
                }
            }
        }
        Ok(())
    })
}

/// The same with the deadline of a timeout around the group, in one iteration.
pub(super) fn a_failure_does_not_replace_an_outer_deadline(cx: &Context) -> Outcome {
    main(cx, async {
        for wait in Wait::ALL {
            // The timeout is known to the task before the group is, or after.
            for (suspended_before, deadline_first) in
                [(false, false), (false, true), (true, false), (true, true)]
            {
                let way = format!("{wait:?}, {suspended_before}, first: {deadline_first}");
                let (scope, gate) = (TimeoutHandle::after(None), Gate::new());
                let fails = gate.clone();
                let trace = crate::tools::Trace::new();
                let log = trace.clone();
                let task = create_task(scope.run(async move {
                    if suspended_before {
                        yield_now().await;
                    }
                    let group = task_group(|group| async move {
                        group.create_task(fails_after(fails, Error::QueueEmpty))?;
                        wait.forever(&group).await
                    });
                    log.push(if group.await.is_err() { "failed" } else { "fine" });
                    sleep(FAR).await;
                }))?;
                settle_tasks().await;
                let now = LoopRef::current()?.time();
                if deadline_first {
                    scope.reschedule(now)?;
                }
                gate.open();
                if !deadline_first {
                    scope.reschedule(now)?;
                }
                settle_tasks().await;
                ensure!(task.done(), "{way}: the deadline was lost: {trace}");
                ensure_is!(task.take_result(), Ok(Err(Error::TimedOut(_))));
                trace.expect(["failed"])?;
                ensure_eq!(task.cancelling(), 0, "{way}: requests");
            }
        }
        Ok(())
    })
}

/// The request of a timeout in another branch of the task is no reason to end as cancelled.
pub(super) fn cancelled_beside_a_branch_that_is_late(cx: &Context) -> Outcome {
    main(cx, async {
        let (late, group, gate) = (TimeoutHandle::after(None), TaskGroup::new(), Gate::new());
        let passed = gate.clone();
        let cleans_up = late.run(async move {
            let Err(cancelled) = catch_cancel(sleep(FAR)).await else { return };
            passed.wait().await;
            cancelled.resume().await
        });
        let cancelled = group.run(async {
            sleep(FAR).await;
            Ok(())
        });
        let task = create_task(both(cleans_up, cancelled))?;
        settle_tasks().await;
        late.reschedule(LoopRef::current()?.time())?;
        settle_tasks().await;
        ensure_eq!(task.cancelling(), 1, "requests: that of the timeout");
        group.cancel();
        settle_tasks().await;
        ensure!(!task.done(), "it ended as {:?}", task.take_result());
        gate.open();
        settle_tasks().await;
        ensure_is!(task.take_result(), Ok((Err(Error::TimedOut(_)), Ok(()))));
        ensure_eq!(task.cancelling(), 0, "requests");
        Ok(())
    })
}

/// Polled by one task at first, by another one from then on.
pub(super) fn it_goes_with_its_future_to_another_task(cx: &Context) -> Outcome {
    main(cx, async {
        for fails_on_the_way in [false, true] {
            let gate = Gate::new();
            let fails = gate.clone();
            let mut body = Box::pin(task_group(|group| async move {
                group.create_task(fails_after(fails, Error::QueueEmpty))?;
                sleep(FAR).await;
                Ok(())
            }));
            let first = poll_fn(|cx| Poll::Ready(body.as_mut().poll(cx))).await;
            ensure!(first.is_pending(), "it ended at once");
            if fails_on_the_way {
                gate.open();
                settle_tasks().await;
            }
            let task = create_task(body)?;
            settle_tasks().await;
            gate.open();
            settle_tasks().await;
            ensure!(task.done(), "fails on the way: {fails_on_the_way}: the body was not told");
            ensure_is!(&errors(task.take_result()?)?[..], [Error::QueueEmpty]);
            ensure_eq!((requests(), task.cancelling()), (0, 0), "requests");
        }
        Ok(())
    })
}
