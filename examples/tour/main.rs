//! The tour: one and the same program on every backend that this machine has.
//!
//! ```text
//! cargo run --release --example tour [BACKEND]…
//! ```
//!
//! Each part checks everything it does; the exit status is 1 if anything was wrong.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod bytes;
mod protocols;
mod streams;
mod tasks;
mod threads;
mod timers;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyloop::{Error, EventLoopExt, Selection};

/// What a part found: what it did, or what was wrong.
type Found = Result<String, Box<dyn std::error::Error>>;

type Part = fn() -> Pin<Box<dyn Future<Output = Found>>>;

/// The parts, by name. Nothing in them knows which backend they run on.
const PARTS: [(&str, Part); 5] = [
    ("echo by protocols", || Box::pin(protocols::run())),
    ("echo by streams", || Box::pin(streams::run())),
    ("timers", || Box::pin(timers::run())),
    ("tasks", || Box::pin(tasks::run())),
    ("calls from threads", || Box::pin(threads::run())),
];

const PATIENCE: Duration = Duration::from_secs(60);

struct Row {
    backend: &'static str,
    part: &'static str,
    took: Duration,
    found: Result<String, String>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, text) = match &self.found {
            Ok(text) => ("ok", text),
            Err(text) => ("WRONG", text),
        };
        let millis = self.took.as_secs_f64() * 1000.0;
        write!(f, "{:<10}{:<20}{millis:>9.1} ms  {verdict:<6}{text}", self.backend, self.part)
    }
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut rows = Vec::new();
    // What was asked for and cannot be had.
    let mut missing = Vec::new();
    for name in &wanted {
        if let Err(error) = anyloop::select(name.as_str()) {
            missing.push(error);
        }
    }
    for backend in anyloop::backends() {
        if !wanted.is_empty() && wanted.iter().all(|name| name != backend.name) {
            continue;
        }
        match anyloop::select(backend) {
            Ok(chosen) => {
                println!("{}: {}", backend.name, chosen.found);
                rows.extend(PARTS.iter().map(|part| visit(&chosen, part)));
            }
            Err(error) if wanted.is_empty() => println!("left out: {error}"),
            Err(_) => {}
        }
    }
    println!();
    for row in &rows {
        println!("{row}");
    }
    for error in &missing {
        eprintln!("{error}");
    }
    let wrong = rows.iter().filter(|row| row.found.is_err()).count() + missing.len();
    if wrong == 0 && !rows.is_empty() {
        println!("\nall {} parts are right", rows.len());
        return ExitCode::SUCCESS;
    }
    println!("\n{wrong} of {} parts are wrong", rows.len() + missing.len());
    ExitCode::FAILURE
}

/// Runs one part on a loop of its own.
fn visit(chosen: &Selection, &(part, run): &(&'static str, Part)) -> Row {
    let started = Instant::now();
    let outcome = anyloop::run_with(chosen.backend, async move {
        let lp = anyloop::get_running_loop()?;
        let task = anyloop::create_task(run())?;
        let (overdue, l2) = (task.clone(), lp.clone());
        let limit = lp.call_later(PATIENCE, move || {
            eprintln!("{part} takes too long:\n{}", l2.describe());
            overdue.cancel();
        })?;
        let found = task.await?;
        limit.cancel();
        Ok::<_, Error>(found.map_err(|error| error.to_string()))
    });
    let found = match outcome {
        Ok(Ok(found)) => found,
        Ok(Err(error)) | Err(error) => Err(error.to_string()),
    };
    Row { backend: chosen.backend.name, part, took: started.elapsed(), found }
}
