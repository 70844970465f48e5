//! Other people's thread pools as executors: rayon's for computing, blocking's for waiting. Ten lines each.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::sync::Arc;
use std::thread;

use anyloop::{EventLoopExt, Executor, Job, LoopRef, Result, new_event_loop_with, to_thread};

/// rayon's pool, one thread per processor.
#[derive(Debug)]
struct Rayon;

impl Executor for Rayon {
    fn execute(&self, job: Job) -> Result<()> {
        rayon::spawn(job);
        Ok(())
    }
}

/// blocking's pool, as many threads as there are jobs, up to 500.
#[derive(Debug)]
struct Blocking;

impl Executor for Blocking {
    fn execute(&self, job: Job) -> Result<()> {
        blocking::unblock(job).detach();
        Ok(())
    }
}

/// A sum, and the names of the threads that jobs ran on: in rayon's pool, and by default.
pub(crate) type Seen = (u64, Option<String>, Option<String>);

fn name() -> Option<String> {
    thread::current().name().map(str::to_owned)
}

async fn main_task() -> Result<Seen> {
    let lp = LoopRef::current()?;
    // For one job …
    let compute = || ((1..=1000).sum(), name());
    let (sum, computed_by) = lp.run_in_executor(Some(Arc::new(Rayon)), compute)?.await?;
    // … or for every one that names none, those of the loop included.
    lp.set_default_executor(Arc::new(Blocking));
    let waited_by = to_thread(name).await?;
    Ok((sum, computed_by, waited_by))
}

pub(crate) fn run(backend: &str) -> Result<Seen> {
    let lp = new_event_loop_with(backend)?;
    let seen = lp.run_until_complete(main_task())??;
    lp.close()?;
    Ok(seen)
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    println!("{:?}", run(backend)?);
    Ok(())
}
