//! Timers.

mod cancelling;
mod sleeping;

use self::cancelling::*;
use self::sleeping::*;
use super::prelude::*;

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
