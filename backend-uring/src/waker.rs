//! Ending the driver's sleep from another thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use anyloop_core::driver::Waker;

/// An eventfd.
///
/// As the waker: the ring keeps a poll on it, and nobody reads it, for each write fires the poll again.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: `eventfd` takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made `fd` for us, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Takes the count back to zero: needed where the poll is not a multishot one, for a poll that is
    /// armed on a count that is not zero fires at once.
    pub(crate) fn drain(&self) {
        let mut count = 0_u64;
        // SAFETY: reads 8 bytes into a local of 8 bytes. Failure (nothing there) is fine.
        unsafe { libc::read(self.raw(), (&raw mut count).cast(), size_of::<u64>()) };
    }

    fn write(&self) -> bool {
        let one = 1_u64;
        // SAFETY: writes 8 bytes from a local of 8 bytes.
        unsafe { libc::write(self.raw(), (&raw const one).cast(), size_of::<u64>()) == 8 }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Waker for EventFd {
    fn wake(&self) {
        // A write fails only when the count is full, which takes 2⁶⁴ wakes, or by a signal.
        if !self.write() {
            self.drain();
            self.write();
        }
    }
}
