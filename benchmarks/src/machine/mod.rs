//! The machine: where we run on it, how calm it is, and what it is called.

mod calm;
mod facts;
mod isolation;

use std::env;
use std::io;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::load::Engine;

pub(crate) use calm::{Calmness, Reading, stolen_ticks};

/// Two CPUs and a network, ready for measuring.
#[derive(Debug)]
pub(crate) struct Machine {
    /// CPU of the servers.
    pub(crate) server_cpu: usize,
    /// CPU of the load generator; the same one if there is no other.
    pub(crate) load_cpu: usize,
    network: String,
}

impl Machine {
    /// Chooses CPUs, isolates the network if allowed, and moves this process to its CPU.
    pub(crate) fn prepare() -> io::Result<Self> {
        let (server_cpu, load_cpu) = choose_cpus()?;
        let network = isolation::isolate();
        raise_descriptor_limit();
        pin(load_cpu)?;
        Ok(Self { server_cpu, load_cpu, network })
    }

    /// What a reader must know about where the figures come from.
    pub(crate) fn describe(&self, engine: Engine) -> Vec<(&'static str, String)> {
        let cpus = if self.server_cpu == self.load_cpu {
            "one CPU for both server and load: expect disturbed figures".to_owned()
        } else {
            format!("server on CPU {}, load generator on CPU {}", self.server_cpu, self.load_cpu)
        };
        let mut facts = facts::collect();
        facts.push(("placement", cpus));
        facts.push(("load generator", format!("on {engine:?}").to_lowercase()));
        facts.push(("network", self.network.clone()));
        facts
    }
}

/// Moves the calling thread, and all it starts, to one CPU.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    spread(&[cpu])
}

/// Lets the calling thread, and all it starts, use these CPUs.
pub(crate) fn spread(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    Ok(sched_setaffinity(None, &set)?)
}

/// The CPUs of the server and of the load: the first two that this process might use when it
/// started, or those that its parent said it found.
pub(crate) fn choose_cpus() -> io::Result<(usize, usize)> {
    static CHOSEN: OnceLock<(usize, usize)> = OnceLock::new();
    if let Some(&cpus) = CHOSEN.get() {
        return Ok(cpus);
    }
    let told = env::var(CPUS).ok().and_then(|text| {
        let (server, load) = text.split_once(',')?;
        Some((server.parse().ok()?, load.parse().ok()?))
    });
    let cpus = told.map_or_else(first_two_cpus, Ok)?;
    Ok(*CHOSEN.get_or_init(|| cpus))
}

fn first_two_cpus() -> io::Result<(usize, usize)> {
    let allowed = sched_getaffinity(None)?;
    let mut usable = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
    let first = usable.next().ok_or_else(|| io::Error::other("no usable CPU"))?;
    Ok((first, usable.next().unwrap_or(first)))
}

/// This program once more, for a part in a process of its own.
///
/// A child inherits the one CPU its parent is pinned to, so it is told which ones there are.
pub(crate) fn this_program() -> io::Result<Command> {
    let (server, load) = choose_cpus()?;
    let mut command = Command::new(env::current_exe()?);
    command.env(CPUS, format!("{server},{load}")).stdin(Stdio::null());
    Ok(command)
}

/// Lets this process and its children open as many descriptors as they are allowed to.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // The generator holds the connections to all servers of a scenario. Only who is privileged may have
    // more than the present maximum.
    let enough = Some(65_536);
    let wanted = Rlimit { current: enough, maximum: enough };
    let limit = getrlimit(Resource::Nofile);
    let short = limit.maximum.is_some_and(|maximum| Some(maximum) < enough);
    if !short || setrlimit(Resource::Nofile, wanted).is_err() {
        // A refusal leaves the limit as it was; the suites scale to what it is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}

/// How many descriptors this process may have open.
pub(crate) fn descriptor_limit() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How a child learns of the CPUs.
const CPUS: &str = "ANYLOOP_BENCHMARKS_CPUS";
