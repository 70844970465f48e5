//! The system call that submits and waits, with a time limit or without.

use std::io;
use std::time::{Duration, Instant};

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, opcode, squeue};

use super::Ring;
use crate::kind::Kind;

/// Longer waits are cut to this, which the kernel's clock can hold; the loop just polls again.
const LONGEST: Duration = Duration::from_secs(1 << 30);

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Perhaps there are completions; if there are none, time is up or a signal came.
    Returned,
    /// Time is up, a signal came, or the kernel is short of memory. Completions may be there all the
    /// same.
    Ended,
}

impl Ring {
    /// Submits all requests and waits for a completion.
    ///
    /// # Errors
    /// As [`Ring::submit`].
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Waited> {
        match timeout.map(|timeout| timeout.min(LONGEST)) {
            Some(timeout) if self.ext_arg => {
                let timespec = Timespec::from(timeout);
                let args = SubmitArgs::new().timespec(&timespec);
                self.wait_with(EnterFlags::EXT_ARG, Some(&args))
            }
            Some(timeout) => self.wait_with_timer(timeout),
            None => self.wait_with(EnterFlags::empty(), None),
        }
    }

    fn wait_with(
        &mut self,
        extra: EnterFlags,
        args: Option<&SubmitArgs<'_, '_>>,
    ) -> io::Result<Waited> {
        loop {
            let count = self.fill();
            if !self.backlog.is_empty() {
                self.submit()?;
                continue;
            }
            match self.enter(count, 1, extra, args) {
                // With requests left over the kernel does not wait.
                Ok(taken) if taken < count && taken > 0 => {}
                Ok(_) => return Ok(Waited::Returned),
                Err(error) => {
                    return match error.raw_os_error() {
                        Some(libc::ETIME | libc::EINTR) => Ok(Waited::Ended),
                        _ => Err(error),
                    };
                }
            }
        }
    }

    /// The same where an entry takes no timeout: a request that completes when time is up. (Waiting
    /// for the ring's descriptor with `ppoll` will not do: completions that are to be worked off on
    /// request do not make it readable.)
    fn wait_with_timer(&mut self, timeout: Duration) -> io::Result<Waited> {
        let deadline = Instant::now().checked_add(timeout);
        match (self.timer_due, deadline) {
            // The timer that is running ends the wait in time, or before: then the loop waits again.
            (Some(running), Some(deadline)) if running <= deadline => {}
            (running, _) => {
                if running.is_some() {
                    let remove = opcode::TimeoutRemove::new(self.timer_data())
                        .build()
                        .flags(squeue::Flags::SKIP_SUCCESS)
                        .user_data(Kind::Ignore.alone());
                    // SAFETY: the request points to no memory.
                    unsafe { self.push(remove) };
                    // Also if it cannot be submitted now: nobody may rely on it any more.
                    self.timer_due = None;
                    // What the timer's box holds is read at submission: the next time goes in after.
                    self.submit()?;
                }
                *self.timer = Timespec::from(timeout);
                self.timers = self.timers.wrapping_add(1);
                self.timer_due = deadline;
                let timer = opcode::Timeout::new(&raw const *self.timer)
                    .build()
                    .user_data(self.timer_data());
                // SAFETY: `timer` is read when the request is submitted. It stays where it is until
                // then: in a box that lives as long as the queue.
                unsafe { self.push(timer) };
            }
        }
        self.wait_with(EnterFlags::empty(), None)
    }

    fn timer_data(&self) -> u64 {
        Kind::Ignore.alone() | self.timers
    }
}
