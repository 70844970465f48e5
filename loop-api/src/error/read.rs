//! How reading a stream in parts fails.

use super::Text;

/// The stream ended before everything asked for had arrived.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation}: {} bytes read before the end of the stream{}", partial.len(), match expected { Some(n) => format!(", {n} expected"), None => String::new() })]
#[non_exhaustive]
pub struct IncompleteRead {
    operation: &'static str,
    /// What did arrive.
    pub partial: Vec<u8>,
    /// How much was wanted; `None` when reading up to a separator.
    pub expected: Option<usize>,
}

impl IncompleteRead {
    /// `operation` got only `partial`.
    #[must_use]
    pub fn new(operation: &'static str, partial: Vec<u8>, expected: Option<usize>) -> Self {
        Self { operation, partial, expected }
    }
}

/// A separator was not found within the limit of the stream.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct LimitOverrun {
    /// What happened.
    pub message: Text,
    /// How many buffered bytes can be skipped to get past the offending part.
    pub consumed: usize,
}

impl LimitOverrun {
    /// With what happened, and how many bytes are in the way.
    #[must_use]
    pub fn new(message: impl Into<Text>, consumed: usize) -> Self {
        Self { message: message.into(), consumed }
    }
}
