//! Flow control of writing: the two water marks, and whether the protocol was told to pause.

use std::cell::Cell;

use anyloop_api::{Result, write_buffer_limits};

/// The water marks of one transport.
pub(crate) struct Flow {
    high: Cell<usize>,
    low: Cell<usize>,
    paused: Cell<bool>,
}

impl Default for Flow {
    fn default() -> Self {
        let (low, high) = Self::LIMITS;
        Self { high: Cell::new(high), low: Cell::new(low), paused: Cell::new(false) }
    }
}

impl Flow {
    /// Until they are set: `(low, high)`.
    pub(crate) const LIMITS: (usize, usize) = (16 * 1024, 64 * 1024);

    /// `(low, high)`.
    pub(crate) fn limits(&self) -> (usize, usize) {
        (self.low.get(), self.high.get())
    }

    pub(crate) fn set_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<()> {
        let (high, low) = write_buffer_limits(high, low)?;
        self.high.set(high);
        self.low.set(low);
        Ok(())
    }

    /// Whether it was told so, and not yet that it may go on.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// Whether the protocol is to be told now that it should pause (FLOW-01, -02, -04).
    pub(crate) fn should_pause(&self, pending: usize) -> bool {
        pending > self.high.get() && !self.paused.replace(true)
    }

    /// Whether it is to be told now that it may go on (FLOW-03, -04).
    pub(crate) fn should_resume(&self, pending: usize) -> bool {
        pending <= self.low.get() && self.paused.replace(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_is_told_once() {
        let flow = Flow::default();
        flow.set_limits(Some(10), Some(4)).unwrap();
        let seen: Vec<_> = [10, 11, 12, 5, 4, 4, 11]
            .map(|pending| (flow.should_pause(pending), flow.should_resume(pending)))
            .into();
        let (no, pause, resume) = ((false, false), (true, false), (false, true));
        assert_eq!(seen, [no, pause, no, no, resume, no, pause]);
    }

    #[test]
    fn low_zero_waits_until_everything_is_sent() {
        let flow = Flow::default();
        flow.set_limits(Some(0), None).unwrap();
        assert!(flow.should_pause(1) && !flow.should_resume(1) && flow.should_resume(0));
        assert!(flow.set_limits(Some(1), Some(2)).is_err());
    }
}
