//! Cancellation where a task has several branches: scopes form a tree, and nobody hears of what is
//! another branch's business.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use anyloop::{
    CancelScope, Cancelled, Error, EventLoopExt, LoopRef, Observer, Result, catch_cancel,
    current_task, sleep, uncancellable, yield_now,
};

const LONG: Duration = Duration::from_secs(3600);

/// Runs both in one task, the left one polled first.
async fn both<A, B>(left: impl Future<Output = A>, right: impl Future<Output = B>) -> (A, B) {
    let (mut left, mut right) = (pin!(left), pin!(right));
    let (mut a, mut b) = (None, None);
    poll_fn(|cx| {
        if a.is_none()
            && let Poll::Ready(value) = left.as_mut().poll(cx)
        {
            a = Some(value);
        }
        if b.is_none()
            && let Poll::Ready(value) = right.as_mut().poll(cx)
        {
            b = Some(value);
        }
        match (a.take(), b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (first, second) => {
                (a, b) = (first, second);
                Poll::Pending
            }
        }
    })
    .await
}

type Slot = Rc<RefCell<Option<CancelScope>>>;

/// A catching scope that can be cancelled by `slot` as soon as it is suspended.
async fn scoped<F: Future>(slot: Slot, body: F) -> Result<F::Output, Cancelled> {
    let mut scope = pin!(catch_cancel(body));
    let outcome = poll_fn(|cx| {
        if slot.borrow().is_none() {
            *slot.borrow_mut() = scope.as_mut().scope();
        }
        scope.as_mut().poll(cx)
    })
    .await;
    slot.take();
    outcome
}

fn cancel(slot: &Slot) -> bool {
    let scope = slot.borrow().clone();
    scope.is_some_and(|scope| scope.cancel(Cancelled::new()))
}

on_every_backend! {
    fn only_the_cancelled_branch_ends(backend) {
        for which in 0..2 {
            support::run(backend, async move {
                let slots = [Slot::default(), Slot::default()];
                let theirs = slots.clone();
                let task = LoopRef::current()?.create_task(async move {
                    let [left, right] = theirs;
                    both(
                        scoped(left, sleep(Duration::from_millis(2))),
                        scoped(right, sleep(Duration::from_millis(2))),
                    )
                    .await
                })?;
                yield_now().await;
                let scope = slots[which].borrow().clone().expect("it runs");
                assert!(scope.cancel(Cancelled::new()));
                assert_eq!(task.cancelling(), 1);
                assert_eq!(scope.withdraw(), 0);
                assert!(scope.cancel(Cancelled::new()));
                let (left, right) = task.clone().await?;
                assert_eq!((left.is_err(), right.is_err()), (which == 0, which == 1));
                Ok::<_, Error>(())
            })??;
        }
        Ok(())
    }

    fn both_branches_can_be_cancelled_in_one_batch(backend) {
        support::run(backend, async move {
            let slots = [Slot::default(), Slot::default()];
            let theirs = slots.clone();
            let task = LoopRef::current()?.create_task(async move {
                let [left, right] = theirs;
                both(scoped(left, sleep(LONG)), scoped(right, sleep(LONG))).await
            })?;
            yield_now().await;
            assert!(cancel(&slots[0]) && cancel(&slots[1]));
            assert_eq!(task.cancelling(), 2);
            let (left, right) = task.clone().await?;
            assert!(left.is_err() && right.is_err());
            Ok(())
        })?
    }

    fn a_branch_that_is_dropped_takes_its_request_along(backend) {
        // The right branch is cancelled, but the left one ends first and the right one is dropped.
        support::run(backend, async move {
            let slot = Slot::default();
            let theirs = slot.clone();
            let lp = LoopRef::current()?;
            let gate = lp.create_future::<()>();
            let open = gate.clone();
            let task = lp.create_task(async move {
                let (mut left, mut right) = (pin!(gate), pin!(scoped(theirs, sleep(LONG))));
                poll_fn(|cx| {
                    if left.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(());
                    }
                    right.as_mut().poll(cx).map(drop)
                })
                .await;
                // Whoever made the request counts it down, as timeouts do.
                yield_now().await;
                sleep(Duration::from_millis(1)).await;
                "alive"
            })?;
            yield_now().await;
            open.set_result(())?;
            assert!(cancel(&slot));
            assert_eq!(task.clone().await?, "alive");
            Ok(())
        })?
    }

    fn a_mask_outside_does_not_hold_a_scope_back_one_inside_does(backend) {
        support::run(backend, async move {
            let slots = [Slot::default(), Slot::default()];
            let [first, second] = slots.clone();
            let ended = Rc::new(Cell::new(0));
            let inside = ended.clone();
            let task = LoopRef::current()?.create_task(async move {
                let masked = uncancellable(scoped(first, sleep(LONG))).await;
                assert!(masked.is_err());
                let body = async move {
                    uncancellable(async {
                        for _ in 0..3 {
                            yield_now().await;
                            inside.set(inside.get() + 1);
                        }
                    })
                    .await;
                    sleep(LONG).await;
                };
                scoped(second, body).await.is_err()
            })?;
            yield_now().await;
            assert!(cancel(&slots[0]));
            yield_now().await;
            assert!(cancel(&slots[1]));
            assert!(task.clone().await?);
            assert_eq!(ended.get(), 3);
            Ok(())
        })?
    }

    fn a_request_that_is_withdrawn_leaves_nothing_behind(backend) {
        // Also inside the clean-up of a cancelled task, where the count does not go back to zero.
        support::run(backend, async move {
            let task = LoopRef::current()?.create_task(async move {
                let first = catch_cancel(sleep(LONG)).await;
                assert!(first.is_err());
                let me = current_task().expect("a task");
                assert_eq!(me.cancelling(), 1);
                let slot = Slot::default();
                let theirs = slot.clone();
                let body = uncancellable(async move {
                    yield_now().await;
                    assert!(cancel(&theirs));
                });
                let scope = Rc::new(RefCell::new(None));
                let keep = scope.clone();
                let mut scoped = pin!(scoped(slot.clone(), body));
                let outcome = poll_fn(|cx| {
                    let poll = scoped.as_mut().poll(cx);
                    if poll.is_pending() {
                        *keep.borrow_mut() = slot.borrow().clone();
                    }
                    poll
                })
                .await;
                assert!(outcome.is_ok());
                let scope = scope.take().expect("it was suspended once");
                assert_eq!((me.cancelling(), scope.withdraw(), me.cancelling()), (2, 1, 1));
                yield_now().await;
                sleep(Duration::from_millis(1)).await;
                "alive"
            })?;
            yield_now().await;
            task.cancel();
            assert_eq!(task.clone().await?, "alive");
            Ok(())
        })?
    }

    fn a_request_that_was_answered_is_over(backend) {
        // The inner task answers the forwarded request with a value; a later cancellation that is
        // somebody else's stays a value at the await (CANCEL-06, CANCEL-14).
        support::run(backend, async move {
            let lp = LoopRef::current()?;
            let inner = lp.create_task(async {
                match catch_cancel(sleep(LONG)).await {
                    Ok(()) => "slept",
                    Err(_) => "answered",
                }
            })?;
            let later = lp.create_future::<()>();
            let theirs = later.clone();
            let outer = lp.create_task(async move {
                let first = inner.await?;
                let second = theirs.await;
                assert!(matches!(second, Err(Error::Cancelled(_))), "{second:?}");
                Ok::<_, Error>(first)
            })?;
            yield_now().await;
            yield_now().await;
            outer.cancel();
            for _ in 0..4 {
                yield_now().await;
            }
            later.cancel();
            assert_eq!(outer.await??, "answered");
            Ok(())
        })?
    }

    fn observers_are_told_once_and_can_be_removed(backend) {
        struct Log(RefCell<Vec<usize>>);
        impl Observer for Log {
            fn done(self: Rc<Self>, number: usize) {
                self.0.borrow_mut().push(number);
            }
        }
        support::run(backend, async move {
            let lp = LoopRef::current()?;
            let log = Rc::new(Log(RefCell::default()));
            let (future, other) = (lp.create_future::<u8>(), lp.create_future::<u8>());
            let task = lp.create_task(async { 3 })?;
            future.observe(log.clone(), 1);
            let removed = other.observe(log.clone(), 2);
            task.observe(log.clone(), 3);
            assert_eq!(other.remove_done_callback(removed), 1);
            future.set_result(7)?;
            assert_eq!(*log.0.borrow(), [1]);
            future.observe(log.clone(), 4);
            assert_eq!(future.peek(|seen| seen.ok().copied()), Some(Some(7)));
            assert_eq!(other.peek(|_| ()), None);
            // What looks again from inside a look finds nothing, and disturbs nothing.
            let again = future.peek(|_| future.result().is_err());
            assert_eq!((again, future.result()?), (Some(true), 7));
            other.set_result(8)?;
            assert_eq!(task.await?, 3);
            assert_eq!(*log.0.borrow(), [1, 3]);
            Ok(())
        })?
    }
}

/// `both` polls through the trait object too.
#[allow(dead_code, reason = "checked by the compiler")]
fn scopes_are_ordinary_futures(body: Pin<Box<dyn Future<Output = ()>>>) -> impl Future {
    both(scoped(Slot::default(), body), async {})
}
