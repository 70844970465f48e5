//! Seed (q): asynchronous generators: iterated, left half-way, collected, two at once.
//!
//! ```python
//! async def numbers(name, n, log):
//!     try:
//!         for i in range(n):
//!             await asyncio.sleep(0.005)
//!             log.append(f"{name} yields {i}")
//!             yield i
//!     finally:
//!         log.append(f"{name} is left")
//!         await asyncio.sleep(0)
//!         log.append(f"{name} cleaned up")
//!
//! async def iterate(name, log):
//!     async for i in numbers(name, 2, log):
//!         log.append(f"{name} got {i}")
//!
//! async def half_way(log):
//!     gen = numbers("half", 10, log)
//!     async for i in gen:
//!         if i == 1:
//!             break
//!     del gen
//!
//! async def main(log):
//!     await iterate("whole", log)
//!     await half_way(log)
//!     squares = [i * i async for i in numbers("squares", 4, [])]
//!     both = []
//!     await asyncio.gather(iterate("left", both), iterate("right", both))
//!     unfinished = numbers("unfinished", 10, log)
//!     await anext(unfinished)
//!     return squares, both, unfinished      # still referenced when run() ends
//!
//! asyncio.run(main(log))                    # calls shutdown_asyncgens
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyloop::{Generator, Result, gather, generator, run_with, sleep};

/// What there is to see.
#[derive(Debug)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    /// What happened, in order.
    pub(crate) log: Vec<String>,
    /// What the comprehension collected.
    pub(crate) squares: Vec<u32>,
    /// What two iterations at once logged.
    pub(crate) both: Vec<String>,
}

#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn append(&self, line: String) {
        self.0.borrow_mut().push(line);
    }
}

/// The part of `finally` that does not wait.
struct Left(&'static str, Log);

impl Drop for Left {
    fn drop(&mut self) {
        self.1.append(format!("{} is left", self.0));
    }
}

fn numbers(name: &'static str, n: u32, log: Log) -> Generator<u32> {
    generator(move |out| async move {
        let after = log.clone();
        out.finally(move || async move {
            sleep(Duration::ZERO).await;
            after.append(format!("{name} cleaned up"));
            Ok(())
        });
        let _left = Left(name, log.clone());
        for i in 0..n {
            sleep(Duration::from_millis(5)).await;
            log.append(format!("{name} yields {i}"));
            out.emit(i).await;
        }
    })
}

async fn iterate(name: &'static str, log: Log) {
    let mut each = numbers(name, 2, log.clone());
    while let Some(i) = each.next().await {
        log.append(format!("{name} got {i}"));
    }
}

async fn half_way(log: Log) {
    let mut each = numbers("half", 10, log);
    while let Some(i) = each.next().await {
        if i == 1 {
            break;
        }
    }
    drop(each);
}

async fn main_program(log: Log) -> Result<(Vec<u32>, Log, Generator<u32>)> {
    iterate("whole", log.clone()).await;
    half_way(log.clone()).await;
    let mut squares = Vec::new();
    let mut each = numbers("squares", 4, Log::default());
    while let Some(i) = each.next().await {
        squares.push(i * i);
    }
    let both = Log::default();
    gather((iterate("left", both.clone()), iterate("right", both.clone()))).await?;
    let mut unfinished = numbers("unfinished", 10, log);
    unfinished.next().await;
    Ok((squares, both, unfinished)) // still there when run() ends
}

pub(crate) fn run(backend: &str) -> Result<Observations> {
    let log = Log::default();
    let (squares, both, unfinished) = run_with(backend, main_program(log.clone()))??;
    drop(unfinished);
    Ok(Observations { log: log.0.take(), squares, both: both.0.take() })
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    println!("{:#?}", run(backend)?);
    Ok(())
}
