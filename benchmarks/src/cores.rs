//! The multi-core suite: one loop per core behind one port, by `SO_REUSEPORT`, against one loop alone.
//!
//! The load generator needs a core of its own, so on a small machine the second loop has to share that
//! one, and requests per second say nothing. CPU time does: loops that share nothing scale by their
//! number times what a request costs one loop alone, over what it costs them. One loop alone is measured
//! on each of the two cores, since a request costs more beside the load generator, with one loop or two.

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
use crate::servers::{self, anyloop, epoll};
use crate::stats::undisturbed;

/// Ours, and bare epoll to tell what the machine itself takes.
const SUBJECTS: [&str; 4] = ["epoll", "anyloop-uring", "anyloop-mio", "anyloop-polling"];

/// Where a server has loops.
#[derive(Clone, Copy, Debug)]
enum Loops {
    /// One, on the servers' core.
    First,
    /// One, on the core of the load generator.
    Second,
    /// One on each.
    Both,
}

const LOOPS: [(Loops, &str); 3] =
    [(Loops::First, "-first-core"), (Loops::Second, "-second-core"), (Loops::Both, "-both-cores")];

const SCENARIOS: [&str; 3] = ["64x50", "1Kx50", "churn50"];

/// Is the server `name`, if that is one of this suite.
pub(crate) fn serve(
    name: &str,
    ready: impl FnOnce(u16) -> io::Result<()>,
) -> Option<io::Result<()>> {
    let (loops, suffix) = LOOPS.iter().find(|(_, suffix)| name.ends_with(suffix))?;
    let mut subjects = SUBJECTS.iter();
    let subject = subjects.find(|subject| name.strip_suffix(suffix) == Some(**subject))?;
    Some(serve_by(subject, *loops, ready))
}

fn serve_by(
    subject: &'static str,
    loops: Loops,
    ready: impl FnOnce(u16) -> io::Result<()>,
) -> io::Result<()> {
    let serve = |listener| match subject.strip_prefix("anyloop-") {
        Some(backend) => anyloop::protocol(backend, listener),
        None => epoll::serve(listener, servers::buffer_for(0)),
    };
    let first = listener((Ipv4Addr::LOCALHOST, 0).into())?;
    let address = first.local_addr()?;
    let cpu = machine::choose_cpus()?.1;
    match loops {
        Loops::First => {}
        Loops::Second => machine::pin(cpu)?,
        Loops::Both => {
            let second = listener(address)?;
            thread::Builder::new().name("second loop".into()).spawn(move || {
                if let Err(error) = machine::pin(cpu).and_then(|()| serve(second)) {
                    eprintln!("the second loop: {error}");
                    std::process::exit(1);
                }
            })?;
        }
    }
    ready(address.port())?;
    serve(first)
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
    let subjects = options.select(SUBJECTS.to_vec(), |subject| subject);
    let interesting = scenario::ECHO.iter().copied().filter(|s| SCENARIOS.contains(&s.name));
    let scenarios = options.select(interesting.collect(), |scenario| scenario.name);
    let mut rows = Vec::new();
    let mut json = Vec::new();
    for subject in subjects {
        progress(format_args!("cores {subject}"));
        let mut cells = Vec::new();
        for scenario in &scenarios {
            let [first, second, both] = measure(subject, scenario, options)?;
            cells.push(markdown::fixed((first + second) / both, 2));
            json.push(json!({
                "server": subject,
                "scenario": scenario.name,
                "first_core_cpu_ns_per_request": first,
                "second_core_cpu_ns_per_request": second,
                "both_cores_cpu_ns_per_request": both,
            }));
        }
        rows.push((subject.to_owned(), cells));
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

/// ns of CPU per request with the [`LOOPS`], in slices that alternate.
fn measure(subject: &str, scenario: &Scenario, options: &Options) -> io::Result<[f64; 3]> {
    let mut running = Vec::new();
    for (_, suffix) in LOOPS {
        let name = format!("{subject}{suffix}");
        let child = Child::start(&name, servers::buffer_for(scenario.size))?;
        let load = Load::open(options.engine, &child, scenario)?;
        running.push((child, load));
    }
    let plan = Plan { warm_up: options.warm_up(), measured: options.slice() };
    let mut found = [const { Vec::new() }; 3];
    for _ in 0..options.rounds {
        for ((_, load), found) in running.iter_mut().zip(&mut found) {
            let slice = load.run(plan)?;
            if slice.requests > 0 {
                found.push(slice.server_cpu.as_nanos() as f64 / slice.requests as f64);
            }
        }
    }
    Ok(found.map(|values| undisturbed(&values)))
}
