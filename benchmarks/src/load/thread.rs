//! A generator on a thread with descriptors of its own.
//!
//! All servers of a scenario keep their connections, and together these are more than most systems let a
//! process have. The limit counts for a table of descriptors, which need not be the process's.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::{Engine, Generator, Meter, Plan, Slice, Target};
use crate::child::{Child, CpuClock};
use crate::scenario::Scenario;

/// The connections of one scenario to one server.
pub(crate) struct Load {
    /// Only taken when this is dropped.
    plans: Option<Sender<Plan>>,
    slices: Receiver<io::Result<Slice>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Connects; for churn nothing is connected yet.
    pub(crate) fn open(engine: Engine, server: &Child, scenario: &Scenario) -> io::Result<Self> {
        let target = Target::new(server.address, scenario)?;
        let clock = server.clock();
        let (plans, orders) = mpsc::channel();
        let (opened, outcome) = mpsc::channel();
        let (found, slices) = mpsc::channel();
        let work =
            move || match private_descriptors().and_then(|()| Generator::open(engine, target)) {
                Ok(generator) => {
                    // Fails if nobody waits any more.
                    let _ = opened.send(Ok(()));
                    follow(generator, clock, &orders, &found);
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            };
        let thread = thread::Builder::new().name("load".into()).spawn(work)?;
        let load = Self { plans: Some(plans), slices, thread: Some(thread) };
        outcome.recv().map_err(|_| load.died())??;
        Ok(load)
    }

    /// Puts load on the server for one slice and reports on it.
    pub(crate) fn run(&mut self, plan: Plan) -> io::Result<Slice> {
        let sent = self.plans.as_ref().is_some_and(|plans| plans.send(plan).is_ok());
        let slice = if sent { self.slices.recv().ok() } else { None };
        slice.unwrap_or_else(|| Err(self.died()))
    }

    fn died(&self) -> io::Error {
        io::Error::other("the thread of the load generator panicked")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.plans.take());
        if let Some(thread) = self.thread.take() {
            // A panic has been printed.
            let _ = thread.join();
        }
    }
}

fn follow(
    mut generator: Generator,
    clock: CpuClock,
    orders: &Receiver<Plan>,
    found: &Sender<io::Result<Slice>>,
) {
    for plan in orders {
        let mut meter = Meter::new(plan, clock);
        let slice = generator.run(&mut meter).map(|()| meter.slice);
        if found.send(slice).is_err() {
            break;
        }
    }
}

/// Gives this thread a table of descriptors of its own.
fn private_descriptors() -> io::Result<()> {
    // SAFETY: a descriptor must not go from this thread to another or back. The thread has just begun and
    // owns none; what it opens stays in its generator, which it drops.
    Ok(unsafe { unshare_unsafe(UnshareFlags::FILES) }?)
}
