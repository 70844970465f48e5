//! What the protocol is told, and when.

use anyloop::timeout;
use anyloop_api::Transport;

use super::*;
use crate::tools::Script;

pub(super) fn events_come_in_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (code, recorder) = run_child(&lp, piped("echo out; echo err >&2; exit 3"))?;
    ensure_eq!(code, 3, "the return code");
    check_order(&recorder)?;
    ensure_eq!(
        (recorder.output(1), recorder.output(2)),
        ("out\n".into(), "err\n".into()),
        "output"
    );
    Ok(())
}

/// Made first, lost last and once, data before the end of its pipe, everything exactly once.
fn check_order(recorder: &Recorder) -> Outcome {
    let events = recorder.trace.take();
    let at = |event: &str| events.iter().position(|seen| seen == event);
    let unique: std::collections::HashSet<_> = events.iter().collect();
    ensure_eq!(unique.len(), events.len(), "different events among {events:?}");
    ensure_eq!(events.len(), 8, "events: {events:?}");
    ensure_eq!(at("made"), Some(0), "connection_made in {events:?}");
    ensure_eq!(at("lost None"), Some(7), "connection_lost in {events:?}");
    ensure!(at("data 1") < at("end 1") && at("data 2") < at("end 2"), "data late: {events:?}");
    ensure!(at("exited").is_some() && at("end 0").is_some(), "incomplete: {events:?}");
    Ok(())
}

pub(super) fn without_pipes_too(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (code, recorder) = run_child(&lp, Command::shell("exit 7"))?;
    ensure_eq!(code, 7, "the return code");
    recorder.trace.expect(["made", "exited", "lost None"])
}

/// Does something inside `connection_made`.
struct Early(Recorder, fn(&SubprocessTransport));

impl SubprocessProtocol for Early {
    fn connection_made(&self, transport: SubprocessTransport) {
        (self.1)(&transport);
        self.0.connection_made(transport);
    }
    fn pipe_data_received(&self, fd: i32, data: &[u8]) {
        self.0.pipe_data_received(fd, data);
    }
    fn pipe_connection_lost(&self, fd: i32, error: Option<Error>) {
        self.0.pipe_connection_lost(fd, error);
    }
    fn process_exited(&self) {
        self.0.process_exited();
    }
    fn connection_lost(&self, error: Option<Error>) {
        self.0.connection_lost(error);
    }
}

pub(super) fn what_ends_inside_connection_made_is_told(cx: &Context) -> Outcome {
    fn pipe(transport: &SubprocessTransport, fd: i32, end: impl FnOnce(Transport)) {
        transport.get_pipe_transport(fd).map(end).unwrap_or_default();
    }
    let ways: [fn(&SubprocessTransport); 4] = [
        |transport| pipe(transport, 0, |stdin| stdin.close()),
        |transport| pipe(transport, 0, |stdin| drop((stdin.write("x"), stdin.write_eof()))),
        |transport| (0..2).for_each(|fd| pipe(transport, fd, |pipe| pipe.abort())),
        SubprocessTransport::close,
    ];
    for way in ways {
        let lp = cx.new_loop()?;
        let recorder = Recorder::new(&lp);
        let command = Command::shell("cat").stdin(Stdio::Pipe).stdout(Stdio::Pipe);
        let started = lp.subprocess_shell(move || Early(recorder, way), command);
        let (_, early) = lp.run_until_complete(started)??;
        let over = lp.run_until_complete(timeout(ms(5000), early.0.over.clone()))?;
        let mut events = early.0.trace.take();
        ensure!(over.is_ok(), "not over after {events:?}");
        ensure_eq!(events.pop().as_deref(), Some("lost None"), "the last");
        events.retain(|event| event != "data 1");
        events.sort();
        ensure_eq!(events, ["end 0", "end 1", "exited", "made"], "the others");
    }
    Ok(())
}

pub(super) fn nothing_comes_before_connection_made(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let recorder = Recorder::new(&lp);
    // The child ends meanwhile, and the loop could know.
    let slow = move || Early(recorder, |transport| drop(pid(transport).and_then(until_ended)));
    let started = lp.subprocess_shell(slow, output_of("echo quick"));
    let (_, slow) = lp.run_until_complete(started)??;
    lp.run_until_done(&slow.0.over)?;
    let events = slow.0.trace.take();
    ensure_eq!(events.first().map(|event| &**event), Some("made"), "the first of {events:?}");
    ensure_eq!(events.last().map(|event| &**event), Some("lost None"), "the last of {events:?}");
    ensure_eq!(slow.0.output(1), "quick\n", "the output");
    Ok(())
}

pub(super) fn a_quick_exit_loses_nothing(cx: &Context) -> Outcome {
    const SIZE: usize = 60_000;
    let lp = cx.new_loop()?;
    let (transport, recorder) = start(&lp, output_of(&format!("head -c {SIZE} /dev/zero")))?;
    // All of it fits into the pipe: the child is gone when the loop looks, or has looked already.
    if transport.get_returncode().is_none() {
        until_ended(pid(&transport)?)?;
    }
    lp.run_until_done(&recorder.over)?;
    ensure_eq!(recorder.output(1).len(), SIZE, "bytes of a child that has ended");
    ensure_eq!(transport.get_returncode(), Some(0), "the return code");
    Ok(())
}

pub(super) fn paused_output_waits(cx: &Context) -> Outcome {
    struct Paused(Recorder);
    impl SubprocessProtocol for Paused {
        fn connection_made(&self, transport: SubprocessTransport) {
            if let Some(pipe) = transport.get_pipe_transport(1) {
                pipe.pause_reading();
            }
            self.0.connection_made(transport);
        }
        fn pipe_data_received(&self, fd: i32, data: &[u8]) {
            self.0.pipe_data_received(fd, data);
        }
        fn process_exited(&self) {
            self.0.process_exited();
            // Late, so that the exit alone could have ended everything.
            let transport = self.0.transport.borrow().clone();
            if let Ok(lp) = LoopRef::current() {
                let resume = move |iteration| {
                    let pipe = transport.as_ref().and_then(|t| t.get_pipe_transport(1));
                    let late = iteration == 10;
                    pipe.filter(|_| late).inspect(|pipe| pipe.resume_reading());
                    !late
                };
                let _ = every_iteration(&lp, resume);
            }
        }
        fn connection_lost(&self, error: Option<Error>) {
            self.0.connection_lost(error);
        }
    }
    let lp = cx.new_loop()?;
    let recorder = Recorder::new(&lp);
    let started = lp.subprocess_shell(move || Paused(recorder), output_of("echo late"));
    let (_, paused) = lp.run_until_complete(started)??;
    lp.run_until_done(&paused.0.over)?;
    paused.0.trace.expect(["made", "exited", "data 1", "lost None"])?;
    ensure_eq!(paused.0.output(1), "late\n", "the output");
    Ok(())
}

pub(super) fn none_while_it_runs_then_its_status(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (transport, recorder) = start(&lp, piped("read line; exit 42"))?;
    ensure_eq!(transport.get_returncode(), None, "the return code of a running child");
    let Some(stdin) = transport.get_pipe_transport(0) else {
        return Err(Failure::new("there is no pipe to standard input"));
    };
    stdin.write("go\n")?;
    lp.run_until_done(&recorder.over)?;
    ensure_eq!(transport.get_returncode(), Some(42), "the return code");
    // Each status is told as it is.
    for status in [0, 1, 127, 255] {
        let (code, _) = run_child(&lp, Command::shell(format!("exit {status}")))?;
        ensure_eq!(code, status, "the return code of exit {status}");
    }
    Ok(())
}

pub(super) fn minus_the_signal_that_killed_it(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for (name, number) in [("TERM", 15), ("KILL", 9), ("USR1", 10)] {
        let (code, _) = run_child(&lp, Command::shell(format!("kill -{name} $$; sleep 60")))?;
        ensure_eq!(code, -number, "the return code after {name}");
    }
    Ok(())
}

pub(super) fn pipe_transports_by_number(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (transport, recorder) = start(&lp, Command::shell("cat").stdin(Stdio::Pipe))?;
    ensure!(transport.get_pipe_transport(0).is_some(), "there is no pipe 0");
    for fd in [1, 2, 3, -1, i32::MAX] {
        ensure!(transport.get_pipe_transport(fd).is_none(), "there is a pipe {fd}");
    }
    let again = transport.get_pipe_transport(0);
    let same = again.zip(transport.get_pipe_transport(0));
    let same =
        same.is_some_and(|(a, b)| std::ptr::addr_eq(Rc::as_ptr(a.raw()), Rc::as_ptr(b.raw())));
    ensure!(same, "each call gives another transport");
    if let Some(stdin) = transport.get_pipe_transport(0) {
        stdin.close();
    }
    lp.run_until_done(&recorder.over)?;
    recorder.trace.expect(["made", "end 0", "exited", "lost None"])
}

pub(super) fn pausing_one_pauses_only_that(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (transport, recorder) = start(&lp, piped("read a; echo out; echo err >&2; read b"))?;
    let pipe = |fd| {
        transport
            .get_pipe_transport(fd)
            .ok_or_else(|| Failure::new(format!("there is no pipe {fd}")))
    };
    pipe(1)?.pause_reading();
    pipe(0)?.write("a\n")?;
    let seen = recorder.clone();
    let inner = lp.clone();
    every_iteration(&lp, move |_| {
        let came = !seen.output(2).is_empty();
        if came {
            inner.stop();
        }
        !came
    })?;
    lp.run_forever()?;
    run_times(&lp, 5)?;
    ensure_eq!(recorder.output(1), "", "output of the paused pipe");
    pipe(1)?.resume_reading();
    pipe(0)?.write("b\n")?;
    lp.run_until_done(&recorder.over)?;
    ensure_eq!(
        (recorder.output(1), recorder.output(2)),
        ("out\n".into(), "err\n".into()),
        "output"
    );
    Ok(())
}

pub(super) fn the_protocol_is_paused(cx: &Context) -> Outcome {
    const SIZE: usize = 1 << 20;
    let lp = cx.new_loop()?;
    let command = Command::shell("read line; wc -c").stdin(Stdio::Pipe).stdout(Stdio::Pipe);
    let (transport, recorder) = start(&lp, command)?;
    let Some(stdin) = transport.get_pipe_transport(0) else {
        return Err(Failure::new("there is no pipe to standard input"));
    };
    // Nobody reads as much as this at once.
    stdin.write(vec![b'x'; SIZE])?;
    recorder.trace.expect(["made", "pause"])?;
    ensure!(stdin.get_write_buffer_size() > 0, "a pipe took {SIZE} bytes");
    stdin.write("\n1234567")?;
    stdin.write_eof()?;
    lp.run_until_done(&recorder.over)?;
    ensure_eq!(recorder.output(1).trim(), "7", "bytes that the child counted");
    ensure_eq!(recorder.trace.count("resume"), 1, "resumes");
    Ok(())
}

pub(super) fn a_pipe_with_another_protocol_still_is_the_childs(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let theirs = Script::new().record();
    let factory = theirs.factory();
    let recorder = Recorder::new(&lp);
    let command = Command::shell("cat").stdin(Stdio::Pipe).stdout(Stdio::Pipe);
    let started = lp.subprocess_shell(move || recorder, command);
    let (transport, recorder) = lp.run_until_complete(started)??;
    let pipe = |fd| transport.get_pipe_transport(fd).ok_or_else(|| Failure::new("no pipe"));
    pipe(1)?.set_protocol(factory());
    pipe(0)?.write(b"through the child")?;
    theirs.until_received(&lp, 17)?;
    pipe(0)?.close();
    lp.run_until_done(&recorder.over)?;
    theirs.expect(["data", "eof", "lost"])?;
    let mut events = recorder.trace.take();
    ensure_eq!(events.pop().as_deref(), Some("lost None"), "the last");
    events.sort();
    ensure_eq!(events, ["end 0", "end 1", "exited", "made"], "the others");
    Ok(())
}
