//! Threads.

use std::io::Read;
use std::sync::mpsc;

use anyloop_api::{
    Cancelled, Interrupt, JoinHandle, Runnable, Scheduler, TaskFactory, TaskOptions,
};

use super::prelude::*;
use crate::leaks::thread_count;
use crate::tools::socket_pair;

cases! {
    THR_01 => runs_on_the_loop_thread, may_be_called_before_the_run;
    THR_02 => wakes_a_sleeping_loop;
    THR_03 => no_wake_up_is_lost;
    THR_04 => order_per_thread_and_exactly_once;
    THR_05 => from_the_loop_thread_it_is_call_soon;
    THR_06 => the_caller_never_blocks;
    THR_07 => refused_after_close, refused_while_it_closes, close_may_race_with_callers,
        no_recycled_descriptor_is_written_to;
    THR_08 => a_storm_leaves_no_busy_loop;
    THR_09 => cancelled_from_the_loop_thread, cancelled_from_any_thread;
    THR_10 => the_value_arrives, the_error_arrives, the_cancellation_arrives, the_panic_arrives;
    THR_11 => cancelling_the_thread_side_cancels_the_task, cancelled_before_it_started,
        cancelling_the_task_cancels_the_thread_side;
    THR_12 => a_refusing_factory_is_heard_of, a_maker_that_panics_is_heard_of;
    THR_13 => what_stays_on_its_thread_is_not_send;
    THR_14 => loops_do_not_see_each_other;
    THR_15 => a_late_result_is_ignored, a_late_wake_is_ignored;
}

fn runs_on_the_loop_thread(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let remote = lp.remote();
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let stop = remote.clone();
        remote.call_soon_threadsafe(move || {
            let _ = tell.send((thread::current().id(), LoopRef::current().is_ok()));
            stop.stop();
        })
    });
    lp.run_forever()?;
    join(thread)??;
    ensure_eq!(told.try_recv(), Ok((thread::current().id(), true)), "thread and running loop");
    Ok(())
}

fn may_be_called_before_the_run(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (remote, callback) = (lp.remote(), trace.pusher("called"));
    join(thread::spawn(move || remote.call_soon_threadsafe(callback)))??;
    trace.expect([])?;
    run_times(&lp, 2)?;
    trace.expect(["called"])
}

fn wakes_a_sleeping_loop(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.call_later(FAR, || ())?;
    let remote = lp.remote();
    let thread = thread::spawn(move || {
        let mut worst = Duration::ZERO;
        for _ in 0..20 {
            // Long enough to fall asleep.
            thread::sleep(ms(10));
            let (tell, told) = mpsc::channel();
            let begin = Instant::now();
            remote.call_soon_threadsafe(move || {
                let _ = tell.send(Instant::now());
            })?;
            if let Ok(called) = told.recv() {
                worst = worst.max(called - begin);
            }
        }
        remote.stop();
        Ok::<_, Error>(worst)
    });
    lp.run_forever()?;
    let worst = join(thread)??;
    ensure!(worst < ms(1000), "a sleeping loop took {worst:?} to answer");
    Ok(())
}

/// The loop falls asleep between any two calls, and the next call comes at every moment of that.
fn no_wake_up_is_lost(cx: &Context) -> Outcome {
    const CALLS: u32 = 20_000;
    let lp = cx.new_loop()?;
    let remote = lp.remote();
    let thread = thread::spawn(move || {
        let (tell, told) = mpsc::channel();
        for number in 0..CALLS {
            let tell = tell.clone();
            remote.call_soon_threadsafe(move || {
                let _ = tell.send(number);
            })?;
            // A lost wake-up ends here, with the watchdog.
            if told.recv() != Ok(number) {
                return Ok(number);
            }
            for _ in 0..number % 512 {
                std::hint::spin_loop();
            }
        }
        remote.stop();
        Ok::<_, Error>(CALLS)
    });
    lp.run_forever()?;
    ensure_eq!(join(thread)??, CALLS, "calls that were answered");
    Ok(())
}

fn order_per_thread_and_exactly_once(cx: &Context) -> Outcome {
    const THREADS: usize = 4;
    const CALLS: usize = 5000;
    thread_local! {
        static SEEN: RefCell<Vec<(usize, usize)>> = const { RefCell::new(Vec::new()) };
    }
    let lp = cx.new_loop()?;
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let remote = lp.remote();
            thread::spawn(move || {
                for number in 0..CALLS {
                    remote.call_soon_threadsafe(move || {
                        SEEN.with_borrow_mut(|seen| seen.push((thread, number)));
                    })?;
                }
                Ok::<_, Error>(())
            })
        })
        .collect();
    let inner = lp.clone();
    every_iteration(&lp, move |_| {
        let all = SEEN.with_borrow(Vec::len) >= THREADS * CALLS;
        if all {
            inner.stop();
        }
        !all
    })?;
    lp.run_forever()?;
    for thread in threads {
        join(thread)??;
    }
    run_times(&lp, 3)?;
    let seen = SEEN.take();
    for thread in 0..THREADS {
        let mine = seen.iter().filter(|(of, _)| *of == thread).map(|(_, number)| *number);
        ensure!(mine.eq(0..CALLS), "thread {thread}'s calls came out of order, or not once each");
    }
    Ok(())
}

fn from_the_loop_thread_it_is_call_soon(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        let _ = inner.call_soon(log.pusher("a"));
        let _ = inner.remote().call_soon_threadsafe(log.pusher("b"));
        let _ = inner.call_soon(log.pusher("c"));
        log.push("end");
    })?;
    run_once(&lp)?;
    trace.expect(["end"])?;
    run_once(&lp)?;
    trace.expect(["a", "b", "c"])
}

fn the_caller_never_blocks(cx: &Context) -> Outcome {
    // More than any pipe or socket buffer has room for.
    const CALLS: usize = 200_000;
    let lp = cx.new_loop()?;
    let called = Counter::new();
    let (remote, inner) = (lp.remote(), called.clone());
    let thread = thread::spawn(move || {
        // The loop does not run: nobody drains the wake channel.
        (0..CALLS).try_for_each(|_| remote.call_soon_threadsafe(inner.adder()).map(drop))
    });
    join(thread)??;
    ensure_eq!(called.get(), 0, "calls before the run");
    let (inner, seen) = (lp.clone(), called.clone());
    every_iteration(&lp, move |_| {
        if seen.get() == CALLS {
            inner.stop();
        }
        seen.get() < CALLS
    })?;
    lp.run_forever()?;
    ensure_eq!(called.get(), CALLS, "calls that ran");
    Ok(())
}

fn refused_after_close(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let remote = lp.remote();
    let (called, freed) = (Counter::new(), Counter::new());
    lp.close()?;
    ensure!(remote.is_closed(), "the remote handle does not say that the loop is closed");
    let thread = {
        let (called, freed) = (called.clone(), freed.clone());
        thread::spawn(move || {
            let token = freed.token();
            let call = remote.call_soon_threadsafe(move || {
                token.keep();
                called.add();
            });
            remote.stop();
            match call {
                // Dropping the call silently is allowed too.
                Ok(_) | Err(Error::Closed(_)) => Ok(()),
                Err(other) => Err(other),
            }
        })
    };
    join(thread)??;
    ensure_eq!(called.get(), 0, "calls that ran on a closed loop");
    ensure_eq!(freed.get(), 1, "closures freed by the closed loop");
    Ok(())
}

/// What a loop drops is posted to it again, as by a pool that wants its things back.
struct Posted {
    remote: RemoteHandle,
    dropped: Counter,
}

impl Posted {
    fn post(self) -> Result<(), Error> {
        let call = self.remote.clone();
        call.call_soon_threadsafe(move || drop(self)).map(drop)
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        // A loop that takes calls while it closes would never be done with them.
        if self.dropped.add() < 1000 && !self.remote.is_closed() {
            let again = Self { remote: self.remote.clone(), dropped: self.dropped.clone() };
            drop(again.post());
        }
    }
}

fn refused_while_it_closes(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let dropped = Counter::new();
    for _ in 0..2 {
        Posted { remote: lp.remote(), dropped: dropped.clone() }.post()?;
    }
    lp.close()?;
    ensure_eq!(dropped.get(), 2, "calls that were dropped");
    Ok(())
}

fn close_may_race_with_callers(cx: &Context) -> Outcome {
    for _ in 0..20 {
        let lp = cx.new_loop()?;
        let (made, freed) = (Counter::new(), Counter::new());
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (remote, made, freed) = (lp.remote(), made.clone(), freed.clone());
                thread::spawn(move || {
                    while !remote.is_closed() {
                        made.add();
                        let token = freed.token();
                        match remote.call_soon_threadsafe(move || token.keep()) {
                            Ok(_) | Err(Error::Closed(_)) => thread::yield_now(),
                            Err(other) => return Err(other),
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        wait_until("the first calls", || made.get() > 10)?;
        run_once(&lp)?;
        lp.close()?;
        for thread in threads {
            join(thread)??;
        }
        ensure_eq!(freed.get(), made.get(), "closures freed, of those that were made");
    }
    Ok(())
}

fn no_recycled_descriptor_is_written_to(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let remote = lp.remote();
    run_once(&lp)?;
    lp.close()?;
    // These get the numbers that the loop has given back.
    let pairs = (0..16).map(|_| socket_pair()).collect::<Result<Vec<_>, _>>()?;
    let thread = thread::spawn(move || {
        for _ in 0..100 {
            let _ = remote.call_soon_threadsafe(|| ());
            remote.stop();
        }
    });
    join(thread)?;
    for (mut left, mut right) in pairs {
        for end in [&mut left, &mut right] {
            let mut byte = [0; 8];
            let read = end.read(&mut byte);
            ensure!(
                matches!(&read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
                "a socket that has a number of the loop's got bytes: {read:?} {byte:?}"
            );
        }
    }
    Ok(())
}

fn a_storm_leaves_no_busy_loop(cx: &Context) -> Outcome {
    const CALLS: usize = 20_000;
    let lp = cx.new_loop()?;
    let called = Counter::new();
    let (remote, inner) = (lp.remote(), called.clone());
    let thread = thread::spawn(move || {
        for number in 0..CALLS {
            remote.call_soon_threadsafe(inner.adder())?;
            if number % 100 == 0 {
                thread::yield_now();
            }
        }
        remote.stop();
        Ok::<_, Error>(())
    });
    lp.run_forever()?;
    join(thread)??;
    run_times(&lp, 3)?;
    ensure_eq!(called.get(), CALLS, "calls that ran");
    let busy = cpu_time();
    run_for(&lp, ms(200))?;
    let busy = cpu_time() - busy;
    ensure!(busy < ms(50), "200 ms without work took {busy:?} of processor time");
    Ok(())
}

fn cancelled_from_the_loop_thread(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let freed = Counter::new();
    let (remote, log, token) = (lp.remote(), trace.clone(), freed.token());
    let call = join(thread::spawn(move || {
        remote.call_soon_threadsafe(move || {
            token.keep();
            log.push("cancelled, but called");
        })
    }))??;
    ensure!(call.cancel(), "cancel() of a call that had not started says false");
    ensure_eq!(freed.get(), 1, "closures freed by cancel()");
    ensure!(!call.cancel(), "cancel() of a cancelled call says true");
    run_times(&lp, 2)?;
    trace.expect([])?;
    let call = lp.remote().call_soon_threadsafe(trace.pusher("called"))?;
    run_times(&lp, 2)?;
    ensure!(!call.cancel(), "cancel() of a call that ran says true");
    trace.expect(["called"])
}

/// Many threads try to be faster than the loop: whoever was in time must not see the call run.
fn cancelled_from_any_thread(cx: &Context) -> Outcome {
    const CALLS: usize = 2000;
    let lp = cx.new_loop()?;
    let remote = lp.remote();
    let thread = thread::spawn(move || {
        let mut wrong = Vec::new();
        for number in 0..CALLS {
            let ran = Counter::new();
            let call = remote.call_soon_threadsafe(ran.adder())?;
            for _ in 0..number % 64 {
                std::hint::spin_loop();
            }
            let in_time = call.cancel();
            let (tell, told) = mpsc::channel();
            remote.call_soon_threadsafe(move || {
                let _ = tell.send(());
            })?;
            let _ = told.recv();
            if in_time != (ran.get() == 0) {
                wrong.push((number, in_time, ran.get()));
            }
        }
        remote.stop();
        Ok::<_, Error>(wrong)
    });
    lp.run_forever()?;
    ensure_eq!(join(thread)??, [], "calls whose cancel() and number of runs do not agree");
    Ok(())
}

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

const LIMIT: Duration = Duration::from_secs(10);

fn the_value_arrives(cx: &Context) -> Outcome {
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

fn the_error_arrives(cx: &Context) -> Outcome {
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

fn the_cancellation_arrives(cx: &Context) -> Outcome {
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

fn the_panic_arrives(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let result = beside(&lp, |remote| {
        let join: JoinHandle<()> = remote.spawn(async { panic!("on purpose") })?;
        Ok(join.wait_timeout(LIMIT))
    })?;
    ensure_is!(result, Err(Error::Panicked(panic)) if panic.message() == "on purpose");
    Ok(())
}

fn cancelling_the_thread_side_cancels_the_task(cx: &Context) -> Outcome {
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

fn cancelled_before_it_started(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (remote, log) = (lp.remote(), trace.clone());
    let handle = remote.spawn(async move { log.push("started") })?;
    ensure!(handle.cancel(), "cancel() before the start says false");
    run_times(&lp, 4)?;
    ensure_is!(handle.wait_timeout(ms(0)), Err(Error::Cancelled(_)));
    trace.expect([])
}

fn cancelling_the_task_cancels_the_thread_side(cx: &Context) -> Outcome {
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

fn a_refusing_factory_is_heard_of(cx: &Context) -> Outcome {
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

fn a_maker_that_panics_is_heard_of(cx: &Context) -> Outcome {
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
fn what_stays_on_its_thread_is_not_send(cx: &Context) -> Outcome {
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

fn loops_do_not_see_each_other(cx: &Context) -> Outcome {
    const TASKS: usize = 200;
    let threads: Vec<_> = (0..3)
        .map(|number| {
            let factory = cx.factory();
            thread::spawn(move || {
                let lp = factory.new_loop()?;
                let name = format!("loop {number}");
                let done = Counter::new();
                for _ in 0..TASKS {
                    let (home, done, future) =
                        (lp.clone(), done.clone(), lp.create_future::<usize>());
                    let theirs = future.clone();
                    lp.call_soon(move || drop(theirs.set_result(number)))?;
                    lp.task().name(&name).spawn(async move {
                        let value = future.await;
                        let here = LoopRef::current().is_ok_and(|lp| lp.same(&home));
                        if here && matches!(value, Ok(value) if value == number) {
                            done.add();
                        }
                    })?;
                }
                let strangers =
                    lp.all_tasks().iter().filter(|task| *task.get_name() != *name).count();
                run_times(&lp, 5)?;
                lp.close()?;
                Ok::<_, Error>((strangers, done.get()))
            })
        })
        .collect();
    for thread in threads {
        let (strangers, done) = join(thread)??;
        ensure_eq!(strangers, 0, "tasks of other loops in all_tasks()");
        ensure_eq!(done, TASKS, "tasks that ended on their own loop with their own value");
    }
    ensure_is!(LoopRef::current(), Err(Error::Usage(_)));
    Ok(())
}

fn a_late_result_is_ignored(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (reports, threads) = (Reports::of(&lp), thread_count());
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let future = lp.run_in_executor(None, move || {
        let _ = tell.send("started");
        let _ = released.recv();
        let _ = tell.send("ended");
        42
    })?;
    ensure_eq!(told.recv_timeout(LIMIT), Ok("started"), "the job");
    lp.close()?;
    release.send(())?;
    ensure_eq!(told.recv_timeout(LIMIT), Ok("ended"), "the job");
    wait_until("the worker ends", || thread_count() <= threads)?;
    ensure!(!future.done(), "a future of a closed loop was completed");
    ensure_eq!(cx.panics(), 0, "panics");
    reports.none()
}

fn a_late_wake_is_ignored(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let waker = Rc::new(RefCell::new(None));
    let theirs = waker.clone();
    let task = lp.create_task(std::future::poll_fn(move |cx| {
        *theirs.borrow_mut() = Some(cx.waker().clone());
        std::task::Poll::<()>::Pending
    }))?;
    task.mark_internal();
    run_once(&lp)?;
    let Some(waker) = waker.take() else {
        return Err(Failure::new("the task was not polled"));
    };
    lp.close()?;
    drop((task, lp));
    join(thread::spawn(move || {
        waker.wake_by_ref();
        waker.wake();
    }))
}
