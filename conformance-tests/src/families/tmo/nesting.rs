//! Timeouts inside of timeouts.

use std::future::pending;

use anyloop::{TimeoutHandle, create_task, timeout};
use anyloop_api::{Cancelled, catch_cancel, sleep};

use super::{ensure_counts, requests};
use crate::families::prelude::*;

pub(super) fn nested_with_the_same_deadline(cx: &Context) -> Outcome {
    main(cx, async {
        let when = LoopRef::current()?.time() + ms(2);
        let scopes: [_; 3] = std::array::from_fn(|_| TimeoutHandle::at(when));
        let [outer, middle, inner] = scopes.clone();
        let trace = crate::tools::Trace::new();
        let log = trace.clone();
        let body = async {
            let late = middle.run(async {
                let late = inner.run(sleep(FAR)).await;
                log.push(format!("inner: {late:?}"));
            });
            let late = late.await;
            log.push(format!("middle: {late:?}"));
        };
        ensure_is!(outer.run(body).await, Err(Error::TimedOut(_)));
        trace.expect([])?;
        ensure!(scopes.iter().all(TimeoutHandle::expired), "one of them says it did not expire");
        ensure_eq!(requests(), 0, "requests");
        sleep(ms(2)).await;
        Ok(())
    })
}

pub(super) fn the_inner_one_has_more_time(cx: &Context) -> Outcome {
    main(cx, async {
        let inner = TimeoutHandle::after(FAR);
        let theirs = inner.clone();
        let trace = crate::tools::Trace::new();
        let log = trace.clone();
        let body = async move {
            let late = theirs.run(async {
                let Err(cancelled) = catch_cancel(sleep(FAR)).await else { return };
                log.push("told");
                cancelled.resume().await
            });
            let late = late.await;
            log.push(format!("inner: {late:?}"));
        };
        ensure_is!(timeout(ms(2), body).await, Err(Error::TimedOut(_)));
        trace.expect(["told"])?;
        ensure!(!inner.expired(), "the inner one says it expired");
        Ok(())
    })
}

pub(super) fn both_pass_while_the_loop_is_busy(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        let log = trace.clone();
        let body = async move {
            // Far enough away not to be over before the loop gets busy.
            let inner = timeout(ms(50), async {
                yield_now().await;
                block_for(ms(105));
                pending::<()>().await;
            });
            if let Err(Error::TimedOut(_)) = inner.await {
                log.push("inner");
            }
            log.push("goes on");
            yield_now().await;
            log.push("after the next await");
        };
        ensure_is!(timeout(ms(100), body).await, Err(Error::TimedOut(_)));
        trace.expect(["inner", "goes on"])?;
        ensure_eq!(requests(), 0, "requests");
        yield_now().await;
        Ok(())
    })
}

pub(super) fn in_the_clean_up_of_a_cancelled_task(cx: &Context) -> Outcome {
    let trace = cx.trace();
    main(cx, async move {
        for again in [false, true] {
            let log = trace.clone();
            let task = create_task(async move {
                let Err(cancelled) = catch_cancel(pending::<Cancelled>()).await else { return };
                ensure_counts(&log, "entered");
                let late = timeout(if again { FAR } else { ms(2) }, sleep(FAR)).await;
                if let Err(Error::TimedOut(_)) = late {
                    ensure_counts(&log, "late");
                }
                let fine = timeout(FAR, async {
                    yield_now().await;
                    1
                });
                if fine.await.is_ok() {
                    ensure_counts(&log, "fine");
                }
                cancelled.resume().await
            })?;
            yield_now().await;
            task.cancel();
            yield_now().await;
            if again {
                // Inside the scope: it wins.
                yield_now().await;
                task.cancel();
            }
            let waited = task.clone();
            ensure_is!(waited.await, Err(Error::Cancelled(_)));
            if again {
                trace.expect(["entered with 1"])?;
            } else {
                trace.expect(["entered with 1", "late with 1", "fine with 1"])?;
            }
        }
        Ok(())
    })
}
