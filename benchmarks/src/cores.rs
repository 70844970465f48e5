//! The multi-core suite: one loop per core behind one port, by `SO_REUSEPORT`, against one loop alone.
//!
//! The load generator needs a core of its own, so on a small machine the second loop has to share that
//! one, and requests per second say nothing. CPU time does: loops that share nothing scale by their
//! number times what a request cost one loop alone, over what it costs them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::thread;

use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use serde_json::json;

use crate::child::Child;
use crate::cli::Options;
use crate::load::{Load, Plan};
use crate::machine;
use crate::report::{Section, markdown, progress};
use crate::scenario::{self, Scenario};
use crate::servers::{self, anyloop};
use crate::stats::quantile;

/// Backends, with the names of a server with one loop and of one with a loop on each of two cores.
const SUBJECTS: [(&str, [&str; 2]); 3] = [
    ("uring", ["anyloop-uring-one-loop", "anyloop-uring-two-loops"]),
    ("mio", ["anyloop-mio-one-loop", "anyloop-mio-two-loops"]),
    ("polling", ["anyloop-polling-one-loop", "anyloop-polling-two-loops"]),
];

const SCENARIOS: [&str; 3] = ["64x50", "1Kx50", "churn50"];

/// Is the server `name`, if that is one of this suite.
pub(crate) fn serve(
    name: &str,
    ready: impl FnOnce(u16) -> io::Result<()>,
) -> Option<io::Result<()>> {
    let named = |(_, names): &&(&str, [&str; 2])| names.contains(&name);
    let (backend, names) = SUBJECTS.iter().find(named)?;
    Some(serve_by(backend, name == names[1], ready))
}

fn serve_by(
    backend: &'static str,
    both: bool,
    ready: impl FnOnce(u16) -> io::Result<()>,
) -> io::Result<()> {
    let first = listener((Ipv4Addr::LOCALHOST, 0).into())?;
    let address = first.local_addr()?;
    if both {
        let second = listener(address)?;
        let cpu = machine::choose_cpus()?.1;
        thread::Builder::new().name("second loop".into()).spawn(move || {
            let served = machine::pin(cpu).and_then(|()| anyloop::protocol(backend, second));
            if let Err(error) = served {
                eprintln!("the second loop: {error}");
                std::process::exit(1);
            }
        })?;
    }
    ready(address.port())?;
    anyloop::protocol(backend, first)
}

/// One of several listeners on the same port: the kernel spreads connections over them.
fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket: OwnedFd =
        socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, 1024)?;
    Ok(socket.into())
}

/// Runs the suite and says what it found.
pub(crate) fn run(options: &Options) -> io::Result<Section> {
    let subjects = options.select(SUBJECTS.to_vec(), |(backend, _)| backend);
    let interesting = scenario::ECHO.iter().copied().filter(|s| SCENARIOS.contains(&s.name));
    let scenarios = options.select(interesting.collect(), |scenario| scenario.name);
    let mut rows = Vec::new();
    let mut json = Vec::new();
    for (backend, names) in subjects {
        progress(format_args!("cores {backend}"));
        let mut cells = Vec::new();
        for scenario in &scenarios {
            let [one, two] = measure(names, scenario, options)?;
            cells.push(markdown::fixed(2.0 * one / two, 2));
            json.push(json!({
                "backend": backend,
                "scenario": scenario.name,
                "one_loop_cpu_ns_per_request": one,
                "two_loops_cpu_ns_per_request": two,
            }));
        }
        rows.push((format!("anyloop-{backend}"), cells));
    }
    let head = scenarios.iter().map(|scenario| scenario.name.to_owned()).collect();
    let text = format!(
        "How many times the load of one loop two loops on two cores carry, by CPU time per request.\n\n{}",
        markdown::table(head, rows)
    );
    Ok(Section {
        name: "cores",
        title: "Several cores",
        text,
        json: json.into(),
        charts: Vec::new(),
    })
}

/// ns of CPU per request with one loop and with two, in slices that alternate.
fn measure(names: [&str; 2], scenario: &Scenario, options: &Options) -> io::Result<[f64; 2]> {
    let start = |name| -> io::Result<(Child, Load)> {
        let child = Child::start(name, servers::buffer_for(scenario.size))?;
        let load = Load::open(options.engine, child.address, scenario)?;
        Ok((child, load))
    };
    let mut running = [start(names[0])?, start(names[1])?];
    let plan = Plan { warm_up: options.warm_up(), measured: options.slice() };
    let mut found = [Vec::new(), Vec::new()];
    for _ in 0..options.rounds {
        for ((child, load), found) in running.iter_mut().zip(&mut found) {
            let slice = load.run(plan, &|| child.cpu())?;
            if slice.requests > 0 {
                found.push(slice.server_cpu.as_nanos() as f64 / slice.requests as f64);
            }
        }
    }
    Ok(found.map(|values| quantile(&values, 0.2)))
}
