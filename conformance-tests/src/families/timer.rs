//! Timers.

use super::prelude::*;
use crate::tools::sleeps;

cases! {
    TIMER_01 => the_clock_is_read_at_the_call, call_at_takes_the_deadline_as_it_is;
    TIMER_02 => monotonic, advances_in_a_blocking_callback;
    TIMER_03 => never_early_when_asleep, never_early_when_busy;
    TIMER_04 => due_timers_run_by_deadline, due_during_a_callback_means_the_next_iteration;
    TIMER_05 => equal_deadlines_run_in_creation_order;
    TIMER_06 => zero_is_the_next_iteration, the_past_is_the_next_iteration, zero_can_be_cancelled;
    TIMER_07 => due_timers_of_timers_wait_for_the_next_iteration;
    TIMER_08 => both_run_in_either_order;
    TIMER_09 => cancelling_prevents_and_frees;
    TIMER_10 => cancelling_a_fired_timer_changes_nothing, cancelling_twice_changes_nothing;
    TIMER_11 => cancelled_timers_do_not_pile_up;
    TIMER_12 => a_cancelled_timer_wakes_nobody;
    TIMER_13 => long_delays_are_legal, an_infinite_delay_never_ends, a_loop_with_far_timers_sleeps;
    TIMER_14 => huge_delays_saturate;
    TIMER_15 => fractions_of_a_millisecond_are_slept, tiny_delays_take_few_iterations;
    TIMER_16 => deadlines_are_exact_after_centuries;
    TIMER_17 => a_delay_cannot_be_nan;
    TIMER_18 => stop_does_not_wait, close_does_not_wait, run_until_complete_does_not_wait;
    TIMER_19 => late_but_each_once;
    TIMER_20 => an_earlier_timer_shortens_the_sleep;
}

fn the_clock_is_read_at_the_call(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let found = Rc::new(Cell::new(None));
    let (inner, theirs) = (lp.clone(), found.clone());
    let (zero, begin) = (lp.time(), Instant::now());
    lp.call_soon(move || {
        // A time cached when the iteration began would be 20 ms old.
        block_for(ms(20));
        let (before, real) = (inner.time(), begin.elapsed());
        let timer = inner.call_later(ms(50), || ());
        theirs.set(Some((before, real, timer.map(|timer| timer.when()), inner.time())));
    })?;
    run_once(&lp)?;
    let Some((before, real, when, after)) = found.take() else {
        return Err(Failure::new("the callback did not run"));
    };
    let when = when?;
    ensure!(
        when >= zero + real + ms(50),
        "called {real:?} after {zero:?}, a timer of 50 ms is due at {when:?}"
    );
    ensure!(
        before + ms(50) <= when && when <= after + ms(50),
        "called between {before:?} and {after:?}, a timer of 50 ms is due at {when:?}"
    );
    Ok(())
}

fn call_at_takes_the_deadline_as_it_is(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for delay in [0, 1, 999, 1_000_001, u64::from(u32::MAX)] {
        let when = lp.time() + Duration::from_nanos(delay);
        let timer = lp.call_at(when, || ())?;
        ensure_eq!(timer.when(), when, "the deadline of call_at");
    }
    Ok(())
}

fn monotonic(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let mut last = lp.time();
    for _ in 0..100_000 {
        let now = lp.time();
        ensure!(now >= last, "time() went back from {last:?} to {now:?}");
        last = now;
    }
    Ok(())
}

fn advances_in_a_blocking_callback(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let advanced = Rc::new(Cell::new(Duration::ZERO));
    let (inner, theirs) = (lp.clone(), advanced.clone());
    lp.call_soon(move || {
        let (before, begin) = (inner.time(), Instant::now());
        block_for(ms(20));
        let real = begin.elapsed();
        let passed = inner.time() - before;
        theirs.set(if passed >= real { passed } else { Duration::ZERO });
    })?;
    run_once(&lp)?;
    let passed = advanced.get();
    ensure!(passed >= ms(20) && passed < ms(5000), "20 ms of blocking were {passed:?} of time()");
    Ok(())
}

/// How early the timers fired, those that did.
type Early = Rc<RefCell<Vec<Duration>>>;

fn checked_timer(lp: &LoopRef, when: LoopInstant, early: &Early, fired: &Counter) -> Outcome {
    let (inner, early, fired) = (lp.clone(), early.clone(), fired.clone());
    lp.call_at(when, move || {
        let now = inner.time();
        if now < when {
            early.borrow_mut().push(when - now);
        }
        fired.add();
    })?;
    Ok(())
}

fn never_early_when_asleep(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (early, fired) = (Early::default(), Counter::new());
    // One at a time, so that each is slept for: 10 µs to 5 ms, at odd fractions.
    let delays: Vec<_> =
        (1..=40).map(|n: u64| Duration::from_nanos(n * n * 3_137 + 10_001)).collect();
    for delay in &delays {
        checked_timer(&lp, lp.time() + *delay, &early, &fired)?;
        let target = fired.get() + 1;
        while fired.get() < target {
            run_for(&lp, *delay)?;
        }
    }
    ensure_eq!(
        *early.borrow(),
        [Duration::ZERO; 0],
        "timers that fired early, of {}",
        delays.len()
    );
    Ok(())
}

fn never_early_when_busy(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (early, fired) = (Early::default(), Counter::new());
    let begin = lp.time();
    for number in 1..=500_u64 {
        checked_timer(&lp, begin + Duration::from_nanos(number * 40_007), &early, &fired)?;
    }
    let (inner, seen) = (lp.clone(), fired.clone());
    every_iteration(&lp, move |_| {
        if seen.get() == 500 {
            inner.stop();
        }
        seen.get() < 500
    })?;
    lp.run_forever()?;
    ensure_eq!(*early.borrow(), [Duration::ZERO; 0], "timers that fired early, of 500");
    Ok(())
}

fn due_timers_run_by_deadline(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let order = Rc::new(RefCell::new(Vec::new()));
    let begin = lp.time();
    let delays = [7, 3, 9, 1, 8, 2, 6, 4, 5, 10];
    for delay in delays {
        let order = order.clone();
        lp.call_at(begin + ms(delay), move || order.borrow_mut().push(delay))?;
    }
    block_for(ms(12));
    run_once(&lp)?;
    ensure_eq!(*order.borrow(), (1..=10).collect::<Vec<_>>(), "ten timers, all due at once");
    Ok(())
}

fn due_during_a_callback_means_the_next_iteration(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        // Not before: it must not be due when the iteration begins.
        let timer = inner.call_later(ms(5), log.pusher("timer"));
        block_for(ms(20));
        log.push(if timer.is_ok() { "long callback" } else { "no timer" });
    })?;
    lp.call_soon(trace.pusher("same batch"))?;
    run_once(&lp)?;
    trace.expect(["long callback", "same batch"])?;
    run_once(&lp)?;
    trace.expect(["timer"])
}

fn equal_deadlines_run_in_creation_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let order = Rc::new(RefCell::new(Vec::new()));
    let when = lp.time() + ms(5);
    let mut cancelled = Vec::new();
    for number in 0..200 {
        let order = order.clone();
        let timer = lp.call_at(when, move || order.borrow_mut().push(number))?;
        // Holes must not change the order of the others.
        if number % 3 == 0 {
            cancelled.push(timer);
        }
    }
    cancelled.iter().for_each(TimerHandle::cancel);
    block_for(ms(6));
    run_once(&lp)?;
    let expected: Vec<_> = (0..200).filter(|number| number % 3 != 0).collect();
    ensure_eq!(*order.borrow(), expected, "timers with one deadline");
    Ok(())
}

fn zero_is_the_next_iteration(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    lp.call_later(Duration::ZERO, trace.pusher("before the run"))?;
    trace.expect([])?;
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        let timer = inner.call_later(Duration::ZERO, log.pusher("from a callback"));
        log.push(if timer.is_ok() { "callback" } else { "refused" });
    })?;
    run_once(&lp)?;
    trace.expect_in_any_order(["before the run", "callback"])?;
    run_once(&lp)?;
    trace.expect(["from a callback"])
}

fn the_past_is_the_next_iteration(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        block_for(ms(2));
        let _ = inner.call_at(inner.time() - ms(1), log.pusher("a while ago"));
        let _ = inner.call_at(LoopInstant::from_nanos(0), log.pusher("long ago"));
        log.push("callback");
    })?;
    run_once(&lp)?;
    trace.expect(["callback"])?;
    run_once(&lp)?;
    trace.expect(["long ago", "a while ago"])
}

fn zero_can_be_cancelled(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let zero = lp.call_later(Duration::ZERO, trace.pusher("zero"))?;
    let past = lp.call_at(LoopInstant::from_nanos(1), trace.pusher("past"))?;
    ensure_eq!(past.when(), LoopInstant::from_nanos(1), "the deadline of a timer in the past");
    zero.cancel();
    past.cancel();
    ensure!(zero.cancelled() && past.cancelled(), "cancelled() is false after cancel()");
    run_times(&lp, 3)?;
    trace.expect([])?;
    // Also when it is due already and waits in the ready queue of this very batch.
    let late = Rc::new(RefCell::new(None));
    let theirs = late.clone();
    lp.call_soon(move || {
        if let Some(timer) = theirs.take() {
            TimerHandle::cancel(&timer);
        }
    })?;
    *late.borrow_mut() = Some(lp.call_later(Duration::ZERO, trace.pusher("late"))?);
    run_times(&lp, 3)?;
    ensure!(trace.count("late") <= 1, "a timer ran twice");
    Ok(())
}

fn due_timers_of_timers_wait_for_the_next_iteration(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_later(Duration::ZERO, move || {
        log.push("first");
        let _ = inner.call_later(Duration::ZERO, log.pusher("zero"));
        let _ = inner.call_at(LoopInstant::from_nanos(0), log.pusher("past"));
    })?;
    run_once(&lp)?;
    trace.expect(["first"])?;
    run_once(&lp)?;
    trace.expect(["past", "zero"])
}

fn both_run_in_either_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        let _ = inner.call_soon(log.pusher("soon"));
        let _ = inner.call_later(Duration::ZERO, log.pusher("later"));
    })?;
    run_times(&lp, 2)?;
    trace.expect_in_any_order(["later", "soon"])
}

fn cancelling_prevents_and_frees(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let freed = Counter::new();
    let (token, log) = (freed.token(), trace.clone());
    let when = lp.time() + ms(5);
    let timer = lp.call_at(when, move || {
        token.keep();
        log.push("cancelled, but called");
    })?;
    ensure!(!timer.cancelled(), "cancelled() is true before cancel()");
    timer.cancel();
    ensure_eq!(freed.get(), 1, "closures freed by cancel()");
    ensure!(timer.cancelled(), "cancelled() is false after cancel()");
    ensure_eq!(timer.when(), when, "the deadline after cancel()");
    block_for(ms(6));
    run_times(&lp, 2)?;
    ensure_eq!(timer.when(), when, "the deadline later on");
    trace.expect([])
}

/// Cancels `victims` again and again, then sees whether other timers still fire, once and in order.
fn bookkeeping_is_intact(lp: &LoopRef, victims: &[TimerHandle]) -> Outcome {
    let order = Rc::new(RefCell::new(Vec::new()));
    let begin = lp.time();
    let mut gone = Vec::new();
    for number in 0..150_u64 {
        let order = order.clone();
        let delay = Duration::from_micros(number * 10);
        let timer = lp.call_at(begin + delay, move || order.borrow_mut().push(number))?;
        if number % 10 == 0 {
            gone.push(timer);
        }
    }
    for _ in 0..100 {
        victims.iter().chain(&gone).for_each(TimerHandle::cancel);
    }
    block_for(ms(2));
    run_times(lp, 3)?;
    let expected: Vec<_> = (0..150).filter(|number| number % 10 != 0).collect();
    ensure_eq!(*order.borrow(), expected, "the other timers");
    Ok(())
}

fn cancelling_a_fired_timer_changes_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let fired =
        (0..5).map(|_| lp.call_later(Duration::ZERO, || ())).collect::<Result<Vec<_>, _>>()?;
    run_times(&lp, 2)?;
    bookkeeping_is_intact(&lp, &fired)?;
    ensure!(
        !fired.iter().any(TimerHandle::cancelled),
        "cancelled() is true for a timer that had fired"
    );
    Ok(())
}

fn cancelling_twice_changes_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let pending = (0..5).map(|_| lp.call_later(FAR, || ())).collect::<Result<Vec<_>, _>>()?;
    bookkeeping_is_intact(&lp, &pending)?;
    bookkeeping_is_intact(&lp, &pending)
}

/// The memory of this process, in bytes.
fn memory() -> Result<usize, Failure> {
    let statm = std::fs::read_to_string("/proc/self/statm")
        .map_err(|error| Failure::skip(format!("the system does not tell: {error}")))?;
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    Ok(pages.unwrap_or(0) * rustix::param::page_size())
}

fn cancelled_timers_do_not_pile_up(cx: &Context) -> Outcome {
    const ROUNDS: usize = 200;
    const TIMERS: usize = 2000;
    let lp = cx.new_loop()?;
    let live = (0..100).map(|_| lp.call_later(FAR, || ())).collect::<Result<Vec<_>, _>>()?;
    let round = || {
        for _ in 0..TIMERS {
            lp.call_later(FAR, || ())?.cancel();
        }
        run_once(&lp)
    };
    round()?;
    let before = memory()?;
    (0..ROUNDS).try_for_each(|_| round())?;
    let grown = memory()?.saturating_sub(before);
    // Kept, they would be 400,000 times the size of a deadline and a pointer at the least.
    ensure!(grown < ROUNDS * TIMERS * 16 / 2, "{} timers left {grown} bytes", ROUNDS * TIMERS);
    ensure!(!live.iter().any(TimerHandle::cancelled), "a timer was cancelled by others");
    Ok(())
}

fn a_cancelled_timer_wakes_nobody(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    run_for(&lp, ms(10))?;
    let begin = lp.time();
    for number in 1..=50 {
        lp.call_at(begin + ms(2 * number), || ())?.cancel();
    }
    let before = sleeps();
    run_for(&lp, ms(120))?;
    let (Some(before), Some(after)) = (before, sleeps()) else {
        return Err(Failure::skip("the system does not tell how often a thread sleeps"));
    };
    let slept = after - before;
    ensure!(slept < 25, "one sleep of 120 ms was interrupted: {slept} sleeps");
    Ok(())
}

fn long_delays_are_legal(cx: &Context) -> Outcome {
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

fn an_infinite_delay_never_ends(cx: &Context) -> Outcome {
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

fn a_loop_with_far_timers_sleeps(cx: &Context) -> Outcome {
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

fn huge_delays_saturate(cx: &Context) -> Outcome {
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
fn fractions_of_a_millisecond_are_slept(cx: &Context) -> Outcome {
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

fn tiny_delays_take_few_iterations(cx: &Context) -> Outcome {
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

fn deadlines_are_exact_after_centuries(cx: &Context) -> Outcome {
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

fn a_delay_cannot_be_nan(cx: &Context) -> Outcome {
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

fn stop_does_not_wait(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let timer = lp.call_later(FAR, trace.pusher("far"))?;
    let inner = lp.clone();
    lp.call_soon(move || inner.stop())?;
    lp.run_forever()?;
    ensure!(timer.is_pending(), "the timer is not pending any more");
    trace.expect([])
}

fn close_does_not_wait(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let freed = Counter::new();
    let token = freed.token();
    lp.call_later(FAR, move || token.keep())?;
    lp.close()?;
    ensure_eq!(freed.get(), 1, "closures of timers freed by close()");
    Ok(())
}

fn run_until_complete_does_not_wait(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let timer = lp.call_later(FAR, || ())?;
    ensure_eq!(lp.run_until_complete(async { 5 })?, 5, "the value");
    ensure!(timer.is_pending(), "the timer is not pending any more");
    Ok(())
}

fn late_but_each_once(cx: &Context) -> Outcome {
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

fn an_earlier_timer_shortens_the_sleep(cx: &Context) -> Outcome {
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
