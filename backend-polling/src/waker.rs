//! Ending a sleep from another thread.

use std::sync::Arc;

use anyloop_core::driver::Waker;
use polling::Poller;

/// Wakes `Poller::wait`.
#[derive(Debug)]
pub(crate) struct NotifyWaker(pub(crate) Arc<Poller>);

impl Waker for NotifyWaker {
    fn wake(&self) {
        // It can fail only if the system took the poller's own descriptors away.
        let _ = self.0.notify();
    }
}

#[cfg(target_os = "linux")]
pub(crate) use linux::EventfdWaker;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    use anyloop_core::driver::{Key, Waker};
    use rustix::event::{EventfdFlags, epoll, eventfd};

    /// An eventfd in the epoll set. Edge-triggered, so each write is an event and nobody needs to read
    /// it; its event is recognised by the key and dropped.
    #[derive(Debug)]
    pub(crate) struct EventfdWaker(OwnedFd);

    impl EventfdWaker {
        pub(crate) fn new(epoll: BorrowedFd<'_>) -> io::Result<Self> {
            let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let key = Key { slot: Key::RESERVED, generation: 0 };
            epoll::add(
                epoll,
                fd.as_fd(),
                epoll::EventData::new_u64(key.to_u64()),
                epoll::EventFlags::IN | epoll::EventFlags::ET,
            )?;
            Ok(Self(fd))
        }
    }

    impl Waker for EventfdWaker {
        fn wake(&self) {
            // It would fail with a counter near 2^64, that is never.
            let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
        }
    }
}
