//! The loop that runs on a thread.

use std::cell::RefCell;
use std::mem::ManuallyDrop;

use crate::fork::fork_generation;
use crate::loop_ref::{LoopRef, WeakLoop};
use crate::runnable::Runnable;
use crate::state::LoopState;

thread_local! {
    /// Empty between runs, so that it needs no destructor, nor a check whether it has run.
    static RUNNING: ManuallyDrop<RefCell<Option<Running>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
}

/// The running loop, and what of its state would cost a virtual call to ask for.
struct Running {
    lp: LoopRef,
    weak: WeakLoop,
    id: u64,
    born: u64,
}

/// The loop that is running on this thread; in a forked child, the parent's does not count (FORK-01).
#[inline]
pub(crate) fn current() -> Option<LoopRef> {
    RUNNING.with(|running| {
        let running = running.borrow();
        let running = running.as_ref().filter(|running| running.born == fork_generation());
        running.map(|running| running.lp.clone())
    })
}

/// Whether it is this one.
#[inline]
pub(crate) fn is(lp: &WeakLoop) -> bool {
    RUNNING.with(|running| match &*running.borrow() {
        Some(running) => running.weak.same(lp) && running.born == fork_generation(),
        None => false,
    })
}

/// Queues a woken task if its loop, the one with this number, is the one that runs here.
#[inline]
pub(crate) fn schedule(id: u64, runnable: Runnable) -> Result<(), Runnable> {
    // Its handle comes out in two registers; a closure that took the task in would be called by way of memory.
    let here = RUNNING.with(|running| {
        let running = running.borrow();
        running.as_ref().filter(|running| running.id == id).map(|running| running.lp.clone())
    });
    match here {
        Some(lp) => {
            lp.schedule(runnable);
            Ok(())
        }
        None => Err(runnable),
    }
}

/// While it exists, the loop is the running one of its thread.
#[derive(Debug)]
pub struct RunGuard<'a> {
    state: &'a LoopState,
}

impl<'a> RunGuard<'a> {
    pub(crate) fn enter(state: &'a LoopState) -> Self {
        let weak = state.weak();
        let this = weak.upgrade();
        let this = this.map(|lp| Running { lp, weak, id: state.id(), born: state.born });
        RUNNING.with(|running| running.replace(this));
        state.running.set(true);
        Self { state }
    }
}

impl Drop for RunGuard<'_> {
    fn drop(&mut self) {
        self.state.running.set(false);
        let old = RUNNING.with(|running| running.take());
        drop(old);
    }
}
