//! Cases: what is run to see whether a clause holds.

use std::error::Error;
use std::fmt;
use std::panic::Location;

use crate::context::Context;
use crate::families::FAMILIES;
use crate::registry::Clause;

/// One check of one clause. A clause may have several.
#[derive(Clone, Copy)]
pub struct Case {
    pub(crate) clause: Clause,
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Context) -> Outcome,
    pub(crate) heavy: bool,
}

/// How a case ends.
pub type Outcome = Result<(), Failure>;

/// All cases of the suite, in the order of the families.
pub fn cases() -> impl Iterator<Item = &'static Case> + Clone {
    FAMILIES.iter().copied().flatten()
}

impl Case {
    /// A case that the suite does not have, for [`Candidate::with_cases`](crate::Candidate::with_cases).
    #[must_use]
    pub const fn new(clause: Clause, name: &'static str, run: fn(&Context) -> Outcome) -> Self {
        Self { clause, name, run, heavy: false }
    }

    /// The clause it checks.
    #[must_use]
    pub const fn clause(&self) -> Clause {
        self.clause
    }

    /// Its name within the clause.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it takes seconds of processor time: [`run`](crate::run) spares the
    /// [variants](crate::Candidate::variant) of a candidate such cases.
    #[must_use]
    pub const fn is_heavy(&self) -> bool {
        self.heavy
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.clause, self.name)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({self})")
    }
}

/// Why a case did not pass, and where that was noticed.
#[derive(Debug)]
pub struct Failure {
    message: String,
    at: Option<&'static Location<'static>>,
    skip: bool,
}

impl Failure {
    /// The loop does not keep the clause.
    #[track_caller]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), at: Some(Location::caller()), skip: false }
    }

    /// The clause cannot be checked on this machine: the case counts as not run, with the reason.
    #[track_caller]
    pub fn skip(reason: impl Into<String>) -> Self {
        Self { message: reason.into(), at: None, skip: true }
    }

    /// The case panicked; the text says where.
    pub(crate) fn panicked(text: &str) -> Self {
        Self { message: format!("panicked: {text}"), at: None, skip: false }
    }

    /// Whether the case could not be run here, rather than failed.
    #[must_use]
    pub fn is_skip(&self) -> bool {
        self.skip
    }

    /// What was found.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{} ({}:{})", self.message, at.file(), at.line()),
            None => f.write_str(&self.message),
        }
    }
}

/// An unexpected error fails the case at the `?` that met it.
impl<E: Error> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        Self::new(format!("unexpected error: {error}"))
    }
}

/// The table of a family's cases: `cases! { TIMER_03 => never_early, also_on_a_busy_loop; … }`; with
/// `#[heavy]` before the name of a case that takes seconds of processor time.
///
/// A function that is in no table is reported by the compiler as unused.
macro_rules! cases {
    ($($clause:ident => $($(#[$mark:ident])? $case:ident),+;)+) => {
        pub(crate) const CASES: &[$crate::Case] = &[
            $($($crate::Case {
                clause: $crate::clauses::$clause,
                name: stringify!($case),
                run: $case,
                heavy: is_heavy!($($mark)?),
            },)+)+
        ];
    };
}

/// Whether a case is marked.
macro_rules! is_heavy {
    () => {
        false
    };
    (heavy) => {
        true
    };
}

/// Fails the case unless the condition holds: `ensure!(fired == 1, "fired {fired} times")`.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::Failure::new(format!($($message)+)));
        }
    };
}

/// Fails the case unless both are equal; the message says what was compared.
macro_rules! ensure_eq {
    ($found:expr, $expected:expr, $($what:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) => {
                if *found != *expected {
                    return Err($crate::Failure::new(format!(
                        "{}: expected {expected:?}, found {found:?}",
                        format_args!($($what)+),
                    )));
                }
            }
        }
    };
}

/// Fails the case unless the value has this shape, as in `ensure_is!(lp.close(), Err(Error::Usage(_)))`.
macro_rules! ensure_is {
    ($found:expr, $pattern:pat $(if $guard:expr)?) => {
        match $found {
            $pattern $(if $guard)? => {}
            other => {
                return Err($crate::Failure::new(format!(
                    "{}: expected {}, found {other:?}",
                    stringify!($found),
                    stringify!($pattern),
                )));
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_case_is_registered_once() {
        let names: Vec<_> = cases().map(ToString::to_string).collect();
        let unique: HashSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
    }

    #[test]
    fn families_hold_their_own_clauses_in_order() {
        for family in FAMILIES {
            let ids: Vec<_> = family.iter().map(|case| case.clause.id()).collect();
            assert!(ids.is_sorted(), "{ids:?}");
            let one: HashSet<_> = family.iter().map(|case| case.clause.family()).collect();
            assert!(one.len() <= 1, "{one:?}");
        }
    }

    #[test]
    fn a_failure_says_where_it_was_noticed() {
        fn fails() -> Outcome {
            String::from_utf8(vec![0xff])?;
            Ok(())
        }
        let line = line!() - 3;
        let text = fails().unwrap_err().to_string();
        assert!(text.contains("invalid utf-8"), "{text}");
        assert!(text.ends_with(&format!("case.rs:{line})")), "{text}");
    }
}
