//! The suite on every backend of anyloop; with `ANYLOOP_CONFORMANCE_VARIANTS=1` also with each of their
//! fallbacks forced.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut candidates = anyloop_conformance::builtin();
    if std::env::var_os("ANYLOOP_CONFORMANCE_VARIANTS").is_some_and(|value| value != "0") {
        candidates.extend(anyloop_conformance::builtin_variants());
    }
    anyloop_conformance::run(&candidates)
}
