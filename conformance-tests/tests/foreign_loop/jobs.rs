//! Blocking jobs: a thread for each, or the executor that was set.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyloop_api::{Error, Job, Result, SharedExecutor};

#[derive(Default)]
pub(super) struct Jobs(Inner);

#[derive(Default)]
struct Inner {
    executor: RefCell<Option<SharedExecutor>>,
    shut: Cell<bool>,
    /// Each thread holds one reference.
    running: Arc<()>,
}

impl Jobs {
    pub(super) fn execute(&self, job: Job) -> Result<()> {
        if self.0.shut.get() {
            return Err(Error::usage("run_in_executor: the default executor is shut down"));
        }
        if let Some(executor) = &*self.0.executor.borrow() {
            return executor.execute(job);
        }
        let running = self.0.running.clone();
        let body = move || {
            job();
            drop(running);
        };
        let spawned = thread::Builder::new().name("tokio-loop-job".into()).spawn(body);
        spawned.map(drop).map_err(|error| Error::os("run_in_executor: starting a thread", error))
    }

    pub(super) fn replace(&self, executor: SharedExecutor) {
        if let Some(old) = self.0.executor.replace(Some(executor)) {
            old.shutdown();
        }
    }

    pub(super) fn shutdown(&self) {
        drop(self.end());
    }

    fn end(&self) -> Option<SharedExecutor> {
        self.0.shut.set(true);
        self.0.executor.take().inspect(|executor| executor.shutdown())
    }

    /// The executor that was set is joined by a thread of its own, which counts as a job.
    pub(super) fn shutdown_and_join(&self, timeout: Option<Duration>) -> Joining {
        let joining = Joining { running: self.0.running.clone(), failed: Arc::default() };
        if let Some(executor) = self.end() {
            let (held, failed) = (joining.running.clone(), joining.failed.clone());
            // Without a thread there is nobody to wait.
            let _ = thread::Builder::new().name("tokio-loop-join".into()).spawn(move || {
                failed.store(!executor.join(timeout), Ordering::Release);
                drop(held);
            });
        }
        joining
    }
}

/// Waits for the threads of the jobs.
pub(super) struct Joining {
    running: Arc<()>,
    failed: Arc<AtomicBool>,
}

impl Joining {
    pub(super) fn is_over(&self) -> bool {
        // The loop's reference and this one.
        Arc::strong_count(&self.running) == 2
    }

    /// Whether the executor gave up.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}
