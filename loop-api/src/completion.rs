//! What a loop can be run until: a task or a future.

use crate::error::Result;
use crate::future::{CallbackId, LoopFuture};
use crate::loop_ref::LoopRef;
use crate::task::Task;

/// What [`run_until_done`](crate::EventLoopExt::run_until_done) can wait for: [`Task`] and [`LoopFuture`].
pub trait Completion {
    /// What a success gives.
    type Value;
    /// Whether it belongs to `lp`.
    fn belongs_to(&self, lp: &LoopRef) -> bool;
    /// Whether it has an outcome.
    fn is_done(&self) -> bool;
    /// Moves the outcome out.
    ///
    /// # Errors
    /// The failure.
    fn outcome(&self) -> Result<Self::Value>;
    /// Calls back, through the ready queue, when it is done.
    fn on_done(&self, callback: Box<dyn FnOnce()>) -> CallbackId;
    /// Removes that callback.
    fn forget(&self, callback: CallbackId);
}

impl<T: 'static> Completion for LoopFuture<T> {
    type Value = T;

    fn belongs_to(&self, lp: &LoopRef) -> bool {
        Self::belongs_to(self, lp)
    }

    fn is_done(&self) -> bool {
        self.done()
    }

    fn outcome(&self) -> Result<T> {
        self.take_result()
    }

    fn on_done(&self, callback: Box<dyn FnOnce()>) -> CallbackId {
        self.add_done_callback(move |_| callback())
    }

    fn forget(&self, callback: CallbackId) {
        self.remove_done_callback(callback);
    }
}

impl<T: 'static> Completion for Task<T> {
    type Value = T;

    fn belongs_to(&self, lp: &LoopRef) -> bool {
        self.get_loop().is_some_and(|mine| mine.same(lp))
    }

    fn is_done(&self) -> bool {
        self.done()
    }

    fn outcome(&self) -> Result<T> {
        self.take_result()
    }

    fn on_done(&self, callback: Box<dyn FnOnce()>) -> CallbackId {
        self.add_done_callback(move |_| callback())
    }

    fn forget(&self, callback: CallbackId) {
        self.remove_done_callback(callback);
    }
}
