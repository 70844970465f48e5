//! Sending signals to this process, and what it does about them.

use std::fs;
use std::io;

use rustix::process::{Signal, getpid, kill_process};

use crate::case::Failure;

/// Nobody else uses it.
pub const SIGUSR1: i32 = Signal::USR1.as_raw();
/// Nor this one.
pub const SIGUSR2: i32 = Signal::USR2.as_raw();
/// Ctrl-C.
pub const SIGINT: i32 = Signal::INT.as_raw();
/// A child ended.
pub const SIGCHLD: i32 = Signal::CHILD.as_raw();
/// Please end.
pub const SIGTERM: i32 = Signal::TERM.as_raw();

/// Sends `signal` to this process.
///
/// # Errors
/// Those of the operating system.
pub fn raise(signal: i32) -> io::Result<()> {
    let signal = Signal::from_named_raw(signal)
        .ok_or_else(|| io::Error::other(format!("{signal} is no signal with a name")))?;
    Ok(kill_process(getpid(), signal)?)
}

/// What the process does about each signal, as bit masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispositions {
    /// Held back, for the calling thread.
    pub blocked: u64,
    /// Ignored.
    pub ignored: u64,
    /// Handled.
    pub caught: u64,
}

impl Dispositions {
    /// Of now.
    ///
    /// # Errors
    /// The case is skipped where the system does not tell.
    pub fn now() -> Result<Self, Failure> {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let mask = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        };
        match (mask("SigBlk:"), mask("SigIgn:"), mask("SigCgt:")) {
            (Some(blocked), Some(ignored), Some(caught)) => Ok(Self { blocked, ignored, caught }),
            _ => Err(Failure::skip("the system does not tell which signals are handled")),
        }
    }

    /// Whether there is a handler for `signal`.
    #[must_use]
    pub fn catches(&self, signal: i32) -> bool {
        self.caught >> (signal - 1) & 1 == 1
    }

    /// Whether `signal` does what it does by default.
    #[must_use]
    pub fn leaves(&self, signal: i32) -> bool {
        (self.caught | self.ignored) >> (signal - 1) & 1 == 0
    }
}
