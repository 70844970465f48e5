//! The echo suite: every server under every shape of load.

mod summary;

use std::io;

use crate::child::Child;
use crate::cli::Options;
use crate::load::{Load, Plan, Slice};
use crate::machine::{Calmness, Machine, Reading, stolen_ticks};
use crate::report::Section;
use crate::report::progress;
use crate::scenario::{self, Scenario};
use crate::servers::{self, Server};

use summary::Summary;

/// Runs the suite and says what it found.
pub(crate) fn run(options: &Options, machine: &Machine) -> io::Result<Section> {
    let servers = options.select(servers::all(), |server| server.name);
    let scenarios = options.select(scenario::ECHO.to_vec(), |scenario| scenario.name);
    let mut calmness = Calmness::new(machine);
    let mut columns = Vec::new();
    for scenario in &scenarios {
        progress(format_args!("echo {}: {} servers", scenario.name, servers.len()));
        columns.push(measure(scenario, &servers, options, &mut calmness));
    }
    let table = summary::Table {
        against: line_to_compare(options, &servers)?,
        columns: scenarios
            .iter()
            .zip(&columns)
            .map(|(scenario, column)| {
                let row =
                    |cell: &Cell| Summary::new(&cell.samples, &calmness, cell.trouble.clone());
                (*scenario, column.iter().map(row).collect())
            })
            .collect(),
        servers,
    };
    Ok(table.section())
}

/// A slice and the state of the machine around it.
#[derive(Debug)]
struct Sample {
    slice: Slice,
    around: [Reading; 2],
    stolen: bool,
}

/// All slices of one server in one scenario.
#[derive(Debug, Default)]
struct Cell {
    samples: Vec<Sample>,
    trouble: Option<String>,
}

/// Gives every server its slices, interleaved in an order that is new in every round.
fn measure(
    scenario: &Scenario,
    servers: &[Server],
    options: &Options,
    calmness: &mut Calmness,
) -> Vec<Cell> {
    let mut cells: Vec<Cell> = servers.iter().map(|_| Cell::default()).collect();
    let mut ready: Vec<_> = servers
        .iter()
        .zip(&mut cells)
        .filter_map(|(server, cell)| match prepare(server, scenario, options) {
            Ok((child, load)) => Some((server, cell, child, load)),
            Err(error) => {
                cell.fail(server, &error);
                None
            }
        })
        .collect();
    let plan = Plan { warm_up: options.warm_up(), measured: options.slice() };
    for _ in 0..options.rounds {
        fastrand::shuffle(&mut ready);
        for (server, cell, _, load) in &mut ready {
            if cell.trouble.is_none()
                && let Err(error) = sample(cell, load, plan, calmness)
            {
                cell.fail(server, &error);
            }
        }
    }
    cells
}

fn prepare(server: &Server, scenario: &Scenario, options: &Options) -> io::Result<(Child, Load)> {
    let child = Child::start(server.name, servers::buffer_for(scenario.size))?;
    let load = Load::open(options.engine, &child, scenario)?;
    Ok((child, load))
}

fn sample(cell: &mut Cell, load: &mut Load, plan: Plan, calmness: &mut Calmness) -> io::Result<()> {
    let (before, stolen) = (calmness.read()?, stolen_ticks());
    let slice = load.run(plan)?;
    let stolen = stolen_ticks() != stolen;
    cell.samples.push(Sample { slice, around: [before, calmness.read()?], stolen });
    Ok(())
}

impl Cell {
    fn fail(&mut self, server: &Server, error: &io::Error) {
        progress(format_args!("  {}: {error}", server.name));
        self.trouble = Some(error.to_string());
    }
}

/// The server that ratios refer to: the one asked for, or the first line there is.
fn line_to_compare(options: &Options, servers: &[Server]) -> io::Result<usize> {
    let place = |name: &str| servers.iter().position(|server| server.name == name);
    match &options.against {
        Some(name) => place(name)
            .ok_or_else(|| io::Error::other(format!("--against {name}: it is not in this run"))),
        None => Ok(place("uring").or_else(|| place("epoll")).unwrap_or(0)),
    }
}
