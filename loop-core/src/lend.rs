//! Lending descriptors to the driver. Unsafe lives here because a borrowed descriptor is built from a
//! number; the promise that it stays open is the core's (see [`Fd`]).

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use crate::driver::Fd;

/// Lends a descriptor to the driver, which uses it only until `deregister` or `close` returns; the
/// callers keep it open until then.
pub(crate) fn lend(fd: &impl AsRawFd) -> Fd {
    lend_raw(fd.as_raw_fd())
}

/// The same for a number that the user vouches for (`add_reader`).
pub(crate) fn lend_raw(fd: RawFd) -> Fd {
    // SAFETY: the descriptor is open now (its owner is the caller, or the user named it), and the
    // core calls `deregister` or `close` on the driver before it lets the owner close it. If the user
    // closes a watched number behind our back, system calls on it fail or reach another file: an
    // error, not a memory hazard.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Fd::new(fd)
}
