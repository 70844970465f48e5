//! The TLS suite: what an echo and a handshake cost where every byte is encrypted.
//!
//! The line is rustls on bare epoll; everybody here has the same rustls and the same provider, so that
//! what differs is how the bytes get to it and back.

mod line;
mod load;
mod servers;

use std::io;

use serde_json::json;

use crate::child::Child;
use crate::cli::Options;
use crate::report::{Section, markdown, progress};
use crate::servers::buffer_for;
use crate::stats::undisturbed;

use load::{Load, Work};
pub(crate) use servers::serve;

const WORK: [Work; 4] = [
    Work::echo("64x50", 64, 50),
    Work::echo("16Kx50", 16 << 10, 50),
    Work::echo("128Kx10", 128 << 10, 10),
    Work { name: "handshake", size: 64, connections: 1, handshake: true },
];

/// Runs the suite and says what it found.
pub(crate) fn run(options: &Options) -> io::Result<Section> {
    let subjects = options.select(servers::ALL.map(|(name, _)| name).to_vec(), |name| name);
    let works = options.select(WORK.to_vec(), |work| work.name);
    let mut columns = Vec::new();
    for work in &works {
        progress(format_args!("tls {}: {} servers", work.name, subjects.len()));
        columns.push(measure(work, &subjects, options)?);
    }
    let row = |(row, name): (usize, &&str)| {
        let cell = |column: &Vec<f64>| {
            let ratio = column[row] / column[0];
            format!("{} ({})", markdown::fixed(column[row], 1), markdown::fixed(ratio, 2))
        };
        ((*name).to_owned(), columns.iter().map(cell).collect())
    };
    let rows = subjects.iter().enumerate().map(row).collect();
    let text = format!(
        "µs of CPU time of the server per request, and its ratio to the first row. A message is sent on every \
         connection, then every answer is awaited, and so on. A handshake (TLS 1.3, nothing resumed) is that \
         of a new connection, with one message of 64 bytes and the close.\n\n{}",
        markdown::table(works.iter().map(|work| work.name.to_owned()).collect(), rows)
    );
    let json = subjects.iter().enumerate().map(|(row, name)| {
        let cpu: Vec<f64> = columns.iter().map(|column| column[row]).collect();
        json!({ "server": name, "cpu_us_per_request": cpu })
    });
    let json = json.collect::<Vec<_>>().into();
    Ok(Section { name: "tls", title: "TLS", text, json, charts: Vec::new() })
}

/// µs of CPU per request of each server, in slices that take turns.
fn measure(work: &Work, subjects: &[&str], options: &Options) -> io::Result<Vec<f64>> {
    let mut ready = Vec::new();
    for (row, name) in subjects.iter().enumerate() {
        let child = Child::start(name, buffer_for(work.size))?;
        let load = Load::open(&child, work)?;
        ready.push((row, child, load));
    }
    let mut found = vec![Vec::new(); subjects.len()];
    for _ in 0..options.rounds {
        fastrand::shuffle(&mut ready);
        for (row, _, load) in &mut ready {
            found[*row].push(load.run(options.warm_up(), options.slice())?);
        }
    }
    Ok(found.iter().map(|values| undisturbed(values)).collect())
}
