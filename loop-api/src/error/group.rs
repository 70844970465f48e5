//! Several errors as one.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use super::{Error, Text};

/// Several failures at once (Python's `ExceptionGroup`).
#[derive(Clone)]
pub struct ErrorGroup(Arc<Members>);

struct Members {
    message: Text,
    errors: Vec<Error>,
}

impl ErrorGroup {
    /// Groups `errors` under one message.
    #[must_use]
    pub fn new(message: impl Into<Text>, errors: Vec<Error>) -> Self {
        Self(Arc::new(Members { message: message.into(), errors }))
    }

    /// What they have in common.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The errors, in the order in which they happened.
    #[must_use]
    pub fn errors(&self) -> &[Error] {
        &self.0.errors
    }

    /// The first error.
    #[must_use]
    pub fn first(&self) -> Option<&Error> {
        self.0.errors.first()
    }
}

impl fmt::Display for ErrorGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.errors.len();
        write!(f, "{} ({count} error{}", self.0.message, if count == 1 { "" } else { "s" })?;
        for (i, error) in self.0.errors.iter().enumerate() {
            write!(f, "{} {error}", if i == 0 { ":" } else { ";" })?;
        }
        f.write_str(")")
    }
}

impl fmt::Debug for ErrorGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorGroup")
            .field("message", &self.0.message)
            .field("errors", &self.0.errors)
            .finish()
    }
}

impl StdError for ErrorGroup {}
