//! Is the machine calm? A fixed computation, timed, tells.

use std::fs;
use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use super::{Machine, pin};

/// The fastest the fixed computation has ever run on each CPU, which is what calm is measured by.
#[derive(Debug)]
pub(crate) struct Calmness {
    cpus: [usize; 2],
    best: [Duration; 2],
}

/// One timing of the fixed computation on both CPUs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading([Duration; 2]);

impl Calmness {
    /// Watches the CPUs of `machine`.
    pub(crate) fn new(machine: &Machine) -> Self {
        Self { cpus: [machine.server_cpu, machine.load_cpu], best: [Duration::MAX; 2] }
    }

    /// Times the computation on both CPUs; returns on the load generator's.
    pub(crate) fn read(&mut self) -> io::Result<Reading> {
        let mut reading = [Duration::ZERO; 2];
        let places = self.cpus.iter().zip(&mut self.best).zip(&mut reading);
        for ((&cpu, best), time) in places {
            pin(cpu)?;
            let begin = Instant::now();
            computation();
            *time = begin.elapsed();
            *best = (*best).min(*time);
        }
        Ok(Reading(reading))
    }

    /// Whether both CPUs ran at no less than 85 % of the best speed seen.
    pub(crate) fn was_calm(&self, reading: Reading) -> bool {
        let pairs = reading.0.iter().zip(&self.best);
        pairs.into_iter().all(|(time, best)| time.as_secs_f64() * 0.85 <= best.as_secs_f64())
    }
}

/// Time the hypervisor gave to someone else so far, in ticks over all CPUs.
pub(crate) fn stolen_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let total = stat.lines().next().and_then(|line| line.split_whitespace().nth(8));
    total.and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

/// About a third of a millisecond of dependent arithmetic.
fn computation() {
    let mut state = black_box(0x9E37_79B9_7F4A_7C15_u64);
    for _ in 0..200_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    black_box(state);
}
