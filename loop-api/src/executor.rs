//! Executors: where blocking functions run.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;

/// A unit of blocking work.
pub type Job = Box<dyn FnOnce() + Send>;

/// A pool of threads for blocking functions.
///
/// The default one of each loop is replaced with
/// [`EventLoop::set_default_executor`](crate::EventLoop::set_default_executor).
pub trait Executor: Send + Sync + fmt::Debug {
    /// Runs `job` on some thread, soon. Never blocks: jobs queue when all workers are busy. `job`
    /// does not unwind.
    ///
    /// # Errors
    /// `Usage` after [`Executor::shutdown`].
    fn execute(&self, job: Job) -> Result<()>;

    /// Takes no more jobs; those queued are still run. Does not wait.
    fn shutdown(&self);

    /// Waits until every job has run and every worker has ended, at most `timeout`. False if it took
    /// longer. Called off the loop's thread.
    fn join(&self, timeout: Option<Duration>) -> bool;
}

/// An executor, shared.
pub type SharedExecutor = Arc<dyn Executor>;
