//! Handles of timers, and what tells their queue of a cancellation.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::rc::Rc;

use crate::handle::Handle;
use crate::instant::LoopInstant;

/// Told by a timer handle that its timer was cancelled, so that the queue can account for it.
pub trait TimerQueue {
    /// The timer with this token was pending and is cancelled now.
    fn timer_cancelled(&self, token: u64);
}

/// Where a timer is: what its loop is told when it is cancelled. Empty until the loop fills it in.
///
/// Filled in where it is, word by word: to read together what was just written apart, the processor waits
/// until it is in the cache.
#[derive(Default)]
pub struct TimerKey {
    token: Cell<u64>,
    queue: OnceCell<Rc<dyn TimerQueue>>,
}

impl TimerKey {
    /// For loops: `token` is whatever lets `queue` find the timer. Only the first call counts.
    #[inline]
    pub fn set(&self, token: u64, queue: Rc<dyn TimerQueue>) {
        if self.queue.set(queue).is_ok() {
            self.token.set(token);
        }
    }

    /// The timer was pending and is cancelled now.
    #[inline]
    pub(crate) fn cancel(&self) {
        if let Some(queue) = self.queue.get() {
            queue.timer_cancelled(self.token.get());
        }
    }
}

impl fmt::Debug for TimerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimerKey({})", self.token.get())
    }
}

/// A callback scheduled for a point in time.
///
/// Dropping it does not cancel the timer.
///
/// ```
/// use std::time::Duration;
/// use anyloop_api::{EventLoopExt, LoopRef, Result};
///
/// fn restart(lp: &LoopRef) -> Result<()> {
///     let timer = lp.call_later(Duration::from_secs(5), || println!("nothing for five seconds"))?;
///     assert!(timer.when() > lp.time());
///     timer.cancel();
///     assert!(timer.cancelled());
///     Ok(())
/// }
/// # use anyloop_api::EventLoop;
/// ```
#[derive(Clone)]
pub struct TimerHandle {
    handle: Handle,
    when: LoopInstant,
    token: u64,
    queue: Rc<dyn TimerQueue>,
}

impl TimerHandle {
    /// For loops: `token` is whatever lets `queue` find the timer.
    #[must_use]
    pub fn new(handle: Handle, when: LoopInstant, token: u64, queue: Rc<dyn TimerQueue>) -> Self {
        Self { handle, when, token, queue }
    }

    /// The deadline; valid also after firing or cancelling.
    #[must_use]
    pub fn when(&self) -> LoopInstant {
        self.when
    }

    /// Prevents the call and drops the callback, now. No effect once fired or cancelled (TIMER-10).
    pub fn cancel(&self) {
        if self.handle.is_pending() {
            // Also if a destructor panics.
            let _told = Told(self);
            self.handle.cancel();
        }
    }

    /// Whether [`TimerHandle::cancel`] prevented the call.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.handle.cancelled()
    }

    /// Whether it has neither fired nor been cancelled.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.handle.is_pending()
    }

    /// Leaves what is needed to tell the queue about a cancellation.
    pub(crate) fn leave(self, key: &TimerKey) {
        key.set(self.token, self.queue);
    }

    /// The callback part.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

struct Told<'a>(&'a TimerHandle);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.queue.timer_cancelled(self.0.token);
    }
}

impl fmt::Debug for TimerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<TimerHandle when={}ns {:?}>", self.when.as_nanos(), self.handle)
    }
}
