//! The memory suite: what an idle connection costs a server.

use std::io;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::child::Child;
use crate::cli::Options;
use crate::load::{Load, Plan};
use crate::machine;
use crate::report::chart::{Bar, bars};
use crate::report::{Section, markdown, progress};
use crate::scenario::Scenario;
use crate::servers::{self, Server};

/// Runs the suite and says what it found.
pub(crate) fn run(options: &Options) -> io::Result<Section> {
    let servers = options.select(servers::all(), |server| server.name);
    let connections = connections(options);
    progress(format_args!("memory: {connections} idle connections, {} servers", servers.len()));
    let found: Vec<(Server, io::Result<Found>)> = servers
        .into_iter()
        .map(|server| (server, measure(&server, connections, options)))
        .collect();

    let rows = found.iter().map(|(server, found)| {
        let cells = match found {
            Ok(found) => vec![
                markdown::fixed(found.per_connection, 2),
                markdown::fixed(found.before as f64, 0),
            ],
            Err(error) => vec![format!("failed: {error}"), "–".to_owned()],
        };
        (server.name.to_owned(), cells)
    });
    let head = vec!["KiB per connection".to_owned(), "KiB at rest".to_owned()];
    let text = format!(
        "{connections} idle connections, each of which has echoed one message of 64 bytes; resident \
         memory of the process above what it had at rest. `-futures` and the peers keep a buffer of \
         4 KiB for each connection.\n\n{}",
        markdown::table(head, rows.collect())
    );
    let measured =
        || found.iter().filter_map(|(server, found)| Some((server, found.as_ref().ok()?)));
    let bar = |(server, found): (&Server, &Found)| Bar {
        label: server.name.to_owned(),
        value: found.per_connection,
        kind: server.kind,
    };
    let title = "Resident memory per idle connection, KiB";
    let json = measured().map(|(server, found)| {
        json!({
            "server": server.name,
            "connections": connections,
            "kib_per_connection": found.per_connection,
            "kib_at_rest": found.before,
        })
    });
    Ok(Section {
        name: "memory",
        title: "Memory",
        text,
        json: json.collect(),
        charts: vec![(
            "memory.svg".to_owned(),
            bars(title, &measured().map(bar).collect::<Vec<_>>()),
        )],
    })
}

/// What one server needs.
#[derive(Debug)]
struct Found {
    before: u64,
    per_connection: f64,
}

/// How many connections: 5,000, or what the limit on descriptors leaves.
fn connections(options: &Options) -> usize {
    let wanted = if options.smoke { 500 } else { 5_000 };
    wanted.min(machine::descriptor_limit().saturating_sub(100) as usize)
}

fn measure(server: &Server, connections: usize, options: &Options) -> io::Result<Found> {
    let child = Child::start(server.name, servers::buffer_for(64))?;
    // Some connections first, so that what the server sets up once does not count.
    let warm = exchange(&child, 50, options)?;
    drop(warm);
    settle();
    let before = child.resident()?;
    let idle = exchange(&child, connections, options)?;
    settle();
    let after = child.resident()?;
    drop(idle);
    let per_connection = after.saturating_sub(before) as f64 / connections as f64;
    Ok(Found { before, per_connection })
}

/// Opens connections and has each echo one message.
fn exchange(child: &Child, connections: usize, options: &Options) -> io::Result<Load> {
    let name = "idle";
    let scenario = Scenario { name, connections, size: 64, in_flight: 1, churn: false };
    let mut load = Load::open(options.engine, child, &scenario)?;
    let once = Plan { warm_up: Duration::ZERO, measured: Duration::ZERO };
    load.run(once)?;
    Ok(load)
}

/// Lets the server finish what it does after answering.
fn settle() {
    thread::sleep(Duration::from_millis(100));
}
