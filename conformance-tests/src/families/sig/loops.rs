//! Several loops, each with signals of its own.

use super::SOON;
use crate::families::prelude::*;
use crate::tools::{Dispositions, SIGUSR1, SIGUSR2, raise};

pub(super) fn another_threads_loop_gets_its_signals_or_is_refused(cx: &Context) -> Outcome {
    // That a loop is asked only on its own thread is the compiler's business.
    assert_not_impl!(LoopRef: Send);
    let before = Dispositions::now()?;
    let factory = cx.factory();
    let work = move || -> Outcome {
        let lp = factory.new_loop()?;
        let home = thread::current().id();
        let here = Rc::new(Cell::new(false));
        let (inner, theirs) = (lp.clone(), here.clone());
        let added = lp.add_signal_handler(SIGUSR1, move || {
            theirs.set(thread::current().id() == home);
            inner.stop();
        });
        match added {
            Ok(()) => {
                raise(SIGUSR1)?;
                lp.run_forever()?;
                ensure!(here.get(), "the handler ran on a foreign thread");
            }
            Err(Error::Usage(_)) => {}
            Err(error) => return Err(Failure::new(format!("neither accepted nor Usage: {error}"))),
        }
        lp.close()?;
        Ok(())
    };
    join(thread::spawn(work))??;
    ensure_eq!(Dispositions::now()?, before, "dispositions when that thread is done");
    Ok(())
}

pub(super) fn two_loops_have_their_own(cx: &Context) -> Outcome {
    let (one, two) = (cx.new_loop()?, cx.new_loop()?);
    let trace = cx.trace();
    let log = trace.clone();
    one.add_signal_handler(SIGUSR1, move || log.push("one"))?;
    let (inner, log) = (two.clone(), trace.clone());
    two.add_signal_handler(SIGUSR2, move || {
        log.push("two");
        inner.stop();
    })?;
    raise(SIGUSR1)?;
    raise(SIGUSR2)?;
    run_times(&two, SOON)?;
    trace.expect(["two"])?;
    run_times(&one, SOON)?;
    trace.expect(["one"])?;
    one.close()?;
    raise(SIGUSR2)?;
    // However many iterations that takes: the system may still be at the other loop's remains.
    two.run_forever()?;
    trace.expect(["two"])?;
    two.close()?;
    Ok(())
}

pub(super) fn one_signal_for_two_loops(cx: &Context) -> Outcome {
    let (one, two) = (cx.new_loop()?, cx.new_loop()?);
    let trace = cx.trace();
    let log = trace.clone();
    one.add_signal_handler(SIGUSR1, move || log.push("one"))?;
    let log = trace.clone();
    match two.add_signal_handler(SIGUSR1, move || log.push("two")) {
        // One owner per signal keeps them apart too.
        Err(Error::Usage(_)) => {}
        added => {
            added?;
            raise(SIGUSR1)?;
            run_times(&one, SOON)?;
            run_times(&two, SOON)?;
            trace.expect(["one", "two"])?;
            two.remove_signal_handler(SIGUSR1)?;
        }
    }
    raise(SIGUSR1)?;
    run_times(&two, SOON)?;
    trace.expect([])?;
    run_times(&one, SOON)?;
    trace.expect(["one"])?;
    one.close()?;
    ensure!(Dispositions::now()?.leaves(SIGUSR1), "SIGUSR1 is still handled");
    Ok(())
}

pub(super) fn two_threads_have_their_own(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let mine = Counter::new();
    lp.add_signal_handler(SIGUSR1, mine.each())?;
    let (factory, main) = (cx.factory(), lp.remote());
    let other = thread::spawn(move || -> Outcome {
        let lp = factory.new_loop()?;
        let calls = Counter::new();
        let (inner, theirs) = (lp.clone(), calls.clone());
        let added = lp.add_signal_handler(SIGUSR2, move || {
            theirs.add();
            inner.stop();
        });
        if !matches!(added, Err(Error::Usage(_))) {
            added?;
            for round in 1..=50 {
                raise(SIGUSR1)?;
                raise(SIGUSR2)?;
                lp.run_forever()?;
                ensure_eq!(calls.get(), round, "calls of the second thread's handler");
            }
        }
        lp.close()?;
        raise(SIGUSR1)?;
        main.stop();
        Ok(())
    });
    lp.run_forever()?;
    join(other)??;
    run_times(&lp, SOON)?;
    ensure!(mine.get() > 0, "the first thread's handler was not called");
    Ok(())
}

/// Whoever comes or goes meanwhile: who has a handler is told, and the process lives.
pub(super) fn two_threads_come_and_go(cx: &Context) -> Outcome {
    const ROUNDS: usize = 300;
    let before = Dispositions::now()?;
    let factory = cx.factory();
    let work = move || -> Outcome {
        let lp = factory.new_loop()?;
        for round in 0..ROUNDS {
            let calls = Counter::new();
            let (inner, theirs) = (lp.clone(), calls.clone());
            let added = lp.add_signal_handler(SIGUSR1, move || {
                theirs.add();
                inner.stop();
            });
            if matches!(added, Err(Error::Usage(_))) {
                break;
            }
            added?;
            raise(SIGUSR1)?;
            lp.run_forever()?;
            ensure!(calls.get() > 0, "the handler of round {round} was not called");
            ensure!(lp.remove_signal_handler(SIGUSR1)?, "the handler of round {round} is gone");
            // A call that was queued before that still comes.
            run_once(&lp)?;
        }
        Ok(lp.close()?)
    };
    let threads = [thread::spawn(work.clone()), thread::spawn(work)];
    threads.into_iter().try_for_each(|thread| join(thread)?)?;
    ensure_eq!(Dispositions::now()?, before, "dispositions when both are done");
    Ok(())
}
