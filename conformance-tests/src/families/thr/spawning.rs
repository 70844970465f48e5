//! Tasks that other threads begin, and wait for.

use std::sync::mpsc;

use anyloop_api::{
    Cancelled, Interrupt, JoinHandle, Runnable, Scheduler, TaskFactory, TaskOptions,
};

use crate::families::prelude::*;

/// Runs `lp` while `body` runs on another thread, and gives what that returns.
fn beside<T: Send + 'static>(
    lp: &LoopRef,
    body: impl FnOnce(&RemoteHandle) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let remote = lp.remote();
    let thread = thread::spawn(move || {
        let result = body(&remote);
        remote.stop();
        result
    });
    lp.run_forever()?;
    join(thread)?
}

pub(super) const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn the_value_arrives(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let value = beside(&lp, |remote| {
        let join = remote.spawn(async {
            yield_now().await;
            42
        })?;
        let value = join.wait()?;
        ensure!(join.done(), "done() is false after wait()");
        Ok(value)
    })?;
    ensure_eq!(value, 42, "the value of a task asked for by another thread");
    let local = beside(&lp, |remote| {
        // Not Send: made where it runs.
        let join = remote.spawn_with(|| async {
            let shared = Rc::new(7);
            yield_now().await;
            *shared
        })?;
        Ok(join.wait_timeout(LIMIT)?)
    })?;
    ensure_eq!(local, 7, "the value of a task made on the loop's thread");
    Ok(())
}

pub(super) fn the_error_arrives(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let result = beside(&lp, |remote| {
        let join = remote.spawn(async {
            yield_now().await;
            Err::<(), _>("no luck")
        })?;
        Ok(join.wait_timeout(LIMIT)?)
    })?;
    ensure_eq!(result, Err("no luck"), "the output of a failing task");
    Ok(())
}

pub(super) fn the_cancellation_arrives(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let result = beside(&lp, |remote| {
        let join = remote.spawn_with(|| async {
            if let Some(me) = current_task() {
                me.cancel();
            }
            std::future::pending::<()>().await;
        })?;
        Ok(join.wait_timeout(LIMIT))
    })?;
    ensure_is!(result, Err(Error::Cancelled(_)));
    Ok(())
}

pub(super) fn the_panic_arrives(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let result = beside(&lp, |remote| {
        let join: JoinHandle<()> = remote.spawn(async { panic!("on purpose") })?;
        Ok(join.wait_timeout(LIMIT))
    })?;
    ensure_is!(result, Err(Error::Panicked(panic)) if panic.message() == "on purpose");
    Ok(())
}

pub(super) fn cancelling_the_thread_side_cancels_the_task(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let freed = Counter::new();
    let token = freed.token();
    let (tell, told) = mpsc::channel();
    let result = beside(&lp, move |remote| {
        let join = remote.spawn(async move {
            token.keep();
            let _ = tell.send(());
            std::future::pending::<()>().await;
        })?;
        ensure!(told.recv_timeout(LIMIT).is_ok(), "the task did not start");
        ensure!(join.cancel(), "cancel() of a running task says false");
        let result = join.wait_timeout(LIMIT);
        ensure!(!join.cancel(), "cancel() of a finished task says true");
        Ok(result)
    })?;
    ensure_is!(result, Err(Error::Cancelled(_)));
    ensure_eq!(freed.get(), 1, "task bodies freed");
    ensure_eq!(lp.all_tasks().len(), 0, "tasks left");
    Ok(())
}

pub(super) fn cancelled_before_it_started(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (remote, log) = (lp.remote(), trace.clone());
    let handle = remote.spawn(async move { log.push("started") })?;
    ensure!(handle.cancel(), "cancel() before the start says false");
    run_times(&lp, 4)?;
    ensure_is!(handle.wait_timeout(ms(0)), Err(Error::Cancelled(_)));
    trace.expect([])
}

pub(super) fn cancelling_the_task_cancels_the_thread_side(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let handle = lp.remote().spawn(std::future::pending::<()>())?;
    run_times(&lp, 3)?;
    ensure!(!handle.done(), "the thread side is done while the task is pending");
    let tasks = lp.all_tasks();
    ensure_eq!(tasks.len(), 1, "tasks of the loop");
    tasks[0].cancel_with(Cancelled::with_message("enough"));
    run_times(&lp, 3)?;
    ensure_is!(
        handle.wait_timeout(ms(0)),
        Err(Error::Cancelled(reason)) if reason.message() == Some("enough")
    );
    Ok(())
}

/// A factory that makes no tasks.
struct Refusing;

impl TaskFactory for Refusing {
    fn new_task(&self, _: &LoopRef, _: &mut TaskOptions) -> Result<(), Error> {
        Err(Error::usage("no tasks today"))
    }
}

pub(super) fn a_refusing_factory_is_heard_of(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    lp.set_task_factory(Some(Rc::new(Refusing)));
    let result = beside(&lp, |remote| {
        let join = remote.spawn(async {})?;
        Ok(join.wait_timeout(LIMIT))
    })?;
    ensure_is!(result, Err(Error::Usage(text)) if text == "no tasks today");
    let report = reports.one()?;
    ensure_is!(report.exception, Some(Error::Usage(text)) if text == "no tasks today");
    Ok(())
}

/// Makes no future.
fn makes_none() -> std::future::Ready<()> {
    panic!("no futures today")
}

pub(super) fn a_maker_that_panics_is_heard_of(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let result = beside(&lp, |remote| {
        let join = remote.spawn_with(makes_none)?;
        Ok(join.wait_timeout(LIMIT))
    })?;
    ensure_is!(result, Err(Error::Panicked(panic)) if panic.to_string().contains("no futures"));
    ensure_is!(reports.one()?.exception, Some(Error::Panicked(_)));
    Ok(())
}

/// The type system refuses what debug mode of asyncio detects.
pub(super) fn what_stays_on_its_thread_is_not_send(cx: &Context) -> Outcome {
    assert_not_impl!(LoopRef: Send);
    assert_not_impl!(LoopRef: Sync);
    assert_not_impl!(Handle: Send);
    assert_not_impl!(TimerHandle: Send);
    assert_not_impl!(LoopFuture<()>: Send);
    assert_not_impl!(Task<()>: Send);
    assert_not_impl!(anyloop_api::WeakLoop: Send);
    assert_not_impl!(anyloop_api::Transport: Send);
    assert_not_impl!(anyloop_api::Server: Send);
    assert_impl!(RemoteHandle: Clone + Send + Sync);
    assert_impl!(anyloop_api::RemoteCall: Send + Sync);
    assert_impl!(JoinHandle<u8>: Send + Sync);
    assert_impl!(dyn Scheduler: Send + Sync);
    assert_impl!(Interrupt: Send + Sync);
    assert_impl!(Error: Send + Sync);
    assert_impl!(Runnable: Send);
    let lp = cx.new_loop_with(|config| config.debug(true))?;
    let (remote, callback) = (lp.remote(), cx.trace().pusher("called"));
    join(thread::spawn(move || remote.call_soon_threadsafe(callback)))??;
    run_times(&lp, 2)?;
    cx.trace().expect(["called"])
}
