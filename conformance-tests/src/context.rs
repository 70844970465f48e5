//! What a case gets to work with.

use crate::candidate::Candidate;
use crate::tools::Trace;

/// Handed to every case: makes loops of the backend under test, and keeps what the watchdog wants to
/// know about a case that hangs.
#[derive(Clone, Debug)]
pub struct Context {
    candidate: Candidate,
    trace: Trace,
}

impl Context {
    pub(crate) fn new(candidate: Candidate) -> Self {
        Self { candidate, trace: Trace::new() }
    }

    /// The name of the backend under test.
    #[must_use]
    pub fn backend(&self) -> &str {
        self.candidate.name()
    }

    /// The case's log; printed if the case hangs.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.trace.clone()
    }

    /// The case is over: lets go of everything that keeps a loop alive.
    pub(crate) fn forget(&self) {
        let _ = self.trace.take();
    }

    /// What is known about a case that does not end.
    pub(crate) fn describe(&self) -> String {
        format!("trace: {}\n", self.trace)
    }
}
