//! How a child is started.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_setfd};

use super::*;
use crate::leaks::open_descriptors;
use crate::tools::{SIGTERM, SIGUSR1, SIGUSR2};

/// A file without a name.
fn scratch_file() -> Result<File, Failure> {
    let path = std::env::temp_dir().join(format!("anyloop-sub-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// Starting this fails as the operating system says, and leaves nothing.
fn fails(cx: &Context, command: impl Fn() -> Command, kind: ErrorKind) -> Outcome {
    let lp = cx.new_loop()?;
    let start = || {
        let recorder = Recorder::new(&lp);
        lp.run_until_complete(lp.subprocess_exec(move || recorder, command()))
    };
    drop(start()?);
    let before = open_descriptors();
    for _ in 0..20 {
        match start()? {
            Err(error @ Error::Os(_)) if error.io_kind() == kind => {}
            Err(error) => return Err(Failure::new(format!("not {kind:?}: {error:?}"))),
            Ok(_) => return Err(Failure::new("it was started")),
        }
    }
    ensure_eq!(open_descriptors(), before, "open descriptors afterwards");
    no_children()
}

pub(super) fn a_missing_program(cx: &Context) -> Outcome {
    let command = || {
        let command = Command::new("/nonexistent/program").stdin(Stdio::Pipe);
        command.stdout(Stdio::Pipe).stderr(Stdio::Pipe)
    };
    fails(cx, command, ErrorKind::NotFound)
}

pub(super) fn a_file_that_is_no_program(cx: &Context) -> Outcome {
    // Not executable, for anybody.
    fails(cx, || Command::new("/etc/passwd").stdin(Stdio::Pipe), ErrorKind::PermissionDenied)
}

pub(super) fn a_missing_directory(cx: &Context) -> Outcome {
    let command = || Command::new("true").current_dir("/nonexistent");
    fails(cx, command, ErrorKind::NotFound)?;
    let lp = cx.new_loop()?;
    let recorder = Recorder::new(&lp);
    let started = lp.run_until_complete(lp.subprocess_exec(move || recorder, command()))?;
    let text = started.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(text.contains("\"/nonexistent\""), "the directory is not named: {text}");
    Ok(())
}

pub(super) fn other_descriptors_stay_here(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (passed, _far) = UnixStream::pair()?;
    let (stray, _other) = UnixStream::pair()?;
    // Left to be inherited, as by a library that does not know better.
    fcntl_setfd(&stray, FdFlags::empty())?;
    let (named, stray_number) = (passed.as_raw_fd(), stray.as_raw_fd());
    let command = output_of("ls /proc/self/fd").pass_fd(passed);
    let (code, recorder) = run_child(&lp, command)?;
    ensure_eq!(code, 0, "the return code");
    let open: Vec<i32> = recorder.output(1).lines().filter_map(|line| line.parse().ok()).collect();
    ensure!(open.contains(&named), "the descriptor {named} was not passed: {open:?}");
    ensure!(!open.contains(&stray_number), "the stray {stray_number} was inherited: {open:?}");
    // Its streams, what was passed, and the directory that it lists.
    ensure!(open.len() <= 5, "too many descriptors: {open:?}");
    // Under the same number, and only there: ours was closed.
    let before = open_descriptors();
    let (passed, mut far) = UnixStream::pair()?;
    let line = format!("echo through >&{}", passed.as_raw_fd());
    run_child(&lp, Command::shell(line).pass_fd(passed))?;
    let mut text = String::new();
    far.read_to_string(&mut text)?;
    ensure_eq!(text, "through\n", "what came through the passed descriptor");
    drop(far);
    ensure_eq!(open_descriptors(), before, "open descriptors afterwards");
    Ok(())
}

pub(super) fn our_ends_of_the_pipes_stay_here(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (first, one) = start(&lp, piped("cat"))?;
    // If this child had the first one's standard input, that would never end.
    let (second, two) = start(&lp, piped("cat"))?;
    first.get_pipe_transport(0).inspect(|stdin| stdin.close());
    lp.run_until_done(&one.over)?;
    ensure_eq!(second.get_returncode(), None, "the return code of the second child");
    second.get_pipe_transport(0).inspect(|stdin| stdin.close());
    Ok(lp.run_until_done(&two.over)?)
}

pub(super) fn from_and_to_files(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let mut input = scratch_file()?;
    input.write_all(b"from a file\n")?;
    input.rewind()?;
    let mut output = scratch_file()?;
    let (mut errors, far) = UnixStream::pair()?;
    let command = Command::shell("cat; echo err >&2");
    let command = command.stdin(input).stdout(output.try_clone()?).stderr(OwnedFd::from(far));
    let (code, recorder) = run_child(&lp, command)?;
    ensure_eq!(code, 0, "the return code");
    recorder.trace.expect(["made", "exited", "lost None"])?;
    let mut text = String::new();
    output.rewind()?;
    output.read_to_string(&mut text)?;
    // Ours was closed, so this ends.
    errors.read_to_string(&mut text)?;
    ensure_eq!(text, "from a file\nerr\n", "what was written");
    Ok(())
}

pub(super) fn to_null_and_merged(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let line = "readlink /proc/self/fd/0; readlink /proc/self/fd/2 >&1";
    let command = Command::shell(line).stdin(Stdio::Null).stderr(Stdio::Null).stdout(Stdio::Pipe);
    let (_, recorder) = run_child(&lp, command)?;
    ensure_eq!(recorder.output(1), "/dev/null\n/dev/null\n", "where the streams lead");

    let merged = Command::shell("echo a; echo b >&2; echo c").stdout(Stdio::Pipe);
    let (transport, recorder) = start(&lp, merged.stderr(Stdio::Stdout))?;
    ensure!(transport.get_pipe_transport(2).is_none(), "a merged stream has a pipe of its own");
    lp.run_until_done(&recorder.over)?;
    ensure_eq!(recorder.output(1), "a\nb\nc\n", "merged output");

    let mut file = scratch_file()?;
    let merged = Command::shell("echo a; echo b >&2").stdout(file.try_clone()?);
    run_child(&lp, merged.stderr(Stdio::Stdout))?;
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    ensure_eq!(text, "a\nb\n", "output merged into a file");
    Ok(())
}

pub(super) fn directory_and_environment(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (_, recorder) = run_child(&lp, output_of("pwd").current_dir("/"))?;
    ensure_eq!(recorder.output(1), "/\n", "where the child runs");

    let set = output_of("echo $ANYLOOP_TEST ${HOME:-none}").env("ANYLOOP_TEST", "a value");
    let (_, recorder) = run_child(&lp, set.env_remove("HOME"))?;
    ensure_eq!(recorder.output(1), "a value none\n", "changed variables");
    let (_, recorder) = run_child(&lp, output_of("echo ${PATH:+inherited}"))?;
    ensure_eq!(recorder.output(1), "inherited\n", "the rest of the environment");

    let recorder = Recorder::new(&lp);
    let only = Command::new("/usr/bin/env").env_clear().env("ONLY", "this").stdout(Stdio::Pipe);
    let (_, recorder) = lp.run_until_complete(lp.subprocess_exec(move || recorder, only))??;
    lp.run_until_done(&recorder.over)?;
    ensure_eq!(recorder.output(1), "ONLY=this\n", "the whole environment");
    Ok(())
}

pub(super) fn another_executable(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let recorder = Recorder::new(&lp);
    let command = Command::new("a-name-of-my-own").args(["-c", "echo $0"]).executable("/bin/sh");
    let started = lp.subprocess_exec(move || recorder, command.stdout(Stdio::Pipe));
    let (_, recorder) = lp.run_until_complete(started)??;
    lp.run_until_done(&recorder.over)?;
    ensure_eq!(recorder.output(1), "a-name-of-my-own\n", "what the program is called");
    let (_, recorder) = run_child(&lp, output_of("ignored").executable("/bin/echo"))?;
    ensure_eq!(recorder.output(1), "-c ignored\n", "what another shell is told");
    Ok(())
}

pub(super) fn sessions_and_groups(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    // The fifth and sixth field: process group and session.
    let line = "set -- $(cat /proc/self/stat); echo $$ $5 $6";
    let ids = |command: Command| -> Result<Vec<i32>, Failure> {
        let (_, recorder) = run_child(&lp, command)?;
        Ok(recorder.output(1).split_whitespace().filter_map(|id| id.parse().ok()).collect())
    };
    let mine = ids(output_of(line))?;
    let [pid, group, session] = ids(output_of(line).new_session(true))?[..] else {
        return Err(Failure::new("no session"));
    };
    ensure_eq!((group, session), (pid, pid), "group and session of a session's leader");
    let [pid, group, session] = ids(output_of(line).process_group(0))?[..] else {
        return Err(Failure::new("no group"));
    };
    ensure_eq!(
        (group, Some(&session)),
        (pid, mine.get(2)),
        "group and session of a group's leader"
    );
    Ok(())
}

pub(super) fn contradictions_are_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let before = open_descriptors();
    let null = || File::open("/dev/null");
    let commands = [
        Command::new(""),
        Command::new("true").stdin(Stdio::Stdout),
        Command::new("true").stdout(Stdio::Stdout),
        Command::new("true").new_session(true).process_group(0),
        Command::new("tr\0ue").stdout(Stdio::Pipe),
        Command::new("true").arg("a\0b").stdin(Stdio::Pipe),
        Command::new("true").env("A\0B", "x").stdin(null()?),
        Command::new("true").env("A=B", "x"),
        Command::new("true").env("", "x"),
        Command::new("true").env_remove("A\0B"),
        Command::shell("true").arg("more"),
    ];
    for command in commands {
        let text = format!("{command:?}");
        let factory = Box::new({
            let recorder = Rc::new(Recorder::new(&lp));
            move || recorder as Rc<dyn SubprocessProtocol>
        });
        let started = lp.run_until_complete(lp.subprocess(factory, command))?;
        let refused = matches!(started, Err(Error::InvalidArg(_)));
        ensure!(refused, "{text}: {:?}", started.map(|(transport, _)| transport));
    }
    ensure_eq!(open_descriptors(), before, "open descriptors afterwards");
    no_children()
}

pub(super) fn spawning_beside_busy_threads(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let stop = Arc::new(AtomicBool::new(false));
    // Whatever lock a thread may hold, one of these holds it most of the time.
    let busy = |_| {
        let stop = stop.clone();
        thread::spawn(move || {
            let mut sum = 0;
            while !stop.load(Ordering::Relaxed) {
                let text = format!("{:?}", std::env::var_os("PATH"));
                sum += PathBuf::from(text).as_os_str().len();
                sum += File::open("/dev/null").map_or(0, |file| file.as_fd().as_raw_fd() as usize);
            }
            sum
        })
    };
    let threads: Vec<_> = (0..4).map(busy).collect();
    let outcome = (0..60).try_for_each(|number| -> Outcome {
        let command = output_of("echo $ANYLOOP_NUMBER").env("ANYLOOP_NUMBER", number.to_string());
        let (_, recorder) = run_child(&lp, command)?;
        ensure_eq!(recorder.output(1), format!("{number}\n"), "the output");
        Ok(())
    });
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        join(thread)?;
    }
    outcome
}

pub(super) fn spawning_is_quick(cx: &Context) -> Outcome {
    const MANY: u32 = 20;
    let lp = cx.new_loop()?;
    // How long the loop stands still while children are made, one after the other.
    let longest = Rc::new(Cell::new(Duration::ZERO));
    let (theirs, mut last) = (longest.clone(), Instant::now());
    every_iteration(&lp, move |_| {
        theirs.set(theirs.get().max(last.elapsed()));
        last = Instant::now();
        true
    })?;
    let mut started = Vec::new();
    for _ in 0..MANY {
        started.push(start(&lp, Command::shell("exit 0"))?);
    }
    for (_, recorder) in started {
        lp.run_until_done(&recorder.over)?;
    }
    ensure!(longest.get() < ms(500), "the loop stood still for {:?}", longest.get());
    Ok(())
}

pub(super) fn a_child_begins_with_default_signals(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for signal in [SIGUSR1, SIGUSR2, SIGTERM] {
        lp.add_signal_handler(signal, || ())?;
    }
    // A transport over a pipe makes the process ignore broken pipes.
    let (transport, recorder) = start(&lp, piped("cat /proc/self/status; exec cat"))?;
    let (_, second) = run_child(&lp, output_of("cat /proc/self/status"))?;
    transport.get_pipe_transport(0).inspect(|stdin| stdin.close());
    lp.run_until_done(&recorder.over)?;
    const SIGPIPE: i32 = 13;
    for text in [recorder.output(1), second.output(1)] {
        let mask = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        };
        let masks = mask("SigBlk:").zip(mask("SigIgn:")).zip(mask("SigCgt:"));
        let Some(((blocked, ignored), caught)) = masks else {
            return Err(Failure::skip("the system does not tell what becomes of signals"));
        };
        ensure_eq!(blocked, 0, "signals that the child holds back");
        for signal in [SIGUSR1, SIGUSR2, SIGTERM, SIGPIPE] {
            let bit = 1 << (signal - 1);
            ensure!((ignored | caught) & bit == 0, "signal {signal} is not the default: {text}");
        }
    }
    Ok(())
}
