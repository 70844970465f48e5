//! Who waits for what a reader has not received yet.

use std::task::Context;

use anyloop_api::{Error, Result};

use super::{BY_ITSELF, Incoming, WAITING};

impl Incoming {
    /// A number for a new awaiting method.
    pub(in crate::streams) fn new_id(&self) -> u32 {
        let id = self.last_id.get().wrapping_add(1).max(1);
        self.last_id.set(id);
        id
    }

    /// Has `cx` woken when `need` bytes are buffered, or the stream ends; `by_itself`: also when the
    /// transport has something to read.
    ///
    /// # Errors
    /// The connection's; `Usage` if it is somebody else's turn.
    pub(in crate::streams) fn wait(
        &self,
        operation: &'static str,
        need: usize,
        by_itself: bool,
        id: u32,
        cx: &Context<'_>,
    ) -> Result<()> {
        self.check()?;
        if self.turn.get() != 0 && self.turn.get() != id {
            return Err(another(operation));
        }
        match self.waker.take() {
            Some(mine) if mine.will_wake(cx.waker()) => self.waker.set(Some(mine)),
            old => {
                self.waker.set(Some(cx.waker().clone()));
                drop(old);
            }
        }
        self.turn.set(id);
        self.need.set(need);
        self.clear(BY_ITSELF);
        let by_itself = by_itself && self.len() == 0 && self.await_readable();
        self.set(if by_itself { WAITING | BY_ITSELF } else { WAITING });
        // Whoever waits is not to be kept from what comes.
        self.resume();
        Ok(())
    }

    /// The awaiting method with this number is gone.
    pub(in crate::streams) fn forget(&self, id: u32) {
        if self.turn.get() != id {
            return;
        }
        self.turn.set(0);
        if self.has(WAITING) {
            self.clear(WAITING);
            let waker = self.waker.take();
            drop(waker);
        }
    }

    /// Wakes whoever waits.
    pub(in crate::streams) fn wake(&self) {
        if !self.has(WAITING) {
            return;
        }
        self.clear(WAITING);
        if let Some(waker) = self.waker.take() {
            // Kept for the next wait: taking another reference is an atomic operation.
            waker.wake_by_ref();
            let newer = self.waker.take();
            self.waker.set(newer.or(Some(waker)));
        }
    }

    /// Wakes whoever waits, after whom nobody will.
    pub(super) fn wake_last(&self) {
        let waits = self.has(WAITING);
        self.clear(WAITING);
        match self.waker.take() {
            Some(waker) if waits => waker.wake(),
            idle => drop(idle),
        }
    }
}

#[cold]
fn another(operation: &'static str) -> Error {
    Error::usage(format!("{operation}: another task is waiting for data of this stream"))
}
