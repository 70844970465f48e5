//! Threads.

mod closing;
mod spawning;

use std::sync::mpsc;

use self::closing::*;
use self::spawning::*;
use super::prelude::*;
use crate::leaks::thread_count;

cases! {
    THR_01 => runs_on_the_loop_thread, may_be_called_before_the_run;
    THR_02 => wakes_a_sleeping_loop;
    THR_03 => no_wake_up_is_lost;
    THR_04 => order_per_thread_and_exactly_once;
    THR_05 => from_the_loop_thread_it_is_call_soon, from_the_loop_thread_nobody_waits;
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

/// What waits for the loop would wait for ever on the thread that runs it.
fn from_the_loop_thread_nobody_waits(cx: &Context) -> Outcome {
    const EVER: Duration = Duration::from_secs(3600);
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    lp.run_until_complete(async move {
        let remote = inner.remote();
        let joined = remote.spawn(async { 1 })?;
        ensure_is!(joined.wait(), Err(Error::Usage(_)));
        ensure_is!(joined.wait_timeout(EVER), Err(Error::Usage(_)));
        ensure_eq!(remote.all_tasks(EVER)?.len(), 1, "tasks");
        ensure_eq!(remote.dump(EVER)?.tasks.len(), 1, "tasks in the dump");
        while !joined.done() {
            yield_now().await;
        }
        ensure_eq!(joined.wait()?, 1, "the outcome that is there");
        Ok(())
    })?
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
