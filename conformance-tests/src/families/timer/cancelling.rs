//! Timers that are cancelled.

use crate::families::prelude::*;
use crate::tools::sleeps;

pub(super) fn cancelling_prevents_and_frees(cx: &Context) -> Outcome {
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

pub(super) fn cancelling_a_fired_timer_changes_nothing(cx: &Context) -> Outcome {
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

pub(super) fn cancelling_twice_changes_nothing(cx: &Context) -> Outcome {
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

pub(super) fn cancelled_timers_do_not_pile_up(cx: &Context) -> Outcome {
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

pub(super) fn a_cancelled_timer_wakes_nobody(cx: &Context) -> Outcome {
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
