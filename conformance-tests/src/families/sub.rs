//! Child processes.

mod ending;
mod events;
mod process;
mod spawning;

use std::fs;
use std::future::Future;

use anyloop_api::{Command, Stdio, SubprocessProtocol, SubprocessTransport};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use self::ending::*;
use self::events::*;
use self::process::*;
use self::spawning::*;
use super::prelude::*;
use crate::tools::Trace;

cases! {
    SUB_01 => events_come_in_order, without_pipes_too, what_ends_inside_connection_made_is_told;
    SUB_02 => nothing_comes_before_connection_made;
    SUB_03 => a_quick_exit_loses_nothing, paused_output_waits;
    SUB_04 => none_while_it_runs_then_its_status, minus_the_signal_that_killed_it;
    SUB_05 => any_number_may_wait, a_cancelled_wait_concerns_nobody_else;
    SUB_06 => a_grandchild_with_the_pipes_is_not_waited_for;
    SUB_07 => who_was_waited_for_is_reaped, who_was_closed_is_reaped, nobody_waits_and_it_is_reaped,
        what_nobody_can_read_is_closed, what_nobody_can_read_holds_nobody_up, who_has_the_output_may_read_it, five_hundred_at_once;
    SUB_08 => another_childs_status_is_left_alone, a_handler_of_their_end_is_left_alone;
    SUB_09 => a_stolen_status_is_255_with_a_warning;
    SUB_10 => children_of_another_threads_loop;
    SUB_11 => signals_reach_the_child, too_late_is_no_error, afterwards_it_is_gone,
        bad_numbers_are_refused, no_signal_asks_whether_it_is_there;
    SUB_12 => close_kills_what_runs, close_lets_go_of_grandchildren, close_does_not_signal_the_dead;
    SUB_13 => cancelled_creation_leaves_no_child, a_dropped_creation_leaves_nothing;
    SUB_14 => a_missing_program, a_file_that_is_no_program, a_missing_directory;
    SUB_15 => communicate_feeds_reads_and_waits, what_is_no_pipe_is_none;
    SUB_16 => much_in_and_out_at_once, both_outputs_at_once;
    SUB_17 => a_child_that_does_not_want_its_input, no_input_closes_standard_input;
    SUB_18 => a_cancelled_communicate_keeps_its_output;
    SUB_19 => drain_waits_for_the_child, the_protocol_is_paused;
    SUB_20 => other_descriptors_stay_here, our_ends_of_the_pipes_stay_here;
    SUB_21 => from_and_to_files, to_null_and_merged, directory_and_environment,
        another_executable, sessions_and_groups;
    SUB_22 => the_shell_is_asked_for_by_name, contradictions_are_refused;
    SUB_23 => pipe_transports_by_number, pausing_one_pauses_only_that,
        a_pipe_with_another_protocol_still_is_the_childs;
    SUB_24 => spawning_beside_busy_threads, spawning_is_quick;
    SUB_25 => a_child_begins_with_default_signals;
    SUB_26 => closing_the_loop_does_not_wait, a_late_exit_is_ignored;
}

/// Writes down what the loop says about a child.
#[derive(Debug)]
struct Recorder {
    trace: Trace,
    output: RefCell<[Vec<u8>; 3]>,
    transport: RefCell<Option<SubprocessTransport>>,
    over: LoopFuture<()>,
}

impl Recorder {
    fn new(lp: &LoopRef) -> Self {
        Self {
            trace: Trace::new(),
            output: RefCell::default(),
            transport: RefCell::default(),
            over: lp.create_future(),
        }
    }

    fn output(&self, fd: usize) -> String {
        String::from_utf8_lossy(&self.output.borrow()[fd]).into_owned()
    }
}

impl SubprocessProtocol for Recorder {
    fn connection_made(&self, transport: SubprocessTransport) {
        self.trace.push("made");
        *self.transport.borrow_mut() = Some(transport);
    }

    fn pipe_data_received(&self, fd: i32, data: &[u8]) {
        if data.is_empty() {
            self.trace.push("empty data");
        }
        if self.output.borrow()[fd as usize].is_empty() {
            self.trace.push(format!("data {fd}"));
        }
        self.output.borrow_mut()[fd as usize].extend(data);
    }

    fn pipe_connection_lost(&self, fd: i32, error: Option<Error>) {
        self.trace.push(match error {
            None => format!("end {fd}"),
            Some(error) => format!("end {fd}: {error}"),
        });
    }

    fn process_exited(&self) {
        self.trace.push("exited");
    }

    fn connection_lost(&self, error: Option<Error>) {
        self.trace.push(format!("lost {error:?}"));
        self.over.set_unless_done(Ok(()));
    }

    fn pause_writing(&self) {
        self.trace.push("pause");
    }

    fn resume_writing(&self) {
        self.trace.push("resume");
    }
}

/// What is known by this number here.
fn pid(transport: &SubprocessTransport) -> Result<Pid, Failure> {
    let raw = i32::try_from(transport.get_pid()).ok().and_then(Pid::from_raw);
    raw.ok_or_else(|| Failure::new("the child has no number"))
}

/// Waits for the end of a child, and leaves its status.
fn until_ended(pid: Pid) -> Outcome {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), options))?;
    Ok(())
}

/// A line for the shell, with all three pipes.
fn piped(line: &str) -> Command {
    Command::shell(line).stdin(Stdio::Pipe).stdout(Stdio::Pipe).stderr(Stdio::Pipe)
}

/// Runs `lp` until this process has no child, which is somebody's business without anybody waiting.
fn until_childless(lp: &LoopRef) -> Outcome {
    let inner = lp.clone();
    every_iteration(lp, move |_| {
        let alive = children().is_ok_and(|children| !children.is_empty());
        if !alive {
            inner.stop();
        }
        alive
    })?;
    lp.run_forever()?;
    no_children()
}

/// A line for the shell whose output comes through a pipe.
fn output_of(line: &str) -> Command {
    Command::shell(line).stdout(Stdio::Pipe)
}

/// Starts a child under a [`Recorder`].
fn start(lp: &LoopRef, command: Command) -> Result<(SubprocessTransport, Rc<Recorder>), Failure> {
    let recorder = Recorder::new(lp);
    Ok(lp.run_until_complete(lp.subprocess_shell(move || recorder, command))??)
}

/// Starts a child and runs the loop until everything about it is over.
fn run_child(lp: &LoopRef, command: Command) -> Result<(i32, Rc<Recorder>), Failure> {
    let (transport, recorder) = start(lp, command)?;
    lp.run_until_done(&recorder.over)?;
    let code = transport.get_returncode();
    Ok((code.ok_or_else(|| Failure::new("over, and no return code"))?, recorder))
}

/// Runs a coroutine that may fail.
fn block_on<T: 'static>(
    lp: &LoopRef,
    future: impl Future<Output = Result<T, Failure>> + 'static,
) -> Result<T, Failure> {
    lp.run_until_complete(future)?
}

/// The children of this process, with their states: `Z` is a zombie.
fn children() -> Result<Vec<(u32, char)>, Failure> {
    let me = std::process::id();
    let entries = fs::read_dir("/proc")
        .map_err(|error| Failure::skip(format!("processes cannot be listed: {error}")))?;
    let child = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name in parentheses may contain anything.
        let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
        let state = rest.next()?.chars().next()?;
        let parent: u32 = rest.next()?.parse().ok()?;
        (parent == me).then_some((pid, state))
    };
    Ok(entries.flatten().filter_map(child).collect())
}

/// Succeeds if this process has no child, not even a zombie.
fn no_children() -> Outcome {
    let children = children()?;
    ensure!(children.is_empty(), "children are left: {children:?}");
    Ok(())
}
