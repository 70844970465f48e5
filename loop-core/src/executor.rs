//! The loop's own pool for blocking functions: small, lazily grown, joinable.
//!
//! # Looking for work
//!
//! Waking a worker, and then the loop, takes longer than many a job. Who awaits one job after the other has
//! the next one as soon as the last is done, so a worker looks for it for a while before it sleeps, one
//! worker at a time. Where that was in vain (jobs come rarely, or the loop shares the worker's processor)
//! it is tried more and more seldom: then it only takes time from others. A job that finds a worker
//! looking makes no system call.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use std::{hint, mem};

use anyloop_api::{Error, Executor, Job, Result};

/// For how long a worker looks; a few times what waking the loop takes.
const PATIENCE: Duration = Duration::from_micros(50);

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
    /// Workers that sleep.
    idle: usize,
    /// A worker that does not sleep will look for a job before it does.
    looking: bool,
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
        let mut habit = Habit::default();
        let mut worked = false;
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                worked = true;
                state = self.lock();
            } else if state.closed {
                return;
            } else if mem::take(&mut worked) && !state.looking && habit.tries() {
                state = self.look(state);
                habit.learn(!state.jobs.is_empty());
            } else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }

    /// Waits for a job without sleeping, but not for long.
    fn look<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.looking = true;
        let begin = Instant::now();
        while state.jobs.is_empty() && !state.closed && begin.elapsed() < PATIENCE {
            drop(state);
            for _ in 0..8 {
                hint::spin_loop();
            }
            state = self.lock();
        }
        state.looking = false;
        state
    }
}

/// Whether to look, learned from whether it helped.
#[derive(Default)]
struct Habit {
    /// How often looking is left out after the next time that it is in vain.
    pause: u32,
    /// How often it is still left out.
    left: u32,
}

impl Habit {
    const LONGEST: u32 = 64;

    fn tries(&mut self) -> bool {
        let tries = self.left == 0;
        self.left = self.left.saturating_sub(1);
        tries
    }

    fn learn(&mut self, helped: bool) {
        self.pause = if helped { 0 } else { (self.pause * 2 + 1).min(Self::LONGEST) };
        self.left = self.pause;
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
        // The worker that looks finds one, and the others are for the rest.
        let rest = state.jobs.len() - usize::from(state.looking);
        if rest == 0 {
            return Ok(());
        }
        if state.idle >= rest || state.threads == self.shared.limit {
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
        // Not locked while it is written to wherever that is, which may take its time.
        let state = self.shared.lock();
        let (threads, idle, jobs) = (state.threads, state.idle, state.jobs.len());
        drop(state);
        write!(f, "ThreadPool({threads} of {} threads, ", self.shared.limit)?;
        write!(f, "{idle} idle, {jobs} jobs queued)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Barrier, mpsc};

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

    /// Jobs that wait for each other come one right after the other, while workers look, sleep and end: each
    /// gets a worker of its own.
    #[test]
    fn no_job_waits_for_one_that_runs() {
        let pool = ThreadPool::new(3);
        for round in 0..2_000 {
            let together = 1 + round % 3;
            let (sender, receiver) = mpsc::channel();
            let barrier = Arc::new(Barrier::new(together));
            for _ in 0..together {
                let (sender, barrier) = (sender.clone(), barrier.clone());
                let job = move || {
                    barrier.wait();
                    sender.send(()).unwrap();
                };
                pool.execute(Box::new(job)).unwrap();
            }
            for _ in 0..together {
                receiver.recv_timeout(Duration::from_secs(60)).unwrap();
            }
        }
        pool.shutdown();
        assert!(pool.join(None));
    }

    #[test]
    fn looking_in_vain_becomes_rare() {
        let mut habit = Habit::default();
        let mut looks = 0;
        for _ in 0..1_000 {
            if habit.tries() {
                looks += 1;
                habit.learn(false);
            }
        }
        assert!((15..25).contains(&looks), "{looks} looks");
        while !habit.tries() {}
        habit.learn(true);
        assert!(habit.tries(), "what helped is done again at once");
    }
}
