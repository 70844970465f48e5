//! The loop's own pool for blocking functions: small, lazily grown, joinable.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyloop_api::{Error, Executor, Job, Result};

/// Threads that run [`Job`]s in the order of submission. No thread exists before the first job.
#[derive(Clone)]
pub struct ThreadPool {
    shared: Arc<Shared>,
}

struct Shared {
    limit: usize,
    state: Mutex<State>,
    work: Condvar,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    started: usize,
    closed: bool,
}

impl ThreadPool {
    /// A pool of at most `limit` threads; at least one.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let shared = Shared {
            limit: limit.max(1),
            state: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// asyncio's default: `min(32, CPUs + 4)`.
    #[must_use]
    pub fn default_limit() -> usize {
        thread::available_parallelism().map_or(1, usize::from).saturating_add(4).min(32)
    }

    /// How many worker threads exist now.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.lock().threads
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let _ended = Ended(self);
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.lock();
            } else if state.closed {
                return;
            } else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

/// Counts a worker out, also if a job unwinds against the rules.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
        self.0.ended.notify_all();
    }
}

impl Executor for ThreadPool {
    fn execute(&self, job: Job) -> Result<()> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(Error::usage("run_in_executor: the executor is shut down"));
        }
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() || state.threads == self.shared.limit {
            drop(state);
            self.shared.work.notify_one();
            return Ok(());
        }
        state.threads += 1;
        state.started += 1;
        let name = format!("anyloop-worker-{}", state.started);
        let shared = self.shared.clone();
        let spawned = thread::Builder::new().name(name).spawn(move || shared.work());
        if let Err(error) = spawned {
            state.threads -= 1;
            // With a worker alive the job is merely late; without one nobody would ever run it.
            if state.threads == 0 {
                state.jobs.pop_back();
                return Err(Error::os("run_in_executor: starting a thread", error));
            }
        }
        Ok(())
    }

    fn shutdown(&self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }

    fn join(&self, timeout: Option<Duration>) -> bool {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.shared.lock();
        while state.threads > 0 {
            let Some(deadline) = deadline else {
                state = self.shared.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        write!(f, "ThreadPool({} of {} threads", state.threads, self.shared.limit)?;
        write!(f, ", {} idle, {} jobs queued)", state.idle, state.jobs.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn starts_threads_as_needed_and_joins() {
        let pool = ThreadPool::new(2);
        assert_eq!(pool.threads(), 0);
        let (sender, receiver) = mpsc::channel();
        for i in 0..10 {
            let sender = sender.clone();
            pool.execute(Box::new(move || sender.send(i).unwrap())).unwrap();
        }
        let mut seen: Vec<i32> = receiver.iter().take(10).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        assert!(pool.threads() <= 2);
        pool.shutdown();
        assert!(pool.execute(Box::new(|| {})).is_err());
        assert!(pool.join(None));
        assert_eq!(pool.threads(), 0);
    }

    #[test]
    fn join_gives_up_in_time_and_queued_jobs_still_run() {
        let pool = ThreadPool::new(1);
        let (go, gate) = mpsc::channel::<()>();
        let (sender, receiver) = mpsc::channel();
        pool.execute(Box::new(move || gate.recv().unwrap())).unwrap();
        pool.execute(Box::new(move || sender.send(()).unwrap())).unwrap();
        pool.shutdown();
        assert!(!pool.join(Some(Duration::ZERO)));
        go.send(()).unwrap();
        receiver.recv().unwrap();
        assert!(pool.join(None));
    }
}
