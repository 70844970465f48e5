//! The conformance suite of anyloop: proves an event loop right, ours or a stranger's.
//!
//! The contract behind [`EventLoop`](anyloop_api::EventLoop) consists of 597 [clauses](clauses::FAMILIES); a
//! [`Case`] is a small program that fails if a loop does not keep one of them. Mount the suite on a
//! backend as a test without harness, in `tests/conformance.rs`:
//!
//! ```ignore
//! anyloop_conformance::main!(&my_backend::DESCRIPTOR);
//! ```
//!
//! ```text
//!   cargo test ──▶ one trial per backend × case ──▶ a child process: this program again, with
//!                  mio::TIMER-03::never_early       the case's name in its environment
//!                                                     main thread: the case
//!                                                     watchdog: reports the loop's state if it hangs
//! ```
//!
//! Each case has a process to itself, so it may change limits, signals and process-wide settings, and
//! is charged for every descriptor and thread it leaves behind.
//!
//! The same as a command: `cargo run -p anyloop-conformance -- --backend mio`.
#![forbid(unsafe_code)]

#[macro_use]
mod case;
#[macro_use]
pub mod tools;

mod builtin;
mod candidate;
mod child;
pub mod clauses;
mod command;
mod context;
mod exemptions;
mod families;
mod harness;
mod leaks;
mod registry;
mod report;
mod runner;
mod watchdog;

pub use crate::builtin::{builtin, builtin_variants};
pub use crate::candidate::Candidate;
pub use crate::case::{Case, Failure, Outcome, cases};
pub use crate::command::command;
pub use crate::context::{Context, LoopFactory};
pub use crate::exemptions::{Absence, Exemption};
pub use crate::harness::{check, run};
pub use crate::registry::{Clause, Family, Level, clauses};
pub use crate::report::{Entry, Report, Status, coverage};

/// The `main` of a test without harness: runs the suite against the given backends.
///
/// Each argument is anything that converts into a [`Candidate`].
#[macro_export]
macro_rules! main {
    ($($candidate:expr),+ $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            $crate::run(&[$($crate::Candidate::from($candidate)),+])
        }
    };
}
