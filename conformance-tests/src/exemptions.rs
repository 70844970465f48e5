//! Which clauses a backend does not claim, and why.

use crate::case::Case;
use crate::clauses::FAMILIES;
use crate::registry::{Clause, Level};

/// A clause that a backend does not keep.
#[derive(Clone, Copy, Debug)]
pub struct Exemption {
    /// The clause; its level must be [`Level::Should`].
    pub clause: Clause,
    /// Why the backend cannot keep it. Shown wherever the clause is.
    pub reason: &'static str,
}

/// A facility that the trait lets a loop leave out, so that its methods fail with `Usage`.
#[derive(Clone, Copy, Debug)]
pub struct Absence {
    /// A family (`SUB`); or, for what needs the facility elsewhere, a clause (`LIFE-21`) or one case
    /// (`LIFE-21::name`).
    pub what: &'static str,
    /// Why the loop does not have it. Shown wherever a case is left out for it.
    pub reason: &'static str,
}

impl Absence {
    /// Whether `case` is about it.
    fn covers(&self, case: &Case) -> bool {
        let clause = case.clause();
        let full = || case.to_string() == self.what;
        self.what == clause.family() || self.what == clause.id() || full()
    }
}

/// Why `case` is not run, if it is not.
pub(crate) fn absent(absences: &[Absence], case: &Case) -> Option<&'static str> {
    absences.iter().find(|absence| absence.covers(case)).map(|absence| absence.reason)
}

/// What is wrong with a table of absences: each entry gives a reason and names something that exists.
pub(crate) fn check_absences(
    absences: &[Absence],
    cases: impl Iterator<Item = &'static Case> + Clone,
) -> Result<(), String> {
    for absence in absences {
        let what = absence.what;
        if absence.reason.trim().is_empty() {
            return Err(format!("the absence of {what} gives no reason"));
        }
        let family = FAMILIES.iter().any(|family| family.name() == what);
        if !family && !cases.clone().any(|case| absence.covers(case)) {
            return Err(format!("{what} is neither a family, nor a clause, nor a case"));
        }
    }
    Ok(())
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

    #[test]
    fn an_absence_names_what_exists() {
        const CASES: &[Case] = &[Case::new(TIMER_03, "never early", |_| Ok(()))];
        let table = |what| [Absence { what, reason: "no clock" }];
        for what in ["TIMER", "TIMER-03", "TIMER-03::never early"] {
            assert_eq!(absent(&table(what), &CASES[0]), Some("no clock"), "{what}");
            assert_eq!(check_absences(&table(what), CASES.iter()), Ok(()));
        }
        for what in ["TIM", "TIMER-3", "TIMER-03::never"] {
            assert_eq!(absent(&table(what), &CASES[0]), None, "{what}");
            assert!(check_absences(&table(what), CASES.iter()).is_err());
        }
        assert!(check_absences(&[Absence { what: "TLS", reason: "" }], CASES.iter()).is_err());
    }
}
