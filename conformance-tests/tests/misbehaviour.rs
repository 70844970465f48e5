//! The suite tests itself: cases that misbehave are caught, each in its own way.

use std::process::ExitCode;

use anyloop_api::{BackendDescriptor, Error};
use anyloop_conformance::clauses::{SCHED_01, SCHED_02, SCHED_03, SCHED_04, SCHED_05, SCHED_06};
use anyloop_conformance::clauses::{SCHED_07, SCHED_08};
use anyloop_conformance::{Candidate, Case, Context, Exemption, Failure, Outcome, Status, check};

const CASES: &[Case] = &[
    Case::new(SCHED_01, "passes", |_| Ok(())),
    Case::new(SCHED_02, "panics", |_| panic!("with a {}", "message")),
    Case::new(SCHED_03, "hangs", hangs),
    Case::new(SCHED_04, "leaks", leaks),
    Case::new(SCHED_05, "dies", |_| std::process::abort()),
    Case::new(SCHED_06, "is exempted", |_| panic!("never called")),
    Case::new(SCHED_07, "needs what is not there", |_| Err(Failure::skip("no IPv7"))),
    Case::new(SCHED_08, "finds a mistake", mistaken),
];

const EXEMPTIONS: &[Exemption] = &[Exemption { clause: SCHED_06, reason: "it cannot" }];

static NONE: BackendDescriptor = BackendDescriptor {
    name: "none",
    summary: "has no loops",
    probe: || Ok(String::new()),
    open: |_| Err(Error::Unavailable("there are none".into())),
};

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

fn main() -> ExitCode {
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
    ];
    let mut status = ExitCode::SUCCESS;
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
