//! Seed (j): `wait` in its three modes; errors are collected, none is raised.
//!
//! ```python
//! async def work(n):
//!     await asyncio.sleep(0.02 * n)
//!     if n == 3:
//!         raise ValueError(f"work {n} failed")
//!     return n
//!
//! async def wait_for_them(mode):
//!     tasks = [asyncio.create_task(work(n)) for n in range(1, 6)]
//!     done, pending = await asyncio.wait(tasks, return_when=mode)
//!     errors = [str(t.exception()) for t in done if t.exception()]
//!     running = all(not t.done() for t in pending)
//!     if pending:
//!         await asyncio.wait(pending)       # they go on
//!     return len(done), len(pending), errors, running, sum(t.done() for t in tasks)
//!
//! async def main():
//!     return [await wait_for_them(mode)
//!             for mode in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION)]
//!
//! asyncio.run(main())
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::time::Duration;

use anyloop::{Error, Result, ReturnWhen, create_task, run_with, sleep, wait};

/// What one `wait` left.
#[derive(Debug)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    pub(crate) mode: ReturnWhen,
    pub(crate) done: usize,
    pub(crate) pending: usize,
    /// Of those that were done.
    pub(crate) errors: Vec<String>,
    /// Whether nothing had been done to the pending ones.
    pub(crate) running: bool,
    /// How many of the five got to their end at last.
    pub(crate) ended: usize,
}

async fn work(n: u32) -> Result<u32> {
    sleep(Duration::from_millis(20) * n).await;
    if n == 3 {
        return Err(Error::invalid_arg(format!("work {n} failed")));
    }
    Ok(n)
}

async fn wait_for_them(mode: ReturnWhen) -> Result<Observations> {
    let tasks = (1..=5).map(|n| create_task(work(n))).collect::<Result<Vec<_>>>()?;
    let waited = wait(tasks.clone()).return_when(mode).await?;
    let errors = waited.done.iter().filter_map(|task| task.result().and_then(|ended| ended).err());
    let errors = errors.map(|error| error.to_string()).collect();
    let (done, pending) = (waited.done.len(), waited.pending.len());
    let running = waited.pending.iter().all(|task| !task.done());
    if pending > 0 {
        wait(waited.pending).await?; // they go on
    }
    let ended = tasks.iter().filter(|task| task.done()).count();
    Ok(Observations { mode, done, pending, errors, running, ended })
}

async fn main_program() -> Result<Vec<Observations>> {
    let mut all = Vec::new();
    for mode in [ReturnWhen::AllCompleted, ReturnWhen::FirstCompleted, ReturnWhen::FirstException] {
        all.push(wait_for_them(mode).await?);
    }
    Ok(all)
}

pub(crate) fn run(backend: &str) -> Result<Vec<Observations>> {
    run_with(backend, main_program())?
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    println!("{:#?}", run(backend)?);
    Ok(())
}
