//! Being driven by a foreign loop: a descriptor for it to watch, and how long it may wait.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyloop_api::EventLoop;

use crate::base::BaseLoop;

impl BaseLoop {
    /// A duplicate of the driver's descriptor. The driver goes with the loop's close, at any time; the
    /// duplicate is what a borrower may rely on.
    pub(crate) fn embedded_fd(&self) -> Option<BorrowedFd<'_>> {
        if self.embedded.get().is_none() {
            self.state().check_open("as_fd").ok()?;
            let duplicate = self.with_driver(|driver| driver.as_fd()?.try_clone_to_owned().ok())?;
            let _ = self.embedded.set(duplicate);
        }
        self.embedded.get().map(AsFd::as_fd)
    }

    /// Gets ready to wait somewhere else, and says for how long.
    pub(crate) fn prepare_wait(&self) -> Option<Duration> {
        if self.is_closed() {
            return None;
        }
        if self.state().is_inherited() || self.state().is_running() {
            // The turn will say so. What a poll brought in the middle of a run would be lost.
            return Some(Duration::ZERO);
        }
        self.flush_dirty();
        if self.inbox.awake() {
            self.drain_inbox();
        }
        self.withdraw_offers_at_rest();
        if self.is_busy() || !self.inbox.prepare_sleep() {
            return Some(Duration::ZERO);
        }
        // Requests that are still queued would otherwise wait with us. A failure shows in the turn.
        let polled = self.poll_driver(Some(Duration::ZERO));
        self.queue_events();
        // A wake-up that this poll has swallowed no longer shows in the descriptor.
        if polled.is_err() || self.is_busy() || self.inbox.is_notified() {
            return Some(Duration::ZERO);
        }
        self.time_to_sleep()
    }
}
