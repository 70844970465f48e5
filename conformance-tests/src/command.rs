//! The suite as a command: `--backend NAME [--filter FAMILY] [--json] [--coverage] [--list]`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::candidate::Candidate;
use crate::case::{Case, cases};
use crate::child;
use crate::exemptions;
use crate::report::{Report, Status, coverage};
use crate::runner;

const HELP: &str = "\
Checks event loops against the contract, clause by clause.

  --backend NAME    the backend under test
  --filter WHAT     only this family (TIMER), clause (TIMER-03) or case (TIMER-03::never_early);
                    several are separated by commas
  --json            the report as JSON, one entry per clause
  --jobs N          how many cases run at the same time (default: one per processor)
  --list            print the cases instead of running them
  --coverage        print how many clauses of each family have a case

Exit status: 0 if no clause failed, 1 if one did, 2 if nothing could be run.
ANYLOOP_CONFORMANCE_TIMEOUT=SECONDS sets how long a case may take (120).
ANYLOOP_CONFORMANCE_POLL_ALWAYS=1 makes loops poll the system in every iteration.
";

#[derive(Debug, Default)]
struct Options {
    backend: Option<String>,
    filter: Vec<String>,
    json: bool,
    coverage: bool,
    list: bool,
    help: bool,
    jobs: Option<usize>,
}

/// Runs the suite against one of `candidates`, as the program's arguments ask.
///
/// Must be the first thing that `main` does: the program starts itself again for each case.
#[must_use]
pub fn command(candidates: &[Candidate]) -> ExitCode {
    child::run_if_asked(candidates);
    match Options::parse(std::env::args().skip(1)).and_then(|options| obey(candidates, &options)) {
        Ok((text, status)) => {
            // A reader that has seen enough is no failure of ours.
            let _ = writeln!(io::stdout(), "{}", text.trim_end());
            ExitCode::from(status)
        }
        Err(complaint) => {
            let _ = writeln!(io::stderr(), "anyloop-conformance: {complaint}");
            ExitCode::from(2)
        }
    }
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            let (name, inline) = match arg.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (arg, None),
            };
            let mut value = || {
                let value = inline.clone().or_else(|| args.next());
                value.ok_or_else(|| format!("{name} needs a value"))
            };
            match name.as_str() {
                "--backend" => options.backend = Some(value()?),
                "--filter" => options.filter.extend(value()?.split(',').map(str::to_owned)),
                "--jobs" => {
                    let jobs = value()?;
                    let jobs = jobs.parse().map_err(|_| format!("--jobs {jobs}: not a number"))?;
                    options.jobs = Some(jobs);
                }
                "--json" => options.json = true,
                "--coverage" => options.coverage = true,
                "--list" => options.list = true,
                "--help" | "-h" => options.help = true,
                _ => return Err(format!("{name}: no such option; see --help")),
            }
        }
        Ok(options)
    }

    fn selects(&self, case: &Case) -> bool {
        let clause = case.clause();
        self.filter.is_empty()
            || self.filter.iter().any(|wanted| {
                wanted.eq_ignore_ascii_case(clause.family())
                    || wanted.eq_ignore_ascii_case(clause.id())
                    || case.to_string().eq_ignore_ascii_case(wanted)
            })
    }

    /// Everything that it selects must be there: a family, a clause, or one of `cases`.
    fn check_filter(
        &self,
        cases: impl Iterator<Item = &'static Case> + Clone,
    ) -> Result<(), String> {
        for wanted in &self.filter {
            let known = |id: &str| wanted.eq_ignore_ascii_case(id);
            let families = crate::clauses::FAMILIES.iter().map(|family| family.name());
            let ids = crate::clauses().map(|clause| clause.id());
            if !families.chain(ids).any(known)
                && !cases.clone().any(|case| known(&case.to_string()))
            {
                return Err(format!("--filter {wanted}: no such family, clause or case"));
            }
        }
        Ok(())
    }

    /// The selected ones of `cases`, one a line.
    fn list(&self, cases: impl Iterator<Item = &'static Case>) -> String {
        let line = |case: &Case| {
            format!("{case}  [{}] {}", case.clause().level(), case.clause().statement())
        };
        cases.filter(|case| self.selects(case)).map(line).collect::<Vec<_>>().join("\n")
    }
}

/// What to print, and the exit status.
fn obey(candidates: &[Candidate], options: &Options) -> Result<(String, u8), String> {
    if options.help {
        return Ok((HELP.to_owned(), 0));
    }
    if options.coverage {
        return Ok((coverage(), 0));
    }
    if options.list && options.backend.is_none() {
        options.check_filter(cases())?;
        return Ok((options.list(cases()), 0));
    }
    let candidate = choose(candidates, options.backend.as_deref())?;
    options.check_filter(candidate.cases())?;
    if options.list {
        return Ok((options.list(candidate.cases()), 0));
    }
    exemptions::check(candidate.exemptions())?;
    exemptions::check_absences(candidate.absences(), candidate.cases())?;
    if let Err(reason) = candidate.probe() {
        if options.json {
            return Ok((Report::unavailable(candidate, &reason).to_json(), 2));
        }
        return Err(format!("{} is not available: {reason}", candidate.name()));
    }
    let report = runner::run_all(candidate, options.jobs, |case| options.selects(case));
    let status = u8::from(report.count(Status::Fail) > 0);
    Ok((if options.json { report.to_json() } else { report.to_string() }, status))
}

fn choose<'a>(candidates: &'a [Candidate], name: Option<&str>) -> Result<&'a Candidate, String> {
    let known = || candidates.iter().map(Candidate::name).collect::<Vec<_>>().join(", ");
    let Some(name) = name else {
        return Err(format!("--backend is missing; known: {}", known()));
    };
    let found = candidates.iter().find(|candidate| candidate.name() == name);
    found.ok_or_else(|| format!("--backend {name}: not known; known: {}", known()))
}

#[cfg(test)]
mod tests {
    use anyloop_api::{BackendDescriptor, Error};

    use super::*;
    use crate::clauses::SCHED_01;
    use crate::exemptions::Absence;

    const OWN: &[Case] = &[Case::new(SCHED_01, "of one's own", |_| Ok(()))];

    static ABSENT: BackendDescriptor = BackendDescriptor::new(
        "absent",
        "is not there",
        || Err("it is absent".to_owned()),
        |_| Err(Error::Unavailable("it is absent".into())),
    );

    fn asked(candidate: Candidate, args: &[&str]) -> Result<(String, u8), String> {
        let options = Options::parse(args.iter().map(|arg| (*arg).to_owned()))?;
        obey(&[candidate], &options)
    }

    #[test]
    fn a_candidates_own_cases_are_listed_and_selected() {
        let candidate = || Candidate::from(&ABSENT).with_cases(OWN);
        let own = "--filter=SCHED-01::of one's own";
        let listed = asked(candidate(), &["--backend=absent", "--list", own]);
        assert!(listed.is_ok_and(|(text, _)| text.starts_with("SCHED-01::of one's own  [M]")));
        let unavailable = asked(candidate(), &["--backend=absent", own]);
        assert!(unavailable.is_err_and(|complaint| complaint.contains("is not available")));
        assert!(asked(candidate(), &["--list", own]).is_err(), "nobody's but its own");
    }

    #[test]
    fn a_table_of_absences_is_checked() {
        const TYPO: &[Absence] = &[Absence { what: "TIM", reason: "no clock" }];
        let complaint = asked(Candidate::from(&ABSENT).without(TYPO), &["--backend=absent"]);
        assert!(complaint.is_err_and(|complaint| complaint.contains("TIM is neither")));
    }

    #[test]
    fn the_help_tells_the_limit() {
        assert!(HELP.contains(&format!("may take ({})", crate::watchdog::LIMIT.as_secs())));
    }
}
