//! Executors of the user's own.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use anyloop_api::{Executor, Job};

use super::Threads;
use crate::families::prelude::*;

pub(super) fn the_default_pool_refuses_after_shutdown(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let freed = Counter::new();
    ensure_eq!(lp.run_until_done(&lp.run_in_executor(None, || 1)?)?, 1, "a job before");
    lp.run_until_complete(lp.shutdown_default_executor(None))?;
    let token = freed.token();
    ensure_is!(lp.run_in_executor(None, move || token.keep()), Err(Error::Usage(_)));
    ensure_eq!(freed.get(), 1, "refused jobs freed");
    // Once more does no harm; nor does it on a loop that never had a pool.
    lp.run_until_complete(lp.shutdown_default_executor(None))?;
    let fresh = cx.new_loop()?;
    fresh.run_until_complete(fresh.shutdown_default_executor(None))?;
    ensure_is!(fresh.run_in_executor(None, || ()), Err(Error::Usage(_)));
    Ok(())
}

pub(super) fn explicit_executors_still_work(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.run_until_complete(lp.shutdown_default_executor(None))?;
    let executor = Arc::new(Threads::default());
    let job = lp.run_in_executor(Some(executor.clone()), || 3)?;
    ensure_eq!(lp.run_until_done(&job)?, 3, "the job's value");
    ensure_eq!(executor.executed.get(), 1, "jobs of the explicit executor");
    lp.close()?;
    ensure_eq!(executor.shut_down.get(), 0, "shutdowns of an executor that is not the loop's");
    Ok(())
}

pub(super) fn a_replaced_default_is_used(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (first, second) = (Arc::new(Threads::default()), Arc::new(Threads::default()));
    lp.set_default_executor(first.clone());
    ensure_eq!(lp.run_until_done(&lp.run_in_executor(None, || 1)?)?, 1, "the first job");
    lp.set_default_executor(second.clone());
    ensure_eq!(first.shut_down.get(), 1, "shutdowns of the replaced executor");
    ensure_eq!(lp.run_until_done(&lp.run_in_executor(None, || 2)?)?, 2, "the second job");
    ensure_eq!((first.executed.get(), second.executed.get()), (1, 1), "jobs of each executor");
    lp.close()?;
    ensure_eq!(second.shut_down.get(), 1, "shutdowns by close()");
    Ok(())
}

/// An executor that runs its jobs when it is shut down, on the loop's own thread.
#[derive(Default)]
struct Late(Mutex<Vec<Job>>);

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Late({} jobs)", self.jobs().len())
    }
}

impl Late {
    fn jobs(&self) -> std::sync::MutexGuard<'_, Vec<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Executor for Late {
    fn execute(&self, job: Job) -> Result<(), Error> {
        self.jobs().push(job);
        Ok(())
    }

    fn shutdown(&self) {
        let jobs = std::mem::take(&mut *self.jobs());
        jobs.into_iter().for_each(|job| job());
    }
}

pub(super) fn a_replaced_default_may_come_back(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    lp.set_default_executor(Arc::new(Late::default()));
    let job = lp.run_in_executor(None, || {
        // Inside of the call that replaces it.
        LoopRef::current().and_then(|lp| lp.run_in_executor(None, || ()).map(drop)).is_ok()
    })?;
    let inner = lp.clone();
    lp.call_soon(move || inner.set_default_executor(Arc::new(Late::default())))?;
    ensure!(lp.run_until_done(&job)?, "the job could not ask for another one");
    Ok(())
}

/// An executor that cannot be waited for.
#[derive(Debug)]
struct Broken;

impl Executor for Broken {
    fn execute(&self, job: Job) -> Result<(), Error> {
        job();
        Ok(())
    }

    fn shutdown(&self) {}

    fn join(&self, _: Option<Duration>) -> bool {
        panic!("in join")
    }
}

pub(super) fn an_executor_that_panics_is_not_waited_for(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    lp.set_default_executor(Arc::new(Broken));
    lp.run_until_complete(lp.shutdown_default_executor(None))?;
    ensure!(reports.count() <= 1, "more was reported than one executor: {:?}", reports.take());
    Ok(())
}

/// Takes jobs, and drops them later or at once; refuses every third.
#[derive(Default)]
struct Forgetful(Mutex<Vec<Option<Job>>>);

impl fmt::Debug for Forgetful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forgetful")
    }
}

impl Executor for Forgetful {
    fn execute(&self, job: Job) -> anyloop_api::Result<()> {
        let mut jobs = self.0.lock().expect("no job runs inside");
        let at = jobs.len();
        jobs.push(Some(job).filter(|_| at == 0));
        if at == 2 { Err(Error::usage("no more")) } else { Ok(()) }
    }
}

pub(super) fn dropped_by_its_executor_it_is_cancelled(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (ran, freed) = (Counter::new(), Counter::new());
    let forgetful = Arc::new(Forgetful::default());
    let start = || {
        let (ran, token) = (ran.clone(), freed.token());
        let job = move || {
            token.keep();
            ran.add()
        };
        lp.run_in_executor(Some(forgetful.clone()), job)
    };
    let (later, at_once) = (start()?, start()?);
    ensure_is!(start(), Err(Error::Usage(_)));
    run_times(&lp, 2)?;
    ensure!(at_once.cancelled() && !later.done(), "{at_once:?}, {later:?}");
    ensure_is!(lp.run_until_done(&at_once), Err(Error::Cancelled(_)));
    // On another thread, as an executor would that is shut down.
    let jobs = std::mem::take(&mut *forgetful.0.lock().expect("no job runs inside"));
    join(thread::spawn(move || drop(jobs)))?;
    ensure_is!(lp.run_until_done(&later), Err(Error::Cancelled(_)));
    ensure_eq!((ran.get(), freed.get()), (0, 3), "jobs that ran, and that were freed");
    // What was kept for them is not mixed up with what is kept for the next one.
    ensure_eq!(lp.run_until_done(&lp.run_in_executor(None, || 7)?)?, 7, "the next job");
    Ok(())
}
