//! Child processes over streams.

mod process;
mod protocol;

use anyloop_api::{Command, EventLoopExt, LoopRef, Result};

pub use process::Process;

use crate::streams::{DEFAULT_LIMIT, StreamReader};
use protocol::ProcessProtocol;

/// Runs a program as a child process. Streams that the command does not make a
/// [`Stdio::Pipe`](crate::Stdio::Pipe) are ours.
///
/// # Errors
/// `Usage` if no loop is running on this thread; `InvalidArg` for a contradictory command, or one that
/// is the shell's; `Os` if the program is missing or may not be run.
///
/// # Cancel safety
/// A child that runs already is killed and reaped; what it has started itself by then goes on.
///
/// # Examples
/// ```
/// use anyloop::{Command, Stdio, create_subprocess_exec};
/// anyloop::run(async {
///     let command = Command::new("echo").arg("hello").stdout(Stdio::Pipe);
///     let echo = create_subprocess_exec(command).await?;
///     let (stdout, _) = echo.communicate("").await?;
///     assert_eq!(stdout.as_deref(), Some(&b"hello\n"[..]));
///     assert_eq!(echo.wait().await?, 0);
///     # Ok::<(), anyloop::Error>(())
/// })??;
/// # Ok::<(), anyloop::Error>(())
/// ```
pub async fn create_subprocess_exec(command: impl Into<Command>) -> Result<Process> {
    create_subprocess_exec_with_limit(command, DEFAULT_LIMIT).await
}

/// The same with another limit for the length of lines, instead of 64 KiB.
///
/// # Errors
/// As [`create_subprocess_exec`]; `InvalidArg` if the limit is zero.
///
/// # Cancel safety
/// As [`create_subprocess_exec`].
pub async fn create_subprocess_exec_with_limit(
    command: impl Into<Command>,
    limit: usize,
) -> Result<Process> {
    StreamReader::new(limit)?;
    let lp = LoopRef::current()?;
    let exited = lp.create_future();
    let started = lp.subprocess_exec(move || ProcessProtocol::new(limit, exited), command);
    let (transport, protocol) = started.await?;
    Ok(Process::new(transport, protocol))
}

/// Has the shell execute a line, in a child process: [`Command::shell`].
///
/// # Errors
/// As [`create_subprocess_exec`]; `InvalidArg` if the command is not the shell's.
///
/// # Cancel safety
/// As [`create_subprocess_exec`].
///
/// # Examples
/// ```
/// use anyloop::{Command, Stdio, create_subprocess_shell};
/// anyloop::run(async {
///     let command = Command::shell("tr a-z A-Z").stdin(Stdio::Pipe).stdout(Stdio::Pipe);
///     let upper = create_subprocess_shell(command).await?;
///     let (stdout, _) = upper.communicate("hello").await?;
///     assert_eq!(stdout.as_deref(), Some(&b"HELLO"[..]));
///     # Ok::<(), anyloop::Error>(())
/// })??;
/// # Ok::<(), anyloop::Error>(())
/// ```
pub async fn create_subprocess_shell(command: Command) -> Result<Process> {
    create_subprocess_shell_with_limit(command, DEFAULT_LIMIT).await
}

/// The same with another limit for the length of lines, instead of 64 KiB.
///
/// # Errors
/// As [`create_subprocess_shell`]; `InvalidArg` if the limit is zero.
///
/// # Cancel safety
/// As [`create_subprocess_exec`].
pub async fn create_subprocess_shell_with_limit(command: Command, limit: usize) -> Result<Process> {
    StreamReader::new(limit)?;
    let lp = LoopRef::current()?;
    let exited = lp.create_future();
    let started = lp.subprocess_shell(move || ProcessProtocol::new(limit, exited), command);
    let (transport, protocol) = started.await?;
    Ok(Process::new(transport, protocol))
}
