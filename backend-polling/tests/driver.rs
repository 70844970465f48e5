//! The driver suite on every way to wait, and what only this driver promises.

use anyloop_core::driver::Driver;
use anyloop_core::testing::{Harness, suite};
use anyloop_polling::{Config, PollingDriver};
use std::time::Duration;

fn driver(words: &str) -> impl Fn() -> PollingDriver {
    let config = Config::from_env_value(words).expect("known words");
    move || PollingDriver::new(&config).expect("a driver")
}

mod default {
    use super::*;
    anyloop_core::driver_tests!(driver(""));

    #[test]
    fn plain_data_is_not_marked() {
        suite::plain_data_is_not_marked(driver(""));
    }
}

mod milliseconds {
    use super::*;
    anyloop_core::driver_tests!(driver("no-pwait2"));
}

mod portable {
    use super::*;
    anyloop_core::driver_tests!(driver("portable-wait"));
}

mod level {
    use super::*;
    anyloop_core::driver_tests!(driver("level"));
}

mod level_portable {
    use super::*;
    anyloop_core::driver_tests!(driver("level,portable-wait"));

    #[test]
    fn plain_data_is_not_marked() {
        suite::plain_data_is_not_marked(driver("level,portable-wait"));
    }
}

mod one_event {
    use super::*;
    anyloop_core::driver_tests!(driver("events=1"));
}

mod one_event_level {
    use super::*;
    anyloop_core::driver_tests!(driver("events=1,level"));
}

mod one_event_portable {
    use super::*;
    anyloop_core::driver_tests!(driver("events=1,portable-wait"));
}

#[test]
fn a_poll_is_one_wait() {
    for words in ["", "level", "no-pwait2", "portable-wait"] {
        let mut harness = Harness::new(driver(words)()).expect("a driver");
        for count in 1..=10 {
            harness.poll(Some(Duration::from_micros(20))).expect("poll");
            assert_eq!(harness.driver().waits(), count, "{words}");
        }
    }
}

#[test]
fn a_report_says_how_it_waits() {
    let describe = |words| driver(words)().describe();
    assert_eq!(
        describe(""),
        "polling: edge-triggered, waiting with epoll_pwait2; \
         0 registered, 0 waits of at most 1024 events"
    );
    assert_eq!(
        describe("level,portable-wait,events=7"),
        "polling: level-triggered, waiting with Poller::wait; \
         0 registered, 0 waits of at most 7 events"
    );
}

#[test]
fn this_machine_is_fine() {
    let features = anyloop_polling::probe().expect("a Linux with epoll");
    assert!(features.starts_with("edge-triggered, waiting with epoll_"), "{features}");
}
