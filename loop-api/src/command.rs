//! What to run as a child process, and with what.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where one of a child's standard streams leads.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// To where ours leads.
    #[default]
    Inherit,
    /// Through a pipe to us.
    Pipe,
    /// To `/dev/null`.
    Null,
    /// To where the child's standard output leads; for standard error only.
    Stdout,
    /// To this file, socket or pipe; ours is closed when the child runs.
    Fd(OwnedFd),
}

impl<F: Into<OwnedFd>> From<F> for Stdio {
    fn from(fd: F) -> Self {
        Self::Fd(fd.into())
    }
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Program {
    /// A program, looked for in `PATH` if it is a bare name.
    Exec(OsString),
    /// A line for the shell, `/bin/sh -c`.
    Shell(OsString),
}

/// A child process to be made: what to run, with which arguments, environment, streams. Contradictions
/// are refused by the call that makes it.
///
/// Signals, the signal mask and descriptors are the child's own business: it begins with default
/// dispositions, an empty mask, its three streams and what [`Command::pass_fd`] names.
///
/// ```
/// use anyloop_api::{Command, Stdio};
/// let list = Command::new("ls").arg("-l").current_dir("/tmp").stdout(Stdio::Pipe);
/// let count = Command::shell("ls | wc -l").env("LC_ALL", "C").stdout(Stdio::Pipe);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Command {
    /// What to run.
    pub program: Program,
    /// The arguments after the program's name; none for the shell.
    pub args: Vec<OsString>,
    /// The file to execute, if it is not the program's name or `/bin/sh`; the child still sees the
    /// program's name as its first argument.
    pub executable: Option<PathBuf>,
    /// Whether the child starts without our environment.
    pub env_clear: bool,
    /// Changes to the environment: set, or removed.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// Where the child starts; where we are if none.
    pub current_dir: Option<PathBuf>,
    /// Standard input.
    pub stdin: Stdio,
    /// Standard output.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
    /// Further descriptors for the child, under the same numbers; ours are closed when it runs.
    pub pass_fds: Vec<OwnedFd>,
    /// Whether it gets no other descriptor, even if one was left to be inherited.
    pub close_fds: bool,
    /// Whether it leads a session of its own, away from our terminal.
    pub new_session: bool,
    /// The process group to join; 0: one of its own.
    pub process_group: Option<i32>,
    /// The user to become.
    pub user: Option<u32>,
    /// The group to become.
    pub group: Option<u32>,
}

impl Command {
    fn of(program: Program) -> Self {
        Self {
            program,
            args: Vec::new(),
            executable: None,
            env_clear: false,
            env: Vec::new(),
            current_dir: None,
            stdin: Stdio::Inherit,
            stdout: Stdio::Inherit,
            stderr: Stdio::Inherit,
            pass_fds: Vec::new(),
            close_fds: true,
            new_session: false,
            process_group: None,
            user: None,
            group: None,
        }
    }

    /// To run a program.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self::of(Program::Exec(program.as_ref().to_owned()))
    }

    /// To have the shell execute a line. The text is the shell's language: never put into it what
    /// strangers say.
    #[must_use]
    pub fn shell(line: impl AsRef<OsStr>) -> Self {
        Self::of(Program::Shell(line.as_ref().to_owned()))
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// See [`Command::executable`](field@Command::executable).
    #[must_use]
    pub fn executable(mut self, path: impl AsRef<Path>) -> Self {
        self.executable = Some(path.as_ref().to_owned());
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Removes a variable from the environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), None));
        self
    }

    /// Begins with an empty environment.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.env_clear = true;
        self.env.clear();
        self
    }

    /// See [`Command::current_dir`](field@Command::current_dir).
    #[must_use]
    pub fn current_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.current_dir = Some(path.as_ref().to_owned());
        self
    }

    /// Standard input: a [`Stdio`], or something with a descriptor.
    #[must_use]
    pub fn stdin(mut self, stdio: impl Into<Stdio>) -> Self {
        self.stdin = stdio.into();
        self
    }

    /// Standard output.
    #[must_use]
    pub fn stdout(mut self, stdio: impl Into<Stdio>) -> Self {
        self.stdout = stdio.into();
        self
    }

    /// Standard error.
    #[must_use]
    pub fn stderr(mut self, stdio: impl Into<Stdio>) -> Self {
        self.stderr = stdio.into();
        self
    }

    /// Gives the child this descriptor, under the number that it has here.
    #[must_use]
    pub fn pass_fd(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.pass_fds.push(fd.into());
        self
    }

    /// See [`Command::close_fds`](field@Command::close_fds). Without it descriptors that are not
    /// close-on-exec reach the child, and a big process starts children faster.
    #[must_use]
    pub fn close_fds(mut self, on: bool) -> Self {
        self.close_fds = on;
        self
    }

    /// See [`Command::new_session`](field@Command::new_session).
    #[must_use]
    pub fn new_session(mut self, on: bool) -> Self {
        self.new_session = on;
        self
    }

    /// See [`Command::process_group`](field@Command::process_group).
    #[must_use]
    pub fn process_group(mut self, group: i32) -> Self {
        self.process_group = Some(group);
        self
    }

    /// See [`Command::user`](field@Command::user).
    #[must_use]
    pub fn user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// See [`Command::group`](field@Command::group).
    #[must_use]
    pub fn group(mut self, group: u32) -> Self {
        self.group = Some(group);
        self
    }
}

impl From<&str> for Command {
    fn from(program: &str) -> Self {
        Self::new(program)
    }
}

impl From<&String> for Command {
    fn from(program: &String) -> Self {
        Self::new(program)
    }
}

impl From<String> for Command {
    fn from(program: String) -> Self {
        Self::new(program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emptied_environment_forgets_what_was_set_before() {
        let command = Command::new("x").env("A", "1").env_clear().env("B", "2").env_remove("C");
        assert!(command.env_clear);
        let names: Vec<_> = command.env.iter().map(|(name, _)| name.to_str()).collect();
        assert_eq!(names, [Some("B"), Some("C")]);
    }

    #[test]
    fn streams_take_whatever_has_a_descriptor() -> std::io::Result<()> {
        let file = std::fs::File::open("/dev/null")?;
        let command = Command::from("cat").stdin(file).stdout(Stdio::Pipe);
        assert!(matches!(command.stdin, Stdio::Fd(_)));
        assert!(matches!((command.stdout, command.stderr), (Stdio::Pipe, Stdio::Inherit)));
        Ok(())
    }
}
