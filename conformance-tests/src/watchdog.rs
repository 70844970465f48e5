//! Notices a case that does not end.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// Calls back when a case takes too long.
#[derive(Debug)]
pub(crate) struct Watchdog {
    _alive: Sender<()>,
}

/// How long a case may take, unless `ANYLOOP_CONFORMANCE_TIMEOUT` says otherwise (in seconds).
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// How long a case may take.
pub(crate) fn limit() -> Duration {
    let seconds = std::env::var("ANYLOOP_CONFORMANCE_TIMEOUT").ok();
    seconds
        .and_then(|text| text.parse().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or(LIMIT)
}

impl Watchdog {
    /// Calls `bark` on another thread after `limit`, unless dropped before.
    pub(crate) fn start(limit: Duration, bark: impl FnOnce() + Send + 'static) -> Self {
        let (alive, gone) = mpsc::channel();
        let watch = move || {
            if gone.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                bark();
            }
        };
        let thread = thread::Builder::new().name("watchdog".to_owned()).spawn(watch);
        // Without the thread the parent's own patience is what ends the case.
        drop(thread);
        Self { _alive: alive }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn barks_only_when_it_is_not_dropped_in_time() {
        let (barked, heard) = mpsc::channel();
        let late = barked.clone();
        let in_time = Watchdog::start(Duration::from_secs(60), move || {
            let _ = late.send("never");
        });
        drop(in_time);
        let _watchdog = Watchdog::start(Duration::from_millis(1), move || {
            let _ = barked.send("late");
        });
        assert_eq!(heard.recv(), Ok("late"));
        assert!(heard.recv().is_err());
    }
}
