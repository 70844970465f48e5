//! What ends a wait or a run on request.

use std::error::Error as StdError;
use std::fmt;

use super::Text;

/// Says that what was awaited has been cancelled, with the reason given, if any.
///
/// A task's *own* cancellation never appears as this value in the middle of its body: the innermost
/// [`catch_cancel`](crate::catch_cancel) scope yields it, and without a scope the body is dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cancelled {
    message: Option<Text>,
}

impl Cancelled {
    /// Without a reason.
    #[must_use]
    pub const fn new() -> Self {
        Self { message: None }
    }

    /// With a reason.
    #[must_use]
    pub fn with_message(message: impl Into<Text>) -> Self {
        Self { message: Some(message.into()) }
    }

    /// The reason given to `cancel_with`.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(message) => write!(f, "cancelled: {message}"),
            None => f.write_str("cancelled"),
        }
    }
}

impl StdError for Cancelled {}

/// A request to leave the loop at once (what `KeyboardInterrupt` is to asyncio).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupt {
    reason: Text,
}

impl Interrupt {
    /// With the reason that `run_*` will report.
    #[must_use]
    pub fn new(reason: impl Into<Text>) -> Self {
        Self { reason: reason.into() }
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupted: {}", self.reason)
    }
}

impl StdError for Interrupt {}
