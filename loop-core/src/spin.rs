//! Looking for work before sleeping, where the configuration asks for it.

use std::hint;
use std::time::Duration;

use anyloop_api::{EventLoop, Result};

use crate::base::BaseLoop;

/// Between two polls of the driver, each of which may be a system call, other threads are looked for so
/// many times.
const LOOKS: u32 = 16;

impl BaseLoop {
    /// Looks for work until the configured time is over, or `timeout` is, or the end of `timeout` is so
    /// near that sleeping would miss it. `None`: there is something to do, and the driver was polled. Else
    /// how long the loop may sleep now.
    pub(crate) fn spin(&self, timeout: Option<Duration>) -> Result<Option<Option<Duration>>> {
        let spin = self.spins_for;
        let begin = self.time();
        let deadline = timeout.map(|timeout| begin + timeout);
        // A sleep ends as much before the deadline as it may be late.
        let end = deadline.filter(|deadline| *deadline <= begin + spin.saturating_mul(2));
        let end = end.unwrap_or(begin + spin);
        loop {
            self.poll_driver(Some(Duration::ZERO))?;
            if self.has_events() || self.inbox.is_notified() {
                return Ok(None);
            }
            for _ in 0..LOOKS {
                hint::spin_loop();
                if self.inbox.is_notified() {
                    return Ok(None);
                }
            }
            let now = self.time();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(None);
            }
            if now >= end {
                return Ok(Some(deadline.map(|deadline| (deadline - now).saturating_sub(spin))));
            }
        }
    }
}
