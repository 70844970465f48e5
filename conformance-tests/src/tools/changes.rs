//! Waiting until what a protocol remembers is as it should be.

use std::cell::RefCell;

use anyloop_api::{EventLoopExt, LoopFuture, LoopRef, Result};

/// Who waits, and for what. The loop is not woken before: a connection that stands still must not be
/// helped on by whoever looks at it.
#[derive(Default)]
pub(super) struct Changes(RefCell<Vec<Wait>>);

struct Wait {
    condition: Box<dyn Fn() -> bool>,
    over: LoopFuture<()>,
}

impl Changes {
    /// Runs the hook, then looks whether somebody has waited for this; also if the hook panics.
    pub(super) fn after<R>(&self, hook: impl FnOnce() -> R) -> R {
        struct Look<'a>(&'a Changes);
        impl Drop for Look<'_> {
            fn drop(&mut self) {
                self.0.0.borrow_mut().retain(Wait::goes_on);
            }
        }
        let _look = Look(self);
        hook()
    }

    /// Runs `lp` until the condition holds; it is looked at after each change.
    pub(super) fn until(&self, lp: &LoopRef, condition: impl Fn() -> bool + 'static) -> Result<()> {
        let wait = Wait { condition: Box::new(condition), over: lp.create_future() };
        let over = wait.over.clone();
        if wait.goes_on() {
            self.0.borrow_mut().push(wait);
        }
        lp.run_until_complete(over)?
    }
}

impl Wait {
    fn goes_on(&self) -> bool {
        if (self.condition)() {
            // A wait that was cancelled is done already.
            let _ = self.over.set_result(());
        }
        !self.over.done()
    }
}
