//! Seed (c): a task sets a future that somebody else waits for.
//!
//! ```python
//! async def slow_operation(future):
//!     await asyncio.sleep(0.02)
//!     future.set_result("Future is done!")
//!
//! loop = asyncio.new_event_loop()
//! future = loop.create_future()
//! loop.create_task(slow_operation(future))
//! loop.run_until_complete(future)
//! print(future.result())
//!
//! def got_result(future):
//!     print(future.result())
//!     loop.stop()
//!
//! future = loop.create_future()
//! loop.create_task(slow_operation(future))
//! future.add_done_callback(got_result)
//! loop.run_forever()
//! loop.close()
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyloop::{EventLoopExt, LoopFuture, LoopRef, Result, new_event_loop_with, sleep};

/// What there is to see.
#[derive(Debug)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    /// What happened, in order.
    pub(crate) log: Vec<String>,
    /// The result as `run_until_complete` returned it.
    pub(crate) result: String,
    /// What setting the result a second time says.
    pub(crate) twice: String,
}

type Log = Rc<RefCell<Vec<String>>>;

async fn slow_operation(future: LoopFuture<String>, log: Log) -> Result<()> {
    sleep(Duration::from_millis(20)).await;
    future.set_result("Future is done!".into())?;
    log.borrow_mut().push("set_result returned".into());
    Ok(())
}

fn got_result(lp: &LoopRef, future: &LoopFuture<String>, log: &Log) {
    let result = future.result();
    println!("{result:?}");
    log.borrow_mut()
        .push(format!("callback: {}", result.unwrap_or_else(|error| error.to_string())));
    lp.stop();
}

pub(crate) fn run(backend: &str) -> Result<Observations> {
    let log = Log::default();

    let lp = new_event_loop_with(backend)?;
    let future = lp.create_future::<String>();
    lp.create_task(slow_operation(future.clone(), Log::default()))?;
    let result = lp.run_until_done(&future)?;

    let future = lp.create_future::<String>();
    lp.create_task(slow_operation(future.clone(), log.clone()))?;
    let (l2, log2) = (lp.clone(), log.clone());
    future.add_done_callback(move |future| got_result(&l2, future, &log2));
    lp.run_forever()?;

    let twice = match future.set_result("again".into()) {
        Ok(()) => "was accepted".into(),
        Err(error) => error.to_string(),
    };
    lp.close()?;
    Ok(Observations { log: log.take(), result, twice })
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    println!("{:#?}", run(backend)?);
    Ok(())
}
