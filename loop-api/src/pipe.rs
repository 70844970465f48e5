//! Pipes: what a transport over one shows of it, and descriptors that were refused.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::{Rc, Weak};

use crate::error::{Error, Result};

/// A view of the descriptor under a pipe transport: it can be named and duplicated, not read, written
/// or closed. After the transport closed it there is no descriptor any more.
#[derive(Clone, Debug)]
pub struct PipeView {
    fd: Weak<OwnedFd>,
}

impl PipeView {
    /// A view of `fd`; called by loops.
    #[must_use]
    pub fn new(fd: &Rc<OwnedFd>) -> Self {
        Self { fd: Rc::downgrade(fd) }
    }

    /// A view of a descriptor that is closed already.
    #[must_use]
    pub const fn closed() -> Self {
        Self { fd: Weak::new() }
    }

    /// The descriptor number; `None` once closed.
    #[must_use]
    pub fn fileno(&self) -> Option<RawFd> {
        self.fd.upgrade().map(|fd| fd.as_raw_fd())
    }

    /// A duplicate that the caller owns.
    ///
    /// # Errors
    /// `Closed` once closed; `Os`.
    pub fn dup(&self) -> Result<OwnedFd> {
        let fd = self.fd.upgrade().ok_or_else(|| Error::closed("dup: the pipe is closed"))?;
        fd.as_fd().try_clone_to_owned().map_err(|error| Error::os("dup", error))
    }
}

/// The error of a call that wanted to take over a descriptor, with the descriptor if the caller keeps it
/// (PIPE-01).
///
/// Becomes an [`Error`] by `?`, which closes the descriptor.
pub struct Rejected {
    /// Why.
    pub error: Error,
    /// What was not taken. `None` if it was taken, and is closed by now.
    pub fd: Option<OwnedFd>,
}

impl Rejected {
    /// The descriptor goes back to the caller.
    #[must_use]
    pub fn new(error: Error, fd: OwnedFd) -> Self {
        Self { error, fd: Some(fd) }
    }
}

impl From<Error> for Rejected {
    fn from(error: Error) -> Self {
        Self { error, fd: None }
    }
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        rejected.error
    }
}

impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rejected({:?}", self.error)?;
        if let Some(fd) = &self.fd {
            write!(f, ", fd={}", fd.as_raw_fd())?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Rejected {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
