//! What came out, clause by clause.

use std::fmt::{self, Write};

use crate::candidate::Candidate;
use crate::case::{Case, cases};
use crate::clauses::FAMILIES;
use crate::exemptions;
use crate::registry::{Clause, clauses};
use crate::runner::Verdict;

/// What is known about a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// All its cases passed.
    Pass,
    /// A case failed.
    Fail,
    /// The backend does not claim it.
    Exempt,
    /// No case was run.
    Untested,
}

impl Status {
    /// As in the JSON report.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Exempt => "exempt",
            Self::Untested => "untested",
        }
    }
}

/// The result for one clause.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// The clause.
    pub clause: Clause,
    /// What is known about it.
    pub status: Status,
    /// Why; empty for a clause that passed.
    pub reason: String,
}

/// The results for all clauses of the contract, for one backend.
#[derive(Clone, Debug)]
pub struct Report {
    backend: String,
    entries: Vec<Entry>,
}

impl Report {
    /// Sums up what the cases that ran said.
    pub(crate) fn new(candidate: &Candidate, results: &[(&'static Case, Verdict)]) -> Self {
        let entries = clauses().map(|clause| entry(candidate, *clause, results)).collect();
        Self { backend: candidate.name().to_owned(), entries }
    }

    /// Of a backend that cannot be had: nothing is tested, for this reason.
    pub(crate) fn unavailable(candidate: &Candidate, reason: &str) -> Self {
        let entry = |clause: &Clause| Entry {
            clause: *clause,
            status: Status::Untested,
            reason: format!("{} is not available: {reason}", candidate.name()),
        };
        Self { backend: candidate.name().to_owned(), entries: clauses().map(entry).collect() }
    }

    /// One entry per clause, in the contract's order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many clauses have this status.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.entries.iter().filter(|entry| entry.status == status).count()
    }

    /// The report as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = format!("{{\"backend\": {}, \"cases\": [", quoted(&self.backend));
        for (at, entry) in self.entries.iter().enumerate() {
            let _ = write!(
                json,
                "{}\n  {{\"id\": {}, \"level\": {}, \"status\": {}, \"reason\": {}}}",
                if at == 0 { "" } else { "," },
                quoted(entry.clause.id()),
                quoted(entry.clause.level().tag()),
                quoted(entry.status.as_str()),
                if entry.reason.is_empty() { "null".to_owned() } else { quoted(&entry.reason) },
            );
        }
        let _ = write!(
            json,
            "\n], \"passed\": {}, \"failed\": {}, \"exempt\": {}, \"untested\": {}}}",
            self.count(Status::Pass),
            self.count(Status::Fail),
            self.count(Status::Exempt),
            self.count(Status::Untested),
        );
        json
    }
}

/// For people: failures and exemptions in full, the rest by family.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            if matches!(entry.status, Status::Fail | Status::Exempt) {
                let Entry { clause, status, reason } = entry;
                writeln!(f, "{}  {clause}  {}", status.as_str(), clause.statement())?;
                for line in reason.lines() {
                    writeln!(f, "      {line}")?;
                }
            }
        }
        let columns = [Status::Pass, Status::Fail, Status::Exempt, Status::Untested];
        let width = self.backend.len().max(8) + 2;
        write!(f, "{:<width$}", self.backend)?;
        columns.iter().try_for_each(|status| write!(f, "{:>10}", status.as_str()))?;
        for family in FAMILIES {
            let mine = |entry: &&Entry| entry.clause.family() == family.name();
            let count = |status| {
                self.entries.iter().filter(mine).filter(|entry| entry.status == status).count()
            };
            if count(Status::Untested) < family.clauses().len() {
                write!(f, "\n{:<width$}", family.name())?;
                columns.iter().try_for_each(|status| write!(f, "{:>10}", count(*status)))?;
            }
        }
        write!(f, "\n{:<width$}", "all")?;
        columns.iter().try_for_each(|status| write!(f, "{:>10}", self.count(*status)))
    }
}

fn entry(candidate: &Candidate, clause: Clause, results: &[(&'static Case, Verdict)]) -> Entry {
    let entry = |status, reason: String| Entry { clause, status, reason };
    if let Some(reason) = exemptions::reason(candidate.exemptions(), clause) {
        return entry(Status::Exempt, reason.to_owned());
    }
    let mut cases = candidate.cases().filter(|case| case.clause() == clause).peekable();
    if cases.peek().is_none() {
        return entry(Status::Untested, "no case yet".to_owned());
    }
    let absent: Option<Vec<_>> =
        cases.map(|case| exemptions::absent(candidate.absences(), case)).collect();
    if let Some(reason) = absent.and_then(|reasons| reasons.first().copied()) {
        return entry(Status::Exempt, reason.to_owned());
    }
    let mine: Vec<_> = results.iter().filter(|(case, _)| case.clause() == clause).collect();
    if mine.is_empty() {
        return entry(Status::Untested, "not selected".to_owned());
    }
    let pick = |wanted: fn(&Verdict) -> Option<&str>| -> Option<String> {
        let reasons: Vec<_> = mine
            .iter()
            .filter_map(|(case, verdict)| Some(format!("{}: {}", case.name(), wanted(verdict)?)))
            .collect();
        (!reasons.is_empty()).then(|| reasons.join("\n"))
    };
    if let Some(failed) = pick(Verdict::failed) {
        entry(Status::Fail, failed)
    } else if mine.iter().any(|(_, verdict)| *verdict == Verdict::Pass) {
        entry(Status::Pass, String::new())
    } else {
        entry(Status::Untested, pick(Verdict::skipped).unwrap_or_default())
    }
}

/// How many clauses of each family have a case.
#[must_use]
pub fn coverage() -> String {
    let covered = |clause: &&Clause| cases().any(|case| case.clause() == **clause);
    let mut text = format!("{:<10}{:>8}{:>9}{:>7}\n", "family", "clauses", "covered", "cases");
    let mut total = [0; 3];
    for family in FAMILIES {
        let row = [
            family.clauses().len(),
            family.clauses().iter().filter(covered).count(),
            cases().filter(|case| case.clause().family() == family.name()).count(),
        ];
        for (sum, n) in total.iter_mut().zip(row) {
            *sum += n;
        }
        let [clauses, covered, cases] = row;
        let title = family.title();
        let _ = writeln!(text, "{:<10}{clauses:>8}{covered:>9}{cases:>7}  {title}", family.name());
    }
    let [clauses, covered, cases] = total;
    let _ = write!(text, "{:<10}{clauses:>8}{covered:>9}{cases:>7}", "all");
    text
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use anyloop_api::{BackendDescriptor, Error};

    use super::*;

    static ABSENT: BackendDescriptor = BackendDescriptor::new(
        "absent",
        "is not there",
        || Err("it is absent".to_owned()),
        |_| Err(Error::Unavailable("it is absent".into())),
    );

    #[test]
    fn json_strings_are_escaped() {
        assert_eq!(quoted("a \"b\"\\\n\u{1}→"), "\"a \\\"b\\\"\\\\\\n\\u0001→\"");
    }

    #[test]
    fn every_clause_has_an_entry() {
        let candidate = Candidate::from(&ABSENT);
        let report = Report::unavailable(&candidate, "it is absent");
        assert_eq!(report.entries().len(), 597);
        assert_eq!(report.count(Status::Untested), 597);
        let json = report.to_json();
        assert_eq!(json.matches("\"id\": ").count(), 597);
        assert!(json.starts_with("{\"backend\": \"absent\", \"cases\": [\n  {\"id\": \"LIFE-01\""));
        assert!(json.ends_with("\"passed\": 0, \"failed\": 0, \"exempt\": 0, \"untested\": 597}"));
    }

    #[test]
    fn a_clause_passes_if_none_of_its_cases_failed() {
        let candidate = Candidate::from(&ABSENT);
        let Some(case) = cases().next() else { return };
        let status = |verdicts: &[Verdict]| {
            let results: Vec<_> = verdicts.iter().map(|verdict| (case, verdict.clone())).collect();
            entry(&candidate, case.clause(), &results).status
        };
        let skip = Verdict::Skip("no IPv6".to_owned());
        let fail = Verdict::Fail("late".to_owned());
        assert_eq!(status(&[]), Status::Untested);
        assert_eq!(status(std::slice::from_ref(&skip)), Status::Untested);
        assert_eq!(status(&[skip.clone(), Verdict::Pass]), Status::Pass);
        assert_eq!(status(&[Verdict::Pass, fail, skip]), Status::Fail);
    }
}
