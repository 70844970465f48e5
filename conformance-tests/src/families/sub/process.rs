//! The child with streams: `Process`.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use anyloop::{Process, create_subprocess_exec, create_subprocess_shell};
use anyloop_api::{sleep, yield_now};

use super::*;
use crate::leaks::open_descriptors;
use crate::tools::settle;

/// A child with a task of its own for each thing that waits for it.
fn open(lp: &LoopRef, command: Command) -> Result<Process, Failure> {
    block_on(lp, async { Ok(create_subprocess_shell(command).await?) })
}

pub(super) fn any_number_may_wait(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let process = open(&lp, Command::shell("read go; exit 11").stdin(Stdio::Pipe))?;
    let waiting = |process: &Process| {
        let process = process.clone();
        lp.create_task(async move { process.wait().await })
    };
    let tasks = (0..10).map(|_| waiting(&process)).collect::<Result<Vec<_>, _>>()?;
    run_times(&lp, 3)?;
    ensure!(tasks.iter().all(|task| !task.done()), "a wait ended before the child");
    process.stdin().inspect(|stdin| stdin.write("go\n"));
    for task in tasks {
        ensure_eq!(lp.run_until_done(&task)??, 11, "what a wait returned");
    }
    // It is known by now.
    let again = waiting(&process)?;
    ensure_eq!(lp.run_until_done(&again)??, 11, "what a late wait returned");
    Ok(())
}

pub(super) fn a_cancelled_wait_concerns_nobody_else(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let process = open(&lp, Command::shell("read go; exit 12").stdin(Stdio::Pipe))?;
    let waiting = |process: &Process| {
        let process = process.clone();
        lp.create_task(async move { process.wait().await })
    };
    let (one, two) = (waiting(&process)?, waiting(&process)?);
    run_times(&lp, 3)?;
    one.cancel();
    ensure_is!(lp.run_until_done(&one), Err(Error::Cancelled(_)));
    run_for(&lp, ms(10))?;
    ensure!(!two.done(), "the other wait ended");
    ensure_eq!(process.returncode(), None, "the return code of a child that runs");
    process.stdin().inspect(|stdin| stdin.write("go\n"));
    ensure_eq!(lp.run_until_done(&two)??, 12, "what the other wait returned");
    Ok(())
}

pub(super) fn a_grandchild_with_the_pipes_is_not_waited_for(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let process = open(&lp, output_of("sleep 60 & echo $!; exit 7"))?;
    let theirs = process.clone();
    let (code, grandchild) = block_on(&lp, async move {
        let Some(stdout) = theirs.stdout() else { return Err(Failure::new("no output")) };
        let line = stdout.read_line().await?;
        let code = theirs.wait().await?;
        ensure!(!stdout.at_eof(), "the pipe ended although somebody holds it");
        Ok((code, String::from_utf8_lossy(&line).trim().parse::<i32>()?))
    })?;
    ensure_eq!(code, 7, "what wait() returned");
    // Somebody has to.
    if let Some(grandchild) = Pid::from_raw(grandchild) {
        rustix::process::kill_process(grandchild, rustix::process::Signal::KILL)?;
    }
    let theirs = process.clone();
    let rest = block_on(&lp, async move {
        let Some(stdout) = theirs.stdout() else { return Err(Failure::new("no output")) };
        Ok(stdout.read_to_end().await?)
    })?;
    ensure_eq!(rest, b"", "the rest of the output");
    Ok(())
}

/// More than a pipe holds and a reader takes: the reader has its pipe paused, and the child waits.
const FLOOD: &str = "head -c 1000000 /dev/zero";

/// A child whose output is paused because nobody reads it.
fn clogged(lp: &LoopRef, line: &str) -> Result<Process, Failure> {
    let process = open(lp, output_of(line))?;
    let (inner, transport) = (lp.clone(), process.transport().clone());
    every_iteration(lp, move |_| {
        let reading = transport.get_pipe_transport(1).is_some_and(|pipe| pipe.is_reading());
        if !reading {
            inner.stop();
        }
        reading
    })?;
    lp.run_forever()?;
    Ok(process)
}

pub(super) fn what_nobody_can_read_is_closed(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    settle(&lp)?;
    let before = open_descriptors();

    // Its end is known when the last handle goes away.
    let process = clogged(&lp, FLOOD)?;
    process.kill()?;
    let theirs = process.clone();
    ensure_eq!(block_on(&lp, async move { Ok(theirs.wait().await?) })?, -9, "what wait() returned");
    drop(process);
    settle(&lp)?;
    ensure_eq!(open_descriptors(), before, "descriptors after a child that was waited for");

    // It is not; the one that writes then is a grandchild.
    let process = clogged(&lp, &format!("{FLOOD}; read forever"))?;
    let pid = process.pid();
    drop(process);
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    }
    until_childless(&lp)?;
    settle(&lp)?;
    ensure_eq!(open_descriptors(), before, "descriptors after a child that nobody waited for");

    // Nothing is paused; somebody else keeps the pipe open.
    let (gate, far) = UnixStream::pair()?;
    let line = format!("(read go <&{}; echo too late) & exit 0", far.as_raw_fd());
    let process = open(&lp, output_of(&line).pass_fd(far))?;
    let theirs = process.clone();
    ensure_eq!(block_on(&lp, async move { Ok(theirs.wait().await?) })?, 0, "what wait() returned");
    drop(process);
    settle(&lp)?;
    drop(gate);
    ensure_eq!(open_descriptors(), before, "descriptors after one whose grandchild writes");
    reports.none()
}

pub(super) fn what_nobody_can_read_holds_nobody_up(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    // Paused already, and not yet.
    drop(clogged(&lp, FLOOD)?);
    drop(open(&lp, output_of(FLOOD))?);
    until_childless(&lp)
}

pub(super) fn who_has_the_output_may_read_it(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let process = clogged(&lp, FLOOD)?;
    let stdout = process.stdout().cloned();
    drop(process);
    let read = block_on(&lp, async move {
        let Some(stdout) = stdout else { return Err(Failure::new("no output")) };
        let begin = stdout.read_exact(200_000).await?.len();
        // The child goes on, and ends.
        sleep(ms(1)).await;
        Ok(begin + stdout.read_to_end().await?.len())
    })?;
    ensure_eq!(read, 1_000_000, "bytes of a child whose handle is gone");
    until_childless(&lp)?;

    // What a dead child has left behind.
    let process = clogged(&lp, &format!("{FLOOD}; read forever"))?;
    let (stdout, held) = (process.stdout().cloned(), process.clone());
    process.kill()?;
    let rest = block_on(&lp, async move {
        held.wait().await?;
        drop((process, held));
        yield_now().await;
        let Some(stdout) = stdout else { return Err(Failure::new("no output")) };
        Ok(stdout.read_to_end().await?.len())
    })?;
    ensure!(rest > 128 * 1024, "only {rest} bytes of a dead child's");
    Ok(())
}

pub(super) fn communicate_feeds_reads_and_waits(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let process = open(&lp, piped("tr a-z A-Z; echo error >&2; exit 3"))?;
    let theirs = process.clone();
    let (out, err) = block_on(&lp, async move { Ok(theirs.communicate("some text").await?) })?;
    ensure_eq!(out.as_deref(), Some(&b"SOME TEXT"[..]), "standard output");
    ensure_eq!(err.as_deref(), Some(&b"error\n"[..]), "standard error");
    ensure_eq!(process.returncode(), Some(3), "the return code after communicate()");
    no_children()
}

pub(super) fn what_is_no_pipe_is_none(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let process = open(&lp, Command::shell("exit 1"))?;
    ensure!(process.stdin().is_none() && process.stdout().is_none(), "there are streams");
    let theirs = process.clone();
    let both = block_on(&lp, async move { Ok(theirs.communicate("").await?) })?;
    ensure_eq!(both, (None, None), "what communicate() returned");
    let process = open(&lp, output_of("echo x"))?;
    let both = block_on(&lp, async move { Ok(process.communicate("").await?) })?;
    ensure_eq!(both, (Some(b"x\n".to_vec()), None), "what communicate() returned");
    let process = open(&lp, output_of("echo x"))?;
    let theirs = process.clone();
    let refused = lp.run_until_complete(async move { theirs.communicate("input").await })?;
    ensure_is!(refused, Err(Error::InvalidArg(_)));
    block_on(&lp, async move { Ok(process.communicate("").await?) })?;
    Ok(())
}

pub(super) fn much_in_and_out_at_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let input: Vec<u8> = (0..5_000_000u32).map(|number| (number % 251) as u8).collect();
    let process = open(&lp, Command::shell("cat").stdin(Stdio::Pipe).stdout(Stdio::Pipe))?;
    let sent = input.clone();
    let (out, _) = block_on(&lp, async move { Ok(process.communicate(sent).await?) })?;
    ensure!(out.as_ref() == Some(&input), "{:?} bytes came back", out.map(|out| out.len()));
    Ok(())
}

pub(super) fn both_outputs_at_once(cx: &Context) -> Outcome {
    const SIZE: usize = 2_000_000;
    let lp = cx.new_loop()?;
    let line = format!("head -c {SIZE} /dev/zero >&2; head -c {SIZE} /dev/zero; cat >/dev/null");
    let process = open(&lp, piped(&line))?;
    let input = vec![b'x'; SIZE];
    let (out, err) = block_on(&lp, async move { Ok(process.communicate(input).await?) })?;
    let sizes = (out.map(|out| out.len()), err.map(|err| err.len()));
    ensure_eq!(sizes, (Some(SIZE), Some(SIZE)), "bytes of each output");
    Ok(())
}

pub(super) fn a_child_that_does_not_want_its_input(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    for line in ["exit 5", "exec <&-; echo unread; exit 5"] {
        let process = open(&lp, piped(line))?;
        let theirs = process.clone();
        let input = vec![b'x'; 1 << 20];
        block_on(&lp, async move { Ok(theirs.communicate(input).await?) })?;
        ensure_eq!(process.returncode(), Some(5), "the return code of {line:?}");
    }
    reports.none()
}

pub(super) fn no_input_closes_standard_input(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    // Ends only when its input does.
    let process = open(&lp, piped("cat; echo end"))?;
    let (out, _) = block_on(&lp, async move { Ok(process.communicate("").await?) })?;
    ensure_eq!(out.as_deref(), Some(&b"end\n"[..]), "standard output");
    Ok(())
}

pub(super) fn a_cancelled_communicate_keeps_its_output(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (gate, far) = UnixStream::pair()?;
    let line = format!("echo before; cat; read go <&{}; echo after", far.as_raw_fd());
    let process = open(&lp, piped(&line).pass_fd(far))?;
    let theirs = process.clone();
    let first = lp.create_task(async move { theirs.communicate("input\n").await })?;
    let (stdout, inner) = (process.stdout().cloned(), lp.clone());
    let begin = Instant::now();
    every_iteration(&lp, move |_| {
        // Everything that comes before the gate has been read, and some time has passed.
        let read = stdout.as_ref().is_some_and(|stdout| stdout.buffered() == 0);
        let enough = read && begin.elapsed() > ms(100);
        if enough {
            inner.stop();
        }
        !enough
    })?;
    lp.run_forever()?;
    first.cancel();
    ensure_is!(lp.run_until_done(&first), Err(Error::Cancelled(_)));
    let theirs = process.clone();
    let refused = lp.run_until_complete(async move { theirs.communicate("more").await })?;
    ensure_is!(refused, Err(Error::InvalidArg(_)));
    std::io::Write::write_all(&mut &gate, b"go\n")?;
    let (out, err) = block_on(&lp, async move { Ok(process.communicate("").await?) })?;
    let out = out.map(|out| String::from_utf8_lossy(&out).into_owned());
    ensure_eq!(out.as_deref(), Some("before\ninput\nafter\n"), "standard output");
    ensure_eq!(err.as_deref(), Some(&b""[..]), "standard error");
    Ok(())
}

pub(super) fn drain_waits_for_the_child(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (gate, far) = UnixStream::pair()?;
    let line = format!("read go <&{}; cat >/dev/null", far.as_raw_fd());
    let process = open(&lp, Command::shell(line).stdin(Stdio::Pipe).pass_fd(far))?;
    let theirs = process.clone();
    let trace = cx.trace();
    let log = trace.clone();
    let task = lp.create_task(async move {
        let Some(stdin) = theirs.stdin() else { return Err(Failure::new("no standard input")) };
        stdin.write(vec![b'x'; 1 << 20]);
        stdin.drain().await?;
        log.push("drained");
        stdin.close();
        ensure_eq!(theirs.wait().await?, 0, "the return code");
        Ok(())
    })?;
    settle(&lp)?;
    trace.expect([])?;
    ensure!(!task.done(), "the task ended");
    std::io::Write::write_all(&mut &gate, b"go\n")?;
    lp.run_until_done(&task)??;
    trace.expect(["drained"])
}

pub(super) fn the_shell_is_asked_for_by_name(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    // Text mode, buffering and a shell flag do not exist; the wrong function for a command does.
    let refused = lp.run_until_complete(create_subprocess_exec(Command::shell("exit 0")))?;
    ensure_is!(refused, Err(Error::InvalidArg(_)));
    let refused = lp.run_until_complete(create_subprocess_shell(Command::new("true")))?;
    ensure_is!(refused, Err(Error::InvalidArg(_)));
    let refused =
        lp.run_until_complete(create_subprocess_shell(Command::shell("true").arg("x")))?;
    ensure_is!(refused, Err(Error::InvalidArg(_)));
    no_children()
}
