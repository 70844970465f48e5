//! The system call suite: how often a server enters the kernel per request.

use std::fs;
use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::child::Child;
use crate::cli::Options;
use crate::load::{Load, Plan};
use crate::report::{Section, markdown, progress};
use crate::scenario::{self, Scenario};
use crate::servers::{self, Server};

/// Runs the suite and says what it found, or why it could not.
pub(crate) fn run(options: &Options) -> io::Result<Section> {
    let servers = options.select(servers::all(), |server| server.name);
    let interesting = scenario::ECHO.iter().copied().filter(|s| SCENARIOS.contains(&s.name));
    let scenarios = options.select(interesting.collect(), |scenario| scenario.name);
    let tracer = Tracer::find();
    let explanation = match tracer {
        Some(Tracer::Perf) => "Counted by perf.\n",
        Some(Tracer::Strace) => {
            "Counted by strace, which slows the server down: batches may be larger than without.\n"
        }
        None => {
            "Neither perf (with access to `raw_syscalls:sys_enter`) nor strace can be used here, so \
             system calls were not counted; context switches are the kernel's own count.\n"
        }
    };
    let mut rows = Vec::new();
    let mut json = Vec::new();
    for server in &servers {
        progress(format_args!("syscalls {}", server.name));
        let cells = scenarios.iter().map(|scenario| {
            let found = measure(server, scenario, options, tracer);
            json.push(describe(server, scenario, &found));
            match found {
                Ok(Found { syscalls: Some(calls), switches }) => {
                    format!("{calls:.2} ({switches:.3})")
                }
                Ok(Found { syscalls: None, switches }) => format!("– ({switches:.3})"),
                Err(_) => "failed".to_owned(),
            }
        });
        rows.push((server.name.to_owned(), cells.collect()));
    }
    let head = scenarios.iter().map(|scenario| scenario.name.to_owned()).collect();
    let text = format!(
        "System calls (context switches) of the server per request. {explanation}\n{}",
        markdown::table(head, rows)
    );
    let json = Value::Array(json);
    Ok(Section { name: "syscalls", title: "System calls", text, json, charts: Vec::new() })
}

/// Per request.
#[derive(Debug)]
struct Found {
    syscalls: Option<f64>,
    switches: f64,
}

fn describe(server: &Server, scenario: &Scenario, found: &io::Result<Found>) -> Value {
    json!({
        "scenario": scenario.name,
        "server": server.name,
        "syscalls_per_request": found.as_ref().ok().and_then(|found| found.syscalls),
        "context_switches_per_request": found.as_ref().ok().map(|found| found.switches),
    })
}

fn measure(
    server: &Server,
    scenario: &Scenario,
    options: &Options,
    tracer: Option<Tracer>,
) -> io::Result<Found> {
    let child = Child::start(server.name, servers::buffer_for(scenario.size))?;
    let mut load = Load::open(options.engine, &child, scenario)?;
    let plan = Plan { warm_up: options.warm_up(), measured: options.slice() };
    load.run(plan)?;

    let trace = tracer.map(|tracer| tracer.attach(child.id())).transpose()?;
    let before = child.context_switches()?;
    let slice = load.run(plan)?;
    let switches = child.context_switches()?.saturating_sub(before);
    let syscalls = trace.map(Trace::finish).transpose()?;
    let per_request = |count: u64| count as f64 / slice.answered.max(1) as f64;
    Ok(Found { syscalls: syscalls.map(per_request), switches: per_request(switches) })
}

/// A program that counts the system calls of another.
#[derive(Clone, Copy, Debug)]
enum Tracer {
    Perf,
    Strace,
}

/// A tracer at work.
#[derive(Debug)]
struct Trace {
    tracer: Tracer,
    process: std::process::Child,
}

impl Tracer {
    /// The best one that works here.
    fn find() -> Option<Self> {
        [Self::Perf, Self::Strace].into_iter().find(|tracer| tracer.try_out())
    }

    fn try_out(self) -> bool {
        let mut command = self.command();
        command.arg("true").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn command(self) -> Command {
        let words: &[&str] = match self {
            Self::Perf => &["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter"],
            Self::Strace => &["strace", "-f", "-c"],
        };
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env("LC_ALL", "C");
        command
    }

    /// Begins to count for the process `id`, which is idle at the moment.
    fn attach(self, id: u32) -> io::Result<Trace> {
        let mut command = self.command();
        command.args(["-p", &id.to_string()]).stdout(Stdio::null()).stderr(Stdio::piped());
        let process = command.spawn()?;
        thread::sleep(Duration::from_millis(200));
        if matches!(self, Self::Strace) {
            let status = fs::read_to_string(format!("/proc/{id}/status"))?;
            if status.contains("TracerPid:\t0\n") {
                return Err(io::Error::other("strace could not attach"));
            }
        }
        Ok(Trace { tracer: self, process })
    }
}

impl Trace {
    /// Stops and says how many calls there were.
    fn finish(mut self) -> io::Result<u64> {
        let id = Pid::from_child(&self.process);
        kill_process(id, Signal::INT)?;
        let mut text = String::new();
        if let Some(stderr) = &mut self.process.stderr {
            stderr.read_to_string(&mut text)?;
        }
        self.process.wait()?;
        let count = match self.tracer {
            // 12345,,raw_syscalls:sys_enter,…
            Tracer::Perf => text
                .lines()
                .find(|line| line.contains("sys_enter"))
                .and_then(|line| line.split(',').next()?.parse().ok()),
            // 100.00    0.012345           1     12345        67 total
            Tracer::Strace => text
                .lines()
                .find(|line| line.ends_with("total"))
                .and_then(|line| line.split_whitespace().nth(3)?.parse().ok()),
        };
        count.ok_or_else(|| io::Error::other("the tracer's report has no count"))
    }
}

/// The scenarios in which the number of calls tells something.
const SCENARIOS: [&str; 4] = ["64x1", "64x50", "16Kx50", "churn50"];
