//! Servers with a thousand connections and with as many as there are ports.

use std::io;

use super::Row;
use crate::child::Child;
use crate::cli::Options;
use crate::load::{Load, Plan};
use crate::machine;
use crate::report::progress;
use crate::scenario::Scenario;
use crate::servers::{self, Kind, Server};
use crate::stats::median;

/// How many connections a server has, all of them active.
const COUNTS: [usize; 3] = [1_000, 5_000, 19_000];

/// Measures the lines, the peers, and our protocols.
pub(super) fn run(options: &Options) -> Vec<Row> {
    // Ours are called after the backend, and what else they use beside protocols.
    let plain =
        |server: &Server| server.kind != Kind::Ours || server.name.matches('-').count() == 1;
    let servers = options.select(servers::all(), |server| server.name);
    servers.into_iter().filter(plain).map(|server| row(&server, options)).collect()
}

fn row(server: &Server, options: &Options) -> Row {
    progress(format_args!("growth {}: connections", server.name));
    let room = machine::descriptor_limit().saturating_sub(100) as usize;
    let most = if options.smoke { 1_000 } else { room };
    let mut points = Vec::new();
    for connections in COUNTS.into_iter().filter(|&count| count <= most) {
        match cost(server, connections, options) {
            Ok(cost) => points.push((connections as u32, cost)),
            Err(error) => progress(format_args!("  {}: {error}", server.name)),
        }
    }
    Row { name: server.name, kind: server.kind, points }
}

/// ns of the server's CPU for a request: the median over slices in which every connection has its
/// turn many times.
fn cost(server: &Server, connections: usize, options: &Options) -> io::Result<f64> {
    let child = Child::start(server.name, servers::buffer_for(64))?;
    let scenario = Scenario { name: "growth", connections, size: 64, in_flight: 1, churn: false };
    let mut load = Load::open(options.engine, &child, &scenario)?;
    let plan = Plan { warm_up: options.warm_up() * 10, measured: options.slice() * 4 };
    let mut costs = Vec::new();
    for _ in 0..options.rounds {
        let slice = load.run(plan)?;
        if slice.requests > 0 {
            costs.push(slice.server_cpu.as_nanos() as f64 / slice.requests as f64);
        }
    }
    Ok(median(&costs))
}
