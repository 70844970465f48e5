//! The load generator: a closed loop that compares every byte.
//!
//! Each connection sends from an endless pattern of its own and expects exactly that stream
//! back. As soon as a message has returned in full, the next one leaves. Where a reply is only
//! part of a message the generator waits for the rest, so any way of cutting the stream is fine
//! and any change of a byte is an error.

mod connection;
mod epoll;
mod pattern;
mod thread;
mod uring;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use rustix::time::{ClockId, clock_gettime};

use crate::child::CpuClock;
use crate::machine;
use crate::scenario::Scenario;
use crate::stats::Histogram;
use crate::uring::Ring;

pub(crate) use thread::Load;

/// The connections of one scenario to one server, and what moves their bytes.
enum Generator {
    Uring(Box<uring::Generator>),
    Epoll(epoll::Generator),
}

/// What moves the bytes of the load generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// io_uring, one system call per batch.
    Uring,
    /// epoll, for machines without io_uring.
    Epoll,
}

impl Engine {
    /// The best one that this machine has.
    pub(crate) fn best() -> Self {
        if Ring::build().is_ok() { Self::Uring } else { Self::Epoll }
    }
}

impl Generator {
    fn open(engine: Engine, target: Target) -> io::Result<Self> {
        Ok(match engine {
            Engine::Uring => Self::Uring(Box::new(uring::Generator::open(target)?)),
            Engine::Epoll => Self::Epoll(epoll::Generator::open(target)?),
        })
    }

    fn run(&mut self, meter: &mut Meter) -> io::Result<()> {
        match self {
            Self::Uring(generator) => generator.run(meter),
            Self::Epoll(generator) => generator.run(meter),
        }
    }
}

/// Where the load goes and what it looks like.
#[derive(Clone, Copy, Debug)]
struct Target {
    address: SocketAddr,
    scenario: Scenario,
    /// Whether to look for answers without ever sleeping: with one connection the generator would sleep
    /// for each of them, and to be woken up takes the server longer than all the rest.
    spins: bool,
}

impl Target {
    fn new(address: SocketAddr, scenario: &Scenario) -> io::Result<Self> {
        let (server_cpu, load_cpu) = machine::choose_cpus()?;
        let spins = scenario.connections == 1 && server_cpu != load_cpu;
        Ok(Self { address, scenario: *scenario, spins })
    }

    /// Makes one connection.
    fn connect(&self) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        // Blocking, but on loopback the handshake is over when the call returns.
        connect(&socket, &self.address)?;
        set_tcp_nodelay(&socket, true)?;
        Ok(socket)
    }
}

/// How long a slice is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Load that is not measured, so that a slice begins in full swing.
    pub(crate) warm_up: Duration,
    /// Load that is. Zero means one message per connection in flight, and no more.
    pub(crate) measured: Duration,
}

/// What one slice of load found.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    /// Requests answered in the measured part.
    pub(crate) requests: u64,
    /// Requests answered from warm-up to the end.
    pub(crate) answered: u64,
    /// Wall time.
    pub(crate) elapsed: Duration,
    /// CPU time of the server.
    pub(crate) server_cpu: Duration,
    /// CPU time of the generator, without looking for answers in vain.
    pub(crate) load_cpu: Duration,
    /// From sending a message to having all of it back.
    pub(crate) latencies: Histogram,
}

/// Counts what happens within the measured part of a slice.
struct Meter {
    server: CpuClock,
    begin: Instant,
    plan: Plan,
    phase: Phase,
    started: Option<(Instant, Duration, Duration)>,
    /// When the last tick was, and the last that brought something.
    ticked: Instant,
    brought: Instant,
    /// What the measured part has spent in vain.
    vain: Duration,
    slice: Slice,
}

/// Where in a slice we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measuring,
    /// Nothing new is sent; what is under way is awaited.
    Draining,
}

impl Meter {
    fn new(plan: Plan, server: CpuClock) -> Self {
        let slice = Slice {
            requests: 0,
            answered: 0,
            elapsed: Duration::ZERO,
            server_cpu: Duration::ZERO,
            load_cpu: Duration::ZERO,
            latencies: Histogram::new(),
        };
        let begin = Instant::now();
        let idle = plan.measured.is_zero();
        let phase = if idle { Phase::Draining } else { Phase::WarmUp };
        Self {
            server,
            begin,
            plan,
            phase,
            started: None,
            ticked: begin,
            brought: begin,
            vain: Duration::ZERO,
            slice,
        }
    }

    /// Nanoseconds since the slice began.
    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    /// Counts an answered request.
    fn answered(&mut self, sent_at: u64, now: u64) {
        self.slice.answered += 1;
        if self.phase == Phase::Measuring {
            self.slice.requests += 1;
            self.slice.latencies.record(now - sent_at);
        }
    }

    /// Looks at the clock, after a look for answers that may have brought some, and moves on to the next
    /// phase when it is time.
    fn tick(&mut self, brought: bool) -> io::Result<()> {
        let now = Instant::now();
        if brought {
            self.brought = now;
        } else if now - self.brought >= PATIENCE {
            return Err(io::Error::other("the server stopped answering"));
        } else if self.phase == Phase::Measuring {
            self.vain += now - self.ticked;
        }
        self.ticked = now;
        match self.phase {
            Phase::WarmUp if now - self.begin >= self.plan.warm_up => {
                self.started = Some((Instant::now(), self.server.now(), own_cpu()));
                self.phase = Phase::Measuring;
            }
            Phase::Measuring => {
                if let Some((started, server_cpu, load_cpu)) = self.started
                    && now - started >= self.plan.measured
                {
                    self.slice.elapsed = started.elapsed();
                    self.slice.server_cpu = self.server.now().saturating_sub(server_cpu);
                    let load_cpu = own_cpu().saturating_sub(load_cpu);
                    self.slice.load_cpu = load_cpu.saturating_sub(self.vain);
                    self.phase = Phase::Draining;
                }
            }
            Phase::WarmUp | Phase::Draining => {}
        }
        Ok(())
    }
}

/// CPU time of this thread.
fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// How long a server may be silent before the run is given up.
const PATIENCE: Duration = Duration::from_secs(10);
