//! What the operating system refused.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::Text;

/// A refusal of the operating system, and what was attempted.
#[derive(Clone)]
pub struct OsError(Arc<Refusal>);

struct Refusal {
    operation: Text,
    source: io::Error,
}

impl OsError {
    /// The system's answer to `operation`.
    #[must_use]
    pub fn new(operation: impl Into<Text>, source: io::Error) -> Self {
        Self(Arc::new(Refusal { operation: operation.into(), source }))
    }

    /// What was attempted, on which object.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.0.operation
    }

    /// The operating system's answer.
    #[must_use]
    pub fn io_error(&self) -> &io::Error {
        &self.0.source
    }
}

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.operation, self.0.source)
    }
}

impl fmt::Debug for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OsError")
            .field("operation", &self.0.operation)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for OsError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0.source)
    }
}
