//! The backend as a value: how to open its loop, by descriptor, by policy, or directly.

use anyloop_api::{BackendDescriptor, Error, LoopConfig, LoopRef, Result};
use anyloop_core::BaseLoop;

use crate::{Config, NAME, UringDriver, probe};

/// This backend, for tables of backends.
pub static DESCRIPTOR: BackendDescriptor = BackendDescriptor::new(
    NAME,
    "io_uring: multishot accept and receive into shared buffers, sends by the kernel",
    probe,
    open_from_env,
);

/// Makes a loop with the default settings, changed by what `ANYLOOP_URING` says.
///
/// # Errors
/// `InvalidArg` for a word in the variable that is not known; `Os` if there is no io_uring to be had, in the words of [`probe()`].
pub fn new_event_loop() -> Result<LoopRef> {
    open_from_env(&LoopConfig::default())
}

/// Makes a loop with the given settings.
///
/// # Errors
/// `Os` if there is no io_uring to be had, in the words of [`probe()`].
pub fn open(config: &LoopConfig, driver: &Config) -> Result<LoopRef> {
    let driver = UringDriver::new(driver).map_err(|e| Error::os("uring: new_event_loop", e))?;
    BaseLoop::open(driver, config)
}

fn open_from_env(config: &LoopConfig) -> Result<LoopRef> {
    let driver = Config::from_env().map_err(|e| Error::invalid_arg(e.to_string()))?;
    open(config, &driver)
}

/// Makes every new loop of the process one of this backend.
///
/// The default reads `ANYLOOP_URING` each time a loop is made; [`EventLoopPolicy::new`] fixes the settings.
#[derive(Clone, Debug, Default)]
pub struct EventLoopPolicy {
    config: LoopConfig,
    driver: Option<Config>,
}

impl EventLoopPolicy {
    /// A policy whose loops have these settings, whatever the environment says.
    #[must_use]
    pub fn new(config: LoopConfig, driver: Config) -> Self {
        Self { config, driver: Some(driver) }
    }
}

impl anyloop_api::EventLoopPolicy for EventLoopPolicy {
    fn new_event_loop(&self) -> Result<LoopRef> {
        match &self.driver {
            Some(driver) => open(&self.config, driver),
            None => open_from_env(&self.config),
        }
    }

    fn backend(&self) -> Result<Option<&'static BackendDescriptor>> {
        Ok(Some(&DESCRIPTOR))
    }
}
