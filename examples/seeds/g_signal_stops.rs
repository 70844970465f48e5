//! Seed (g): Ctrl-C stops the loop, and the program says farewell.
//!
//! ```python
//! loop = asyncio.new_event_loop()
//! loop.add_signal_handler(signal.SIGINT, loop.stop)
//! print("press Ctrl-C")
//! loop.run_forever()
//! print("bye")
//! loop.close()
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::time::{Duration, Instant};

use anyloop::{EventLoopExt, Result, new_event_loop_with};

const SIGINT: i32 = 2;

/// What there is to see.
#[derive(Debug)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    /// How long the loop ran.
    pub(crate) ran: Duration,
    /// Whether SIGINT was handled: while the loop was open, after it was closed.
    pub(crate) handled: (Option<bool>, Option<bool>),
}

/// Whether this process handles SIGINT, where the system tells.
fn handled() -> Option<bool> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(mask >> (SIGINT - 1) & 1 == 1)
}

/// `press` is called when the handler is in place.
pub(crate) fn run(backend: &str, press: impl FnOnce()) -> Result<Observations> {
    let lp = new_event_loop_with(backend)?;
    let l2 = lp.clone();
    lp.add_signal_handler(SIGINT, move || l2.stop())?;
    let open = handled();
    press();
    let begin = Instant::now();
    lp.run_forever()?;
    let ran = begin.elapsed();
    println!("bye");
    lp.close()?;
    Ok(Observations { ran, handled: (open, handled()) })
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    println!("{:#?}", run(backend, || println!("press Ctrl-C"))?);
    Ok(())
}
