//! The inside of a child process: runs one case, tells the parent how it ended.
//!
//! The case runs on the main thread, where signal handlers may be registered, in a process of its
//! own: it may change the environment, limits and process-wide state, leak, hang or crash without
//! any other case noticing. The exit status says how it ended, standard output says why.

use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::candidate::Candidate;
use crate::case::{Case, Failure};
use crate::context::{Context, Watched};
use crate::leaks::{Holdings, describe_threads};
use crate::watchdog::{self, Watchdog};

/// The environment variable that names the case a child is to run.
pub(crate) const ASKED: &str = "ANYLOOP_CONFORMANCE_CASE";

/// Exit status of a child whose case passed. Not zero: a loop that ends the process in the middle of a
/// case, as that of a GUI may, has proved nothing.
pub(crate) const PASSED: i32 = 42;
/// Exit status of a child whose case failed.
pub(crate) const FAILED: i32 = 40;
/// Exit status of a child whose case cannot be run on this machine.
pub(crate) const SKIPPED: i32 = 41;

/// If this process was started to run one case, runs it and exits.
pub(crate) fn run_if_asked(candidates: &[Candidate]) {
    let Ok(asked) = std::env::var(ASKED) else { return };
    let found = candidates.iter().find_map(|candidate| {
        let rest = asked.strip_prefix(candidate.name())?.strip_prefix("::")?;
        let case = candidate.cases().find(|case| case.to_string() == rest)?;
        Some((candidate, case))
    });
    let (status, reason) = match found {
        Some((candidate, case)) => run(candidate, case),
        None => (FAILED, format!("there is no case {asked}")),
    };
    exit(status, &reason)
}

fn run(candidate: &Candidate, case: &'static Case) -> (i32, String) {
    static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

    let cx = Context::new(candidate);
    let limit = watchdog::limit();
    let watchdog = {
        let watched = cx.watched();
        Watchdog::start(limit, move || bark(&watched, case, limit))
    };
    // Cases panic on purpose: one line each, no backtrace that takes long and hides the rest.
    panic::set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        let _ = writeln!(std::io::stderr(), "{text}");
        PANICS.fetch_add(1, Ordering::SeqCst);
        if let Ok(mut panic) = LAST_PANIC.lock() {
            *panic = text;
        }
    }));

    let before = Holdings::now();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| (case.run)(&cx)));
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::panicked(
            &LAST_PANIC.lock().map_or_else(|_| String::new(), |text| text.clone()),
        )),
    };
    let outcome = outcome.and_then(|()| {
        cx.clean_up()?;
        drop(watchdog);
        before.leaked_since().map_or(Ok(()), |leaked| Err(Failure::new(leaked)))
    });
    match outcome {
        Ok(()) => (PASSED, String::new()),
        Err(failure) if failure.is_skip() => (SKIPPED, failure.to_string()),
        Err(failure) => (FAILED, format!("{}: {failure}", case.clause())),
    }
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// How many panics there were in this process.
pub(crate) fn panics() -> usize {
    PANICS.load(Ordering::SeqCst)
}

/// The case hangs: says what is known and ends the process.
fn bark(watched: &Watched, case: &Case, limit: Duration) {
    let state = format!("{watched}{}", describe_threads());
    exit(FAILED, &format!("{}: still running after {limit:?}\n{state}", case.clause()))
}

fn exit(status: i32, reason: &str) -> ! {
    let mut out = std::io::stdout();
    // If the parent is gone nobody wants to know.
    let _ = out.write_all(reason.as_bytes()).and_then(|()| out.flush());
    process::exit(status)
}
