//! Backends as values: what a loop crate exports so that it can be chosen at run time.

use std::fmt;
use std::time::Duration;

use crate::error::Result;
use crate::loop_ref::LoopRef;

/// How a loop is to be made. Understood by every backend; a backend's own switches are in its own
/// configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoopConfig {
    /// Debug mode; `None` leaves the loop's default.
    pub debug: Option<bool>,
    /// Poll the operating system in every iteration instead of skipping some while work is ready.
    pub poll_every_iteration: bool,
    /// Panics of user code leave `run_*` instead of being reported.
    pub resume_panics: bool,
    /// Threads of the loop's own pool; `None`: from the number of CPUs.
    pub executor_threads: Option<usize>,
    /// A thread waits for each child process, also where the kernel can tell the loop by itself.
    pub child_threads: bool,
    /// Files are sent by reading and writing, also where the kernel could send them by itself.
    pub sendfile_fallback: bool,
    /// Datagrams are received one by one, also where the kernel could give many at once.
    pub recvmmsg_fallback: bool,
    /// Files are read in the loop's pool, also where the contents are in memory or the kernel could read
    /// them by itself.
    pub files_fallback: bool,
    /// See [`LoopConfig::spin`]; zero: do not.
    pub spin: Duration,
}

impl LoopConfig {
    /// Debug mode.
    #[must_use]
    pub fn debug(mut self, on: bool) -> Self {
        self.debug = Some(on);
        self
    }

    /// See [`LoopConfig::poll_every_iteration`].
    #[must_use]
    pub fn poll_every_iteration(mut self, on: bool) -> Self {
        self.poll_every_iteration = on;
        self
    }

    /// See [`LoopConfig::resume_panics`].
    #[must_use]
    pub fn resume_panics(mut self, on: bool) -> Self {
        self.resume_panics = on;
        self
    }

    /// See [`LoopConfig::executor_threads`].
    #[must_use]
    pub fn executor_threads(mut self, threads: usize) -> Self {
        self.executor_threads = Some(threads);
        self
    }

    /// See [`LoopConfig::child_threads`].
    #[must_use]
    pub fn child_threads(mut self, on: bool) -> Self {
        self.child_threads = on;
        self
    }

    /// Look for work for so long before each sleep, and end sleeps so much before a timer is due. What
    /// another thread asks for meanwhile costs no system call and no waking of a thread, and timers are not
    /// late by what the kernel needs for that, which is 5 to 60 µs: 50 µs is a good value.
    ///
    /// An idle loop then uses the CPU for so long before it sleeps. For loops that have a CPU for themselves:
    /// among other threads that want the CPU it makes things worse, because the scheduler makes who has
    /// used it wait. Loops with virtual time do not spin.
    ///
    /// ```
    /// use std::time::Duration;
    /// let config = anyloop_api::LoopConfig::default().spin(Duration::from_micros(50));
    /// # assert!(!config.spin.is_zero());
    /// ```
    #[must_use]
    pub fn spin(mut self, duration: Duration) -> Self {
        self.spin = duration;
        self
    }

    /// See [`LoopConfig::sendfile_fallback`].
    #[must_use]
    pub fn sendfile_fallback(mut self, on: bool) -> Self {
        self.sendfile_fallback = on;
        self
    }

    /// See [`LoopConfig::recvmmsg_fallback`].
    #[must_use]
    pub fn recvmmsg_fallback(mut self, on: bool) -> Self {
        self.recvmmsg_fallback = on;
        self
    }

    /// See [`LoopConfig::files_fallback`].
    #[must_use]
    pub fn files_fallback(mut self, on: bool) -> Self {
        self.files_fallback = on;
        self
    }
}

/// A backend: its name, whether it works here, and how to open a loop of it.
///
/// Each backend crate exports one as `pub static DESCRIPTOR`.
///
/// ```
/// use anyloop_api::{BackendDescriptor, Error};
///
/// pub static DESCRIPTOR: BackendDescriptor = BackendDescriptor::new(
///     "mine",
///     "a loop over the frobnicator",
///     || Err("this machine has no frobnicator".into()),
///     |_config| Err(Error::usage("mine: not here")),
/// );
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct BackendDescriptor {
    /// The name in `ANYLOOP_BACKEND`: lower case, no spaces.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Whether it works on this machine; `Ok` says with which features, `Err` why not, in words.
    pub probe: fn() -> std::result::Result<String, String>,
    /// Makes a loop.
    pub open: fn(&LoopConfig) -> Result<LoopRef>,
}

impl BackendDescriptor {
    /// The four things that make a backend.
    #[must_use]
    pub const fn new(
        name: &'static str,
        summary: &'static str,
        probe: fn() -> std::result::Result<String, String>,
        open: fn(&LoopConfig) -> Result<LoopRef>,
    ) -> Self {
        Self { name, summary, probe, open }
    }
}

impl fmt::Debug for BackendDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackendDescriptor({})", self.name)
    }
}
