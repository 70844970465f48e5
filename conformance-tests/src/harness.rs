//! The suite as a test: one trial per backend and case, under `cargo test`.

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Trial};

use crate::candidate::{Candidate, Unavailable};
use crate::case::Case;
use crate::child;
use crate::exemptions;
use crate::report::Report;
use crate::runner::{self, Verdict};

/// Runs the suite against `candidates` as a test program: one trial per backend and case, called
/// `mio::TIMER-03::never_early`, with the usual arguments (`cargo test -- mio::TIMER`).
///
/// Must be the first thing that `main` does: the program starts itself again for each case.
/// The trials of a backend that is not available here are shown as ignored, with the reason; so are the
/// heavy cases of variants. A probe that panics is a failed trial, `mio::probe`.
#[must_use]
pub fn run(candidates: &[Candidate]) -> ExitCode {
    child::run_if_asked(candidates);
    let trials = candidates.iter().flat_map(trials).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trials(candidate: &Candidate) -> Vec<Trial> {
    let shared = Arc::new(candidate.clone());
    let available: Arc<Result<(), Unavailable>> = Arc::new(candidate.ask());
    let probe = {
        let available = available.clone();
        let check = move || match &*available {
            Ok(()) => Ok(Completion::Completed),
            Err(Unavailable::Says(reason)) => Ok(not_available(reason)),
            Err(panicked) => Err(panicked.to_string().into()),
        };
        Trial::ignorable_test(format!("{}::probe", candidate.name()), check)
    };
    let table = {
        let shared = shared.clone();
        let check = move || {
            exemptions::check(shared.exemptions())?;
            Ok(exemptions::check_absences(shared.absences(), shared.cases())?)
        };
        Trial::test(format!("{}::exemptions", candidate.name()), check)
    };
    let trial = |case: &'static Case| {
        let (candidate, available) = (shared.clone(), available.clone());
        Trial::ignorable_test(format!("{}::{case}", candidate.name()), move || {
            if let Err(reason) = &*available {
                return Ok(not_available(reason));
            }
            if let Some(reason) = exemptions::reason(candidate.exemptions(), case.clause()) {
                return Ok(Completion::ignored_with(format!("exempt: {reason}")));
            }
            if case.is_heavy() && candidate.is_variant() {
                return Ok(Completion::ignored_with("heavy: not run on variants"));
            }
            if let Some(reason) = exemptions::absent(candidate.absences(), case) {
                return Ok(Completion::ignored_with(format!("left out: {reason}")));
            }
            match runner::run(&candidate, case) {
                Verdict::Pass => Ok(Completion::Completed),
                Verdict::Skip(reason) => Ok(Completion::ignored_with(reason)),
                Verdict::Fail(reason) => Err(reason.into()),
            }
        })
    };
    [probe, table].into_iter().chain(candidate.cases().map(trial)).collect()
}

fn not_available(reason: impl std::fmt::Display) -> Completion {
    Completion::ignored_with(format!("not available: {reason}"))
}

/// Runs the cases that `select` picks and sums them up, for programs that want to look at the result
/// themselves.
///
/// Like [`run`], must be the first thing that `main` does.
#[must_use]
pub fn check(candidate: &Candidate, select: impl Fn(&Case) -> bool) -> Report {
    child::run_if_asked(std::slice::from_ref(candidate));
    match candidate.probe() {
        Ok(()) => runner::run_all(candidate, None, select),
        Err(reason) => Report::unavailable(candidate, &reason),
    }
}
