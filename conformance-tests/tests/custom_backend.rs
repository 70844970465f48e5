//! The suite on the tutorial's backend, a driver over `poll(2)`: the core is right on readiness alone.

use std::process::ExitCode;

use anyloop_conformance::{Candidate, run};

#[path = "../../examples/custom_backend.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is a program of its own")]
mod custom_backend;

fn main() -> ExitCode {
    run(&[Candidate::from(&custom_backend::DESCRIPTOR)])
}
