//! Whether this machine lets the backend work.

use std::time::Duration;

use anyloop_core::driver::Driver;

use crate::{Config, PollingDriver};

/// Sets up what a loop needs, polls once, and frees it again. `Ok` says what it found.
///
/// # Errors
/// In words, why the backend cannot be used here.
pub fn probe() -> Result<String, String> {
    let mut driver = PollingDriver::new(&Config::default())
        .map_err(|e| format!("the poller cannot be set up: {e}"))?;
    driver
        .poll(Some(Duration::ZERO), &mut Vec::new())
        .map_err(|e| format!("the poller does not answer: {e}"))?;
    Ok(driver.features())
}
