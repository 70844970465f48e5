//! The end of what a loop keeps.

use std::thread;
use std::time::{Duration, Instant};

use super::LoopState;
use crate::any_task::AnyTask;
use crate::error::Panic;
use crate::loop_ref::LoopRef;
use crate::report::Report;

/// What a thread has woken is in the queue of its loop after this time, unless it is stopped between the
/// two.
const PUSHED_BY: Duration = Duration::from_millis(500);

impl LoopState {
    /// For `close`: ends every task that is left by dropping its future, and reports those that the
    /// user had created (TASK-15). `turn` must drop or run every queued runnable of the loop, those that
    /// other threads have queued meanwhile included; it is called until no task is left. Who awaits something of
    /// the loop without being a task of it is woken, and finds it closed: call [`LoopState::set_closed`] before.
    pub fn abort_tasks(&self, lp: Option<&LoopRef>, mut turn: impl FnMut()) {
        for task in self.tasks.all() {
            if !task.core.internal.get()
                && let Some(lp) = lp
            {
                lp.call_exception_handler(
                    Report::new("a task was destroyed while it was pending")
                        .task(Some(AnyTask::new(task.clone()))),
                );
            }
        }
        // Destructors may create work of their own; they cannot create tasks on a closed loop.
        for task in self.tasks.all() {
            task.core.aborted.set(true);
            task.core.wake();
        }
        let began = Instant::now();
        loop {
            turn();
            // What is left was woken by another thread, which is about to queue it.
            if self.tasks.len() == 0 || began.elapsed() > PUSHED_BY {
                break;
            }
            thread::yield_now();
        }
        // Dropped outside of the borrows, which last for a whole statement.
        let parked = self.parked.take();
        let finalisers = self.finalisers.take();
        let tasks = self.tasks.take();
        // Each for itself: the destructors are the user's, and the loop has more to close.
        parked.into_iter().for_each(|(_, value)| drop_quietly(lp, value));
        finalisers.into_iter().for_each(|(_, finaliser)| drop_quietly(lp, finaliser));
        tasks.into_iter().for_each(|task| drop_quietly(lp, task.core.finish()));
        self.wake_elsewhere(lp);
    }

    pub(super) fn wake_elsewhere(&self, lp: Option<&LoopRef>) {
        for awaited in self.tasks.elsewhere.take() {
            quietly(lp, || awaited.upgrade().iter().for_each(|awaited| awaited.wake_all()));
        }
    }
}

/// Drops what is the user's, in the middle of a close.
fn drop_quietly(lp: Option<&LoopRef>, value: impl Sized) {
    quietly(lp, || drop(value));
}

/// Runs what may run the user's code, in the middle of a close.
fn quietly(lp: Option<&LoopRef>, f: impl FnOnce()) {
    if let Err(panic) = Panic::catch(f)
        && let Some(lp) = lp
    {
        lp.call_exception_handler(
            Report::new("a destructor panicked while the event loop was closing").exception(panic),
        );
    }
}
