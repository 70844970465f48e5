//! The suite tests itself: cases that misbehave are caught, each in its own way.

use std::process::{Command, ExitCode, Output};

use anyloop_api::{BackendDescriptor, Error, EventLoopExt, LoopConfig, LoopRef, Result};
use anyloop_conformance::clauses::{SCHED_01, SCHED_02, SCHED_03, SCHED_04, SCHED_05, SCHED_06};
use anyloop_conformance::clauses::{SCHED_07, SCHED_08, SCHED_09, SCHED_10};
use anyloop_conformance::{
    Candidate, Case, Context, Exemption, Failure, Outcome, Status, check, run,
};

#[path = "foreign_loop/mod.rs"]
mod foreign_loop;

const CASES: &[Case] = &[
    Case::new(SCHED_01, "passes", |_| Ok(())),
    Case::new(SCHED_02, "panics", |_| panic!("with a {}", "message")),
    Case::new(SCHED_03, "hangs", hangs),
    Case::new(SCHED_04, "leaks", leaks),
    Case::new(SCHED_05, "dies", |_| std::process::abort()),
    Case::new(SCHED_06, "is exempted", |_| panic!("never called")),
    Case::new(SCHED_07, "needs what is not there", |_| Err(Failure::skip("no IPv7"))),
    Case::new(SCHED_08, "finds a mistake", mistaken),
    Case::new(SCHED_09, "ends the process", |_| std::process::exit(0)),
    Case::new(SCHED_10, "cannot be closed", cannot_be_closed),
];

const EXEMPTIONS: &[Exemption] = &[Exemption { clause: SCHED_06, reason: "it cannot" }];

static NONE: BackendDescriptor = BackendDescriptor::new(
    "none",
    "has few loops",
    || Ok(String::new()),
    |config: &LoopConfig| -> Result<LoopRef> { (foreign_loop::DESCRIPTOR.open)(config) },
);

/// Its probe asks somebody who does not answer.
static SILENT: BackendDescriptor = BackendDescriptor::new(
    "silent",
    "has a probe that does not return",
    || loop {
        std::thread::park();
    },
    |_| Err(Error::Unavailable("nobody knows".into())),
);

/// Its probe trips over something.
static CLUMSY: BackendDescriptor = BackendDescriptor::new(
    "clumsy",
    "has a probe that panics",
    || panic!("nobody {}", "home"),
    |_| Err(Error::Unavailable("nobody knows".into())),
);

/// Names the probe that a child process asks: of [`SILENT`] or [`CLUMSY`].
const PROBE: &str = "MISBEHAVIOUR_PROBE";

fn hangs(cx: &Context) -> Outcome {
    cx.trace().push("going to sleep");
    loop {
        std::thread::park();
    }
}

fn leaks(_: &Context) -> Outcome {
    std::mem::forget(std::fs::File::open("/dev/null")?);
    std::thread::Builder::new().name("worker".to_owned()).spawn(std::thread::park)?;
    Ok(())
}

fn mistaken(cx: &Context) -> Outcome {
    cx.trace().push("b");
    cx.trace().push("a");
    cx.trace().expect(["a", "b"])
}

/// What it leaves queued does not let itself be dropped.
fn cannot_be_closed(cx: &Context) -> Outcome {
    struct Stubborn;

    impl Drop for Stubborn {
        fn drop(&mut self) {
            loop {
                std::thread::park();
            }
        }
    }

    let lp = cx.new_loop()?;
    let stubborn = Stubborn;
    lp.call_soon(move || drop(stubborn))?;
    std::mem::forget(lp);
    Ok(())
}

/// Asks for the cases of a backend whose probe hangs: the program ends, and says why.
fn probes_are_watched() -> std::result::Result<(), String> {
    let output = ask("silent", &[])?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(2) if said.contains("silent: its probe is still running after 1s") => Ok(()),
        _ => Err(format!("a probe that hangs: {output:?}")),
    }
}

/// One that panics is a failure of its backend, and the others have their turn.
fn a_probe_may_panic() -> std::result::Result<(), String> {
    let output = ask("clumsy", &["::probe"])?;
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = ["2 tests", "its probe panicked: nobody home", "1 passed; 1 failed"];
    let failed =
        said.lines().any(|line| line.contains("clumsy::probe") && line.ends_with("FAILED"));
    let missing = expected.iter().find(|part| !said.contains(**part));
    if output.status.code() != Some(101) || !failed || missing.is_some() {
        return Err(format!("a probe that panics: {missing:?} is missing: {output:?}"));
    }
    // Its cases are not run, with that reason.
    let output = ask("clumsy", &["clumsy::SCHED-01"])?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !said.contains("0 passed; 0 failed") {
        return Err(format!("the cases of a probe that panics: {output:?}"));
    }
    Ok(())
}

fn ask(probe: &str, arguments: &[&str]) -> std::result::Result<Output, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(arguments).env(PROBE, probe).env("ANYLOOP_CONFORMANCE_TIMEOUT", "1");
    command.output().map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    match std::env::var(PROBE).as_deref() {
        Ok("silent") => return run(&[Candidate::from(&SILENT)]),
        Ok(_) => return run(&[Candidate::from(&CLUMSY), Candidate::from(&NONE)]),
        Err(_) => {}
    }
    let candidate = Candidate::from(&NONE)
        .with_cases(CASES)
        .exempt(EXEMPTIONS)
        .variant("impatient", &[("ANYLOOP_CONFORMANCE_TIMEOUT", "1")]);
    let report = check(&candidate, |case| CASES.iter().any(|mine| mine.name() == case.name()));

    let expected: &[(&str, Status, &[&str])] = &[
        ("SCHED-01", Status::Pass, &[]),
        ("SCHED-02", Status::Fail, &["SCHED-02: panicked", "with a message", "misbehaviour.rs:"]),
        ("SCHED-03", Status::Fail, &["still running after 1s", "trace: going to sleep", "thread "]),
        ("SCHED-04", Status::Fail, &["left behind", "/dev/null", "\"worker\""]),
        ("SCHED-05", Status::Fail, &["SCHED-05: the process died", "signal"]),
        ("SCHED-06", Status::Exempt, &["it cannot"]),
        ("SCHED-07", Status::Untested, &["no IPv7"]),
        ("SCHED-08", Status::Fail, &[r#"expected the events ["a", "b"]"#, "misbehaviour.rs:"]),
        ("SCHED-09", Status::Fail, &["SCHED-09: the process ended", "exit status: 0"]),
        ("SCHED-10", Status::Fail, &["still running after 1s", "closing the loops"]),
    ];
    let mut status = ExitCode::SUCCESS;
    if let Err(complaint) = probes_are_watched().and_then(|()| a_probe_may_panic()) {
        eprintln!("{complaint}");
        status = ExitCode::FAILURE;
    }
    for (id, expected, parts) in expected {
        let Some(entry) = report.entries().iter().find(|entry| entry.clause.id() == *id) else {
            eprintln!("{id} is missing from the report");
            return ExitCode::FAILURE;
        };
        let missing = parts.iter().find(|part| !entry.reason.contains(**part));
        if entry.status != *expected || missing.is_some() {
            eprintln!("{id}: expected {expected:?} with {parts:?}, found {entry:?}");
            status = ExitCode::FAILURE;
        }
    }
    status
}
