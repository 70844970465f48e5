//! A task whose turn is to come, and how a wake-up finds the loop it belongs to.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::remote::Scheduler;
use crate::running;

/// A step of a task that waits for its turn in the queue of its loop.
///
/// It may travel to the loop from any thread, but has to be run or dropped on the loop's own.
pub struct Runnable(async_task::Runnable<Home>);

/// Where a task belongs. Its own function for waking captures nothing: then async-task counts no
/// reference for it in every wake-up.
struct Home {
    /// The loop's number.
    id: u64,
    scheduler: Arc<dyn Scheduler>,
}

impl Runnable {
    /// Makes a task of the future that `root` makes, in its place, on the loop with this number, to be queued
    /// for the first time by the caller. The loop owns it.
    #[inline]
    pub(crate) fn new<F: Future<Output = ()> + 'static>(
        id: u64,
        scheduler: Arc<dyn Scheduler>,
        root: impl FnOnce() -> F,
    ) -> Self {
        let home = Home { id, scheduler };
        let (runnable, task) =
            async_task::Builder::new().metadata(home).spawn_local(move |_| root(), schedule);
        task.detach();
        Self(runnable)
    }

    /// Takes the step; for the loop. Whether the task was woken meanwhile, and so queued again.
    ///
    /// # Panics
    /// If the destructor of a waker does; the body of a task cannot.
    #[inline]
    #[allow(clippy::must_use_candidate, reason = "most loops do not care")]
    pub fn run(self) -> bool {
        self.0.run()
    }
}

impl fmt::Debug for Runnable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Runnable of loop {}>", self.0.metadata().id)
    }
}

/// The task was woken: mostly by another callback of its loop, which is then the running one.
fn schedule(runnable: async_task::Runnable<Home>) {
    let id = runnable.metadata().id;
    if let Err(runnable) = running::schedule(id, Runnable(runnable)) {
        let scheduler = runnable.0.metadata().scheduler.clone();
        scheduler.schedule(runnable);
    }
}
