//! Seed (a): `run_forever`, stopped by a timer, while two tasks tick.
//!
//! ```python
//! async def tick(name, period):
//!     while True:
//!         print(name)
//!         await asyncio.sleep(period)
//!
//! loop = asyncio.new_event_loop()
//! loop.create_task(tick("a", 0.010))
//! loop.create_task(tick("b", 0.025))
//! loop.call_later(0.100, loop.stop)
//! loop.run_forever()
//! loop.close()
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyloop::{EventLoopExt, Result, new_event_loop_with, sleep};

/// What there is to see.
#[derive(Debug)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    /// Ticks of both tasks, and how long the first run took.
    pub(crate) ticks: (u32, u32),
    pub(crate) took: Duration,
    /// Neither task is done when `run_forever` returns.
    pub(crate) pending: bool,
    /// Ticks after a second run of 50 ms.
    pub(crate) resumed: (u32, u32),
    /// What `close` reported.
    pub(crate) reports: Vec<String>,
}

async fn tick(name: &'static str, period: Duration, count: Rc<Cell<u32>>) {
    loop {
        println!("{name}");
        count.set(count.get() + 1);
        sleep(period).await;
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn run(backend: &str) -> Result<Observations> {
    let (a, b) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let started = Instant::now();

    let lp = new_event_loop_with(backend)?;
    let task_a = lp.create_task(tick("a", ms(10), a.clone()))?;
    let task_b = lp.create_task(tick("b", ms(25), b.clone()))?;
    let l2 = lp.clone();
    lp.call_later(ms(100), move || l2.stop())?;
    lp.run_forever()?;

    let took = started.elapsed();
    let ticks = (a.get(), b.get());
    let pending = !task_a.done() && !task_b.done();

    // Running again resumes them.
    let l2 = lp.clone();
    lp.call_later(ms(50), move || l2.stop())?;
    lp.run_forever()?;
    let resumed = (a.get(), b.get());

    let reports = Rc::new(RefCell::new(Vec::new()));
    let seen = reports.clone();
    lp.set_exception_handler(Some(Rc::new(move |_, report| {
        seen.borrow_mut().push(report.message.to_string());
    })));
    lp.close()?;
    let reports = reports.take();
    Ok(Observations { ticks, took, pending, resumed, reports })
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    println!("{:#?}", run(backend)?);
    Ok(())
}
