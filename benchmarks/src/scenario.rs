//! The shapes of load.

/// One shape of load: how many connections exchange messages of which size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// Size by connections, as in the tables.
    pub(crate) name: &'static str,
    /// Connections open at the same time.
    pub(crate) connections: usize,
    /// Bytes per message.
    pub(crate) size: usize,
    /// Messages each connection keeps in flight.
    pub(crate) in_flight: usize,
    /// Whether each request has a connection of its own: connect, one echo, close.
    pub(crate) churn: bool,
}

impl Scenario {
    const fn steady(name: &'static str, size: usize, connections: usize) -> Self {
        Self { name, connections, size, in_flight: 1, churn: false }
    }
}

/// The scenarios of the echo suite, in the order of the tables.
pub(crate) const ECHO: [Scenario; 8] = [
    Scenario::steady("64x1", 64, 1),
    Scenario::steady("64x50", 64, 50),
    Scenario::steady("64x1000", 64, 1000),
    Scenario::steady("1Kx50", 1 << 10, 50),
    Scenario::steady("16Kx50", 16 << 10, 50),
    Scenario::steady("128Kx10", 128 << 10, 10),
    Scenario { name: "64x50p16", connections: 50, size: 64, in_flight: 16, churn: false },
    Scenario { name: "churn50", connections: 50, size: 64, in_flight: 1, churn: true },
];
