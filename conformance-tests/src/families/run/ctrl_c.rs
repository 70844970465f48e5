//! Ctrl-C while a runner runs.

use std::process::{Command, Stdio};

use anyloop::Runner;
use anyloop_api::{catch_cancel, on_cancel, sleep};

use super::super::prelude::*;
use super::runner;
use crate::child;
use crate::tools::{Dispositions, SIGINT, Trace, raise};

cases! {
    RUN_09 => the_first_one_cancels_main, main_may_clean_up_at_length, main_may_refuse;
    RUN_10 => the_second_one_interrupts_at_once, also_a_clean_up;
    RUN_11 => cancelled_for_another_reason_too;
    RUN_12 => a_blocked_loop_wakes_up, removed_afterwards, removed_when_a_panic_leaves,
        not_on_another_thread,
        an_ignored_signal_stays_ignored, a_handler_of_the_application_stays;
}

/// A program in the background of a shell ignores Ctrl-C from the start; here it is as in the
/// foreground, where it ends the process (SIG-06).
fn in_the_foreground(cx: &Context) -> Result<(), Failure> {
    let lp = cx.new_loop()?;
    lp.add_signal_handler(SIGINT, || {})?;
    lp.remove_signal_handler(SIGINT)?;
    lp.close()?;
    ensure!(Dispositions::now()?.leaves(SIGINT), "SIGINT does not end the process");
    Ok(())
}

/// Presses Ctrl-C.
fn press(trace: &Trace) {
    trace.push(if raise(SIGINT).is_ok() { "Ctrl-C" } else { "Ctrl-C fails" });
}

fn the_first_one_cancels_main(cx: &Context) -> Outcome {
    in_the_foreground(cx)?;
    let trace = cx.trace();
    let mut runner = runner(cx);
    let log = trace.clone();
    let outcome = runner.run(async move {
        press(&log);
        sleep(FAR).await;
        log.push("not cancelled");
    });
    ensure_is!(outcome, Err(Error::Interrupt(_)));
    trace.expect(["Ctrl-C"])?;
    // It was for that run only.
    ensure_is!(runner.run(async { 1 }), Ok(1));
    Ok(runner.close()?)
}

fn removed_when_a_panic_leaves(cx: &Context) -> Outcome {
    in_the_foreground(cx)?;
    let trace = cx.trace();
    let mut runner = runner(cx);
    runner.get_loop()?.state().set_resume_panics(true);
    let run = std::panic::AssertUnwindSafe(|| runner.run(async { panic!("out of the run") }));
    ensure!(std::panic::catch_unwind(run).is_err(), "the panic has not left the run");
    ensure!(Dispositions::now()?.leaves(SIGINT), "SIGINT is still handled");
    // The next run has a hook of its own.
    let log = trace.clone();
    let outcome = runner.run(async move {
        press(&log);
        on_cancel(sleep(FAR), || async move { log.push("clean") }).await;
    });
    ensure_is!(outcome, Err(Error::Interrupt(_)));
    trace.expect(["Ctrl-C", "clean"])?;
    Ok(runner.close()?)
}

fn main_may_clean_up_at_length(cx: &Context) -> Outcome {
    in_the_foreground(cx)?;
    let trace = cx.trace();
    let mut runner = runner(cx);
    let log = trace.clone();
    let outcome = runner.run(async move {
        press(&log);
        on_cancel(sleep(FAR), || async move {
            log.push("cleaning up");
            sleep(ms(5)).await;
            log.push("clean");
        })
        .await;
    });
    ensure_is!(outcome, Err(Error::Interrupt(_)));
    trace.expect(["Ctrl-C", "cleaning up", "clean"])?;
    Ok(runner.close()?)
}

fn main_may_refuse(cx: &Context) -> Outcome {
    in_the_foreground(cx)?;
    let trace = cx.trace();
    let mut runner = runner(cx);
    let log = trace.clone();
    let outcome = runner.run(async move {
        press(&log);
        let refused = catch_cancel(sleep(FAR)).await.is_err();
        sleep(ms(1)).await;
        refused
    });
    ensure_is!(outcome, Ok(true));
    Ok(runner.close()?)
}

fn the_second_one_interrupts_at_once(cx: &Context) -> Outcome {
    in_the_foreground(cx)?;
    let trace = cx.trace();
    let mut runner = runner(cx);
    let log = trace.clone();
    let outcome = runner.run(async move {
        press(&log);
        let _ = catch_cancel(sleep(FAR)).await;
        log.push("no, thanks");
        press(&log);
        let end = catch_cancel(sleep(FAR)).await;
        log.push(if end.is_err() { "cancelled at the end" } else { "slept" });
    });
    ensure_is!(outcome, Err(Error::Interrupt(_)));
    // Main was not asked again.
    trace.expect(["Ctrl-C", "no, thanks", "Ctrl-C"])?;
    runner.close()?;
    trace.expect(["cancelled at the end"])
}

fn also_a_clean_up(cx: &Context) -> Outcome {
    in_the_foreground(cx)?;
    let trace = cx.trace();
    let mut runner = runner(cx);
    let log = trace.clone();
    let outcome = runner.run(async move {
        press(&log);
        on_cancel(sleep(FAR), || async move {
            press(&log);
            sleep(FAR).await;
            log.push("clean");
        })
        .await;
    });
    ensure_is!(outcome, Err(Error::Interrupt(_)));
    trace.expect(["Ctrl-C", "Ctrl-C"])?;
    Ok(runner.close()?)
}

fn cancelled_for_another_reason_too(cx: &Context) -> Outcome {
    in_the_foreground(cx)?;
    let trace = cx.trace();
    let mut runner = runner(cx);
    let log = trace.clone();
    let outcome = runner.run(async move {
        let main = current_task();
        press(&log);
        on_cancel(sleep(FAR), || async move {
            let cancelled = main.is_some_and(|main| main.cancel());
            log.push(if cancelled { "cancelled" } else { "not cancelled" });
            sleep(FAR).await;
        })
        .await;
    });
    ensure_is!(outcome, Err(Error::Cancelled(_)));
    trace.expect(["Ctrl-C", "cancelled"])?;
    Ok(runner.close()?)
}

fn a_blocked_loop_wakes_up(cx: &Context) -> Outcome {
    in_the_foreground(cx)?;
    let mut runner = runner(cx);
    let busy = cpu_time();
    let thread = thread::spawn(move || {
        thread::sleep(ms(200));
        raise(SIGINT)
    });
    ensure_is!(runner.run(sleep(FAR)), Err(Error::Interrupt(_)));
    let busy = cpu_time() - busy;
    join(thread)??;
    ensure!(busy < ms(100), "200 ms with nothing to do took {busy:?} of processor time");
    Ok(runner.close()?)
}

fn removed_afterwards(cx: &Context) -> Outcome {
    in_the_foreground(cx)?;
    let mut runner = runner(cx);
    let during = runner.run(async { Dispositions::now() })??;
    ensure!(during.catches(SIGINT), "not installed during a run");
    ensure!(Dispositions::now()?.leaves(SIGINT), "installed after a run");
    let log = cx.trace();
    let outcome = runner.run(async move {
        press(&log);
        sleep(FAR).await;
    });
    ensure_is!(outcome, Err(Error::Interrupt(_)));
    ensure!(Dispositions::now()?.leaves(SIGINT), "installed after an interrupted run");
    runner.close()?;
    ensure!(Dispositions::now()?.leaves(SIGINT), "installed after the end");
    Ok(())
}

fn not_on_another_thread(cx: &Context) -> Outcome {
    in_the_foreground(cx)?;
    let factory = cx.factory();
    let work = move || -> Outcome {
        let mut runner = Runner::new().loop_factory(move || factory.new_loop());
        let during = runner.run(async { Dispositions::now() })??;
        ensure!(during.leaves(SIGINT), "a run on another thread has taken SIGINT");
        Ok(runner.close()?)
    };
    join(thread::spawn(work))?
}

/// The environment variable of a process that was begun with SIGINT ignored, so that it begins no other.
const AGAIN: &str = "ANYLOOP_CONFORMANCE_AGAIN";

/// In a process of its own: nothing else can be asked to ignore a signal from its beginning.
fn an_ignored_signal_stays_ignored(cx: &Context) -> Outcome {
    let ignored = |now: Dispositions| !now.catches(SIGINT) && !now.leaves(SIGINT);
    if !ignored(Dispositions::now()?) {
        ensure!(std::env::var_os(AGAIN).is_none(), "the shell was asked in vain to ignore SIGINT");
        let again = Command::new("sh")
            .args(["-c", "trap '' INT; exec \"$0\""])
            .arg(std::env::current_exe()?)
            .env(AGAIN, "")
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&again.stdout);
        ensure!(again.status.code() == Some(child::PASSED), "ignoring SIGINT: {said}");
        return Ok(());
    }
    let trace = cx.trace();
    let mut runner = runner(cx);
    let log = trace.clone();
    let outcome = runner.run(async move {
        press(&log);
        // Would be seen in one of these.
        for _ in 0..100 {
            yield_now().await;
        }
        Dispositions::now()
    });
    ensure!(ignored(outcome??), "it was not ignored during the run");
    trace.expect(["Ctrl-C"])?;
    runner.close()?;
    ensure!(ignored(Dispositions::now()?), "it is not ignored afterwards");
    Ok(())
}

fn a_handler_of_the_application_stays(cx: &Context) -> Outcome {
    in_the_foreground(cx)?;
    let trace = cx.trace();
    let mut runner = runner(cx);
    let lp = runner.get_loop()?;
    // One from before the run, and one that replaces the runner's meanwhile.
    for during in [false, true] {
        let (woken, log) = (lp.create_future::<()>(), trace.clone());
        let wake = woken.clone();
        let mut mine = Some(move || {
            log.push("handler");
            wake.set_unless_done(Ok(()));
        });
        if let Some(mine) = mine.take_if(|_| !during) {
            lp.add_signal_handler(SIGINT, mine)?;
        }
        let (inner, log) = (lp.clone(), trace.clone());
        let outcome = runner.run(async move {
            if let Some(mine) = mine {
                inner.add_signal_handler(SIGINT, mine)?;
            }
            press(&log);
            woken.await
        });
        ensure_is!(outcome, Ok(Ok(())));
        trace.expect(["Ctrl-C", "handler"])?;
        ensure!(Dispositions::now()?.catches(SIGINT), "the application's handler is gone");
        ensure!(lp.remove_signal_handler(SIGINT)?, "the application's handler is gone");
    }
    drop(lp);
    Ok(runner.close()?)
}
