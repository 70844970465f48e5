//! The conformance suite as a command, for the backends of anyloop.

use std::process::ExitCode;

fn main() -> ExitCode {
    anyloop_conformance::command(&[])
}
