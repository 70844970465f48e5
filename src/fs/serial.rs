//! One call after the other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use anyloop_api::{Executor, Job, LoopRef, Result};

use super::lock;

/// An executor over the running loop's pool that occupies one thread of it at most, so that jobs keep
/// their order.
#[derive(Debug, Default)]
pub(super) struct Serial(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Whether a thread is at it.
    served: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Queue({} jobs)", self.jobs.len())
    }
}

impl Executor for Serial {
    /// Called on the loop's thread, by `run_in_executor`.
    fn execute(&self, job: Job) -> Result<()> {
        {
            let mut queue = lock(&self.0);
            queue.jobs.push_back(job);
            if std::mem::replace(&mut queue.served, true) {
                return Ok(());
            }
        }
        let serving = Serving(Some(self.0.clone()));
        let serve = Box::new(move || serving.run());
        LoopRef::current().and_then(|lp| lp.execute(None, serve))
    }
}

impl Serial {
    /// The turn to do something without a job, if nothing is under way.
    pub(super) fn turn(&self) -> Option<Turn> {
        let served = std::mem::replace(&mut lock(&self.0).served, true);
        (!served).then(|| Turn(self.0.clone()))
    }
}

/// The jobs that come meanwhile wait until it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Arc<Mutex<Queue>>);

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut queue = lock(&self.0);
            queue.served = !queue.jobs.is_empty();
            if !queue.served {
                return;
            }
        }
        // Not in the job alone: a pool that refuses it drops it.
        let serving = Arc::new(Mutex::new(Some(Serving(Some(self.0.clone())))));
        let theirs = serving.clone();
        let serve = move || {
            let serving = lock(&theirs).take();
            if let Some(serving) = serving {
                serving.run();
            }
        };
        let pool = LoopRef::current().and_then(|lp| lp.execute(None, Box::new(serve.clone())));
        if pool.is_err() {
            // The loop is closing, and the jobs may be another's.
            let spawned = std::thread::Builder::new().spawn(serve);
            drop(spawned);
        }
    }
}

/// The duty to do the jobs; whoever drops it undone drops them, and whoever waits for one is told.
struct Serving(Option<Arc<Mutex<Queue>>>);

impl Serving {
    fn run(mut self) {
        // Done once the queue is empty, and then it may be somebody else's already.
        let Some(queue) = self.0.take() else { return };
        loop {
            let job = {
                let mut queue = lock(&queue);
                match queue.jobs.pop_front() {
                    Some(job) => job,
                    None => {
                        queue.served = false;
                        return;
                    }
                }
            };
            // It catches the panics of what it runs.
            job();
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let Some(queue) = self.0.take() else { return };
        let jobs = {
            let mut queue = lock(&queue);
            queue.served = false;
            std::mem::take(&mut queue.jobs)
        };
        // Each of them tells its loop.
        drop(jobs);
    }
}
