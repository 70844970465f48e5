//! A backend under test, with the exemptions it claims.

use std::fmt;
use std::io::{self, Write};
use std::panic::catch_unwind;
use std::process;

use anyloop_api::{BackendDescriptor, LoopConfig, Panic};

use crate::case::{Case, cases};
use crate::exemptions::{Absence, Exemption};
use crate::watchdog::{self, Watchdog};

/// A backend under test: where its loops come from, and which clauses it does not claim.
#[derive(Clone, Debug)]
pub struct Candidate {
    name: String,
    descriptor: &'static BackendDescriptor,
    config: LoopConfig,
    environment: Vec<(&'static str, &'static str)>,
    exemptions: &'static [Exemption],
    absences: &'static [Absence],
    own_cases: &'static [Case],
    variant: bool,
}

/// Why a backend is not to be had.
#[derive(Debug)]
pub(crate) enum Unavailable {
    /// Its probe says so.
    Says(String),
    /// Its probe panicked, which is a mistake in the backend.
    Panicked(Panic),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Says(reason) => f.write_str(reason),
            Self::Panicked(panic) => write!(f, "its probe {panic}"),
        }
    }
}

impl From<&'static BackendDescriptor> for Candidate {
    fn from(descriptor: &'static BackendDescriptor) -> Self {
        Self {
            name: descriptor.name.to_owned(),
            descriptor,
            config: LoopConfig::default(),
            environment: Vec::new(),
            exemptions: &[],
            absences: &[],
            own_cases: &[],
            variant: false,
        }
    }
}

impl Candidate {
    /// Declares which clauses the backend does not keep, and why. Only clauses of level S may be
    /// listed: a table with others makes the suite fail.
    #[must_use]
    pub fn exempt(mut self, exemptions: &'static [Exemption]) -> Self {
        self.exemptions = exemptions;
        self
    }

    /// Declares which facilities the loop leaves out, as the trait lets it, and why. Their cases are
    /// shown as ignored, with the reason.
    #[must_use]
    pub fn without(mut self, absences: &'static [Absence]) -> Self {
        self.absences = absences;
        self
    }

    /// Adds cases that the suite does not have.
    #[must_use]
    pub fn with_cases(mut self, cases: &'static [Case]) -> Self {
        self.own_cases = cases;
        self
    }

    /// The same backend under another name and with environment variables set, for instance to
    /// force one of its fallbacks. [`run`](crate::run) spares it the heavy cases.
    #[must_use]
    pub fn variant(&self, suffix: &str, environment: &[(&'static str, &'static str)]) -> Self {
        let mut variant = self.clone();
        variant.name = format!("{}-{suffix}", self.name);
        variant.environment.extend_from_slice(environment);
        variant.variant = true;
        variant
    }

    /// The configuration from which the cases' loops are made.
    #[must_use]
    pub fn config(mut self, config: LoopConfig) -> Self {
        self.config = config;
        self
    }

    /// The name under which trials appear.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the backend works on this machine. A probe that does not return ends the process: nothing
    /// can be said about its backend, and the suite would wait for ever.
    ///
    /// # Errors
    /// The reason why it does not; that its probe panicked is one.
    pub fn probe(&self) -> Result<(), String> {
        self.ask().map_err(|no| no.to_string())
    }

    /// The same, for whoever tells the reasons apart.
    pub(crate) fn ask(&self) -> Result<(), Unavailable> {
        let (limit, name) = (watchdog::limit(), self.name.clone());
        let _watchdog = Watchdog::start(limit, move || {
            let _ = writeln!(io::stderr(), "{name}: its probe is still running after {limit:?}");
            process::exit(2)
        });
        match catch_unwind(self.descriptor.probe) {
            Ok(answer) => answer.map(drop).map_err(Unavailable::Says),
            Err(payload) => Err(Unavailable::Panicked(Panic::new(payload))),
        }
    }

    /// The clauses it does not claim.
    #[must_use]
    pub fn exemptions(&self) -> &'static [Exemption] {
        self.exemptions
    }

    /// Whether it is another candidate with something changed.
    pub(crate) fn is_variant(&self) -> bool {
        self.variant
    }

    /// The facilities that it leaves out.
    #[must_use]
    pub fn absences(&self) -> &'static [Absence] {
        self.absences
    }

    pub(crate) fn descriptor(&self) -> &'static BackendDescriptor {
        self.descriptor
    }

    /// The configuration, with what the environment adds to it.
    pub(crate) fn loop_config(&self) -> LoopConfig {
        let config = self.config.clone();
        let forced = std::env::var_os(POLL_ALWAYS).is_some_and(|value| value != "0");
        let poll = config.poll_every_iteration || forced;
        config.poll_every_iteration(poll)
    }

    /// The cases it is run through: the suite's, then its own.
    pub(crate) fn cases(&self) -> impl Iterator<Item = &'static Case> + Clone + use<> {
        cases().chain(self.own_cases)
    }

    pub(crate) fn environment(&self) -> &[(&'static str, &'static str)] {
        &self.environment
    }
}

/// Makes every loop of the suite poll in every iteration.
const POLL_ALWAYS: &str = "ANYLOOP_CONFORMANCE_POLL_ALWAYS";
