//! Policies: which kind of loop this process makes, and which loop a thread calls its own.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::backend::BackendDescriptor;
use crate::error::{Error, Result};
use crate::loop_ref::LoopRef;
use crate::running;

/// Decides which loop `new_event_loop`, `Runner` and `run` create (POL-03).
pub trait EventLoopPolicy: Send + Sync + fmt::Debug {
    /// Makes a loop.
    ///
    /// # Errors
    /// `Unavailable`, with every reason; `Os`.
    fn new_event_loop(&self) -> Result<LoopRef>;

    /// The backend whose loops it makes; `None` if it does not say.
    ///
    /// # Errors
    /// What makes it impossible to choose one; [`EventLoopPolicy::new_event_loop`] fails with the same.
    fn backend(&self) -> Result<Option<&'static BackendDescriptor>> {
        Ok(None)
    }

    /// The loop of this thread: the running one, else the one that was set.
    ///
    /// # Errors
    /// `Usage` if there is none: nothing is created implicitly (POL-02).
    fn get_event_loop(&self) -> Result<LoopRef> {
        thread_event_loop()
    }

    /// Sets the loop of this thread.
    fn set_event_loop(&self, lp: Option<LoopRef>) {
        set_thread_event_loop(lp);
    }
}

static POLICY: RwLock<Option<Arc<dyn EventLoopPolicy>>> = RwLock::new(None);

thread_local! {
    static THREAD_LOOP: RefCell<Option<LoopRef>> = const { RefCell::new(None) };
}

/// The policy that was set, if one was.
#[must_use]
pub fn installed_policy() -> Option<Arc<dyn EventLoopPolicy>> {
    POLICY.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Installs a policy for the process; `None` restores the default.
pub fn install_policy(policy: Option<Arc<dyn EventLoopPolicy>>) {
    let old = {
        let mut slot = POLICY.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *slot, policy)
    };
    drop(old);
}

/// The running loop of this thread, else the loop that was set for it.
///
/// # Errors
/// `Usage` if there is neither.
pub fn thread_event_loop() -> Result<LoopRef> {
    // At the end of the thread nothing is set any more.
    let set = || THREAD_LOOP.try_with(|slot| slot.borrow().clone()).ok().flatten();
    running::current().or_else(set).ok_or_else(|| {
        Error::usage("get_event_loop: no event loop is set for this thread, and none is running")
    })
}

/// Sets what [`thread_event_loop`] returns outside a run.
pub fn set_thread_event_loop(lp: Option<LoopRef>) {
    let old = THREAD_LOOP.try_with(|slot| slot.replace(lp));
    drop(old);
}
