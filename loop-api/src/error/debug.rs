//! What `{:?}` says of an [`Error`]: the user of a program reads it when `main` returns one.

use std::fmt::{self, Debug, Formatter};

use super::Error;

/// On one line the kind and what [`Display`](fmt::Display) says, with the causes of an error of user code;
/// with `{:#?}` the parts.
impl Debug for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (kind, content) = self.parts();
        let Some(content) = content else { return f.write_str(kind) };
        if f.alternate() {
            return f.debug_tuple(kind).field(content).finish();
        }
        match self {
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
    /// The name of the variant, and what is in it.
    fn parts(&self) -> (&'static str, Option<&dyn Debug>) {
        match self {
            Self::Closed(text) => ("Closed", Some(text)),
            Self::AlreadyRunning(text) => ("AlreadyRunning", Some(text)),
            Self::InvalidState(text) => ("InvalidState", Some(text)),
            Self::Cancelled(cancelled) => ("Cancelled", Some(cancelled)),
            Self::TimedOut(text) => ("TimedOut", Some(text)),
            Self::InvalidArg(text) => ("InvalidArg", Some(text)),
            Self::WrongType(text) => ("WrongType", Some(text)),
            Self::Usage(text) => ("Usage", Some(text)),
            Self::Os(refused) => ("Os", Some(refused)),
            Self::Interrupt(interrupt) => ("Interrupt", Some(interrupt)),
            Self::ProcessGone(text) => ("ProcessGone", Some(text)),
            Self::Panicked(panic) => ("Panicked", Some(panic)),
            Self::Failed(error) => ("Failed", Some(error)),
            Self::Group(group) => ("Group", Some(group)),
            Self::IncompleteRead(read) => ("IncompleteRead", Some(read)),
            Self::LimitOverrun(overrun) => ("LimitOverrun", Some(overrun)),
            Self::QueueEmpty => ("QueueEmpty", None),
            Self::QueueFull => ("QueueFull", None),
            Self::QueueShutDown => ("QueueShutDown", None),
            Self::BrokenBarrier => ("BrokenBarrier", None),
            Self::SendfileUnavailable(text) => ("SendfileUnavailable", Some(text)),
            Self::Unavailable(text) => ("Unavailable", Some(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::{Cancelled, ErrorGroup, Interrupt, Panic};
    use super::*;

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
                ErrorGroup::new("alone", vec![Error::QueueFull]).into(),
                "Group: alone (1 error: the queue is full)".to_owned(),
            ),
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
        let expected = "Os(\n    OsError {\n        operation: \"reading\",\n        source: Kind(";
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(format!("{:#?}", Error::QueueFull), "QueueFull");
    }
}
