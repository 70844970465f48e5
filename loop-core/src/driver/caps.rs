//! What a driver can do.

/// How a driver repeats itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// One event per change (`EPOLLET`, multishot poll). The core registers once for
    /// both directions and remembers readiness until it sees `EAGAIN`. `modify` re-arms: if the
    /// condition holds at that moment, an event follows.
    Edge,
    /// An event in each poll while the condition holds (`poll(2)`). The core narrows the interest to
    /// what it waits for.
    Level,
}

/// What a driver can do beyond readiness. Every `true` may be forced to `false` by the driver's
/// configuration; the core then does the work itself.
///
/// ```
/// use anyloop_core::driver::{Caps, Trigger};
/// let caps = Caps::readiness(Trigger::Edge).accept(true);
/// assert!(caps.accept && !caps.recv);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caps {
    /// How readiness repeats.
    pub trigger: Trigger,
    /// `accept_start` works.
    pub accept: bool,
    /// `recv_start` works.
    pub recv: bool,
    /// `send` works.
    pub send: bool,
    /// `pread` works.
    pub pread: bool,
}

impl Caps {
    /// Readiness and nothing else.
    #[must_use]
    pub const fn readiness(trigger: Trigger) -> Self {
        Self { trigger, accept: false, recv: false, send: false, pread: false }
    }

    /// Whether `accept_start` works.
    #[must_use]
    pub const fn accept(mut self, yes: bool) -> Self {
        self.accept = yes;
        self
    }

    /// Whether `recv_start` works.
    #[must_use]
    pub const fn recv(mut self, yes: bool) -> Self {
        self.recv = yes;
        self
    }

    /// Whether `send` works.
    #[must_use]
    pub const fn send(mut self, yes: bool) -> Self {
        self.send = yes;
        self
    }

    /// Whether `pread` works.
    #[must_use]
    pub const fn pread(mut self, yes: bool) -> Self {
        self.pread = yes;
        self
    }
}
