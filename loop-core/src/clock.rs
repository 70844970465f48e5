//! The clock: monotonic, in nanoseconds since the process first looked.

use std::sync::OnceLock;
use std::time::Instant;

use anyloop_api::LoopInstant;

/// Where a loop gets its time from. Injected, so that a simulated driver can bring virtual time.
pub trait Clock: 'static {
    /// Now. Never goes back.
    fn now(&self) -> LoopInstant;
}

/// The operating system's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    /// All clocks of a process share their origin, so that instants of different loops compare.
    #[must_use]
    pub fn new() -> Self {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        Self { origin: *ORIGIN.get_or_init(Instant::now) }
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> LoopInstant {
        LoopInstant::from_nanos(0) + self.origin.elapsed()
    }
}
