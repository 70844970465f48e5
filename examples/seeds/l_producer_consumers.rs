//! Seed (l): one producer, three consumers, a queue between them; `join`, then cancel the consumers.
//!
//! ```python
//! async def producer(queue, items):
//!     for item in range(items):
//!         await asyncio.sleep(random.random() / 500)
//!         await queue.put(item)
//!
//! async def consumer(queue, handled, log):
//!     while True:
//!         item = await queue.get()
//!         await asyncio.sleep(random.random() / 500)
//!         handled.append(item)
//!         queue.task_done()
//!
//! async def main(maxsize):
//!     queue, handled = asyncio.Queue(maxsize), []
//!     consumers = [asyncio.create_task(consumer(queue, handled)) for _ in range(3)]
//!     await producer(queue, 100)
//!     await queue.join()
//!     at_join = len(handled)
//!     for task in consumers:
//!         task.cancel()
//!     await asyncio.gather(*consumers, return_exceptions=True)
//!     return handled, at_join, [task.cancelled() for task in consumers]
//!
//! asyncio.run(main(0)), asyncio.run(main(2))
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyloop::{Queue, Result, create_task, gather_results, run_with, sleep};

/// How many items are produced.
pub(crate) const ITEMS: u32 = 100;

/// What there is to see.
#[derive(Debug)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    /// The items in the order in which they were handled.
    pub(crate) handled: Vec<u32>,
    /// How many were when `join` returned.
    pub(crate) at_join: usize,
    /// The most that were ever waiting in the queue.
    pub(crate) longest: usize,
    /// How the consumers ended.
    pub(crate) cancelled: Vec<bool>,
}

/// Pauses of up to two milliseconds, the same ones in every run.
struct Pauses(u32);

impl Pauses {
    async fn next(&mut self) {
        self.0 = self.0.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        sleep(Duration::from_micros(u64::from(self.0 >> 16) % 2000)).await;
    }
}

async fn producer(queue: Queue<u32>, mut pauses: Pauses) -> Result<usize> {
    let mut longest = 0;
    for item in 0..ITEMS {
        pauses.next().await;
        queue.put(item).await?;
        longest = longest.max(queue.qsize());
    }
    Ok(longest)
}

async fn consumer(
    queue: Queue<u32>,
    handled: Rc<RefCell<Vec<u32>>>,
    mut pauses: Pauses,
) -> Result<()> {
    loop {
        let item = queue.get().await?;
        pauses.next().await;
        handled.borrow_mut().push(item);
        queue.task_done()?;
    }
}

async fn main_program(maxsize: usize) -> Result<Observations> {
    let (queue, handled) = (Queue::new(maxsize), Rc::new(RefCell::new(Vec::new())));
    let consumers = (1..=3)
        .map(|n| create_task(consumer(queue.clone(), handled.clone(), Pauses(n))))
        .collect::<Result<Vec<_>>>()?;
    let longest = producer(queue.clone(), Pauses(0)).await?;
    queue.join().await?;
    let at_join = handled.borrow().len();
    for task in &consumers {
        task.cancel();
    }
    gather_results(consumers.clone()).await?;
    let cancelled = consumers.iter().map(|task| task.cancelled()).collect();
    Ok(Observations { handled: handled.take(), at_join, longest, cancelled })
}

/// With an unbounded queue, and with one for two items.
pub(crate) fn run(backend: &str) -> Result<[Observations; 2]> {
    Ok([run_with(backend, main_program(0))??, run_with(backend, main_program(2))??])
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    println!("{:#?}", run(backend)?);
    Ok(())
}
