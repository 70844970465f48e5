//! What goes on without the task: jobs, descriptors, whoever awaits it.

use std::future::pending;
use std::sync::mpsc;

use anyloop_api::{Cancelled, catch_cancel};

use crate::families::prelude::*;
use crate::leaks::open_descriptors;
use crate::tools::{OnDrop, stalled_listener};

pub(super) fn a_job_in_a_pool_is_left_alone(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.executor_threads(1))?;
    let reports = Reports::of(&lp);
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let inner = lp.clone();
    let task = lp.create_task(async move {
        let job = inner.run_in_executor(None, move || {
            let _ = tell.send("started");
            let _ = released.recv();
            let _ = tell.send("ended");
            5
        })?;
        job.await
    })?;
    run_once(&lp)?;
    ensure_eq!(told.recv()?, "started", "the job");
    task.cancel();
    run_once(&lp)?;
    ensure!(task.cancelled(), "the task waits for the thread");
    release.send(())?;
    ensure_eq!(told.recv()?, "ended", "the job, which went on");
    // The pool has one thread, which is free again.
    lp.run_until_complete(lp.run_in_executor(None, || ())?)??;
    run_times(&lp, 2)?;
    reports.none()
}

/// A connection that will never come about holds a descriptor.
pub(super) fn the_descriptor_is_gone_first(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let stalled = stalled_listener()?;
    let address = stalled.address;
    // Everything that the loop opens on its first connection is there already.
    let open = || -> Result<_, Error> {
        Ok(lp.connect(|| Nobody, (address.ip().to_string(), address.port())))
    };
    for scoped in [true, false] {
        let (connecting, before) = (open()?, open_descriptors());
        let during = Rc::new(Cell::new(None));
        let after = Rc::new(Cell::new(None));
        let seen = after.clone();
        let task = lp.create_task(async move {
            if scoped {
                let caught = catch_cancel(connecting).await.is_err();
                seen.set(open_descriptors().filter(|_| caught));
            } else {
                let _guard = OnDrop(move || seen.set(open_descriptors()));
                let _ = connecting.await;
            }
        })?;
        run_for(&lp, ms(20))?;
        during.set(open_descriptors());
        ensure!(!task.done(), "the connection came about");
        let Some(before) = before else {
            return Err(Failure::skip("this system does not list the descriptors of a process"));
        };
        ensure_eq!(during.get(), Some(before + 1), "descriptors while connecting");
        task.cancel();
        let _ = lp.run_until_done(&task);
        if scoped {
            ensure_eq!(after.get(), Some(before), "descriptors, as the clean-up sees it");
        } else {
            ensure!(task.cancelled(), "the task is not cancelled");
        }
        run_for(&lp, ms(5))?;
        ensure_eq!(open_descriptors(), Some(before), "descriptors afterwards");
    }
    Ok(())
}

struct Nobody;

impl anyloop_api::Protocol for Nobody {}

pub(super) fn awaiters_see_it_and_are_not_cancelled(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.create_task(pending::<()>())?;
    let mut awaiters = Vec::new();
    for number in 0..3 {
        let waiting = inner.clone();
        awaiters.push(lp.create_task(async move {
            let seen = if number == 0 { waiting.await } else { (&waiting).await };
            // Not cancelled: it can wait for other things.
            yield_now().await;
            let message = match seen {
                Err(Error::Cancelled(reason)) => reason.message().map(str::to_owned),
                _ => None,
            };
            (message, current_task().map_or(9, |me| me.cancelling()))
        })?);
    }
    run_once(&lp)?;
    inner.cancel_with(Cancelled::with_message("over"));
    run_times(&lp, 4)?;
    for awaiter in awaiters {
        ensure!(!awaiter.cancelled(), "an awaiter is cancelled");
        let (message, count) = awaiter.take_result()?;
        ensure_eq!(message.as_deref(), Some("over"), "what an awaiter sees");
        ensure_eq!(count, 0, "requests to an awaiter");
    }
    // One that comes late.
    let late = inner.clone();
    ensure_is!(lp.run_until_complete(late), Err(Error::Cancelled(_)));
    Ok(())
}
