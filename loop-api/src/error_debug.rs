//! What `{:?}` says of an [`Error`]: the user of a program reads it when `main` returns one.

use std::error::Error as StdError;
use std::fmt::{self, Debug, Formatter};

use crate::error::Error;

/// On one line the kind and what [`Display`](fmt::Display) says, with the causes of an error of user code;
/// with `{:#?}` the parts.
impl Debug for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return self.parts(f);
        }
        let kind = self.kind();
        match self {
            Self::QueueEmpty | Self::QueueFull | Self::QueueShutDown | Self::BrokenBarrier => {
                f.write_str(kind)
            }
            // What they display repeats the kind.
            Self::Cancelled(cancelled) => match cancelled.message() {
                Some(message) => write!(f, "{kind}: {message}"),
                None => f.write_str(kind),
            },
            Self::Interrupt(interrupt) => write!(f, "{kind}: {}", interrupt.reason()),
            Self::Panicked(panic) => write!(f, "{kind}: {}", panic.message()),
            Self::Failed(error) => {
                write!(f, "{kind}: {error}")?;
                let mut source = error.source();
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
            other => write!(f, "{kind}: {other}"),
        }
    }
}

impl Error {
    /// As if it were derived.
    fn parts(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        let tuple =
            |f: &mut Formatter<'_>, field: &dyn Debug| f.debug_tuple(kind).field(field).finish();
        match self {
            Self::Closed(text)
            | Self::AlreadyRunning(text)
            | Self::InvalidState(text)
            | Self::TimedOut(text)
            | Self::InvalidArg(text)
            | Self::WrongType(text)
            | Self::Usage(text)
            | Self::ProcessGone(text)
            | Self::SendfileUnavailable(text)
            | Self::Unavailable(text) => tuple(f, text),
            Self::Cancelled(cancelled) => tuple(f, cancelled),
            Self::Interrupt(interrupt) => tuple(f, interrupt),
            Self::Panicked(panic) => tuple(f, panic),
            Self::Failed(error) => tuple(f, error),
            Self::Group(group) => tuple(f, group),
            Self::Os { operation, source } => {
                f.debug_struct(kind).field("operation", operation).field("source", source).finish()
            }
            Self::IncompleteRead { partial, expected } => {
                f.debug_struct(kind).field("partial", partial).field("expected", expected).finish()
            }
            Self::LimitOverrun { message, consumed } => {
                f.debug_struct(kind).field("message", message).field("consumed", consumed).finish()
            }
            Self::QueueEmpty | Self::QueueFull | Self::QueueShutDown | Self::BrokenBarrier => {
                f.write_str(kind)
            }
        }
    }

    /// The name of the variant.
    fn kind(&self) -> &'static str {
        match self {
            Self::Closed(_) => "Closed",
            Self::AlreadyRunning(_) => "AlreadyRunning",
            Self::InvalidState(_) => "InvalidState",
            Self::Cancelled(_) => "Cancelled",
            Self::TimedOut(_) => "TimedOut",
            Self::InvalidArg(_) => "InvalidArg",
            Self::WrongType(_) => "WrongType",
            Self::Usage(_) => "Usage",
            Self::Os { .. } => "Os",
            Self::Interrupt(_) => "Interrupt",
            Self::ProcessGone(_) => "ProcessGone",
            Self::Panicked(_) => "Panicked",
            Self::Failed(_) => "Failed",
            Self::Group(_) => "Group",
            Self::IncompleteRead { .. } => "IncompleteRead",
            Self::LimitOverrun { .. } => "LimitOverrun",
            Self::QueueEmpty => "QueueEmpty",
            Self::QueueFull => "QueueFull",
            Self::QueueShutDown => "QueueShutDown",
            Self::BrokenBarrier => "BrokenBarrier",
            Self::SendfileUnavailable(_) => "SendfileUnavailable",
            Self::Unavailable(_) => "Unavailable",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::error::{Cancelled, ErrorGroup, Interrupt, Panic};

    #[derive(Debug, thiserror::Error)]
    #[error("no settings")]
    struct NoSettings(#[source] io::Error);

    #[test]
    fn a_line_for_whoever_runs_the_program() {
        let refused = || io::Error::from_raw_os_error(111);
        let os = Error::os("connecting to 127.0.0.1:1", refused());
        let said = "connecting to 127.0.0.1:1: Connection refused (os error 111)";
        let shown = [
            (os.clone(), format!("Os: {said}")),
            (Error::usage("sleep: no loop"), "Usage: sleep: no loop".to_owned()),
            (Error::QueueEmpty, "QueueEmpty".to_owned()),
            (
                Error::failed(NoSettings(refused())),
                "Failed: no settings: Connection refused (os error 111)".to_owned(),
            ),
            (Cancelled::new().into(), "Cancelled".to_owned()),
            (Interrupt::new("now").into(), "Interrupt: now".to_owned()),
            (Panic::new(Box::new("text")).into(), "Panicked: text".to_owned()),
            (
                ErrorGroup::new("both", vec![Error::QueueFull, os]).into(),
                format!("Group: both (2 errors: the queue is full; {said})"),
            ),
        ];
        for (error, expected) in shown {
            assert_eq!(format!("{error:?}"), expected);
        }
    }

    #[test]
    fn the_parts_for_whoever_debugs_it() {
        let text = format!("{:#?}", Error::failed(NoSettings(io::ErrorKind::Other.into())));
        assert!(text.starts_with("Failed(\n    NoSettings("), "{text}");
        let text = format!("{:#?}", Error::os("reading", io::ErrorKind::Other.into()));
        assert!(text.starts_with("Os {\n    operation: \"reading\",\n    source: Kind("), "{text}");
        assert_eq!(format!("{:#?}", Error::QueueFull), "QueueFull");
    }
}
