//! What the driver may use, and how much of it.

pub use anyloop_core::switches::ConfigError;
use anyloop_core::switches::{self, Word};

/// Settings of the polling backend.
///
/// The defaults are for production. Each switch forces the fallback of a system that lacks
/// something, so that the fallback can be tested and measured anywhere.
///
/// ```
/// use anyloop_polling::Config;
///
/// let config = Config::new().portable_wait(true).events(2);
/// assert_eq!(config, Config::from_env_value("portable-wait,events=2").unwrap());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) portable_wait: bool,
    pub(crate) level: bool,
    pub(crate) pwait2: bool,
    pub(crate) timer_slack: bool,
    pub(crate) events: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { portable_wait: false, level: false, pwait2: true, timer_slack: true, events: 1024 }
    }
}

impl Config {
    /// Where [`Config::from_env`] looks.
    pub const VARIABLE: &'static str = "ANYLOOP_POLLING";

    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wait with `Poller::wait` (three to five system calls) also where there is something better.
    #[must_use]
    pub fn portable_wait(mut self, on: bool) -> Self {
        self.portable_wait = on;
        self
    }

    /// Register level-triggered also where the system can do it edge-triggered.
    ///
    /// A descriptor that is closed while it is watched, although a duplicate of it is open, is then reported by epoll
    /// for as long as the duplicate is readable: nobody can take it out any more, and the loop does not sleep (as
    /// asyncio's does not). Remove readers and writers before their descriptor is closed.
    #[must_use]
    pub fn level(mut self, on: bool) -> Self {
        self.level = on;
        self
    }

    /// Wait with `epoll_pwait2`, to the nanosecond (Linux 5.11). Off: with `epoll_wait`, to the
    /// millisecond. The portable wait uses neither.
    #[must_use]
    pub fn pwait2(mut self, on: bool) -> Self {
        self.pwait2 = on;
        self
    }

    /// Lower the timer slack of the thread that runs the loop from 50 µs to 1 µs, so that its timers
    /// are that much less late. The thread keeps it after the run, and threads and processes that it
    /// starts inherit it. Linux only. Off: leave the thread as it is.
    #[must_use]
    pub fn timer_slack(mut self, on: bool) -> Self {
        self.timer_slack = on;
        self
    }

    /// How many events one poll can bring; at least 1. The rest is left for the next poll.
    #[must_use]
    pub fn events(mut self, events: u32) -> Self {
        self.events = events.max(1);
        self
    }

    /// The settings in the environment variable `ANYLOOP_POLLING`, if it is set.
    ///
    /// # Errors
    /// As [`Config::from_env_value`].
    pub fn from_env() -> Result<Self, ConfigError> {
        switches::apply_env(Self::default(), Self::VARIABLE, WORDS)
    }

    /// The defaults, changed by a list of words separated by commas or spaces:
    ///
    /// * `portable-wait`, `level`: the switch of that name, on;
    /// * `no-pwait2`, `no-timer-slack`: the switch of that name, off;
    /// * `events=N`: the size.
    ///
    /// # Errors
    /// A word that is not known, or a size that is not a number; the error lists the known words.
    pub fn from_env_value(value: &str) -> Result<Self, ConfigError> {
        switches::apply(Self::default(), Self::VARIABLE, value, WORDS)
    }
}

const WORDS: &[(&str, Word<Config>)] = &[
    ("portable-wait", Word::Flag(|config| config.portable_wait(true))),
    ("level", Word::Flag(|config| config.level(true))),
    ("no-pwait2", Word::Flag(|config| config.pwait2(false))),
    ("no-timer-slack", Word::Flag(|config| config.timer_slack(false))),
    ("events", Word::Number(Config::events)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_changes_its_switch() {
        let built = Config::new()
            .portable_wait(true)
            .level(true)
            .pwait2(false)
            .timer_slack(false)
            .events(2);
        let words = "portable-wait,level,no-pwait2 no-timer-slack,events=2";
        assert_eq!(Config::from_env_value(words), Ok(built));
        assert_eq!(Config::from_env_value(""), Ok(Config::default()));
        assert_eq!(Config::from_env_value("events=0"), Ok(Config::new().events(1)));
    }

    #[test]
    fn an_unknown_word_is_named_beside_the_known_ones() {
        assert_eq!(
            Config::from_env_value("portable").unwrap_err().to_string(),
            "ANYLOOP_POLLING: `portable` is not known; \
             known are portable-wait, level, no-pwait2, no-timer-slack, events=N"
        );
    }
}
