//! Seed (f): read a child's output line by line to its end, then wait for the child.
//!
//! ```python
//! async def read_lines(line):
//!     process = await asyncio.create_subprocess_shell(
//!         line, stdout=asyncio.subprocess.PIPE)
//!     while True:
//!         line = await process.stdout.readline()
//!         if not line:
//!             break
//!         print(line)
//!     return await process.wait()
//!
//! async def main():
//!     await read_lines("for i in 1 2 3; do echo line $i; sleep 0.05; done; exit 3")
//!     await read_lines("echo quick")
//!
//! loop = asyncio.new_event_loop()
//! loop.run_until_complete(main())
//! loop.close()
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::time::{Duration, Instant};

use anyloop::{
    Command, Error, EventLoopExt, Result, Stdio, create_subprocess_shell, new_event_loop_with,
    sleep,
};

/// What there is to see of one child.
#[derive(Debug)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    /// The lines, and when each arrived.
    pub(crate) lines: Vec<(String, Duration)>,
    /// What `wait` returned.
    pub(crate) status: i32,
    /// The child's number, which nothing has any more.
    pub(crate) pid: u32,
}

async fn read_lines(line: &str, pause: Duration) -> Result<Observations> {
    let begin = Instant::now();
    let process = create_subprocess_shell(Command::shell(line).stdout(Stdio::Pipe)).await?;
    let stdout = process.stdout().ok_or_else(|| Error::usage("standard output is a pipe"))?;
    sleep(pause).await;
    let mut lines = Vec::new();
    loop {
        let line = stdout.read_line().await?;
        if line.is_empty() {
            break;
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        println!("{line:?}");
        lines.push((line, begin.elapsed()));
    }
    Ok(Observations { lines, status: process.wait().await?, pid: process.pid() })
}

async fn main_task() -> Result<(Observations, Observations)> {
    let slow = "for i in 1 2 3; do echo line $i; sleep 0.05; done; exit 3";
    let slow = read_lines(slow, Duration::ZERO).await?;
    // Gone before anybody reads.
    let quick = read_lines("echo quick", Duration::from_millis(50)).await?;
    Ok((slow, quick))
}

pub(crate) fn run(backend: &str) -> Result<(Observations, Observations)> {
    let lp = new_event_loop_with(backend)?;
    let seen = lp.run_until_complete(main_task())??;
    lp.close()?;
    Ok(seen)
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    println!("{:#?}", run(backend)?);
    Ok(())
}
