//! Seed (i): cancel everything, let clean-ups finish, then close.
//!
//! ```python
//! async def flusher(log):
//!     try:
//!         await asyncio.sleep(3600)
//!     except asyncio.CancelledError:
//!         await asyncio.sleep(0.02)         # flush
//!         log.append("flushed")
//!         raise
//!
//! async def stubborn(log):
//!     try:
//!         await asyncio.sleep(3600)
//!     except asyncio.CancelledError:
//!         asyncio.current_task().uncancel()
//!         await asyncio.sleep(0.01)
//!         return "a value after all"
//!
//! async def failing(log):
//!     try:
//!         await asyncio.sleep(3600)
//!     except asyncio.CancelledError:
//!         raise ValueError("could not clean up")
//!
//! async def shutdown(log):
//!     tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
//!     for task in tasks:
//!         task.cancel()
//!     await asyncio.gather(*tasks, return_exceptions=True)
//!     log.append("all ended")
//!
//! loop = asyncio.new_event_loop()
//! tasks = [loop.create_task(worker(log)) for worker in (flusher, stubborn, failing)]
//! loop.call_later(0.02, loop.stop)          # the stop trigger
//! loop.run_forever()
//! loop.run_until_complete(shutdown(log))
//! loop.close()
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyloop::{
    Error, EventLoopExt, Result, all_tasks, catch_cancel, current_task, gather_results,
    new_event_loop_with, on_cancel, sleep,
};

/// What there is to see.
#[derive(Debug)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    /// What happened, in order.
    pub(crate) log: Vec<String>,
    /// The first worker, cancelled after its clean-up.
    pub(crate) flusher_cancelled: bool,
    /// The second one's value.
    pub(crate) stubborn: Result<String>,
    /// The third one's error.
    pub(crate) failing: Result<()>,
    /// What was reported: nothing.
    pub(crate) reports: Vec<String>,
}

type Log = Rc<RefCell<Vec<String>>>;

async fn serve_forever() {
    sleep(Duration::from_secs(3600)).await;
}

async fn flusher(log: Log) {
    on_cancel(serve_forever(), || async move {
        sleep(Duration::from_millis(20)).await;
        log.borrow_mut().push("flushed".into());
    })
    .await;
}

async fn stubborn() -> String {
    match catch_cancel(serve_forever()).await {
        Ok(()) => "never cancelled".into(),
        Err(_) => {
            if let Some(task) = current_task() {
                task.uncancel();
            }
            sleep(Duration::from_millis(10)).await;
            "a value after all".into()
        }
    }
}

async fn failing() -> Result<()> {
    match catch_cancel(serve_forever()).await {
        Ok(()) => Ok(()),
        Err(_) => Err(Error::invalid_arg("could not clean up")),
    }
}

async fn shutdown(log: Log) -> Result<()> {
    let me = current_task();
    let tasks: Vec<_> = all_tasks()?.into_iter().filter(|task| Some(task) != me.as_ref()).collect();
    for task in &tasks {
        task.cancel();
    }
    gather_results(tasks).await?;
    log.borrow_mut().push("all ended".into());
    Ok(())
}

pub(crate) fn run(backend: &str) -> Result<Observations> {
    let log = Log::default();
    let reports = Rc::new(RefCell::new(Vec::new()));
    let seen = reports.clone();

    let lp = new_event_loop_with(backend)?;
    lp.set_exception_handler(Some(Rc::new(move |_, report| {
        seen.borrow_mut().push(report.to_string());
    })));
    let first = lp.create_task(flusher(log.clone()))?;
    let second = lp.create_task(stubborn())?;
    let third = lp.create_task(failing())?;
    let l2 = lp.clone();
    lp.call_later(Duration::from_millis(20), move || l2.stop())?;
    lp.run_forever()?;
    lp.run_until_complete(shutdown(log.clone()))??;
    lp.close()?;
    log.borrow_mut().push("closed".into());

    Ok(Observations {
        log: log.take(),
        flusher_cancelled: first.cancelled(),
        stubborn: second.take_result(),
        failing: third.take_result()?,
        reports: reports.take(),
    })
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    println!("{:#?}", run(backend)?);
    Ok(())
}
