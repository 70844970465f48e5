//! What a loop does for its close, whoever wrote the loop.
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;

use anyloop::{EventLoopExt, Result, create_task, yield_now};

on_every_backend! {
    /// A thread has woken the task when the loop closes, and queues it only later.
    fn a_task_that_another_thread_is_about_to_queue_ends_too(backend) {
        let lp = anyloop::new_event_loop_with(backend)?;
        let waker = Rc::new(Cell::new(None::<Waker>));
        let theirs = waker.clone();
        let task = lp.run_until_complete(async move {
            let task = create_task(poll_fn(move |cx| {
                theirs.set(Some(cx.waker().clone()));
                Poll::<()>::Pending
            }))?;
            yield_now().await;
            Ok::<_, anyloop::Error>(task)
        })??;
        let waker = waker.take().expect("it was polled");
        thread::spawn(move || waker.wake()).join().expect("waking does not panic");
        lp.set_exception_handler(Some(Rc::new(|_, _| ())));
        let mut turns = 0;
        lp.state().abort_tasks(Some(&lp), || {
            turns += 1;
            // The first time it is not there yet.
            if turns == 2 {
                let _ = lp.run_until_done(&task);
            }
        });
        assert_eq!(turns, 2);
        assert!(task.cancelled(), "{task:?}");
        lp.close()
    }
}
