//! Timers by deadline, then by creation.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use anyloop_api::{Handle, LoopInstant, TimerHandle, TimerQueue};

#[derive(Default)]
pub(super) struct Timers {
    queue: RefCell<BTreeMap<(LoopInstant, u64), Handle>>,
    deadlines: RefCell<HashMap<u64, LoopInstant>>,
    next: Cell<u64>,
}

impl Timers {
    pub(super) fn insert(self: &Rc<Self>, when: LoopInstant, handle: Handle) -> TimerHandle {
        let token = self.next.get();
        self.next.set(token + 1);
        self.queue.borrow_mut().insert((when, token), handle.clone());
        self.deadlines.borrow_mut().insert(token, when);
        TimerHandle::new(handle, when, token, self.clone())
    }

    pub(super) fn next_deadline(&self) -> Option<LoopInstant> {
        self.queue.borrow().first_key_value().map(|((when, _), _)| *when)
    }

    pub(super) fn pop_due(&self, now: LoopInstant) -> Option<Handle> {
        let due = self.next_deadline()?;
        // A deadline at the end of time never comes (TIMER-13).
        if due > now || due == LoopInstant::FAR_FUTURE {
            return None;
        }
        let ((_, token), handle) = self.queue.borrow_mut().pop_first()?;
        self.deadlines.borrow_mut().remove(&token);
        Some(handle)
    }

    /// Takes everything out.
    pub(super) fn take(&self) -> impl Iterator<Item = Handle> {
        self.deadlines.borrow_mut().clear();
        std::mem::take(&mut *self.queue.borrow_mut()).into_values()
    }
}

impl TimerQueue for Timers {
    fn timer_cancelled(&self, token: u64) {
        let when = self.deadlines.borrow_mut().remove(&token);
        let handle = when.and_then(|when| self.queue.borrow_mut().remove(&(when, token)));
        drop(handle);
    }
}
