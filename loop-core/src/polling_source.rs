//! `polling::Poller::add_with_mode` behind a safe function.
//!
//! `polling` cannot know who closes a descriptor, so adding one is `unsafe` there. Here the
//! contract between core and driver says who does.

use std::io;

use polling::{Event, PollMode, Poller};

use crate::driver::Fd;

/// Adds `fd` to `poller`.
///
/// # Errors
/// Those of [`Poller::add_with_mode`].
pub fn add(poller: &Poller, fd: Fd, interest: Event, mode: PollMode) -> io::Result<()> {
    // SAFETY: the source must be deleted from the poller before it is dropped. An `Fd` is a
    // `BorrowedFd<'static>`: whoever made it promised that the descriptor stays open, for ever or, as
    // `Fd` and `Driver::deregister` say, until the driver has returned from `deregister` or `close`,
    // which delete it from the poller.
    unsafe { poller.add_with_mode(&fd, interest, mode) }
}
