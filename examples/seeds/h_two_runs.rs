//! Seed (h): two `run_until_complete` calls while another task is pending.
//!
//! ```python
//! async def background(log):
//!     log.append("background started")
//!     await asyncio.sleep(0.05)
//!     log.append("background done")
//!
//! async def work(name, delay, log):
//!     log.append(name)
//!     await asyncio.sleep(delay)
//!     log.append(name + " done")
//!
//! loop = asyncio.new_event_loop()
//! task = loop.create_task(background(log))
//! loop.run_until_complete(work("first", 0.01, log))
//! time.sleep(0.1)                    # the loop does not run
//! log.append("between the runs")
//! loop.run_until_complete(work("second", 0.01, log))
//! loop.close()
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyloop::{EventLoopExt, Result, new_event_loop_with, sleep};

/// What there is to see: what happened, in order, and whether the background task got to its end.
#[derive(Debug)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    pub(crate) log: Vec<String>,
    pub(crate) finished: bool,
}

type Log = Rc<RefCell<Vec<String>>>;

async fn background(log: Log) {
    log.borrow_mut().push("background started".into());
    sleep(Duration::from_millis(50)).await;
    log.borrow_mut().push("background done".into());
}

async fn work(name: &'static str, log: Log) {
    log.borrow_mut().push(name.into());
    sleep(Duration::from_millis(10)).await;
    log.borrow_mut().push(format!("{name} done"));
}

pub(crate) fn run(backend: &str) -> Result<Observations> {
    let log = Log::default();

    let lp = new_event_loop_with(backend)?;
    let task = lp.create_task(background(log.clone()))?;
    lp.run_until_complete(work("first", log.clone()))?;
    std::thread::sleep(Duration::from_millis(100)); // the loop does not run
    log.borrow_mut().push("between the runs".into());
    lp.run_until_complete(work("second", log.clone()))?;
    let finished = task.done();
    lp.close()?;

    Ok(Observations { log: log.take(), finished })
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    println!("{:#?}", run(backend)?);
    Ok(())
}
