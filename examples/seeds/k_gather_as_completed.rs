//! Seed (k): `gather` keeps the order of its arguments, `as_completed` that of completion.
//!
//! ```python
//! async def sleeper(n):
//!     await asyncio.sleep(0.02 * n)
//!     return n
//!
//! async def main():
//!     gathered = await asyncio.gather(*(sleeper(n) for n in (3, 2, 1)))
//!     tasks = [asyncio.create_task(sleeper(n)) for n in (3, 2, 1)]
//!     completed, original = [], True
//!     async for task in asyncio.as_completed(tasks):
//!         original = original and task in tasks
//!         completed.append(await task)
//!     return gathered, completed, original
//!
//! asyncio.run(main())
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::time::Duration;

use anyloop::{Result, as_completed, create_task, gather, run_with, sleep};

/// What there is to see.
#[derive(Debug)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    pub(crate) gathered: Vec<u32>,
    pub(crate) completed: Vec<u32>,
    /// Whether `as_completed` gave the handles that went in.
    pub(crate) original: bool,
}

async fn sleeper(n: u32) -> u32 {
    sleep(Duration::from_millis(20) * n).await;
    n
}

async fn main_program() -> Result<Observations> {
    let gathered = gather([3, 2, 1].map(sleeper)).await?;

    let tasks = [3, 2, 1].map(|n| create_task(sleeper(n)));
    let tasks = tasks.into_iter().collect::<Result<Vec<_>>>()?;
    let (mut completed, mut original) = (Vec::new(), true);
    let mut each = as_completed(tasks.clone());
    while let Some(task) = each.next().await {
        let task = task?;
        original = original && tasks.contains(&task);
        completed.push(task.await?);
    }
    Ok(Observations { gathered, completed, original })
}

pub(crate) fn run(backend: &str) -> Result<Observations> {
    run_with(backend, main_program())?
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    println!("{:#?}", run(backend)?);
    Ok(())
}
