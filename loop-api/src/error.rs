//! The one error type of the contract, cancellation, and what a panic leaves behind.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use crate::lookup::LookupError;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The text of an error: names the operation and the object.
pub type Text = Cow<'static, str>;

/// An error of user code, shared by everybody who awaits the same future.
pub type SharedError = Arc<dyn StdError + Send + Sync>;

/// Every way in which a loop operation fails.
///
/// Misuse is a value of this type, never a panic. Cheap to clone, because one failed future may have
/// many awaiters.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The loop (or another object with a life) was closed.
    #[error("{0}")]
    Closed(Text),
    /// A loop is running where none may run.
    #[error("{0}")]
    AlreadyRunning(Text),
    /// A future was completed twice, or asked for an outcome that it does not have.
    #[error("{0}")]
    InvalidState(Text),
    /// What was awaited has been cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// A deadline passed.
    #[error("{0}")]
    TimedOut(Text),
    /// An argument has a value that makes no sense (Python's `ValueError`).
    #[error("{0}")]
    InvalidArg(Text),
    /// An object is of a kind that the operation cannot use (Python's `TypeError`).
    #[error("{0}")]
    WrongType(Text),
    /// The call is not legal in this state (Python's `RuntimeError`).
    #[error("{0}")]
    Usage(Text),
    /// The operating system refused.
    #[error("{operation}: {source}")]
    Os {
        /// What was attempted, on which object.
        operation: Text,
        /// The operating system's answer.
        source: Arc<io::Error>,
    },
    /// [`EventLoop::interrupt`](crate::EventLoop::interrupt) ended the run.
    #[error(transparent)]
    Interrupt(#[from] Interrupt),
    /// The child process is over and done with (Python's `ProcessLookupError`).
    #[error("{0}")]
    ProcessGone(Text),
    /// User code panicked.
    #[error(transparent)]
    Panicked(#[from] Panic),
    /// An error of user code, stored in a future.
    #[error("{0}")]
    Failed(SharedError),
    /// Several errors that belong together.
    #[error(transparent)]
    Group(#[from] ErrorGroup),
    /// The stream ended before everything asked for had arrived.
    #[error("{} bytes read before the end of the stream{}", partial.len(), match expected { Some(n) => format!(", {n} expected"), None => String::new() })]
    IncompleteRead {
        /// What did arrive.
        partial: Vec<u8>,
        /// How much was wanted; `None` when reading up to a separator.
        expected: Option<usize>,
    },
    /// A separator was not found within the limit of the stream.
    #[error("{message}")]
    LimitOverrun {
        /// What happened.
        message: Text,
        /// How many buffered bytes can be skipped to get past the offending part.
        consumed: usize,
    },
    /// A queue without items was asked for one at once.
    #[error("the queue is empty")]
    QueueEmpty,
    /// A queue without room was given an item at once.
    #[error("the queue is full")]
    QueueFull,
    /// The queue was shut down.
    #[error("the queue was shut down")]
    QueueShutDown,
    /// The barrier was reset or aborted.
    #[error("the barrier is broken")]
    BrokenBarrier,
    /// The kernel cannot send this file to this destination by itself, and the fallback was not allowed.
    #[error("{0}")]
    SendfileUnavailable(Text),
    /// No backend can be had: every known one with its reason.
    #[error("{0}")]
    Unavailable(Text),
}

impl Error {
    /// The loop is closed.
    pub fn closed(text: impl Into<Text>) -> Self {
        Self::Closed(text.into())
    }

    /// An argument was wrong.
    pub fn invalid_arg(text: impl Into<Text>) -> Self {
        Self::InvalidArg(text.into())
    }

    /// Names the operation that refuses an argument which was found wrong before anybody knew what it was
    /// for; other errors stay as they are. Called by loops.
    #[must_use]
    pub fn within(self, operation: &str) -> Self {
        match self {
            Self::InvalidArg(text) => Self::invalid_arg(format!("{operation}: {text}")),
            other => other,
        }
    }

    /// The call is not legal now.
    pub fn usage(text: impl Into<Text>) -> Self {
        Self::Usage(text.into())
    }

    /// A failure of the operating system during `operation`.
    pub fn os(operation: impl Into<Text>, source: io::Error) -> Self {
        Self::Os { operation: operation.into(), source: Arc::new(source) }
    }

    /// An error of user code.
    pub fn failed(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Failed(Arc::from(error.into()))
    }

    /// Whatever error user code returned; one of ours, and what is one of its variants, stays what it is.
    pub fn from_user(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        fn ours<E>(
            error: Box<dyn StdError + Send + Sync>,
        ) -> std::result::Result<Error, Box<dyn StdError + Send + Sync>>
        where
            E: StdError + Into<Error> + 'static,
        {
            error.downcast::<E>().map(|error| (*error).into())
        }

        let error: Box<dyn StdError + Send + Sync> = error.into();
        ours::<Self>(error)
            .or_else(ours::<Cancelled>)
            .or_else(ours::<ErrorGroup>)
            .or_else(ours::<Interrupt>)
            .or_else(ours::<Panic>)
            .unwrap_or_else(|error| Self::Failed(Arc::from(error)))
    }

    /// The error of user code inside, if it is an `E`.
    #[must_use]
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        match self {
            Self::Failed(error) => error.downcast_ref::<E>(),
            _ => None,
        }
    }

    /// Whether this is a cancellation.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled(_))
    }

    /// The code of the operating system, if there is one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Os { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// The resolver's code (`EAI_…`), if a name lookup failed.
    #[must_use]
    pub fn lookup_code(&self) -> Option<i32> {
        match self {
            Self::Os { source, .. } => {
                source.get_ref()?.downcast_ref::<LookupError>().map(LookupError::code)
            }
            _ => None,
        }
    }

    /// The kind of the I/O error inside; how [`io::Error`] would see this error.
    #[must_use]
    pub fn io_kind(&self) -> io::ErrorKind {
        match self {
            Self::Os { source, .. } => source.kind(),
            Self::TimedOut(_) => io::ErrorKind::TimedOut,
            Self::InvalidArg(_) | Self::WrongType(_) => io::ErrorKind::InvalidInput,
            Self::IncompleteRead { .. } => io::ErrorKind::UnexpectedEof,
            Self::LimitOverrun { .. } => io::ErrorKind::InvalidData,
            Self::SendfileUnavailable(_) | Self::Unavailable(_) => io::ErrorKind::Unsupported,
            _ => io::ErrorKind::Other,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(ours) => ours,
            Err(error) => Self::os("I/O", error),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.io_kind(), error)
    }
}

/// Several failures at once (Python's `ExceptionGroup`).
#[derive(Clone, Debug)]
pub struct ErrorGroup {
    message: Text,
    errors: Arc<[Error]>,
}

impl ErrorGroup {
    /// Groups `errors` under one message.
    pub fn new(message: impl Into<Text>, errors: Vec<Error>) -> Self {
        Self { message: message.into(), errors: errors.into() }
    }

    /// The errors, in the order in which they happened.
    #[must_use]
    pub fn errors(&self) -> &[Error] {
        &self.errors
    }

    /// The first error.
    #[must_use]
    pub fn first(&self) -> Option<&Error> {
        self.errors.first()
    }
}

impl fmt::Display for ErrorGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} errors", self.message, self.errors.len())?;
        for (i, error) in self.errors.iter().enumerate() {
            write!(f, "{} {error}", if i == 0 { ":" } else { ";" })?;
        }
        f.write_str(")")
    }
}

impl StdError for ErrorGroup {}

/// Says that what was awaited has been cancelled, with the reason given, if any.
///
/// A task's *own* cancellation never appears as this value in the middle of its body: the innermost
/// [`catch_cancel`](crate::catch_cancel) scope yields it, and without a scope the body is dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cancelled {
    message: Option<Arc<str>>,
}

impl Cancelled {
    /// Without a reason.
    #[must_use]
    pub const fn new() -> Self {
        Self { message: None }
    }

    /// With a reason.
    #[must_use]
    pub fn with_message(message: impl Into<Arc<str>>) -> Self {
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
    reason: Arc<str>,
}

impl Interrupt {
    /// With the reason that `run_*` will report.
    #[must_use]
    pub fn new(reason: impl Into<Arc<str>>) -> Self {
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

/// A caught panic: its message, and the payload for whoever takes it first.
#[derive(Clone)]
pub struct Panic {
    message: Arc<str>,
    payload: Arc<Mutex<Option<Box<dyn Any + Send>>>>,
}

impl Panic {
    /// Wraps what [`std::panic::catch_unwind`] returned.
    #[must_use]
    pub fn new(payload: Box<dyn Any + Send>) -> Self {
        let message: Arc<str> = if let Some(text) = payload.downcast_ref::<&'static str>() {
            (*text).into()
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.as_str().into()
        } else {
            "a payload that is not text".into()
        };
        Self { message, payload: Arc::new(Mutex::new(Some(payload))) }
    }

    /// What the panic said.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The payload, for [`std::panic::resume_unwind`]; `None` if somebody took it before.
    #[must_use]
    pub fn take_payload(&self) -> Option<Box<dyn Any + Send>> {
        self.payload.lock().map_or(None, |mut slot| slot.take())
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.message).finish()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.message)
    }
}

impl StdError for Panic {}
