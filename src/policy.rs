//! Policies and the loops of this thread.

use std::sync::Arc;

use anyloop_api::{
    BackendDescriptor, EventLoopPolicy, LoopRef, Result, install_policy, installed_policy,
};

use crate::backends::Backend;
use crate::config::Config;
use crate::selection;

/// The policy when none is set: `ANYLOOP_BACKEND`, else the first backend that works here, in the
/// order uring, mio, polling.
///
/// ```
/// use anyloop::{Config, DefaultPolicy};
/// let mut config = Config::from_env()?;
/// config.loops.debug = Some(true);
/// anyloop::set_event_loop_policy(DefaultPolicy::with_config(config));
/// let lp = anyloop::new_event_loop()?;
/// assert!(lp.get_debug());
/// lp.close()?;
/// # anyloop::reset_event_loop_policy();
/// # Ok::<(), anyloop::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct DefaultPolicy {
    config: Option<Config>,
}

impl DefaultPolicy {
    /// Reads the environment anew for every loop.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses these settings instead of the environment.
    #[must_use]
    pub fn with_config(config: Config) -> Self {
        Self { config: Some(config) }
    }

    fn config(&self) -> Result<Config> {
        self.config.clone().map_or_else(Config::from_env, Ok)
    }
}

impl EventLoopPolicy for DefaultPolicy {
    fn new_event_loop(&self) -> Result<LoopRef> {
        selection::open(&self.config()?)
    }

    fn backend(&self) -> Result<Option<&'static BackendDescriptor>> {
        Ok(Some(selection::from_config(&self.config()?)?.backend))
    }
}

/// The policy in force: the one that was set, else the default.
#[must_use]
pub fn get_event_loop_policy() -> Arc<dyn EventLoopPolicy> {
    installed_policy().unwrap_or_else(|| Arc::new(DefaultPolicy::new()))
}

/// Sets the policy of the process: it decides what [`new_event_loop`], [`run`](crate::run) and
/// [`Runner`](crate::Runner) create from now on (POL-03).
///
/// ```
/// # #[cfg(feature = "mio")] {
/// anyloop::set_event_loop_policy(anyloop_mio::EventLoopPolicy::default());
/// let lp = anyloop::new_event_loop()?;
/// assert_eq!(lp.state().backend(), "mio");
/// lp.close()?;
/// # anyloop::reset_event_loop_policy();
/// # }
/// # use anyloop::EventLoop;
/// # Ok::<(), anyloop::Error>(())
/// ```
pub fn set_event_loop_policy(policy: impl EventLoopPolicy + 'static) {
    install_policy(Some(Arc::new(policy)));
}

/// Back to the default policy (Python's `set_event_loop_policy(None)`).
pub fn reset_event_loop_policy() {
    install_policy(None);
}

/// Makes a loop, as the policy in force decides.
///
/// # Errors
/// `Unavailable`, listing every backend that is known and why each unavailable one is; `InvalidArg`
/// if a variable of the environment is malformed; `Os`.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use anyloop::EventLoopExt;
///
/// let lp = anyloop::new_event_loop()?;
/// let l2 = lp.clone();
/// lp.call_later(Duration::from_millis(1), move || l2.stop())?;
/// lp.run_forever()?;
/// lp.close()?;
/// # Ok::<(), anyloop::Error>(())
/// ```
pub fn new_event_loop() -> Result<LoopRef> {
    get_event_loop_policy().new_event_loop()
}

/// Makes a loop of the given backend, whatever policy and `ANYLOOP_BACKEND` say. The other settings
/// are the environment's; [`select`](crate::select) takes them as a value.
///
/// # Errors
/// As [`new_event_loop`].
///
/// # Examples
/// ```
/// let lp = anyloop::new_event_loop_with("polling")?;
/// assert_eq!(lp.state().backend(), "polling");
/// lp.close()?;
/// # Ok::<(), anyloop::Error>(())
/// ```
pub fn new_event_loop_with(backend: impl Into<Backend>) -> Result<LoopRef> {
    let loops = Config::from_env()?.loops;
    selection::select(backend)?.open(&loops)
}

/// The loop of this thread: the running one, else the one that was set (POL-01).
///
/// # Errors
/// `Usage` if there is neither: nothing is created implicitly (POL-02).
pub fn get_event_loop() -> Result<LoopRef> {
    get_event_loop_policy().get_event_loop()
}

/// Sets what [`get_event_loop`] returns on this thread outside a run; `None` takes it back.
pub fn set_event_loop(lp: impl Into<Option<LoopRef>>) {
    get_event_loop_policy().set_event_loop(lp.into());
}

/// The loop that is running on this thread.
///
/// # Errors
/// `Usage` if none is.
pub fn get_running_loop() -> Result<LoopRef> {
    LoopRef::current()
}
