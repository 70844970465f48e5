//! Several timeouts in one task: in branches of it, in clean-ups of others.

use std::task::Poll;

use anyloop::{Timeout, TimeoutHandle, create_task, timeout, timeout_at};
use anyloop_api::{catch_cancel, sleep};

use super::requests;
use crate::families::prelude::*;
use crate::tools::{Gate, both, both_when_woken, settle_tasks};

/// One whose clean-up lasts until the gate opens.
fn slow(scope: &TimeoutHandle, gate: &Gate) -> Timeout<impl Future<Output = ()> + use<>> {
    let gate = gate.clone();
    scope.run(async move {
        let Err(cancelled) = catch_cancel(sleep(FAR)).await else { return };
        gate.wait().await;
        cancelled.resume().await
    })
}

pub(super) fn two_branches_are_late_at_once(cx: &Context) -> Outcome {
    main(cx, async {
        let when = LoopRef::current()?.time();
        let one = || timeout_at(when, sleep(FAR));
        let found = create_task(both(one(), one()))?.await?;
        ensure_is!(found, (Err(Error::TimedOut(_)), Err(Error::TimedOut(_))));
        let found = create_task(both_when_woken(one(), one()))?.await?;
        ensure_is!(found, (Err(Error::TimedOut(_)), Err(Error::TimedOut(_))));
        Ok(())
    })
}

pub(super) fn one_branch_is_late_while_another_cleans_up(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        // Which of the two is polled first is of no importance.
        for slow_first in [false, true] {
            let (first, second, gate) =
                (TimeoutHandle::after(None), TimeoutHandle::after(None), Gate::new());
            let (slow, quick) = (slow(&first, &gate), second.run(sleep(FAR)));
            let task = if slow_first {
                create_task(both(slow, quick))?
            } else {
                create_task(async move {
                    let (quick, slow) = both(quick, slow).await;
                    (slow, quick)
                })?
            };
            settle_tasks().await;
            for scope in [&first, &second] {
                scope.reschedule(lp.time())?;
                settle_tasks().await;
                ensure!(!task.done(), "it ended as {:?}", task.take_result());
            }
            ensure_eq!(task.cancelling(), 1, "requests: that of the slow one");
            gate.open();
            settle_tasks().await;
            let found = task.take_result();
            ensure_is!(found, Ok((Err(Error::TimedOut(_)), Err(Error::TimedOut(_)))));
            ensure_eq!(task.cancelling(), 0, "requests");
        }
        Ok(())
    })
}

/// A branch is entered while another one cleans up, which has ended when a request comes from outside.
pub(super) fn a_request_is_not_taken_for_that_of_a_branch(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        for ends_before_the_deadline in [true, false] {
            let (first, second) = (TimeoutHandle::after(None), TimeoutHandle::after(None));
            let [enter, first_ends, second_ends]: [Gate; 3] = std::array::from_fn(|_| Gate::new());
            let (begin, inner) = (enter.clone(), slow(&second, &second_ends));
            let later = async move {
                begin.wait().await;
                inner.await.is_err()
            };
            let task = create_task(both(slow(&first, &first_ends), later))?;
            settle_tasks().await;
            first.reschedule(lp.time())?;
            settle_tasks().await;
            enter.open();
            settle_tasks().await;
            if ends_before_the_deadline {
                first_ends.open();
                settle_tasks().await;
            }
            second.reschedule(lp.time())?;
            settle_tasks().await;
            first_ends.open();
            settle_tasks().await;
            ensure_eq!(task.cancelling(), 1, "requests: that of the second");
            task.cancel();
            settle_tasks().await;
            second_ends.open();
            settle_tasks().await;
            ensure!(task.cancelled(), "the request was swallowed: {:?}", task.take_result());
            ensure_eq!(task.cancelling(), 1, "requests: that from outside");
        }
        Ok(())
    })
}

/// The request of the outer one is outstanding and counts for none of those inside, however they are
/// nested.
pub(super) fn in_the_clean_up_of_a_late_one(cx: &Context) -> Outcome {
    main(cx, async {
        let trace = crate::tools::Trace::new();
        let log = trace.clone();
        let body = async move {
            let Err(cancelled) = catch_cancel(sleep(FAR)).await else { return };
            log.push(format!("{} requests", requests()));
            let inner = || timeout(Duration::ZERO, sleep(FAR));
            log.push(if inner().await.is_err() { "alone" } else { "wrong" });
            let nested = timeout(FAR, catch_cancel(timeout(FAR, inner()))).await;
            log.push(match nested {
                Ok(Ok(Ok(Err(Error::TimedOut(_))))) => "nested".into(),
                other => format!("{other:?}"),
            });
            let (left, right) = both(inner(), catch_cancel(inner())).await;
            log.push(match (left, right) {
                (Err(Error::TimedOut(_)), Ok(Err(Error::TimedOut(_)))) => "branches".into(),
                other => format!("{other:?}"),
            });
            log.push(format!("{} requests", requests()));
            cancelled.resume().await
        };
        ensure_is!(timeout(ms(1), body).await, Err(Error::TimedOut(_)));
        trace.expect(["1 requests", "alone", "nested", "branches", "1 requests"])?;
        ensure_eq!(requests(), 0, "requests");
        Ok(())
    })
}

/// Polled by one task at first, by another one from then on.
pub(super) fn it_goes_with_its_future_to_another_task(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        for late_on_the_way in [false, true] {
            let scope = TimeoutHandle::after(None);
            let mut body = Box::pin(scope.run(sleep(FAR)));
            let first = std::future::poll_fn(|cx| Poll::Ready(body.as_mut().poll(cx))).await;
            ensure!(first.is_pending(), "it ended at once");
            if late_on_the_way {
                scope.reschedule(lp.time())?;
                settle_tasks().await;
            }
            let task = create_task(body)?;
            settle_tasks().await;
            if !late_on_the_way {
                scope.reschedule(lp.time())?;
                settle_tasks().await;
            }
            ensure!(task.done(), "late on the way: {late_on_the_way}: the deadline was lost");
            ensure_is!(task.take_result(), Ok(Err(Error::TimedOut(_))));
            ensure_eq!((requests(), task.cancelling()), (0, 0), "requests");
        }
        Ok(())
    })
}
