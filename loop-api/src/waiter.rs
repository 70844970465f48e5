//! What an operation of a loop is suspended on: told to go on by the loop, or ended by its task's
//! cancellation.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::task::{Context as PollContext, Poll, Waker};

use crate::cancellable::{self, Cancellable};
use crate::delivery;
use crate::error::Cancelled;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody waits.
    Idle,
    Waiting,
    Notified,
    /// The task was cancelled while it waited: the operation is over, though its future still exists.
    Cancelled,
}

/// One wait at a time, over and over; for loops.
///
/// A cancellation of the waiting task ends it at once, before the task's next step: what the operation
/// had reserved is free again by then (SOCK-13).
pub struct Waiter {
    state: Cell<State>,
    waker: Cell<Option<Waker>>,
    operation: &'static str,
}

impl Waiter {
    /// For `operation`, which dumps of the task name.
    #[must_use]
    pub fn new(operation: &'static str) -> Rc<Self> {
        Rc::new(Self { state: Cell::new(State::Idle), waker: Cell::new(None), operation })
    }

    /// Ready after the next [`Waiter::notify`] that comes while this waits. Inside a task that is being
    /// cancelled it stays pending and lets the cancellation continue outwards. If that has been served, and
    /// somebody kept the future, it is ready too: what it waits for is to be tried again.
    pub fn poll(self: &Rc<Self>, cx: &mut PollContext<'_>) -> Poll<()> {
        match self.state.get() {
            State::Notified => {
                self.state.set(State::Idle);
                return Poll::Ready(());
            }
            State::Cancelled => {
                if !delivery::deliver_if_own(&Cancelled::new(), Rc::as_ptr(self).cast()) {
                    self.state.set(State::Idle);
                    return Poll::Ready(());
                }
            }
            State::Idle | State::Waiting => {
                self.state.set(State::Waiting);
                let waker = match self.waker.take() {
                    Some(mine) if mine.will_wake(cx.waker()) => mine,
                    _ => cx.waker().clone(),
                };
                self.waker.set(Some(waker));
                cancellable::set_waiter(|| self.clone());
            }
        }
        Poll::Pending
    }

    /// Ends the wait, if there is one; says whether there was.
    pub fn notify(&self) -> bool {
        let waiting = self.is_waiting();
        if waiting {
            self.end(State::Notified);
        }
        waiting
    }

    /// Forgets a wait whose future is gone.
    pub fn reset(self: &Rc<Self>) {
        self.state.set(State::Idle);
        drop(self.waker.take());
        cancellable::clear_waiter(self);
    }

    /// Whether somebody waits.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.state.get() == State::Waiting
    }

    /// Whether the wait was ended by a cancellation.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.state.get() == State::Cancelled
    }

    /// What waits.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    fn end(&self, state: State) {
        self.state.set(state);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Cancellable for Waiter {
    fn cancel(self: Rc<Self>, _: &Cancelled) -> bool {
        let waiting = self.is_waiting();
        if waiting {
            self.end(State::Cancelled);
        }
        waiting
    }

    fn cancelled(&self) -> bool {
        self.is_cancelled()
    }

    fn describe(&self) -> String {
        self.operation.into()
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Waiter of {} {:?}>", self.operation, self.state.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_ends_one_wait() {
        let waiter = Waiter::new("test");
        let mut cx = PollContext::from_waker(Waker::noop());
        assert!(!waiter.notify(), "nobody waits");
        assert!(waiter.poll(&mut cx).is_pending());
        assert!(waiter.notify());
        assert!(waiter.poll(&mut cx).is_ready());
        assert!(waiter.poll(&mut cx).is_pending(), "the next wait");
        waiter.reset();
        assert!(!waiter.notify());
    }

    #[test]
    fn a_cancelled_wait_is_over_at_once() {
        let waiter = Waiter::new("test");
        let mut cx = PollContext::from_waker(Waker::noop());
        assert!(!waiter.clone().cancel(&Cancelled::new()), "nobody waits");
        assert!(waiter.poll(&mut cx).is_pending());
        assert!(waiter.clone().cancel(&Cancelled::new()));
        assert!(waiter.is_cancelled() && !waiter.notify());
        assert!(waiter.poll(&mut cx).is_ready(), "nobody's cancellation is on its way");
        assert!(waiter.poll(&mut cx).is_pending() && waiter.notify(), "the next wait");
    }
}
