//! What random scripts do to primitives, and what ought to come of it.

pub(crate) mod items;
pub(crate) mod permits;

use std::cell::RefCell;
use std::rc::Rc;

use anyloop::{LoopRef, Result, Task, TimeoutHandle, create_task, yield_now};

/// One task that waits for something, unless it is cancelled or its time is over.
pub(crate) struct Waiter {
    task: Task<()>,
    scope: TimeoutHandle,
    /// A request to cancel it was accepted.
    asked: bool,
}

impl Waiter {
    /// `work` says by itself how it went.
    pub(crate) fn start(work: impl Future<Output = ()> + 'static) -> Result<Self> {
        let scope = TimeoutHandle::after(None);
        let theirs = scope.clone();
        let task = create_task(async move {
            // Late: nothing was got.
            let _ = theirs.run(work).await;
        })?;
        Ok(Self { task, scope, asked: false })
    }

    pub(crate) fn waits(&self) -> bool {
        !self.task.done()
    }

    pub(crate) fn cancel(&mut self) {
        self.asked |= self.task.cancel();
    }

    /// Its deadline is now: it passes in the next iteration.
    pub(crate) fn expire(&self) -> Result<()> {
        let now = LoopRef::current()?.time();
        // One that has not begun, or is over, has no deadline to move.
        let _ = self.scope.reschedule(now);
        Ok(())
    }

    /// A request that was accepted has ended it.
    pub(crate) fn kept_its_word(&self) -> bool {
        !self.asked || self.task.cancelled()
    }
}

/// Lets everything happen that can happen without another action.
pub(crate) async fn settle(waiters: &[Waiter]) {
    let waiting = waiters.iter().filter(|waiter| waiter.waits()).count();
    for _ in 0..2 * waiting + 6 {
        yield_now().await;
    }
}

/// The first contradiction that was found, by whoever found it.
#[derive(Clone, Default)]
pub(crate) struct Verdict(Rc<RefCell<Option<String>>>);

impl Verdict {
    pub(crate) fn expect(&self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.0.borrow_mut().get_or_insert_with(otherwise);
        }
    }

    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        self.0.borrow().clone().map_or(Ok(()), Err)
    }
}
