//! anyloop and its peers, side by side.
//!
//! One program measures event loops against the bare kernel interfaces and against each other:
//!
//! ```text
//! cargo run --release -p anyloop-benchmarks -- echo       # TCP echo, CPU per request first
//! cargo run --release -p anyloop-benchmarks -- all --json results.json
//! cargo run --release -p anyloop-benchmarks -- all --smoke   # everything, in seconds
//! ```
//!
//! The method, in short: every server is a child process of this one, pinned to the first CPU,
//! while the load generator owns the second. All servers of a scenario stay up, and each gets
//! short slices of load in a fresh random order, round after round, so that whatever disturbs the
//! machine disturbs everyone alike. A fixed computation before and after each slice tells calm
//! slices from disturbed ones. What counts is the CPU time of the server per request, and ratios
//! within one run.

#![allow(clippy::print_stdout, reason = "this is a command; its tables go to stdout")]

mod child;
mod cli;
mod cores;
mod echo;
mod files;
mod growth;
mod http;
mod load;
mod lockstep;
mod machine;
mod memory;
mod micro;
mod pages;
mod report;
mod scenario;
mod servers;
mod stats;
mod syscalls;
mod tls;
mod uring;

use std::io;
use std::process::ExitCode;

use cli::{Command, Invocation};
use machine::Machine;
use report::Report;

fn main() -> ExitCode {
    match cli::parse(std::env::args().skip(1)) {
        Ok(Invocation::Help) => {
            println!("{}", cli::USAGE);
            ExitCode::SUCCESS
        }
        Ok(Invocation::Serve(name, buffer)) => finish(servers::serve(&name, buffer)),
        Ok(Invocation::MicroChild(name, smoke, growing)) => {
            finish(micro::be_child(&name, smoke, growing))
        }
        Ok(Invocation::Measure(command, options)) => finish(measure(command, &options)),
        Err(complaint) => {
            eprintln!("{complaint}\n\n{}", cli::USAGE);
            ExitCode::from(2)
        }
    }
}

fn finish(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("anyloop-benchmarks: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the suites that `command` names and writes what they found.
fn measure(command: Command, options: &cli::Options) -> io::Result<()> {
    let machine = Machine::prepare()?;
    let mut report = Report::new(machine.describe(options.engine));
    if command.includes(Command::Echo) {
        report.add(echo::run(options, &machine)?);
    }
    if command.includes(Command::Micro) {
        report.add(micro::run(options)?);
    }
    if command.includes(Command::Growth) {
        report.add(growth::run(options)?);
    }
    if command.includes(Command::Memory) {
        report.add(memory::run(options)?);
    }
    if command.includes(Command::Syscalls) {
        report.add(syscalls::run(options)?);
    }
    if command.includes(Command::Cores) {
        report.add(cores::run(options)?);
    }
    if command.includes(Command::Files) {
        report.add(files::run(options)?);
    }
    if command.includes(Command::Tls) {
        report.add(tls::run(options)?);
    }
    if command.includes(Command::Http) {
        report.add(http::run(options)?);
    }
    report.write(options)
}
