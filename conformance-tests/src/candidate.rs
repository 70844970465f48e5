//! A backend under test, with the exemptions it claims.

use crate::case::{Case, cases};
use crate::exemptions::Exemption;

/// A backend under test: where its loops come from, and which clauses it does not claim.
#[derive(Clone, Debug)]
pub struct Candidate {
    name: String,
    probe: fn() -> Result<(), String>,
    environment: Vec<(&'static str, &'static str)>,
    exemptions: &'static [Exemption],
    own_cases: &'static [Case],
}

impl Candidate {
    /// A candidate; `probe` says in words why the backend cannot be had on this machine.
    #[must_use]
    pub fn new(name: &str, probe: fn() -> Result<(), String>) -> Self {
        Self {
            name: name.to_owned(),
            probe,
            environment: Vec::new(),
            exemptions: &[],
            own_cases: &[],
        }
    }

    /// Declares which clauses it does not keep, and why. Only clauses of level S may be listed:
    /// [`run`](crate::run) refuses a table with others.
    #[must_use]
    pub fn exempt(mut self, exemptions: &'static [Exemption]) -> Self {
        self.exemptions = exemptions;
        self
    }

    /// Adds cases that the suite does not have.
    #[must_use]
    pub fn with_cases(mut self, cases: &'static [Case]) -> Self {
        self.own_cases = cases;
        self
    }

    /// The same backend under another name and with environment variables set, for instance to
    /// force one of its fallbacks.
    #[must_use]
    pub fn variant(&self, suffix: &str, environment: &[(&'static str, &'static str)]) -> Self {
        let mut variant = self.clone();
        variant.name = format!("{}-{suffix}", self.name);
        variant.environment.extend_from_slice(environment);
        variant
    }

    /// The name under which trials appear.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the backend works on this machine.
    ///
    /// # Errors
    /// The reason why it does not.
    pub fn probe(&self) -> Result<(), String> {
        (self.probe)()
    }

    /// The clauses it does not claim.
    #[must_use]
    pub fn exemptions(&self) -> &'static [Exemption] {
        self.exemptions
    }

    /// The cases it is run through: the suite's, then its own.
    pub(crate) fn cases(&self) -> impl Iterator<Item = &'static Case> + use<> {
        cases().chain(self.own_cases)
    }

    pub(crate) fn environment(&self) -> &[(&'static str, &'static str)] {
        &self.environment
    }
}
