//! For the authors of drivers: what a driver must do, as tests, and the stand-in for the core that
//! they run on.

mod allocations;
mod counted;
#[cfg(target_os = "linux")]
mod denied;
mod echo;
mod harness;
mod signal;
pub mod suite;

pub use allocations::CountingAllocator;
pub use counted::{Counted, Counts};
#[cfg(target_os = "linux")]
pub use denied::{Call, deny, with_denied};
pub use harness::Harness;
