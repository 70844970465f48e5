//! The micro suite: what the pieces of a runtime cost inside one process.
//!
//! The measurements are written once, against [`Runtime`]; every runtime runs them in a process
//! of its own that prints `name ns_per_op` lines.

mod datagrams;
mod growth;
mod measure;
mod peer;
mod runtime;
mod runtimes;
mod tasks;
mod threads;
mod timers;

use std::collections::BTreeMap;
use std::io;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::cli::Options;
use crate::machine;
use crate::report::{Section, markdown, progress};
use crate::servers::{Kind, die_with_parent};
use crate::stats::undisturbed;

pub(crate) use growth::{TASKS, TIMERS};
pub(crate) use runtime::{Executor, Runtime};

/// A runtime that can be measured: a row of [`runtimes::all`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// Its name in tables and on the command line.
    pub(crate) name: &'static str,
    /// What it is to us.
    pub(crate) kind: Kind,
    /// Runs all measurements; `true` for a smoke run.
    pub(crate) run: fn(bool) -> io::Result<()>,
    /// Measures it beside more and more timers and tasks. A line has no timers.
    pub(crate) grow: Option<fn(bool) -> io::Result<()>>,
}

impl Subject {
    /// The row of a runtime.
    pub(crate) const fn new<R: Runtime>(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, run: run_all::<R>, grow: Some(grow::<R>) }
    }

    /// The row of what only drives tasks.
    pub(crate) const fn line<E: Executor>(name: &'static str) -> Self {
        Self { name, kind: Kind::Line, run: run_tasks::<E>, grow: None }
    }
}

/// Runs the suite and says what it found.
pub(crate) fn run(options: &Options) -> io::Result<Section> {
    let subjects = select(options);
    let columns = in_children("micro-child", &subjects, options)?;
    let rows = MEASUREMENTS.iter().map(|(name, title)| {
        let cell = |column: &BTreeMap<String, f64>| {
            markdown::fixed(column.get(*name).copied().unwrap_or(f64::NAN), 0)
        };
        ((*title).to_owned(), columns.iter().map(cell).collect())
    });
    let head = subjects.iter().map(|subject| subject.name.to_owned()).collect();
    let text = format!(
        "ns per operation; a dash where a runtime has no such thing. Of the medians of {} processes, which \
         took turns, the one at the 20 % quantile.\n\n{}",
        rounds(options),
        markdown::table(head, rows.collect())
    );
    let json = subjects
        .iter()
        .zip(&columns)
        .map(|(subject, column)| json!({ "runtime": subject.name, "ns_per_op": column }));
    let json: Value = json.collect();
    Ok(Section {
        name: "micro",
        title: "In process",
        text,
        json,
        charts: charts(&subjects, &columns),
    })
}

/// The runtimes that `options` ask for.
pub(crate) fn select(options: &Options) -> Vec<Subject> {
    options.select(runtimes::all(), |subject| subject.name)
}

/// Is the child that measures the runtime `name`, or how it grows.
pub(crate) fn be_child(name: &str, smoke: bool, growing: bool) -> io::Result<()> {
    let unknown = || io::Error::other(format!("no runtime is called {name}"));
    let subject = runtimes::all().into_iter().find(|subject| subject.name == name);
    die_with_parent()?;
    machine::pin(machine::choose_cpus()?.0)?;
    let subject = subject.ok_or_else(unknown)?;
    if !growing {
        return (subject.run)(smoke);
    }
    subject.grow.map_or(Ok(()), |grow| grow(smoke))
}

fn rounds(options: &Options) -> u32 {
    options.rounds.div_ceil(4)
}

/// Runs every runtime in processes of its own, round after round in a new order, and takes the undisturbed of
/// each figure. `role` is what the children are to be.
pub(crate) fn in_children(
    role: &str,
    subjects: &[Subject],
    options: &Options,
) -> io::Result<Vec<BTreeMap<String, f64>>> {
    let mut found = vec![BTreeMap::<String, Vec<f64>>::new(); subjects.len()];
    let mut order: Vec<_> = (0..subjects.len()).collect();
    for round in 0..rounds(options) {
        progress(format_args!("{role}, round {} of {}", round + 1, rounds(options)));
        fastrand::shuffle(&mut order);
        for &subject in &order {
            for (name, value) in in_child(role, &subjects[subject], options)? {
                found[subject].entry(name).or_default().push(value);
            }
        }
    }
    let low = |(name, values): (String, Vec<f64>)| (name, undisturbed(&values));
    Ok(found.into_iter().map(|column| column.into_iter().map(low).collect()).collect())
}

/// Runs one runtime in a process of its own and reads what it prints.
fn in_child(role: &str, subject: &Subject, options: &Options) -> io::Result<BTreeMap<String, f64>> {
    let mut command = machine::this_program()?;
    command.args([role, subject.name]).stderr(Stdio::inherit());
    if options.smoke {
        command.arg("--smoke");
    }
    let output = command.output()?;
    if !output.status.success() {
        progress(format_args!("  {}: {}", subject.name, output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    Ok(lines.collect())
}

fn run_all<R: Runtime>(smoke: bool) -> io::Result<()> {
    let effort = measure::Effort::new(smoke);
    R::run(async move {
        tasks::run::<R>(effort).await;
        timers::run::<R>(effort).await;
        threads::run::<R>(effort).await?;
        datagrams::run::<R>(effort).await
    })?
}

fn run_tasks<E: Executor>(smoke: bool) -> io::Result<()> {
    E::run(async move { tasks::run::<E>(measure::Effort::new(smoke)).await })
}

fn grow<R: Runtime>(smoke: bool) -> io::Result<()> {
    R::run(growth::run::<R>(measure::Effort::new(smoke), smoke))
}

fn charts(subjects: &[Subject], columns: &[BTreeMap<String, f64>]) -> Vec<(String, String)> {
    use crate::report::chart::{Bar, bars};
    let chart = |(name, title): &(&str, &str)| {
        let bar = |(subject, column): (&Subject, &BTreeMap<String, f64>)| {
            let value = column.get(*name).copied()?;
            Some(Bar { label: subject.name.to_owned(), value, kind: subject.kind })
        };
        let found: Vec<Bar> = subjects.iter().zip(columns).filter_map(bar).collect();
        (format!("micro-{name}.svg"), bars(&format!("{title}, ns"), &found))
    };
    MEASUREMENTS.iter().map(chart).collect()
}

/// Names as printed by a child, and as shown.
const MEASUREMENTS: [(&str, &str); 25] = [
    ("spawn-join-batch", "spawn + join, batch"),
    ("spawn-join-serial", "spawn + join, serial"),
    ("spawn-join-eager", "spawn + join, serial, begun at once"),
    ("call-soon-batch", "`call_soon`, batch (a trivial task elsewhere)"),
    ("yield-waker", "yield by waker"),
    ("yield-own", "yield, the runtime's own"),
    ("one-shot", "one-shot, the runtime's own"),
    ("queue", "queue put + get, the runtime's own"),
    ("timer-cancel-10k", "timer start + cancel, 10,000 live"),
    ("timer-cancel-serial", "timer start + cancel, serial"),
    ("timer-fired-cpu", "CPU per fired timer, 100 µs apart"),
    ("timer-fired-together", "CPU per fired timer, 2,000 at once"),
    ("timer-late-p50", "timer lateness p50"),
    ("timer-late-p99", "timer lateness p99"),
    ("round-trip-parked", "cross-thread round trip, parked peer"),
    ("round-trip-spinning", "cross-thread round trip, spinning peer"),
    ("wake-burst", "wake from another thread, per call in a burst"),
    ("post-burst", "post from another thread, per call in a burst"),
    ("blocking", "blocking pool round trip"),
    ("datagram-recv-1", "datagram that waits alone, by socket"),
    ("datagram-batch-1", "datagram that waits alone, by batch"),
    ("datagram-protocol-1", "datagram that waits alone, by protocol"),
    ("datagram-recv-16", "datagram of 16 that wait, by socket"),
    ("datagram-batch-16", "datagram of 16 that wait, by batch"),
    ("datagram-protocol-16", "datagram of 16 that wait, by protocol"),
];
