//! Requests of a timeout next to those from outside.

use std::future::{pending, poll_fn, ready};
use std::pin::pin;
use std::task::Poll;

use anyloop_api::{CancelScope, Cancelled, catch_cancel, on_cancel, sleep, uncancellable};

use crate::families::prelude::*;
use crate::tools::{Gate, OnDrop, settle_tasks};

/// What every timeout is made of. `None`: the time was up.
pub(super) async fn timeout<T>(
    lp: &LoopRef,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let fired = Rc::new(Cell::new(false));
    let mut guarded = std::pin::pin!(catch_cancel(future));
    let scope = poll_fn(|_| Poll::Ready(guarded.as_mut().scope())).await?;
    let (theirs, told) = (scope.clone(), fired.clone());
    let timer = lp.call_later(limit, move || {
        told.set(theirs.cancel(Cancelled::with_message("the time is up")));
    });
    let timer = timer.ok();
    let _disarm = OnDrop(move || {
        if let Some(timer) = &timer {
            timer.cancel();
        }
    });
    let entry = scope.outer_requests();
    let caught = guarded.await;
    // Exactly its own request, if it made one.
    let left = if fired.get() { scope.withdraw() } else { usize::MAX };
    match caught {
        Ok(value) => Some(value),
        Err(_) if left <= entry => None,
        Err(cancelled) => cancelled.resume().await,
    }
}

pub(super) fn a_timeout_takes_back_its_own(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    let task = lp.create_task(async move {
        let late = timeout(&inner, ms(1), sleep(FAR)).await.is_none();
        let in_time = timeout(&inner, FAR, ready(3)).await == Some(3);
        // The task is healthy.
        sleep(ms(1)).await;
        (late, in_time, current_task().map_or(9, |me| me.cancelling()))
    })?;
    ensure_eq!(lp.run_until_done(&task)?, (true, true, 0), "late, in time, requests");

    // A request that was there before stays there.
    let inner = lp.clone();
    let task = lp.create_task(async move {
        let Err(_) = catch_cancel(pending::<()>()).await else { return 9 };
        if timeout(&inner, ms(1), pending::<()>()).await.is_some() {
            return 8;
        }
        current_task().map_or(7, |me| me.cancelling())
    })?;
    run_once(&lp)?;
    task.cancel();
    ensure_eq!(lp.run_until_done(&task)?, 1, "requests after a timeout in a clean-up");
    Ok(())
}

pub(super) fn nested_timeouts_keep_the_count(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    let task = lp.create_task(async move {
        // Both deadlines pass while the loop is busy: one request each, the inner one first.
        let nested = timeout(&inner, ms(1), async {
            let timed_out = timeout(&inner, ms(1), async {
                yield_now().await;
                block_for(ms(5));
                pending::<()>().await;
            });
            let inner = timed_out.await.is_none();
            yield_now().await;
            inner
        });
        let outer = nested.await.is_none();
        (outer, current_task().map_or(9, |me| me.cancelling()))
    })?;
    ensure_eq!(lp.run_until_done(&task)?, (true, 0), "whether the outer one fired, and requests");
    Ok(())
}

pub(super) fn a_request_from_outside_outlives_the_timeout(cx: &Context) -> Outcome {
    for outside_first in [false, true] {
        let lp = cx.new_loop()?;
        let trace = cx.trace();
        let (inner, log) = (lp.clone(), trace.clone());
        let task = lp.create_task(async move {
            let timed_out = timeout(&inner, ms(2), pending::<()>()).await.is_none();
            log.push(if timed_out { "timed out" } else { "in time" });
        })?;
        run_once(&lp)?;
        let canceller = task.clone();
        if outside_first {
            canceller.cancel();
        } else {
            // In the same batch as the timeout.
            lp.call_at(lp.time() + ms(2), move || {
                canceller.cancel();
            })?;
            // By the next poll both are due.
            block_for(ms(5));
        }
        ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
        trace.expect([])?;
        ensure_eq!(task.cancelling(), 1, "requests: that from outside only");
    }
    Ok(())
}

/// Waits for `work`, at first in a timeout that is dropped when `stop` opens.
async fn in_a_race<W: Future + Unpin>(mut work: W, stop: Gate) -> W::Output {
    {
        let (mut late, mut stopped) = (pin!(anyloop::timeout(ms(1), &mut work)), pin!(stop.wait()));
        let first = poll_fn(|cx| {
            if late.as_mut().poll(cx).is_ready() {
                return Poll::Ready("the timeout");
            }
            stopped.as_mut().poll(cx).map(|()| "the gate")
        });
        assert_eq!(first.await, "the gate");
    }
    work.await
}

/// Its request was passed on to what goes on without it.
pub(super) fn a_timeout_that_is_gone_cancels_nothing(cx: &Context) -> Outcome {
    main(cx, async {
        for gathered in [false, true] {
            let (stop, cleaned) = (Gate::new(), Gate::new());
            let cleaning = cleaned.clone();
            let slow = on_cancel(pending::<()>(), || async move { cleaning.wait().await });
            let child = anyloop::create_task(slow)?;
            let (work, stopping) = (child.clone(), stop.clone());
            // Told by a value: a body that ends with its cancellation makes a cancelled task.
            let task = if gathered {
                let all = anyloop::gather((work,));
                let raced = in_a_race(all, stopping);
                anyloop::create_task(async { raced.await.is_err_and(|e| e.is_cancelled()) })?
            } else {
                let raced = in_a_race(work, stopping);
                anyloop::create_task(async { raced.await.is_err_and(|e| e.is_cancelled()) })?
            };
            while child.cancelling() == 0 {
                sleep(ms(1)).await;
            }
            stop.open();
            settle_tasks().await;
            ensure_eq!(task.cancelling(), 0, "requests");
            cleaned.open();
            settle_tasks().await;
            ensure!(child.cancelled(), "the child is not cancelled");
            ensure!(!task.cancelled(), "gathered: {gathered}: the task was cancelled as well");
            ensure!(task.take_result()?, "the await did not say that it was cancelled");
        }
        Ok(())
    })
}

/// A request from outside is outstanding from now on, and was delivered.
async fn asked_before() {
    if let Some(me) = current_task() {
        me.cancel();
    }
    let _ = catch_cancel(yield_now()).await;
}

/// Runs `body` in a scope that it is given.
async fn scoped<T, F: Future<Output = T>>(
    body: impl FnOnce(CancelScope) -> F,
) -> (Result<T, Cancelled>, CancelScope) {
    let told = Rc::new(RefCell::new(None));
    let asking = told.clone();
    let mut inner = pin!(catch_cancel(async move {
        let scope: Option<CancelScope> = asking.take();
        body(scope.expect("it was made before the body began")).await
    }));
    let scope = poll_fn(|_| Poll::Ready(inner.as_mut().scope())).await;
    told.borrow_mut().clone_from(&scope);
    (inner.await, scope.expect("inside a task"))
}

pub(super) fn withdrawn_in_time(cx: &Context) -> Outcome {
    async fn body(scope: CancelScope, critical: bool) {
        let asks_and_withdraws = async {
            scope.cancel(Cancelled::new());
            scope.withdraw();
            yield_now().await;
        };
        if critical {
            uncancellable(asks_and_withdraws).await
        } else {
            asks_and_withdraws.await
        }
        yield_now().await;
    }
    main(cx, async {
        for (critical, before) in [(false, false), (false, true), (true, false), (true, true)] {
            let lp = LoopRef::current()?;
            let task = lp.create_task(async move {
                if before {
                    asked_before().await;
                }
                let (ended, _) = scoped(|scope| body(scope, critical)).await;
                (ended.is_ok(), current_task().map_or(9, |me| me.cancelling()))
            })?;
            let expected = (true, usize::from(before));
            ensure_eq!(task.await?, expected, "critical {critical}, asked before {before}");
        }
        // Somebody else takes back whatever there is.
        let (ended, _) = scoped(|scope| async move {
            scope.cancel(Cancelled::new());
            if let Some(me) = current_task() {
                me.uncancel();
            }
            // It does not come back with the next one.
            let (inner, asked) = scoped(|inner| async move {
                inner.cancel(Cancelled::with_message("inner"));
                yield_now().await;
            })
            .await;
            asked.withdraw();
            yield_now().await;
            inner.err().and_then(|caught| caught.message().map(str::to_owned))
        })
        .await;
        let inner = ended.ok().flatten();
        ensure_eq!(inner.as_deref(), Some("inner"), "what the inner scope has caught");
        Ok(())
    })
}

/// The body has its value in the step in which its own request reaches one of its branches.
pub(super) fn a_request_dies_with_its_scope(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        let (source, asking) = (lp.create_future::<()>(), Rc::new(RefCell::new(None)));
        let (theirs, told) = (source.clone(), asking.clone());
        let task = lp.create_task(async move {
            asked_before().await;
            let (ended, scope) = scoped(|scope| async move {
                *told.borrow_mut() = Some(scope);
                let ended = theirs.clone();
                let mut branch = pin!(async move { drop(theirs.await) });
                poll_fn(|cx| {
                    let _ = branch.as_mut().poll(cx);
                    if ended.done() { Poll::Ready(7) } else { Poll::Pending }
                })
                .await
            })
            .await;
            scope.withdraw();
            yield_now().await;
            ended.ok()
        })?;
        settle_tasks().await;
        let asked = asking.borrow().as_ref().is_some_and(|scope| scope.cancel(Cancelled::new()));
        ensure!(asked && source.cancelled(), "the branch was not asked");
        ensure_eq!(task.await?, Some(7), "the value of the scope");
        Ok(())
    })
}

/// An inner scope yields what was meant for one further out, and hands it on; that one has ended.
pub(super) fn put_back_as_far_as_it_was_meant(cx: &Context) -> Outcome {
    main(cx, async {
        let lp = LoopRef::current()?;
        let task = lp.create_task(async move {
            asked_before().await;
            let (ended, outer) = scoped(|outer| async move {
                let (caught, inner) = scoped(|_| async move {
                    outer.cancel(Cancelled::with_message("outer"));
                    yield_now().await;
                })
                .await;
                let caught = caught.err()?;
                let message = caught.message().map(str::to_owned);
                inner.put_back(caught);
                message
            })
            .await;
            outer.withdraw();
            (ended.ok().flatten(), catch_cancel(yield_now()).await.is_ok())
        })?;
        ensure_eq!(task.await?, (Some("outer".to_owned()), true), "what was caught, and then");
        Ok(())
    })
}
