//! Deadlines that are moved.

use anyloop::{TimeoutHandle, create_task, timeout_scope};
use anyloop_api::{catch_cancel, sleep};

use crate::families::prelude::*;

pub(super) fn rescheduled_only_while_it_is_active(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        let later = lp.time() + FAR;
        let scope = TimeoutHandle::after(ms(2));
        ensure_is!(scope.reschedule(later), Err(Error::Usage(_)));
        let theirs = scope.clone();
        let body = async move {
            theirs.reschedule(theirs.when())?;
            let Err(cancelled) = catch_cancel(sleep(FAR)).await else {
                return Err(Error::usage("it did not fire"));
            };
            if !matches!(theirs.reschedule(later), Err(Error::Usage(_))) {
                return Err(Error::usage("rescheduled while it was expiring"));
            }
            cancelled.resume().await
        };
        let late: anyloop::Result<anyloop::Result<()>> = scope.run(body).await;
        ensure_is!(late, Err(Error::TimedOut(_)));
        ensure_is!(scope.reschedule(later), Err(Error::Usage(_)));
        let left = TimeoutHandle::after(FAR);
        left.run(yield_now()).await?;
        ensure_is!(left.reschedule(later), Err(Error::Usage(_)));
        Ok(())
    })
}

pub(super) fn later_and_sooner(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        let body = |later: bool| {
            let lp = lp.clone();
            move |scope: TimeoutHandle| async move {
                // Before the first suspension, and after it.
                scope.reschedule(lp.time() + if later { FAR } else { ms(1) })?;
                sleep(ms(4)).await;
                scope.reschedule(lp.time() + FAR)?;
                sleep(ms(1)).await;
                anyloop::Result::<()>::Ok(())
            }
        };
        timeout_scope(ms(1), body(true)).await??;
        ensure_is!(timeout_scope(FAR, body(false)).await, Err(Error::TimedOut(_)));
        // From outside the task, into the past.
        let scope = TimeoutHandle::after(None);
        let task = create_task(scope.run(sleep(FAR)))?;
        yield_now().await;
        scope.reschedule(LoopInstant::from_nanos(0))?;
        ensure_is!(task.await?, Err(Error::TimedOut(_)));
        Ok(())
    })
}

pub(super) fn when_and_expired(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        let scope = TimeoutHandle::after(ms(5));
        ensure_eq!((scope.when(), scope.expired()), (None, false), "before the entry");
        let (theirs, begin) = (scope.clone(), lp.time());
        let body = async move {
            let entered = (theirs.when(), theirs.expired());
            let Err(cancelled) = catch_cancel(sleep(FAR)).await else { return entered };
            if theirs.expired() && lp.time() >= begin + ms(5) {
                return entered;
            }
            cancelled.resume().await
        };
        let (when, expired) = scope.run(body).await?;
        let when = when.ok_or_else(|| Failure::new("no deadline inside the scope"))?;
        ensure!(when >= begin + ms(5) && when < begin + ms(2000), "the deadline is {when:?}");
        ensure!(!expired && scope.expired(), "expired at the entry, or not at the end");
        ensure_eq!(scope.when(), Some(when), "the deadline afterwards");
        let at = TimeoutHandle::at(when);
        ensure_eq!(at.when(), Some(when), "an absolute deadline");
        let fine = TimeoutHandle::after(FAR);
        fine.run(yield_now()).await?;
        ensure!(!fine.expired(), "left in time and expired");
        Ok(())
    })
}
