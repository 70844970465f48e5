//! Whether this machine lets the backend work.

use crate::{Config, PollingDriver};

/// Tries what a loop needs, and frees it again.
///
/// # Errors
/// In words, why the backend cannot be used here.
pub fn probe() -> Result<(), String> {
    match PollingDriver::new(&Config::default()) {
        Ok(_) => Ok(()),
        Err(e) => Err(format!("the system's poller cannot be set up: {e}")),
    }
}
