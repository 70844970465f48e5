//! A function on its way through an executor, and back to its loop.

use std::sync::{Arc, Mutex};

use crate::error::{Cancelled, Error, Result};
use crate::future::LoopFuture;
use crate::loop_ref::LoopRef;
use crate::remote::{RemoteHandle, lock};

/// A job that waits for its turn. If an executor drops it instead, nobody waits for it for ever.
pub(crate) struct Queued<F, D: Fn(&RemoteHandle)> {
    pub(crate) slot: Arc<Mutex<Option<F>>>,
    pub(crate) remote: RemoteHandle,
    pub(crate) dropped: D,
}

impl<F, D: Fn(&RemoteHandle)> Drop for Queued<F, D> {
    fn drop(&mut self) {
        let unused = lock(&self.slot).take();
        if unused.is_some() {
            (self.dropped)(&self.remote);
        }
    }
}

pub(crate) fn not_run() -> Error {
    Cancelled::with_message("the executor dropped the job").into()
}

pub(crate) fn deliver<T: Send + 'static>(key: usize, result: Result<T>) {
    let Ok(lp) = LoopRef::current() else { return };
    let Some(parked) = lp.state().unpark(key) else { return };
    if let Ok(future) = parked.downcast::<LoopFuture<T>>() {
        future.set_unless_done(result);
    }
}
