//! Starting a child: streams, descriptors, what happens between fork and exec. Unsafe lives here
//! because code that runs between the two, and signal numbers without a name, are the caller's word.
//!
//! Between fork and exec only system calls are made, no lock is taken and nothing is allocated: other
//! threads of the parent may have held any lock at the moment of the fork (SUB-24).

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process;

use anyloop_api::{Command, Error, Program, Result, Stdio};
use rustix::process::{Pid, Signal};

/// A child that runs.
pub(super) struct Spawned {
    pub(super) pid: Pid,
    /// Our ends of its pipes.
    pub(super) pipes: [Option<OwnedFd>; 3],
}

/// Starts the child. Our copies of its descriptors are closed when this returns.
pub(super) fn spawn(command: Command) -> Result<Spawned> {
    let name = match &command.program {
        Program::Exec(program) | Program::Shell(program) => program.clone(),
        _ => return Err(refused("a program of an unknown kind")),
    };
    let steps = Steps::of(&command);
    let (mut child, pipes, held) = prepare(command)?;
    let spawned = child.spawn().map_err(|error| {
        let what = format!("subprocess: running {name:?}{}", steps.to_be_named(&error));
        match error.kind() {
            io::ErrorKind::InvalidInput => Error::invalid_arg(format!("{what}: {error}")),
            _ => Error::os(what, error),
        }
    })?;
    drop((child, held));
    let pid = i32::try_from(spawned.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| refused("a child without a number"))?;
    Ok(Spawned { pid, pipes })
}

/// What the child has to do before it becomes the program, and may be refused. Its error is a number that does not
/// say of which step, nor that it was one, so what may have failed is named.
struct Steps {
    directory: Option<PathBuf>,
    group: Option<u32>,
    user: Option<u32>,
    process_group: Option<i32>,
}

impl Steps {
    fn of(command: &Command) -> Self {
        Self {
            directory: command.current_dir.clone(),
            group: command.group,
            user: command.user,
            process_group: command.process_group,
        }
    }

    fn to_be_named(&self, error: &io::Error) -> String {
        let mut text = String::new();
        // One that is there may be closed to the user that the child has become by then.
        let directory = self.directory.as_ref();
        let closed = error.kind() == io::ErrorKind::PermissionDenied;
        if let Some(directory) = directory.filter(|path| closed || !path.is_dir()) {
            text.push_str(&format!(" in {directory:?}"));
        }
        if let Some(user) = self.user {
            text.push_str(&format!(" as user {user}"));
        }
        if let Some(group) = self.group {
            text.push_str(&format!(" as group {group}"));
        }
        if let Some(group) = self.process_group {
            text.push_str(&format!(" in process group {group}"));
        }
        text
    }
}

fn refused(why: &str) -> Error {
    Error::invalid_arg(format!("subprocess: {why}"))
}

type Prepared = (process::Command, [Option<OwnedFd>; 3], Vec<OwnedFd>);

fn prepare(command: Command) -> Result<Prepared> {
    let mut child = program(&command)?;
    child.args(&command.args);
    if command.env_clear {
        child.env_clear();
    }
    for (name, value) in &command.env {
        // One with a `=` would be another variable, with another value.
        if name.is_empty() || name.as_bytes().iter().any(|byte| matches!(byte, b'=' | 0)) {
            return Err(refused(&format!("{name:?} is not the name of a variable")));
        }
        match value {
            Some(value) => child.env(name, value),
            None => child.env_remove(name),
        };
    }
    if let Some(path) = &command.current_dir {
        child.current_dir(path);
    }
    if let Some(group) = command.process_group {
        if command.new_session {
            return Err(refused("a session's leader cannot join a process group"));
        }
        child.process_group(group);
    }
    if let Some(group) = command.group {
        child.gid(group);
    }
    if let Some(user) = command.user {
        child.uid(user);
    }

    let (stdin, to_child) = end(command.stdin, Direction::Input)?;
    // Standard error may share what standard output gets.
    let shared = matches!(command.stderr, Stdio::Stdout);
    let (stdout, from_child) = end(command.stdout, Direction::Output)?;
    let (stderr, errors) = match (shared, &stdout) {
        (false, _) => end(command.stderr, Direction::Output)?,
        (true, Inner::Inherit) => (Inner::Fd(duplicate(io::stdout().as_fd())?), None),
        (true, Inner::Null) => (Inner::Null, None),
        (true, Inner::Fd(fd)) => (Inner::Fd(duplicate(fd.as_fd())?), None),
    };
    child.stdin(stdin).stdout(stdout).stderr(stderr);

    let passed: Vec<RawFd> = command.pass_fds.iter().map(AsRawFd::as_raw_fd).collect();
    if passed.iter().any(|fd| *fd <= 2) {
        return Err(refused("descriptors 0, 1 and 2 are passed as standard streams"));
    }
    let plan = Plan { passed, close_fds: command.close_fds, new_session: command.new_session };
    plan.apply_to(&mut child);
    Ok((child, [to_child, from_child, errors], command.pass_fds))
}

fn program(command: &Command) -> Result<process::Command> {
    let (name, file): (_, OsString) = match &command.program {
        Program::Exec(program) if program.is_empty() => return Err(refused("no program is named")),
        Program::Exec(program) => (program.clone(), program.clone()),
        Program::Shell(_) if !command.args.is_empty() => {
            return Err(refused("the shell takes one line and no arguments"));
        }
        _ => ("/bin/sh".into(), "/bin/sh".into()),
    };
    let file = command.executable.as_ref().map_or(file, |path| path.as_os_str().to_owned());
    let mut child = process::Command::new(file);
    child.arg0(name);
    if let Program::Shell(line) = &command.program {
        child.arg("-c").arg(line);
    }
    Ok(child)
}

// --- streams ---

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Input,
    Output,
}

/// What the child gets.
enum Inner {
    Inherit,
    Null,
    Fd(OwnedFd),
}

impl From<Inner> for process::Stdio {
    fn from(inner: Inner) -> Self {
        match inner {
            Inner::Inherit => Self::inherit(),
            Inner::Null => Self::null(),
            Inner::Fd(fd) => fd.into(),
        }
    }
}

/// The child's end, and ours if it is a pipe.
fn end(stdio: Stdio, direction: Direction) -> Result<(Inner, Option<OwnedFd>)> {
    match stdio {
        Stdio::Inherit => Ok((Inner::Inherit, None)),
        Stdio::Null => Ok((Inner::Null, None)),
        Stdio::Fd(fd) => Ok((Inner::Fd(fd), None)),
        Stdio::Pipe => {
            let (read, write) =
                io::pipe().map_err(|error| Error::os("subprocess: making a pipe", error))?;
            let (read, write) = (OwnedFd::from(read), OwnedFd::from(write));
            Ok(match direction {
                Direction::Input => (Inner::Fd(read), Some(write)),
                Direction::Output => (Inner::Fd(write), Some(read)),
            })
        }
        _ => Err(refused("only standard error can be merged into standard output")),
    }
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fd.try_clone_to_owned().map_err(|error| Error::os("subprocess: dup", error))
}

// --- between fork and exec ---

/// What the child does before it becomes the program.
struct Plan {
    passed: Vec<RawFd>,
    close_fds: bool,
    new_session: bool,
}

impl Plan {
    /// Without anything to do the faster way of starting a process stays open.
    fn apply_to(self, child: &mut process::Command) {
        if self.passed.is_empty() && !self.close_fds && !self.new_session {
            return;
        }
        // SAFETY: `execute` makes system calls on plain numbers and nothing else: no allocation, no
        // lock, no destructor.
        unsafe { child.pre_exec(move || self.execute()) };
    }

    fn execute(&self) -> io::Result<()> {
        if self.new_session {
            rustix::process::setsid()?;
        }
        if self.close_fds {
            close_on_exec_from(3)?;
        }
        for fd in &self.passed {
            // SAFETY: a system call on a number, which we hold open.
            if unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

/// Every descriptor from `first` on goes at the exec; not before, because the descriptor through which
/// the child would tell that the exec failed is one of them.
fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: a system call on numbers. It is known since 5.11.
        let marked = unsafe {
            libc::syscall(
                libc::SYS_close_range,
                first as libc::c_uint,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            )
        };
        if marked == 0 {
            return Ok(());
        }
    }
    // SAFETY: a system call without memory.
    let last = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    for fd in first..RawFd::try_from(last).unwrap_or(1024).clamp(first, 65_536) {
        // SAFETY: system calls on a number; most numbers name nothing, and that is an answer too.
        unsafe {
            let flags = libc::fcntl(fd, libc::F_GETFD);
            if flags >= 0 {
                libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC);
            }
        }
    }
    Ok(())
}

// --- signals ---

/// The signal with this number; 0 is none, which only asks.
pub(super) fn signal(number: i32) -> Result<Option<Signal>> {
    if number == 0 {
        return Ok(None);
    }
    #[cfg(target_os = "linux")]
    if (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number) {
        // SAFETY: a number in this range is a signal that the C library leaves to programs.
        return Ok(Some(unsafe { Signal::from_raw_unchecked(number) }));
    }
    Signal::from_named_raw(number).map(Some).ok_or_else(|| {
        Error::invalid_arg(format!("send_signal: {number} is not the number of a signal"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_what_may_have_been_refused() {
        let told = |command: Command| match spawn(command) {
            Ok(child) => panic!("it runs as {:?}", child.pid),
            Err(error) => error.to_string(),
        };
        // Nobody has these numbers, and not even the superuser can take them.
        let cases = [
            (Command::new("true").user(u32::MAX), " as user 4294967295: "),
            (Command::new("true").group(u32::MAX), " as group 4294967295: "),
            (Command::new("true").process_group(i32::MAX), " in process group 2147483647: "),
            (Command::new("true").current_dir("/nowhere"), " in \"/nowhere\": "),
            // It is there, so it is the program that is not.
            (Command::new("no such program").current_dir("/"), "running \"no such program\": "),
        ];
        for (command, named) in cases {
            let told = told(command);
            assert!(told.contains(named), "{told} does not say {named:?}");
        }
    }
}
