//! The outside of a child process: starts it, waits for it, reads how its case ended.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::candidate::Candidate;
use crate::case::Case;
use crate::child;
use crate::exemptions;
use crate::report::Report;
use crate::watchdog;

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The clause holds as far as this case sees.
    Pass,
    /// It does not; why, and what the case wrote to its log.
    Fail(String),
    /// It cannot be checked on this machine.
    Skip(String),
}

impl Verdict {
    /// Why it failed, if it did.
    pub(crate) fn failed(&self) -> Option<&str> {
        match self {
            Self::Fail(reason) => Some(reason),
            _ => None,
        }
    }

    /// Why it was not run, if it was not.
    pub(crate) fn skipped(&self) -> Option<&str> {
        match self {
            Self::Skip(reason) => Some(reason),
            _ => None,
        }
    }
}

/// How much longer than the watchdog the parent waits before it kills the child.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the selected cases, `jobs` at a time (default: one per processor).
pub(crate) fn run_all(
    candidate: &Candidate,
    jobs: Option<usize>,
    select: impl Fn(&Case) -> bool,
) -> Report {
    let claimed = |case: &&Case| {
        exemptions::reason(candidate.exemptions(), case.clause()).is_none()
            && exemptions::absent(candidate.absences(), case).is_none()
    };
    let selected: Vec<_> = candidate.cases().filter(|case| select(case)).filter(claimed).collect();
    let jobs = jobs.or_else(|| thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut results = Vec::new();
        while let Some(case) = selected.get(next.fetch_add(1, Ordering::Relaxed)) {
            results.push((*case, run(candidate, case)));
        }
        results
    };
    let results: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    Report::new(candidate, &results)
}

/// Runs `case` against `candidate` in a process of its own.
pub(crate) fn run(candidate: &Candidate, case: &Case) -> Verdict {
    try_run(candidate, case)
        .unwrap_or_else(|error| Verdict::Fail(format!("the case could not be started: {error}")))
}

fn try_run(candidate: &Candidate, case: &Case) -> io::Result<Verdict> {
    // Files rather than pipes: what a case leaves running may keep them open.
    let mut out = scratch_file()?;
    let mut log = scratch_file()?;
    let mut child = Command::new(std::env::current_exe()?)
        .env(child::ASKED, format!("{}::{case}", candidate.name()))
        .envs(candidate.environment().iter().copied())
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(log.try_clone()?)
        .spawn()?;
    let status = wait(&mut child, watchdog::limit() + GRACE)?;
    let reason = contents(&mut out)?;
    let code = status.and_then(|status| status.code());
    Ok(match code {
        Some(child::PASSED) => Verdict::Pass,
        Some(child::SKIPPED) => Verdict::Skip(reason),
        code => {
            let reason = match (code, status) {
                (Some(child::FAILED), _) => reason,
                (Some(_), Some(status)) => {
                    format!("{}: the process ended during the case: {status}", case.clause())
                }
                (None, Some(status)) => format!("{}: the process died: {status}", case.clause()),
                (_, None) => format!("{}: killed, not even its watchdog ran", case.clause()),
            };
            let log = contents(&mut log)?;
            let log = log.trim_end();
            Verdict::Fail(if log.is_empty() { reason } else { format!("{reason}\nlog:\n{log}") })
        }
    })
}

/// Waits for the child; kills it and gives `None` when that takes too long.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// A file that is gone when it is closed.
fn scratch_file() -> io::Result<File> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("anyloop-conformance-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

fn contents(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
