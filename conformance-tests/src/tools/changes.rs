//! Waiting until what a protocol remembers has changed.

use std::cell::RefCell;
use std::rc::Rc;

use anyloop_api::{EventLoopExt, LoopFuture, LoopRef, Result};

/// Who waits for the next change.
#[derive(Default)]
pub(super) struct Changes(RefCell<Vec<LoopFuture<()>>>);

impl Changes {
    /// Runs the hook, then whoever waits looks again; also if the hook panics.
    pub(super) fn after<R>(&self, hook: impl FnOnce() -> R) -> R {
        struct Notify<'a>(&'a Changes);
        impl Drop for Notify<'_> {
            fn drop(&mut self) {
                for waiting in self.0.0.take() {
                    // A wait that was cancelled is done already.
                    let _ = waiting.set_result(());
                }
            }
        }
        let _notify = Notify(self);
        hook()
    }

    /// Runs `lp` until the condition holds; it is looked at after each change.
    pub(super) fn until(
        self: &Rc<Self>,
        lp: &LoopRef,
        condition: impl Fn() -> bool + 'static,
    ) -> Result<()> {
        let (this, weak) = (self.clone(), lp.downgrade());
        lp.run_until_complete(async move {
            while !condition() {
                let Some(lp) = weak.upgrade() else { break };
                let change = lp.create_future::<()>();
                this.0.borrow_mut().push(change.clone());
                drop(lp);
                change.await?;
            }
            Ok(())
        })?
    }
}
