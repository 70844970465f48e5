//! Ending the driver's sleep from another thread, and letting a foreign loop watch it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use anyloop_core::driver::Waker;

use crate::ring::Ring;

/// The driver's waker: an eventfd on which the ring keeps a poll. Nobody reads it, for each write
/// fires the poll again.
#[derive(Debug)]
pub(crate) struct RingWaker {
    eventfd: EventFd,
    /// What a foreign loop watches, if one does.
    watch: OnceLock<EventFd>,
}

impl RingWaker {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { eventfd: EventFd::new()?, watch: OnceLock::new() })
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.eventfd.raw()
    }

    /// A descriptor that is readable when there is something to poll for.
    ///
    /// The ring's own is not: not for completions that are to be worked off on request. The kernel
    /// tells an eventfd, but this costs something with each completion, hence only when asked for.
    pub(crate) fn watch(&self, ring: &Ring) -> Option<BorrowedFd<'_>> {
        if self.watch.get().is_none() {
            let watch = EventFd::new().ok()?;
            ring.io().submitter().register_eventfd(watch.raw()).ok()?;
            if ring.has_news() {
                watch.signal();
            }
            self.watch.set(watch).ok()?;
        }
        self.watch.get().map(|watch| watch.0.as_fd())
    }

    /// To be called before looking for completions: from now on, new ones are told again.
    pub(crate) fn watch_anew(&self, ring: &Ring) {
        let Some(watch) = self.watch.get() else { return };
        watch.drain();
        // A completion caused by a write to *another* eventfd is told by a detour that the kernel
        // takes once per registration (6.18: `io_eventfd_do_signal` leaves its bit set).
        let submitter = ring.io().submitter();
        let _ = submitter.unregister_eventfd();
        if submitter.register_eventfd(watch.raw()).is_err() {
            // Nobody will tell: the next poll comes at once, and tries again.
            watch.signal();
        }
    }

    /// To be called when not all was taken that there is.
    pub(crate) fn watch_more(&self) {
        if let Some(watch) = self.watch.get() {
            watch.signal();
        }
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watch.get().is_some()
    }
}

impl Waker for RingWaker {
    fn wake(&self) {
        self.eventfd.signal();
        self.watch_more();
    }
}

#[derive(Debug)]
struct EventFd(OwnedFd);

impl EventFd {
    fn new() -> io::Result<Self> {
        // SAFETY: `eventfd` takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made `fd` for us, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn signal(&self) {
        // A write fails only when the count is full, which takes 2⁶⁴ of them.
        if !self.write() {
            self.drain();
            self.write();
        }
    }

    fn write(&self) -> bool {
        let one = 1_u64;
        // SAFETY: writes 8 bytes from a local of 8 bytes.
        unsafe { libc::write(self.raw(), (&raw const one).cast(), size_of::<u64>()) == 8 }
    }

    fn drain(&self) {
        let mut count = 0_u64;
        // SAFETY: reads 8 bytes into a local of 8 bytes. Failure (nothing there) is fine.
        unsafe { libc::read(self.raw(), (&raw mut count).cast(), size_of::<u64>()) };
    }
}
