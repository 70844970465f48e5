//! The one error type of the contract.

mod cancelled;
mod debug;
mod group;
mod os;
mod panic;
mod read;
mod shared;
mod text;

use std::error::Error as StdError;
use std::io;

use crate::lookup::LookupError;

pub use cancelled::{Cancelled, Interrupt};
pub use group::ErrorGroup;
pub use os::OsError;
pub use panic::Panic;
pub use read::{IncompleteRead, LimitOverrun};
pub use shared::SharedError;
pub use text::Text;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every way in which a loop operation fails.
///
/// Misuse is a value of this type, never a panic. Cheap to clone, because one failed future may have
/// many awaiters; two words, because every result has room for one, and is moved by whoever awaits it.
///
/// ```
/// use std::io::ErrorKind;
/// use anyloop_api::Error;
///
/// fn worth_another_try(error: &Error) -> bool {
///     match error {
///         Error::TimedOut(_) => true,
///         Error::Os(error) => error.io_error().kind() == ErrorKind::ConnectionRefused,
///         _ => false,
///     }
/// }
/// ```
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
    #[error(transparent)]
    Os(#[from] OsError),
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
    #[error(transparent)]
    Failed(#[from] SharedError),
    /// Several errors that belong together.
    #[error(transparent)]
    Group(#[from] ErrorGroup),
    /// The stream ended before everything asked for had arrived.
    #[error(transparent)]
    IncompleteRead(Box<IncompleteRead>),
    /// A separator was not found within the limit of the stream.
    #[error(transparent)]
    LimitOverrun(Box<LimitOverrun>),
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
    #[must_use]
    pub fn closed(text: impl Into<Text>) -> Self {
        Self::Closed(text.into())
    }

    /// An argument was wrong.
    #[must_use]
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
    #[must_use]
    pub fn usage(text: impl Into<Text>) -> Self {
        Self::Usage(text.into())
    }

    /// A failure of the operating system during `operation`.
    #[must_use]
    pub fn os(operation: impl Into<Text>, source: io::Error) -> Self {
        OsError::new(operation, source).into()
    }

    /// An error of user code.
    #[must_use]
    pub fn failed(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        SharedError::new(error).into()
    }

    /// Whatever error user code returned; one of ours, and what is one of its variants, stays what it is.
    #[must_use]
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
            .or_else(ours::<OsError>)
            .or_else(ours::<IncompleteRead>)
            .or_else(ours::<LimitOverrun>)
            .or_else(ours::<SharedError>)
            .unwrap_or_else(|error| SharedError::new(error).into())
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
            Self::Os(refused) => refused.io_error().raw_os_error(),
            _ => None,
        }
    }

    /// The resolver's code (`EAI_…`), if a name lookup failed.
    #[must_use]
    pub fn lookup_code(&self) -> Option<i32> {
        match self {
            Self::Os(refused) => {
                let source = refused.io_error().get_ref()?;
                source.downcast_ref::<LookupError>().map(LookupError::code)
            }
            _ => None,
        }
    }

    /// The kind of the I/O error inside; how [`io::Error`] would see this error.
    #[must_use]
    pub fn io_kind(&self) -> io::ErrorKind {
        match self {
            Self::Os(refused) => refused.io_error().kind(),
            Self::TimedOut(_) => io::ErrorKind::TimedOut,
            Self::InvalidArg(_) | Self::WrongType(_) => io::ErrorKind::InvalidInput,
            Self::IncompleteRead(_) => io::ErrorKind::UnexpectedEof,
            Self::LimitOverrun(_) => io::ErrorKind::InvalidData,
            Self::SendfileUnavailable(_) | Self::Unavailable(_) => io::ErrorKind::Unsupported,
            _ => io::ErrorKind::Other,
        }
    }
}

impl From<IncompleteRead> for Error {
    fn from(read: IncompleteRead) -> Self {
        Self::IncompleteRead(Box::new(read))
    }
}

impl From<LimitOverrun> for Error {
    fn from(overrun: LimitOverrun) -> Self {
        Self::LimitOverrun(Box::new(overrun))
    }
}

/// What was attempted, of an error that came without a word about it.
const UNKNOWN: &str = "I/O";

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(ours) => ours,
            Err(error) => Self::os(UNKNOWN, error),
        }
    }
}

/// Keeps the kind. An [`io::Error`] has room for a code or for a text: if there is a text, the code is inside.
///
/// ```
/// use anyloop_api::Error;
/// use std::io;
///
/// let refused = Error::os("connecting to it", io::Error::from_raw_os_error(111));
/// let seen = io::Error::from(refused);
/// assert_eq!(seen.raw_os_error(), None);
/// assert_eq!(Error::from(seen).raw_os_error(), Some(111));
///
/// let plain = Error::from(io::Error::from_raw_os_error(111));
/// assert_eq!(io::Error::from(plain).raw_os_error(), Some(111));
/// ```
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        if let Error::Os(refused) = &error
            && refused.operation() == UNKNOWN
            && let Some(code) = refused.io_error().raw_os_error()
        {
            return Self::from_raw_os_error(code);
        }
        Self::new(error.io_kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_variant_stays_what_it_is() {
        fn same<E: StdError + Send + Sync + Clone + Into<Error> + 'static>(error: E) {
            let (expected, found): (Error, _) = (error.clone().into(), Error::from_user(error));
            assert_eq!(
                std::mem::discriminant(&found),
                std::mem::discriminant(&expected),
                "{found:?}"
            );
        }
        same(Error::QueueEmpty);
        same(Cancelled::new());
        same(Interrupt::new("now"));
        same(Panic::new(Box::new("text")));
        same(ErrorGroup::new("both", Vec::new()));
        same(OsError::new("reading", io::ErrorKind::Other.into()));
        same(IncompleteRead::new("read_exact", Vec::new(), None));
        same(LimitOverrun::new("too long", 1));
        same(SharedError::new("theirs"));
        assert!(matches!(Error::from_user("theirs"), Error::Failed(_)));
    }

    #[test]
    fn an_error_of_user_code_is_seen_through() {
        #[derive(Debug, thiserror::Error)]
        #[error("no settings")]
        struct NoSettings(#[source] io::Error);

        let error = Error::failed(NoSettings(io::ErrorKind::NotFound.into()));
        assert_eq!(error.to_string(), "no settings");
        assert!(error.downcast_ref::<NoSettings>().is_some());
        let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
        assert_eq!(cause.map(io::Error::kind), Some(io::ErrorKind::NotFound));
        let again = Error::from_user(SharedError::new(error.clone()));
        assert_eq!(again.to_string(), "no settings");
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_result_is_two_words() {
        assert_eq!(size_of::<Error>(), 16);
        assert_eq!(size_of::<Result<()>>(), 16);
        assert_eq!(size_of::<std::task::Poll<Result<u32>>>(), 16);
    }
}
