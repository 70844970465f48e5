//! How the server examples end.

use std::process::ExitCode;

use anyloop::{Error, Result};

/// Success, also after Ctrl-C; otherwise the error, readable.
pub(crate) fn exit(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Interrupt(interrupt)) => {
            eprintln!("{interrupt}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
