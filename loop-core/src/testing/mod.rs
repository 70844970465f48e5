//! For the authors of drivers: what a driver must do, as tests, and the stand-in for the core that
//! they run on.

mod allocations;
mod counted;
mod echo;
mod harness;
mod signal;
pub mod suite;

pub use allocations::CountingAllocator;
pub use counted::{Counted, Counts};
pub use harness::Harness;
