//! Seed (b): nested coroutines under `run_until_complete`.
//!
//! ```python
//! async def leaf(n):
//!     return n
//! async def inner(n):
//!     return 2 * await leaf(n)
//! async def outer(n):
//!     return 1 + await inner(n)
//!
//! loop = asyncio.new_event_loop()
//! print(loop.run_until_complete(outer(20)))
//! loop.close()
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::Cell;
use std::rc::Rc;

use anyloop::{Error, EventLoopExt, LoopRef, Result, new_event_loop_with, yield_now};

/// What there is to see.
#[derive(Debug)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    pub(crate) result: u32,
    /// Iterations of the loop while the leaf did not suspend, and while it suspended three times.
    pub(crate) iterations: (u32, u32),
    /// What became of an error in the leaf.
    pub(crate) failure: String,
}

async fn leaf(n: u32, suspensions: u32) -> Result<u32> {
    for _ in 0..suspensions {
        yield_now().await;
    }
    if n == 0 {
        return Err(Error::invalid_arg("leaf: zero"));
    }
    Ok(n)
}

async fn inner(n: u32, suspensions: u32) -> Result<u32> {
    Ok(2 * leaf(n, suspensions).await?)
}

async fn outer(n: u32, suspensions: u32) -> Result<u32> {
    Ok(1 + inner(n, suspensions).await?)
}

/// A callback that counts iterations by scheduling itself again.
fn count(lp: &LoopRef, iterations: Rc<Cell<u32>>) {
    iterations.set(iterations.get() + 1);
    let again = lp.clone();
    // Refused only on a closed loop.
    let _ = lp.call_soon(move || count(&again, iterations));
}

pub(crate) fn run(backend: &str) -> Result<Observations> {
    let lp = new_event_loop_with(backend)?;
    let result = lp.run_until_complete(outer(20, 0))??;

    let iterations = Rc::new(Cell::new(0));
    let (l2, counter) = (lp.clone(), iterations.clone());
    lp.call_soon(move || count(&l2, counter))?;
    lp.run_until_complete(outer(20, 0))??;
    let straight = iterations.replace(0);
    lp.run_until_complete(outer(20, 3))??;
    let suspended = iterations.get();

    let failure = match lp.run_until_complete(outer(0, 0))? {
        Ok(value) => format!("no error, but {value}"),
        Err(error) => error.to_string(),
    };
    lp.close()?;
    Ok(Observations { result, iterations: (straight, suspended), failure })
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    println!("{:#?}", run(backend)?);
    Ok(())
}
