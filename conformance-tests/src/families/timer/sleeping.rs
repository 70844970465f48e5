//! How long a loop sleeps for its timers.

use crate::families::prelude::*;
use crate::tools::sleeps;

pub(super) fn long_delays_are_legal(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let day = Duration::from_secs(24 * 3600);
    let mut timers = Vec::new();
    for delay in [day, day * 2, day * 365 * 300, Duration::from_secs(u64::from(u32::MAX) * 3)] {
        timers.push(lp.call_later(delay, trace.pusher("a timer fired much too early"))?);
    }
    timers.push(lp.call_at(LoopInstant::FAR_FUTURE, trace.pusher("the infinite timer fired"))?);
    run_times(&lp, 3)?;
    run_for(&lp, ms(20))?;
    timers.iter().for_each(TimerHandle::cancel);
    ensure!(timers.iter().all(TimerHandle::cancelled), "a far timer cannot be cancelled");
    run_times(&lp, 3)?;
    trace.expect([])
}

pub(super) fn an_infinite_delay_never_ends(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    // The only timer: nothing that is due earlier hides it.
    let timer = lp.call_at(LoopInstant::FAR_FUTURE, trace.pusher("the infinite timer fired"))?;
    run_times(&lp, 3)?;
    stop_after(&lp, 300)?;
    lp.run_forever()?;
    ensure!(timer.is_pending(), "the infinite timer is not pending any more");
    timer.cancel();
    run_times(&lp, 3)?;
    trace.expect([])
}

pub(super) fn a_loop_with_far_timers_sleeps(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.call_later(Duration::from_secs(40 * 24 * 3600), || ())?;
    lp.call_at(LoopInstant::FAR_FUTURE, || ())?;
    let remote = lp.remote();
    let thread = thread::spawn(move || {
        thread::sleep(ms(200));
        remote.stop();
    });
    let (begin, busy) = (Instant::now(), cpu_time());
    lp.run_forever()?;
    let (took, busy) = (begin.elapsed(), cpu_time() - busy);
    join(thread)?;
    ensure!(took >= ms(150), "the run ended by itself after {took:?}");
    ensure!(busy < ms(50), "waiting for a far timer took {busy:?} of processor time");
    Ok(())
}

pub(super) fn huge_delays_saturate(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    for delay in
        [Duration::MAX, Duration::from_secs(u64::MAX / 1000), Duration::from_nanos(u64::MAX)]
    {
        let timer = lp.call_later(delay, trace.pusher("a saturated timer fired"))?;
        ensure!(timer.when() > lp.time() + FAR, "{delay:?} wrapped to {:?}", timer.when());
    }
    ensure_eq!(
        LoopInstant::from_nanos(5) - Duration::from_nanos(9),
        LoopInstant::from_nanos(0),
        "a point of time before the beginning"
    );
    run_times(&lp, 3)?;
    run_for(&lp, ms(10))?;
    trace.expect([])
}

/// A loop that cuts timeouts to whole milliseconds polls without sleeping for the rest.
pub(super) fn fractions_of_a_millisecond_are_slept(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let before = sleeps();
    for _ in 0..100 {
        run_for(&lp, Duration::from_micros(900))?;
    }
    let (Some(before), Some(after)) = (before, sleeps()) else {
        return Err(Failure::skip("the system does not tell how often a thread sleeps"));
    };
    // On a busy machine some are due before there is time to sleep.
    ensure!(after - before >= 50, "a hundred sleeps of 0.9 ms took {} naps", after - before);
    Ok(())
}

pub(super) fn tiny_delays_take_few_iterations(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let before = sleeps();
    for nanos in [10_000_000, 100_000, 1_000, 10, 0] {
        run_for(&lp, Duration::from_nanos(nanos))?;
    }
    let (Some(before), Some(after)) = (before, sleeps()) else {
        return Err(Failure::skip("the system does not tell how often a thread sleeps"));
    };
    ensure!(after - before <= 20, "five sleeps from 10 ms down took {} naps", after - before);
    Ok(())
}

pub(super) fn deadlines_are_exact_after_centuries(cx: &Context) -> Outcome {
    let nano = Duration::from_nanos(1);
    for nanos in [0, u64::from(u32::MAX), 1 << 53, 1 << 62] {
        let time = LoopInstant::from_nanos(nanos);
        ensure!(time < time + nano, "{time:?} and a nanosecond later are one");
        ensure_eq!((time + nano) - time, nano, "a nanosecond at {time:?}");
    }
    let lp = cx.new_loop()?;
    let far = LoopInstant::from_nanos((1 << 62) + 1);
    let timer = lp.call_at(far, || ())?;
    ensure_eq!(timer.when(), far, "a deadline of an odd number of nanoseconds");
    Ok(())
}

pub(super) fn a_delay_cannot_be_nan(cx: &Context) -> Outcome {
    ensure!(
        Duration::try_from_secs_f64(f64::NAN).is_err(),
        "there is a Duration that is not a number"
    );
    let lp = cx.new_loop()?;
    let _: fn(&LoopRef, Duration) = |lp, delay| drop(lp.call_later(delay, || ()));
    let trace = cx.trace();
    lp.call_later(Duration::try_from_secs_f64(0.0)?, trace.pusher("fired"))?;
    run_once(&lp)?;
    trace.expect(["fired"])
}

pub(super) fn stop_does_not_wait(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let timer = lp.call_later(FAR, trace.pusher("far"))?;
    let inner = lp.clone();
    lp.call_soon(move || inner.stop())?;
    lp.run_forever()?;
    ensure!(timer.is_pending(), "the timer is not pending any more");
    trace.expect([])
}

pub(super) fn close_does_not_wait(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let freed = Counter::new();
    let token = freed.token();
    lp.call_later(FAR, move || token.keep())?;
    lp.close()?;
    ensure_eq!(freed.get(), 1, "closures of timers freed by close()");
    Ok(())
}

pub(super) fn run_until_complete_does_not_wait(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let timer = lp.call_later(FAR, || ())?;
    ensure_eq!(lp.run_until_complete(async { 5 })?, 5, "the value");
    ensure!(timer.is_pending(), "the timer is not pending any more");
    Ok(())
}

pub(super) fn late_but_each_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let order = Rc::new(RefCell::new(Vec::new()));
    let begin = lp.time();
    for number in 1..=60 {
        let order = order.clone();
        lp.call_at(begin + ms(number), move || order.borrow_mut().push(number))?;
    }
    // The loop is blocked twice: between runs, and inside a callback.
    block_for(ms(25));
    lp.call_soon(|| block_for(ms(25)))?;
    run_for(&lp, ms(40))?;
    let (inner, seen) = (lp.clone(), order.clone());
    every_iteration(&lp, move |_| {
        let all = seen.borrow().len() >= 60;
        if all {
            inner.stop();
        }
        !all
    })?;
    lp.run_forever()?;
    run_times(&lp, 3)?;
    ensure_eq!(*order.borrow(), (1..=60).collect::<Vec<_>>(), "60 timers of a blocked loop");
    Ok(())
}

pub(super) fn an_earlier_timer_shortens_the_sleep(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    lp.call_later(FAR, trace.pusher("far"))?;
    let (remote, log) = (lp.remote(), trace.clone());
    let thread = thread::spawn(move || {
        thread::sleep(ms(30));
        remote.call_soon_threadsafe(move || {
            let Ok(lp) = LoopRef::current() else { return };
            let inner = lp.clone();
            let _ = lp.call_later(ms(10), move || {
                log.push("near");
                inner.stop();
            });
        })
    });
    let begin = Instant::now();
    lp.run_forever()?;
    let took = begin.elapsed();
    join(thread)??;
    ensure!(took >= ms(10) && took < ms(5000), "a timer of 10 ms, 30 ms into a sleep: {took:?}");
    trace.expect(["near"])
}
