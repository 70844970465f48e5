//! Which clauses a backend does not claim, and why.

use crate::registry::{Clause, Level};

/// A clause that a backend does not keep.
#[derive(Clone, Copy, Debug)]
pub struct Exemption {
    /// The clause; its level must be [`Level::Should`].
    pub clause: Clause,
    /// Why the backend cannot keep it. Shown wherever the clause is.
    pub reason: &'static str,
}

/// What is wrong with a table of exemptions.
pub(crate) fn check(exemptions: &[Exemption]) -> Result<(), String> {
    for (at, exemption) in exemptions.iter().enumerate() {
        let clause = exemption.clause;
        if clause.level() != Level::Should {
            return Err(format!(
                "{clause} has level {} and cannot be exempted: only S can",
                clause.level()
            ));
        }
        if exemption.reason.trim().is_empty() {
            return Err(format!("the exemption of {clause} gives no reason"));
        }
        if exemptions[..at].iter().any(|earlier| earlier.clause == clause) {
            return Err(format!("{clause} is exempted twice"));
        }
    }
    Ok(())
}

/// The reason for which `clause` is exempted.
pub(crate) fn reason(exemptions: &[Exemption], clause: Clause) -> Option<&'static str> {
    exemptions.iter().find(|exemption| exemption.clause == clause).map(|found| found.reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::{TIMER_03, TIMER_05};

    #[test]
    fn only_a_should_can_be_exempted_once_with_a_reason() {
        let should = Exemption { clause: TIMER_05, reason: "uses a coarse timer wheel" };
        let must = Exemption { clause: TIMER_03, ..should };
        let silent = Exemption { reason: " ", ..should };
        assert_eq!(check(&[should]), Ok(()));
        assert!(check(&[must]).unwrap_err().contains("level M"));
        assert!(check(&[silent]).unwrap_err().contains("no reason"));
        assert!(check(&[should, should]).unwrap_err().contains("twice"));
        assert_eq!(reason(&[should], TIMER_05), Some("uses a coarse timer wheel"));
        assert_eq!(reason(&[should], TIMER_03), None);
    }
}
