//! Clauses and families: what the contract consists of.

use std::fmt;

use crate::clauses::FAMILIES;

/// How binding a clause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Any loop, any backend.
    Must,
    /// Expected; a backend may declare an exemption with a reason.
    Should,
    /// In debug mode only.
    Debug,
    /// Python's form does not exist in Rust; the Rust equivalent is what is tested.
    Rust,
}

impl Level {
    /// The contract's tag: `M`, `S`, `D` or `P→R`.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Must => "M",
            Self::Should => "S",
            Self::Debug => "D",
            Self::Rust => "P→R",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.tag())
    }
}

/// One clause of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Clause {
    id: &'static str,
    level: Level,
    statement: &'static str,
}

impl Clause {
    pub(crate) const fn new(id: &'static [u8], level: Level, statement: &'static str) -> Self {
        match std::str::from_utf8(id) {
            Ok(id) => Self { id, level, statement },
            Err(_) => panic!("clause ids are ASCII"),
        }
    }

    /// The id: `TIMER-03`.
    #[must_use]
    pub const fn id(&self) -> &'static str {
        self.id
    }

    /// How binding it is.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// What it asks, in a line. The contract has the full wording.
    #[must_use]
    pub const fn statement(&self) -> &'static str {
        self.statement
    }

    /// The family's name: the id up to the dash.
    #[must_use]
    pub fn family(&self) -> &'static str {
        self.id.split_once('-').map_or(self.id, |(family, _)| family)
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id)
    }
}

/// The clauses about one subject.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    name: &'static str,
    title: &'static str,
    clauses: &'static [Clause],
}

impl Family {
    pub(crate) const fn new(
        name: &'static str,
        title: &'static str,
        clauses: &'static [Clause],
    ) -> Self {
        Self { name, title, clauses }
    }

    /// The name: `TIMER`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it is about: `timers`.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        self.title
    }

    /// Its clauses, in order.
    #[must_use]
    pub const fn clauses(&self) -> &'static [Clause] {
        self.clauses
    }
}

/// All clauses of the contract, in its order.
pub fn clauses() -> impl Iterator<Item = &'static Clause> {
    FAMILIES.iter().flat_map(|family| family.clauses)
}

/// `TIMER_03` as `TIMER-03`.
pub(crate) const fn dashed<const N: usize>(ident: &str) -> [u8; N] {
    let ident = ident.as_bytes();
    let mut id = [0; N];
    let mut at = 0;
    while at < N {
        id[at] = if ident[at] == b'_' { b'-' } else { ident[at] };
        at += 1;
    }
    id
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Clauses per family, counted in the contract.
    const COUNTS: &[(&str, usize)] = &[
        ("LIFE", 26),
        ("SCHED", 16),
        ("THR", 15),
        ("TIMER", 20),
        ("FUT", 25),
        ("TASK", 21),
        ("CANCEL", 22),
        ("EAGER", 9),
        ("CTX", 9),
        ("COMB", 31),
        ("TMO", 22),
        ("TG", 20),
        ("RUN", 14),
        ("LOCK", 8),
        ("EVENT", 3),
        ("COND", 6),
        ("SEM", 6),
        ("BAR", 6),
        ("QUEUE", 14),
        ("FD", 16),
        ("SOCK", 25),
        ("TR", 43),
        ("FLOW", 13),
        ("SRV", 27),
        ("CONN", 12),
        ("UDP", 19),
        ("UNIX", 5),
        ("PIPE", 12),
        ("STREAM", 25),
        ("SUB", 26),
        ("SIG", 14),
        ("EXEC", 8),
        ("DNS", 4),
        ("EXC", 9),
        ("DBG", 8),
        ("SENDFILE", 9),
        ("TLS", 20),
        ("POL", 4),
        ("FORK", 3),
        ("AGEN", 2),
    ];

    #[test]
    fn the_registry_is_the_contract() {
        assert_eq!(clauses().count(), 597);
        let counts: Vec<_> = FAMILIES.iter().map(|f| (f.name(), f.clauses().len())).collect();
        assert_eq!(counts, COUNTS);
        let level = |level| clauses().filter(|clause| clause.level() == level).count();
        assert_eq!(level(Level::Must), 547);
        assert_eq!(level(Level::Should), 34);
        assert_eq!(level(Level::Debug), 8);
        assert_eq!(level(Level::Rust), 8);
    }

    #[test]
    fn ids_are_unique_and_number_their_family_without_a_gap() {
        let unique: HashSet<_> = clauses().map(Clause::id).collect();
        assert_eq!(unique.len(), 597);
        for family in FAMILIES {
            for (at, clause) in family.clauses().iter().enumerate() {
                assert_eq!(clause.id(), format!("{}-{:02}", family.name(), at + 1));
                assert_eq!(clause.family(), family.name());
            }
        }
    }

    #[test]
    fn every_clause_says_what_it_asks() {
        for clause in clauses() {
            let statement = clause.statement();
            assert!(statement.len() > 10, "{clause}: {statement:?}");
            assert!(!statement.ends_with('.'), "{clause}: {statement:?}");
        }
    }
}
