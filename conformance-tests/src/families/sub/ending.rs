//! Signals, closing, reaping.

use std::process::Command as Std;

use rustix::process::{Signal, WaitOptions, kill_process, waitpid};

use super::*;
use crate::tools::{Dispositions, SIGCHLD, SIGTERM, SIGUSR1};

const SIGKILL: i32 = 9;

/// Ends a child behind the loop's back.
fn end(pid: Pid) -> Outcome {
    kill_process(pid, Signal::USR1)?;
    until_ended(pid)
}

pub(super) fn who_was_waited_for_is_reaped(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for _ in 0..20 {
        run_child(&lp, output_of("echo x"))?;
        no_children()?;
    }
    Ok(())
}

pub(super) fn who_was_closed_is_reaped(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for _ in 0..10 {
        let (transport, recorder) = start(&lp, piped("sleep 60"))?;
        transport.close();
        lp.run_until_done(&recorder.over)?;
        no_children()?;
    }
    Ok(())
}

pub(super) fn nobody_waits_and_it_is_reaped(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    drop(start(&lp, Command::shell("exit 1"))?);
    // The loop is merely alive.
    until_childless(&lp)
}

pub(super) fn five_hundred_at_once(cx: &Context) -> Outcome {
    const MANY: usize = 500;
    let lp = cx.new_loop()?;
    let mut started = Vec::new();
    for number in 0..MANY {
        // None of them ends before all of them run.
        let command = Command::shell(format!("read go; exit {}", number % 200)).stdin(Stdio::Pipe);
        started.push(start(&lp, command)?);
    }
    for (transport, _) in &started {
        if let Some(stdin) = transport.get_pipe_transport(0) {
            stdin.write("go\n")?;
        }
    }
    for (number, (transport, recorder)) in started.iter().enumerate() {
        lp.run_until_done(&recorder.over)?;
        let code = transport.get_returncode();
        ensure_eq!(code, Some((number % 200) as i32), "the return code of child {number}");
    }
    no_children()
}

pub(super) fn another_childs_status_is_left_alone(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let before = Dispositions::now()?;
    // Theirs has ended before ours begins, and is a zombie all the while.
    let mut theirs = Std::new("sh").args(["-c", "exit 9"]).spawn()?;
    until_ended(Pid::from_child(&theirs))?;
    let (code, _) = run_child(&lp, Command::shell("exit 3"))?;
    let (transport, recorder) = start(&lp, Command::shell("sleep 60"))?;
    ensure_eq!(
        Dispositions::now()?.caught & !(1 << (SIGCHLD - 1)),
        before.caught,
        "signals caught"
    );
    transport.close();
    lp.run_until_done(&recorder.over)?;
    run_for(&lp, ms(10))?;
    ensure_eq!(code, 3, "the return code of our child");
    ensure_eq!(theirs.wait()?.code(), Some(9), "the status of somebody else's child");
    Ok(())
}

/// The one of another loop is nobody's whom this loop could know.
pub(super) fn a_handler_of_their_end_is_left_alone(cx: &Context) -> Outcome {
    let (lp, other) = (cx.new_loop()?, cx.new_loop()?);
    let calls = Counter::new();
    match other.add_signal_handler(SIGCHLD, calls.each()) {
        Err(Error::Usage(_)) => return Err(Failure::skip("SIGCHLD is reserved (SIG-13)")),
        added => added?,
    }
    let before = Dispositions::now()?;
    for round in 1..=3 {
        let (code, _) = run_child(&lp, Command::shell(format!("exit {round}")))?;
        ensure_eq!(code, round, "the return code");
        run_times(&other, 4)?;
        ensure!(calls.get() >= round as usize, "{} calls for {round} children", calls.get());
        ensure_eq!(Dispositions::now()?, before, "dispositions after {round} children");
    }
    lp.close()?;
    ensure_eq!(Dispositions::now()?, before, "dispositions after close()");
    Ok(())
}

pub(super) fn a_stolen_status_is_255_with_a_warning(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (transport, recorder) = start(&lp, Command::shell("read go; exit 3").stdin(Stdio::Pipe))?;
    // The loop does not run meanwhile.
    transport.get_pipe_transport(0).map(|stdin| stdin.write("go\n")).transpose()?;
    waitpid(Some(pid(&transport)?), WaitOptions::empty())?;
    lp.run_until_done(&recorder.over)?;
    ensure_eq!(transport.get_returncode(), Some(255), "the return code");
    recorder.trace.expect_in_any_order(["made", "end 0", "exited", "lost None"])?;
    reports.one().map(drop)
}

pub(super) fn children_of_another_threads_loop(cx: &Context) -> Outcome {
    let factory = cx.factory();
    let work = move || -> Outcome {
        let lp = factory.new_loop()?;
        let (code, recorder) = run_child(&lp, output_of("echo here; exit 5"))?;
        ensure_eq!((code, recorder.output(1)), (5, "here\n".into()), "what the child did");
        let (transport, recorder) = start(&lp, Command::shell("sleep 60"))?;
        transport.kill()?;
        lp.run_until_done(&recorder.over)?;
        ensure_eq!(transport.get_returncode(), Some(-SIGKILL), "the return code");
        Ok(lp.close()?)
    };
    join(thread::spawn(work.clone()))??;
    // Two at a time, each with children of its own.
    let threads = [thread::spawn(work.clone()), thread::spawn(work)];
    threads.into_iter().try_for_each(|thread| join(thread)?)?;
    no_children()
}

pub(super) fn signals_reach_the_child(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for (number, send) in [
        (SIGTERM, SubprocessTransport::terminate as fn(&SubprocessTransport) -> _),
        (SIGKILL, SubprocessTransport::kill),
        (SIGUSR1, |transport| transport.send_signal(SIGUSR1)),
    ] {
        let (transport, recorder) = start(&lp, Command::shell("exec sleep 60"))?;
        send(&transport)?;
        lp.run_until_done(&recorder.over)?;
        ensure_eq!(transport.get_returncode(), Some(-number), "the return code");
    }
    // One that is caught: the child goes on.
    let line = "trap 'echo caught; exit 6' USR1; echo ready; while :; do sleep 0.01; done";
    let (transport, recorder) = start(&lp, output_of(line))?;
    let (seen, inner) = (recorder.clone(), lp.clone());
    every_iteration(&lp, move |_| {
        let ready = seen.output(1).contains("ready");
        if ready {
            inner.stop();
        }
        !ready
    })?;
    lp.run_forever()?;
    transport.send_signal(SIGUSR1)?;
    lp.run_until_done(&recorder.over)?;
    ensure_eq!(recorder.output(1), "ready\ncaught\n", "the output");
    ensure_eq!(transport.get_returncode(), Some(6), "the return code");
    Ok(())
}

pub(super) fn too_late_is_no_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (transport, recorder) = start(&lp, piped("exec sleep 60"))?;
    // It has ended, and the loop does not know.
    end(pid(&transport)?)?;
    transport.terminate()?;
    transport.kill()?;
    let late = Rc::new(RefCell::new(None));
    let (theirs, seen) = (late.clone(), recorder.clone());
    every_iteration(&lp, move |_| {
        // Now the loop knows, but not everything is over.
        let code = seen.transport.borrow().as_ref().and_then(SubprocessTransport::get_returncode);
        if code.is_some() && !seen.over.done() {
            *theirs.borrow_mut() = seen.transport.borrow().as_ref().map(SubprocessTransport::kill);
        }
        code.is_none()
    })?;
    lp.run_until_done(&recorder.over)?;
    ensure_eq!(transport.get_returncode(), Some(-SIGUSR1), "the return code");
    if let Some(late) = late.borrow_mut().take() {
        ensure_is!(late, Ok(()));
    }
    Ok(())
}

pub(super) fn afterwards_it_is_gone(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (transport, recorder) = start(&lp, Command::shell("exit 0"))?;
    lp.run_until_done(&recorder.over)?;
    ensure_is!(transport.send_signal(SIGUSR1), Err(Error::ProcessGone(_)));
    ensure_is!(transport.terminate(), Err(Error::ProcessGone(_)));
    ensure_is!(transport.kill(), Err(Error::ProcessGone(_)));
    ensure!(transport.get_pid() > 0 && transport.is_closing(), "the handle forgot its child");
    transport.close();
    ensure_eq!(transport.get_returncode(), Some(0), "the return code");
    Ok(())
}

pub(super) fn bad_numbers_are_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (transport, recorder) = start(&lp, Command::shell("exec sleep 60"))?;
    for number in [-1, 1000, i32::MIN] {
        ensure_is!(transport.send_signal(number), Err(Error::InvalidArg(_)));
    }
    run_for(&lp, ms(10))?;
    ensure_eq!(transport.get_returncode(), None, "the return code after refused signals");
    transport.close();
    Ok(lp.run_until_done(&recorder.over)?)
}

pub(super) fn no_signal_asks_whether_it_is_there(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (transport, recorder) = start(&lp, Command::shell("exec sleep 60"))?;
    transport.send_signal(0)?;
    run_for(&lp, ms(10))?;
    ensure_eq!(transport.get_returncode(), None, "the return code after no signal");
    transport.kill()?;
    // Whether the loop knows of its end already or not.
    transport.send_signal(0)?;
    lp.run_until_done(&recorder.over)?;
    ensure_eq!(transport.get_returncode(), Some(-SIGKILL), "the return code");
    ensure_is!(transport.send_signal(0), Err(Error::ProcessGone(_)));
    Ok(())
}

pub(super) fn close_kills_what_runs(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (transport, recorder) = start(&lp, piped("trap '' TERM; exec sleep 60"))?;
    ensure!(!transport.is_closing(), "closing already");
    transport.close();
    transport.close();
    ensure!(transport.is_closing(), "not closing after close()");
    lp.run_until_done(&recorder.over)?;
    transport.close();
    ensure_eq!(transport.get_returncode(), Some(-SIGKILL), "the return code");
    let events = recorder.trace.take();
    for event in ["end 0", "end 1", "end 2", "exited", "lost None"] {
        ensure_eq!(events.iter().filter(|seen| *seen == event).count(), 1, "{event} in {events:?}");
    }
    ensure_eq!(events.last().map(|event| &**event), Some("lost None"), "the last event");
    Ok(())
}

pub(super) fn close_lets_go_of_grandchildren(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    // Whoever is not killed holds the pipes.
    let (transport, recorder) = start(&lp, piped("sleep 60 & echo $!; wait"))?;
    let (seen, inner) = (recorder.clone(), lp.clone());
    every_iteration(&lp, move |_| {
        let told = seen.output(1).ends_with('\n');
        if told {
            inner.stop();
        }
        !told
    })?;
    lp.run_forever()?;
    transport.close();
    lp.run_until_done(&recorder.over)?;
    let grandchild = Pid::from_raw(recorder.output(1).trim().parse()?);
    let grandchild = grandchild.ok_or_else(|| Failure::new("a grandchild without a number"))?;
    kill_process(grandchild, Signal::KILL)?;
    ensure_eq!(transport.get_returncode(), Some(-SIGKILL), "the return code");
    Ok(())
}

pub(super) fn close_does_not_signal_the_dead(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (transport, recorder) = start(&lp, piped("exec sleep 60"))?;
    end(pid(&transport)?)?;
    transport.close();
    transport.close();
    lp.run_until_done(&recorder.over)?;
    let code = transport.get_returncode();
    ensure_eq!(code, Some(-SIGUSR1), "the return code of a child that had ended");
    Ok(())
}

pub(super) fn a_dropped_creation_leaves_nothing(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for command in [Command::shell("exec sleep 60"), piped("exec sleep 60")] {
        let (inner, recorder) = (lp.clone(), Recorder::new(&lp));
        lp.run_until_complete(async move {
            let mut creating = Box::pin(inner.subprocess_shell(move || recorder, command));
            std::future::poll_fn(|cx| {
                let _ = creating.as_mut().poll(cx);
                std::task::Poll::Ready(())
            })
            .await;
        })?;
        let inner = lp.clone();
        every_iteration(&lp, move |_| {
            let kept = inner.describe().contains("<Subprocess");
            if !kept {
                inner.stop();
            }
            kept
        })?;
        lp.run_forever()?;
        no_children()?;
    }
    Ok(())
}

pub(super) fn cancelled_creation_leaves_no_child(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let made = Counter::new();
    // After each number of iterations until it succeeds, with a first one that never gets so far.
    for iterations in 0..20 {
        let recorder = Recorder::new(&lp);
        let trace = recorder.trace.clone();
        let task = lp.create_task(lp.subprocess_shell(move || recorder, piped("exec sleep 60")))?;
        run_times(&lp, iterations)?;
        if task.done() {
            let (transport, recorder) = task.take_result()??;
            transport.close();
            lp.run_until_done(&recorder.over)?;
            ensure!(made.get() > 0, "it was never cancelled in time");
            return reports.none();
        }
        task.cancel();
        ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
        made.add();
        until_childless(&lp)?;
        ensure_eq!(trace.count("exited"), trace.count("made"), "exits told");
    }
    Err(Failure::new("a child takes more than 20 iterations to be made"))
}

pub(super) fn closing_the_loop_does_not_wait(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (transport, recorder) = start(&lp, piped("exec sleep 60"))?;
    let child = pid(&transport)?;
    let begin = Instant::now();
    lp.close()?;
    let took = begin.elapsed();
    ensure!(took < ms(5000), "close() took {took:?} with a running child");
    recorder.trace.expect(["made"])?;
    reports.none()?;
    // Whether the loop has killed it is the loop's business; it must not be left by us.
    let _ = kill_process(child, Signal::KILL);
    let _ = waitpid(Some(child), WaitOptions::empty());
    wait_until("the child to be gone", || children().is_ok_and(|children| children.is_empty()))
}

pub(super) fn a_late_exit_is_ignored(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let mut started = Vec::new();
    for _ in 0..5 {
        started.push(start(&lp, piped("read go"))?);
    }
    // They end, each at another moment of the loop's end.
    for (transport, _) in &started {
        transport.get_pipe_transport(0).map(|stdin| stdin.write("go\n")).transpose()?;
    }
    lp.close()?;
    for (transport, recorder) in &started {
        let _ = waitpid(Some(pid(transport)?), WaitOptions::empty());
        recorder.trace.expect(["made"])?;
        ensure!(!recorder.over.done(), "told that it is over by a closed loop");
    }
    wait_until("the children to be gone", || children().is_ok_and(|children| children.is_empty()))?;
    reports.none()
}
