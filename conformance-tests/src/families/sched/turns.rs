//! Nobody is kept waiting by those who are always ready.

use crate::families::prelude::*;
use crate::tools::{SIGUSR1, Trace, on_readable, raise, socket_pair};

/// The next iteration is the next one of the operating system too: what arrived meanwhile was seen
/// before the later handle ran. (Within 64 callbacks: a loop may skip polls while it is busy.)
pub(super) fn the_system_is_polled_in_between(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.poll_every_iteration(true))?;
    let trace = cx.trace();
    let (near, far) = socket_pair()?;
    on_readable(&lp, &near, trace.pusher("input"))?;
    let (inner, log) = (lp.clone(), trace.clone());
    lp.call_soon(move || {
        let sent = std::io::Write::write(&mut &far, b"x");
        log.push(if sent.is_ok() { "sent" } else { "not sent" });
        let again = inner.clone();
        // The iteration of "next" polled before it ran: "after" cannot be earlier than the input.
        let _ = inner.call_soon(move || {
            log.push("next");
            let _ = again.call_soon(log.pusher("after"));
            drop(far);
        });
    })?;
    run_times(&lp, 3)?;
    let events = trace.take();
    let at = |event: &str| events.iter().position(|found| found == event);
    ensure!(at("sent").is_some() && at("after").is_some(), "not everything ran: {events:?}");
    ensure!(at("input") < at("after") && at("input").is_some(), "input came late: {events:?}");
    Ok(())
}

/// How many callbacks may run before others get their turn, counting generously.
const TURN: usize = 1000;

pub(super) fn timers_get_their_turn(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (weak, log) = (lp.downgrade(), trace.clone());
    let due = Rc::new(Cell::new(None));
    let fired = due.clone();
    let timer = lp.call_later(ms(5), move || {
        log.push("timer");
        fired.set(None);
        if let Some(lp) = weak.upgrade() {
            lp.stop();
        }
    })?;
    let (inner, log) = (lp.clone(), trace.clone());
    every_iteration(&lp, move |number| {
        if inner.time() >= timer.when() && timer.is_pending() {
            let since = due.get().unwrap_or(number);
            due.set(Some(since));
            if number > since + TURN {
                log.push("starved");
                inner.stop();
            }
        }
        true
    })?;
    lp.run_forever()?;
    trace.expect(["timer"])
}

pub(super) fn other_threads_get_their_turn(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let arrived = Counter::new();
    let (remote, adder) = (lp.remote(), arrived.adder());
    let called = Counter::new();
    let thread = {
        let called = called.clone();
        thread::spawn(move || {
            let result = remote.call_soon_threadsafe(adder);
            called.add();
            result.map(drop)
        })
    };
    let (inner, log) = (lp.clone(), trace.clone());
    let mut since = None;
    every_iteration(&lp, move |number| {
        let over = if arrived.get() > 0 {
            Some("arrived")
        } else {
            let begin = if called.get() > 0 { *since.get_or_insert(number) } else { number };
            (number > begin + TURN).then_some("starved")
        };
        if let Some(event) = over {
            log.push(event);
            inner.stop();
        }
        over.is_none()
    })?;
    lp.run_forever()?;
    join(thread)??;
    trace.expect(["arrived"])
}

/// How many slow callbacks may run before a timer that is due; a loop may look at its clock now and then.
const SLOW_TURN: usize = 20;

pub(super) fn slow_callbacks_let_timers_in(cx: &Context) -> Outcome {
    for quick in [0, 100] {
        let lp = cx.new_loop()?;
        let (fired, slow) = (Counter::new(), Counter::new());
        let (inner, seen, ran) = (lp.clone(), fired.clone(), slow.clone());
        every_iteration(&lp, move |number| {
            if number <= quick {
                return true;
            }
            if number == quick + 1 && inner.call_later(ms(1), seen.adder()).is_err() {
                inner.stop();
            }
            if seen.get() > 0 || ran.get() > SLOW_TURN {
                inner.stop();
                return false;
            }
            ran.add();
            let until = inner.time() + ms(2);
            while inner.time() < until {}
            true
        })?;
        lp.run_forever()?;
        let ran = slow.get();
        ensure!(
            ran <= SLOW_TURN,
            "after {quick} quick callbacks, {ran} of 2 ms ran before a timer"
        );
        ensure_eq!(fired.get(), 1, "the timer");
    }
    Ok(())
}

pub(super) fn input_gets_its_turn(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (near, far) = socket_pair()?;
    let (inner, log) = (lp.clone(), trace.clone());
    on_readable(&lp, &near, move || {
        log.push("input");
        inner.stop();
    })?;
    busy_while(&lp, &trace, move || drop(std::io::Write::write(&mut &far, b"x")))?;
    trace.expect(["input"])
}

/// Runs the loop, which is busy all the time, until it is stopped; what `happens` has its turn.
fn busy_while(lp: &LoopRef, trace: &Trace, mut happens: impl FnMut() + 'static) -> Outcome {
    let (inner, log) = (lp.clone(), trace.clone());
    every_iteration(lp, move |number| {
        if number == 10 {
            happens();
        }
        if number > 10 + TURN {
            log.push("starved");
            inner.stop();
        }
        number <= 10 + TURN
    })?;
    Ok(lp.run_forever()?)
}

pub(super) fn signals_get_their_turn(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    lp.add_signal_handler(SIGUSR1, move || {
        log.push("signal");
        inner.stop();
    })?;
    busy_while(&lp, &trace, || drop(raise(SIGUSR1)))?;
    trace.expect(["signal"])
}

pub(super) fn ready_work_is_not_kept_waiting(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.call_later(FAR, || ())?;
    let begin = Instant::now();
    stop_after(&lp, 5000)?;
    lp.run_forever()?;
    // A poll that waits even a millisecond would make this five seconds.
    let took = begin.elapsed();
    ensure!(took < ms(4000), "5000 iterations with work in each took {took:?}");
    Ok(())
}
