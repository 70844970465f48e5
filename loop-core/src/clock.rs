//! The clock: monotonic, in nanoseconds since the process first looked.
//!
//! Unsafe lives here for one call: `Instant` checks and normalises what the kernel gives in seconds and
//! nanoseconds, which is as much work again as reading it.

use std::sync::OnceLock;

use anyloop_api::LoopInstant;

/// Where a loop gets its time from. Injected, so that a simulated driver can bring virtual time.
pub trait Clock: 'static {
    /// Now. Never goes back.
    fn now(&self) -> LoopInstant;
}

/// The operating system's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    /// On the clock of the system.
    origin: u64,
}

impl MonotonicClock {
    /// All clocks of a process share their origin, so that instants of different loops compare.
    #[must_use]
    pub fn new() -> Self {
        static ORIGIN: OnceLock<u64> = OnceLock::new();
        Self { origin: *ORIGIN.get_or_init(system_nanos) }
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicClock {
    #[inline]
    fn now(&self) -> LoopInstant {
        LoopInstant::from_nanos(system_nanos().saturating_sub(self.origin))
    }
}

/// Nanoseconds on the system's monotonic clock.
#[inline]
fn system_nanos() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is ours, and large enough for what is written. A clock that always exists, asked
    // for with a valid address, cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn it_is_the_clock_of_instant() {
        let clock = MonotonicClock::new();
        let (outer, begin) = (Instant::now(), clock.now());
        let inner = Instant::now();
        std::thread::sleep(Duration::from_millis(2));
        let inner = inner.elapsed();
        let took = clock.now() - begin;
        assert!(inner <= took && took <= outer.elapsed());
    }
}
