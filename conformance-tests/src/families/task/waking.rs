//! Wakes and steps.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};

use anyloop_api::catch_cancel;

use crate::families::prelude::*;
use crate::tools::both;

/// Everything that a body can do to be stepped again while it runs.
pub(super) fn a_step_is_never_re_entered(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (inside, nested) = (Rc::new(Cell::new(false)), Counter::new());
    let enter = {
        let (inside, nested) = (inside.clone(), nested.clone());
        move || {
            if inside.replace(true) {
                nested.add();
            }
        }
    };
    let future = lp.create_future();
    let (inner, setter, left) = (lp.clone(), future.clone(), inside.clone());
    let task = lp.create_task(async move {
        enter();
        // A waker that is called in the middle of the step, a future completed under its awaiter,
        // a cancellation of something one waits for, an eager task that does all of it.
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Ready(())
        })
        .await;
        let mut wait = pin!(setter.clone());
        let waker = poll_fn(|cx| {
            let waiting = wait.as_mut().poll(cx).is_pending();
            Poll::Ready(waiting.then(|| cx.waker().clone()))
        })
        .await;
        let eager = inner.task().eager(true).spawn({
            let setter = setter.clone();
            async move {
                let _ = setter.set_result(9);
                if let Some(waker) = waker {
                    waker.wake();
                }
                yield_now().await;
            }
        });
        let value = wait.await;
        left.set(false);
        yield_now().await;
        enter();
        let done = eager.is_ok_and(|eager| eager.done());
        left.set(false);
        (value, done)
    })?;
    let result = lp.run_until_done(&task)?;
    ensure_is!(result, (Ok(9), _));
    ensure_eq!(nested.get(), 0, "steps inside a step");
    Ok(())
}

/// Counts its polls, and hands out its wakers.
async fn counted(polls: Counter, waker: Rc<RefCell<Option<Waker>>>, last: usize) {
    poll_fn(move |cx| {
        waker.replace(Some(cx.waker().clone()));
        if polls.add() < last { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

pub(super) fn many_wakes_make_one_step(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (polls, waker) = (Counter::new(), Rc::new(RefCell::new(None::<Waker>)));
    let task = lp.create_task(counted(polls.clone(), waker.clone(), 4))?;
    run_times(&lp, 3)?;
    ensure_eq!(polls.get(), 1, "steps before any wake-up");
    for round in 2..4 {
        for _ in 0..10 {
            if let Some(waker) = &*waker.borrow() {
                waker.wake_by_ref();
                let own = waker.clone();
                waker.wake_by_ref();
                drop(own);
            }
        }
        run_times(&lp, 3)?;
        ensure_eq!(polls.get(), round, "steps after twenty wake-ups more");
    }
    task.cancel();

    // Two futures complete before one step sees both.
    let (a, b) = (lp.create_future(), lp.create_future());
    let (wait_a, wait_b) = (a.clone(), b.clone());
    let polls = Counter::new();
    let count = polls.clone();
    let task = lp.create_task(async move {
        let mut waits = pin!(both(wait_a, wait_b));
        poll_fn(|cx| {
            count.add();
            waits.as_mut().poll(cx)
        })
        .await
    })?;
    run_once(&lp)?;
    a.set_result(1)?;
    b.set_result(2)?;
    run_times(&lp, 3)?;
    ensure_is!(task.take_result(), Ok((Ok(1), Ok(2))));
    ensure_eq!(polls.get(), 2, "steps of the task that waits for both");
    Ok(())
}

pub(super) fn a_cancellation_makes_one_step(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let future = lp.create_future::<()>();
    for knows in [false, true] {
        let (polls, waiting) = (Counter::new(), future.clone());
        let count = polls.clone();
        let task = lp.create_task(async move {
            let mut body = pin!(async move {
                let wait = async move {
                    if knows {
                        let _ = waiting.await;
                    }
                    pending::<()>().await;
                };
                let _ = catch_cancel(wait).await;
                pending::<()>().await;
            });
            poll_fn(|cx| {
                count.add();
                body.as_mut().poll(cx)
            })
            .await;
        })?;
        run_times(&lp, 3)?;
        task.cancel();
        run_times(&lp, 3)?;
        ensure_eq!(polls.get(), 2, "steps of a task that was cancelled once");
        task.mark_internal();
    }
    Ok(())
}

pub(super) fn wakes_of_other_threads_too(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (polls, waker) = (Counter::new(), Rc::new(RefCell::new(None::<Waker>)));
    let task = lp.create_task(counted(polls.clone(), waker.clone(), 2))?;
    run_once(&lp)?;
    let Some(waker) = waker.take() else { return Err(Failure::new("the task did not begin")) };
    let wakers = (0..4).map(|_| {
        let waker = waker.clone();
        thread::spawn(move || (0..100).for_each(|_| waker.wake_by_ref()))
    });
    let wakers: Vec<_> = wakers.collect();
    wakers.into_iter().try_for_each(join)?;
    lp.run_until_done(&task)?;
    run_times(&lp, 3)?;
    ensure_eq!(polls.get(), 2, "steps after four hundred wake-ups by four threads");
    Ok(())
}

pub(super) fn late_wakes_are_ignored(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (polls, waker) = (Counter::new(), Rc::new(RefCell::new(None::<Waker>)));
    let task = lp.create_task(counted(polls.clone(), waker.clone(), 2))?;
    run_once(&lp)?;
    let Some(waker) = waker.take() else { return Err(Failure::new("the task did not begin")) };
    waker.wake_by_ref();
    run_once(&lp)?;
    ensure!(task.done(), "the task is not done");
    waker.wake_by_ref();
    run_times(&lp, 2)?;
    lp.close()?;
    waker.wake_by_ref();
    let theirs = waker.clone();
    join(thread::spawn(move || theirs.wake()))?;
    waker.wake();
    ensure_eq!(polls.get(), 2, "steps");
    reports.none()
}
