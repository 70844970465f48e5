//! The suite on every backend of anyloop.

use std::process::ExitCode;

fn main() -> ExitCode {
    anyloop_conformance::run(&[])
}
