//! Many signals at a time.

use super::SOON;
use crate::families::prelude::*;
use crate::tools::{SIGTERM, SIGUSR1, SIGUSR2, raise};

const FLOOD: usize = 100_000;

pub(super) fn called_after_the_last_of_a_flood(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (sent, calls) = (Counter::new(), Counter::new());
    let last = Rc::new(Cell::new(0));
    let (inner, so_far, theirs, seen) = (lp.clone(), sent.clone(), calls.clone(), last.clone());
    lp.add_signal_handler(SIGUSR1, move || {
        theirs.add();
        seen.set(so_far.get());
        if so_far.get() == FLOOD {
            inner.stop();
        }
    })?;
    let flood = thread::spawn(move || {
        for _ in 0..FLOOD {
            // Counted first: a call that follows the delivery sees at least this count.
            sent.add();
            raise(SIGUSR1)?;
        }
        Ok::<_, std::io::Error>(())
    });
    // Ends only if a call comes after the last delivery.
    lp.run_forever()?;
    join(flood)??;
    ensure_eq!(last.get(), FLOOD, "signals sent before the last call");
    ensure!(calls.get() <= FLOOD, "{} calls for {FLOOD} signals", calls.get());
    Ok(())
}

pub(super) fn a_flood_loses_no_other_signal(cx: &Context) -> Outcome {
    const OTHERS: usize = 200;
    let lp = cx.new_loop()?;
    let (floods, others) = (Counter::new(), Counter::new());
    lp.add_signal_handler(SIGUSR1, floods.each())?;
    lp.add_signal_handler(SIGUSR2, others.each())?;
    let (inner, seen) = (lp.remote(), others.clone());
    let flood = thread::spawn(move || -> Outcome {
        for round in 1..=OTHERS {
            for _ in 0..FLOOD / OTHERS / 2 {
                raise(SIGUSR1)?;
            }
            // The next one is sent only when this one was handled, so that none may merge.
            raise(SIGUSR2)?;
            for _ in 0..FLOOD / OTHERS / 2 {
                raise(SIGUSR1)?;
            }
            wait_until("a call for each of the other signals", || seen.get() == round)?;
        }
        inner.stop();
        Ok(())
    });
    lp.run_forever()?;
    join(flood)??;
    ensure_eq!(others.get(), OTHERS, "calls for the other signal");
    ensure!(floods.get() > 0, "no call at all for the flood");
    Ok(())
}

pub(super) fn every_signal_of_a_burst_is_seen(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    for (signal, name) in [(SIGUSR1, "usr1"), (SIGUSR2, "usr2"), (SIGTERM, "term")] {
        let log = trace.clone();
        lp.add_signal_handler(signal, move || log.push(name))?;
    }
    // The loop does not look meanwhile: whatever wakes it is full long before the end.
    lp.call_soon(|| {
        for _ in 0..FLOOD {
            let _ = raise(SIGUSR1);
        }
        let _ = raise(SIGUSR2);
        let _ = raise(SIGTERM);
    })?;
    run_times(&lp, 2 * SOON)?;
    trace.expect_in_any_order(["usr1", "usr2", "term"])
}
