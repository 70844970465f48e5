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
ANYLOOP_CONFORMANCE_TIMEOUT=SECONDS sets how long a case may take (30).
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

    fn check_filter(&self) -> Result<(), String> {
        for wanted in &self.filter {
            let known = |id: &str| wanted.eq_ignore_ascii_case(id);
            let families = crate::clauses::FAMILIES.iter().map(|family| family.name());
            let ids = crate::clauses().map(|clause| clause.id());
            if !families.chain(ids).any(known) && !cases().any(|case| known(&case.to_string())) {
                return Err(format!("--filter {wanted}: no such family, clause or case"));
            }
        }
        Ok(())
    }
}

/// What to print, and the exit status.
fn obey(candidates: &[Candidate], options: &Options) -> Result<(String, u8), String> {
    if options.help {
        return Ok((HELP.to_owned(), 0));
    }
    options.check_filter()?;
    if options.coverage {
        return Ok((coverage(), 0));
    }
    if options.list {
        let list: Vec<_> = cases()
            .filter(|case| options.selects(case))
            .map(|case| {
                format!("{case}  [{}] {}", case.clause().level(), case.clause().statement())
            })
            .collect();
        return Ok((list.join("\n"), 0));
    }
    let candidate = choose(candidates, options.backend.as_deref())?;
    exemptions::check(candidate.exemptions())?;
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
