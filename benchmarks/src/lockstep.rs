//! Suites whose load goes in lock-step: a request on every connection, then every answer, and so on. What
//! they find is one table: µs of the server's CPU time per request, by kind of load.

use std::io;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::child::Child;
use crate::cli::Options;
use crate::report::{Section, markdown, progress};
use crate::servers::{Serve, buffer_for};
use crate::stats::undisturbed;

/// A kind of load.
pub(crate) trait Work: Copy {
    /// What its column is called.
    fn name(&self) -> &'static str;

    /// Bytes per message.
    fn size(&self) -> usize;

    /// Connects to a server.
    fn open(&self, server: &Child) -> io::Result<Box<dyn Load>>;
}

/// The connections to one server.
pub(crate) trait Load {
    /// One request on every connection, and every answer compared: how many there were.
    fn round(&mut self) -> io::Result<usize>;
}

/// Runs a suite: a table with a row for each server, and `what` a request is above it. The ratios refer to the
/// first row.
pub(crate) fn compare<W: Work>(
    suite: &'static str,
    title: &'static str,
    what: &str,
    servers: &[(&'static str, Serve)],
    works: &[W],
    options: &Options,
) -> io::Result<Section> {
    let names = servers.iter().map(|(name, _)| *name).collect();
    let servers = options.select(names, |name| name);
    let works = options.select(works.to_vec(), |work| work.name());
    let mut columns = Vec::new();
    for work in &works {
        progress(format_args!("{suite} {}: {} servers", work.name(), servers.len()));
        columns.push(measure(work, &servers, options)?);
    }
    let row = |(row, name): (usize, &&str)| {
        let cell = |column: &Vec<f64>| {
            let ratio = column[row] / column[0];
            format!("{} ({})", markdown::fixed(column[row], 1), markdown::fixed(ratio, 2))
        };
        ((*name).to_owned(), columns.iter().map(cell).collect())
    };
    let rows = servers.iter().enumerate().map(row).collect();
    let table = markdown::table(works.iter().map(|work| work.name().to_owned()).collect(), rows);
    let json = servers.iter().enumerate().map(|(row, name)| {
        let cpu: Vec<f64> = columns.iter().map(|column| column[row]).collect();
        json!({ "server": name, "cpu_us_per_request": cpu })
    });
    let text = format!(
        "µs of CPU time of the server per request, and its ratio to the first row. {what}\n\n{table}"
    );
    let json = json.collect::<Vec<_>>().into();
    Ok(Section { name: suite, title, text, json, charts: Vec::new() })
}

/// µs of CPU per request of each server, in slices that take turns.
fn measure(work: &impl Work, servers: &[&str], options: &Options) -> io::Result<Vec<f64>> {
    let mut ready = Vec::new();
    for (row, name) in servers.iter().enumerate() {
        let child = Child::start(name, buffer_for(work.size()))?;
        let load = work.open(&child)?;
        ready.push((row, child, load));
    }
    let mut found = vec![Vec::new(); servers.len()];
    for _ in 0..options.rounds {
        fastrand::shuffle(&mut ready);
        for (row, server, load) in &mut ready {
            requests_for(options.warm_up(), &mut **load)?;
            let before = server.clock().now();
            let requests = requests_for(options.slice(), &mut **load)?;
            let cpu = server.clock().now() - before;
            found[*row].push(cpu.as_secs_f64() * 1e6 / requests as f64);
        }
    }
    Ok(found.iter().map(|values| undisturbed(values)).collect())
}

/// Makes requests for so long, and at least one: how many.
fn requests_for(duration: Duration, load: &mut dyn Load) -> io::Result<usize> {
    let begin = Instant::now();
    let mut requests = 0;
    loop {
        requests += load.round()?;
        if begin.elapsed() >= duration {
            return Ok(requests);
        }
    }
}
