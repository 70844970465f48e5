//! The conformance suite as a command, for the backends of anyloop.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut candidates = anyloop_conformance::builtin();
    candidates.extend(anyloop_conformance::builtin_variants());
    anyloop_conformance::command(&candidates)
}
