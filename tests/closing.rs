//! What a loop does for its close, whoever wrote the loop.
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use anyloop::{
    Connect, Error, EventLoopExt, Result, Runner, create_task, gather, get_event_loop, on_cancel,
    open_connection, timeout, yield_now,
};

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
            Ok::<_, Error>(task)
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

    /// The runner's close runs the loop once more, when the thread has no thread-locals of ours any more.
    fn a_runner_in_a_thread_local_ends_as_any_other(backend) {
        thread_local! {
            static HELD: RefCell<Option<Runner>> = const { RefCell::new(None) };
        }
        for debug in [false, true] {
            let done = Arc::new(Mutex::new(Vec::new()));
            let theirs = done.clone();
            let ended = thread::spawn(move || -> Result<()> {
                // Registered before all others, and so destroyed after them.
                HELD.with(|held| held.replace(Some(Runner::new().debug(debug).backend(backend))));
                HELD.with_borrow_mut(|held| {
                    held.as_mut().expect("it was put there").run(async move {
                        let waiting = at_the_end(theirs).await?;
                        create_task(waiting)?;
                        yield_now().await;
                        Ok(())
                    })?
                })
            });
            ended.join().expect("no panic")?;
            let done = done.lock().expect("no panic");
            assert_eq!(*done, ["read", "timed out", "cancelled", "a loop is set"], "debug {debug}");
        }
        Ok(())
    }
}

/// What uses thread-locals of ours, when it is cancelled.
async fn at_the_end(done: Arc<Mutex<Vec<&'static str>>>) -> Result<impl Future<Output = ()>> {
    let (near, far) = UnixStream::pair()?;
    let (reader, ours) = open_connection(Connect::socket(near)).await?;
    let (theirs, writer) = open_connection(Connect::socket(far)).await?;
    let push = move |step, right: bool| {
        done.lock().expect("no panic").extend(right.then_some(step));
    };
    let clean_up = || async move {
        writer.write_vec(vec![7; 100]);
        push("read", reader.read_exact(100).await? == [7; 100]);
        let timed_out = timeout(Duration::ZERO, pending::<()>()).await;
        push("timed out", matches!(timed_out, Err(Error::TimedOut(_))));
        let gathering = create_task(async { gather((pending::<()>(), pending::<()>())).await })?;
        yield_now().await;
        gathering.cancel();
        push("cancelled", gathering.await.is_err_and(|error| error.is_cancelled()));
        push("a loop is set", get_event_loop().is_ok());
        drop((ours, theirs));
        Ok::<_, Error>(())
    };
    Ok(on_cancel(pending(), clean_up))
}
