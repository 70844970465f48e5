//! A log of what happened, in order.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::case::Failure;

/// A log that callbacks, tasks and threads write to, and the case compares at the end.
///
/// Clones write to the same log. The watchdog prints the log of a case that hangs.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    events: Arc<Mutex<Vec<Cow<'static, str>>>>,
}

impl Trace {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an event.
    pub fn push(&self, event: impl Into<Cow<'static, str>>) {
        self.lock().push(event.into());
    }

    /// A callback that appends `event`.
    pub fn pusher(&self, event: impl Into<Cow<'static, str>>) -> impl FnOnce() + 'static {
        let (trace, event) = (self.clone(), event.into());
        move || trace.push(event)
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nothing has happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// How often `event` happened.
    #[must_use]
    pub fn count(&self, event: &str) -> usize {
        self.lock().iter().filter(|found| *found == event).count()
    }

    /// Takes all events out.
    #[must_use]
    pub fn take(&self) -> Vec<Cow<'static, str>> {
        std::mem::take(&mut *self.lock())
    }

    /// Succeeds if exactly this has happened, in this order; forgets it.
    ///
    /// # Errors
    /// What happened instead.
    #[track_caller]
    pub fn expect<const N: usize>(&self, expected: [&str; N]) -> Result<(), Failure> {
        let found = self.take();
        if found == expected {
            return Ok(());
        }
        Err(Failure::new(format!("expected the events {expected:?}, found {found:?}")))
    }

    /// Succeeds if exactly this has happened, in any order; forgets it.
    ///
    /// # Errors
    /// What happened instead.
    #[track_caller]
    pub fn expect_in_any_order<const N: usize>(
        &self,
        mut expected: [&str; N],
    ) -> Result<(), Failure> {
        let mut found = self.take();
        found.sort();
        expected.sort_unstable();
        if found == expected {
            return Ok(());
        }
        Err(Failure::new(format!("expected the events {expected:?} in any order, found {found:?}")))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Cow<'static, str>>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const TAIL: usize = 50;
        let events = self.lock();
        let skipped = events.len().saturating_sub(TAIL);
        if skipped > 0 {
            write!(f, "({skipped} events) … ")?;
        }
        f.write_str(&events[skipped..].join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_number_count() {
        let trace = Trace::new();
        trace.push("a");
        trace.pusher("b")();
        assert_eq!(trace.to_string(), "a, b");
        assert!(trace.clone().expect(["a", "b"]).is_ok());
        assert!(trace.is_empty());

        trace.push("b");
        trace.push("a");
        assert!(trace.expect(["a", "b"]).is_err());
        trace.push("b");
        trace.push("a");
        assert!(trace.expect_in_any_order(["a", "b"]).is_ok());
    }
}
