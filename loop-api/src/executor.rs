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
/// [`EventLoop::set_default_executor`](crate::EventLoop::set_default_executor). A pool that the whole
/// process shares needs one method: nobody shuts it down, and nobody waits for it.
///
/// ```
/// use anyloop_api::{Error, Executor, Job, Result};
///
/// /// A thread for each job.
/// #[derive(Debug)]
/// struct Threads;
///
/// impl Executor for Threads {
///     fn execute(&self, job: Job) -> Result<()> {
///         let spawned = std::thread::Builder::new().spawn(job);
///         spawned.map(drop).map_err(|error| Error::os("starting a thread", error))
///     }
/// }
/// // lp.set_default_executor(Arc::new(Threads));
/// # let (tell, told) = std::sync::mpsc::channel();
/// # Threads.execute(Box::new(move || tell.send(1).unwrap()))?;
/// # assert_eq!(told.recv(), Ok(1));
/// # Ok::<(), Error>(())
/// ```
///
/// The same with rayon and with the crate blocking (`examples/executors.rs`):
///
/// ```ignore
/// impl Executor for Rayon {
///     fn execute(&self, job: Job) -> Result<()> {
///         rayon::spawn(job);
///         Ok(())
///     }
/// }
///
/// impl Executor for Blocking {
///     fn execute(&self, job: Job) -> Result<()> {
///         blocking::unblock(job).detach();
///         Ok(())
///     }
/// }
/// ```
pub trait Executor: Send + Sync + fmt::Debug {
    /// Runs `job` on some thread, soon. Never blocks: jobs queue when all workers are busy. `job`
    /// does not unwind.
    ///
    /// # Errors
    /// `Usage` after [`Executor::shutdown`].
    fn execute(&self, job: Job) -> Result<()>;

    /// Takes no more jobs; those queued are still run. Does not wait. Does nothing by default.
    fn shutdown(&self) {}

    /// Waits until every job has run and every worker has ended, at most `timeout`. False if it took
    /// longer. Called off the loop's thread. By default nothing is waited for.
    fn join(&self, timeout: Option<Duration>) -> bool {
        let _ = timeout;
        true
    }
}

/// An executor, shared.
pub type SharedExecutor = Arc<dyn Executor>;
