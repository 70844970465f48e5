//! What can be set, and how the environment sets it.

use anyloop_core::switches::{self, Switch};

/// The settings of the driver. The defaults are right; each switch forces the fallback for a
/// system that lacks something, so that the fallback can be tested and measured anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Wait with `Poller::wait` (three to five system calls) also where there is something better.
    /// In the environment: `portable-wait`.
    pub portable_wait: bool,
    /// Register level-triggered also where edge-triggering works.
    /// In the environment: `level`.
    pub level: bool,
    /// Wait with `epoll_pwait2` (nanoseconds, Linux 5.11) and not `epoll_wait` (milliseconds). Without
    /// effect on the portable wait. Turned off by `no-pwait2`.
    pub pwait2: bool,
    /// Let the thread that runs the loop sleep exactly: lower its timer slack from 50 µs to 1 µs when
    /// it attaches. The slack stays with the thread, and threads and processes started by it inherit it.
    /// Linux only. Turned off by `no-timer-slack`.
    pub lower_timer_slack: bool,
    /// How many events one poll can bring; at least 1. More are left for the next poll. In the environment:
    /// `events=N`.
    pub events: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            portable_wait: false,
            level: false,
            pwait2: true,
            lower_timer_slack: true,
            events: 1024,
        }
    }
}

impl Config {
    /// The variable that [`Config::from_env`] reads.
    pub const VARIABLE: &str = "ANYLOOP_POLLING";

    /// The defaults, changed by the words in `ANYLOOP_POLLING`, if it is set.
    ///
    /// # Errors
    /// Names a word that is not known and lists those that are.
    pub fn from_env() -> Result<Self, String> {
        switches::from_env(Self::VARIABLE, Self::parse)
    }

    /// The defaults, changed by comma-separated words: `portable-wait,events=2,no-timer-slack`.
    ///
    /// # Errors
    /// Names a word that is not known and lists those that are.
    pub fn parse(words: &str) -> Result<Self, String> {
        let mut config = Self::default();
        switches::apply(
            words,
            &mut [
                ("portable-wait", Switch::On(&mut config.portable_wait)),
                ("level", Switch::On(&mut config.level)),
                ("no-pwait2", Switch::Off(&mut config.pwait2)),
                ("no-timer-slack", Switch::Off(&mut config.lower_timer_slack)),
                ("events", Switch::Count(&mut config.events)),
            ],
        )?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_changes_its_switch() {
        assert_eq!(Config::parse(""), Ok(Config::default()));
        assert_eq!(
            Config::parse("portable-wait, level, no-pwait2,events=2,no-timer-slack"),
            Ok(Config {
                portable_wait: true,
                level: true,
                pwait2: false,
                lower_timer_slack: false,
                events: 2
            })
        );
    }

    #[test]
    fn an_unknown_word_is_answered_with_the_known_ones() {
        let error = Config::parse("portable").unwrap_err();
        assert_eq!(
            error,
            "unknown word \"portable\"; known are: portable-wait, level, no-pwait2, no-timer-slack, events=N"
        );
    }
}
