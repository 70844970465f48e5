//! Being driven by a foreign loop: a descriptor for it to watch, and how long it may wait.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyloop_api::EventLoop;

use crate::base::BaseLoop;

impl BaseLoop {
    /// A duplicate of the driver's descriptor. The driver goes with the loop's close, at any time; the
    /// duplicate is what a borrower may rely on.
    pub(crate) fn embedded_fd(&self) -> Option<BorrowedFd<'_>> {
        if self.embedded.get().is_none() {
            self.state().check_open("as_fd").ok()?;
            let duplicate = self.with_driver(|driver| driver.as_fd()?.try_clone_to_owned().ok())?;
            let _ = self.embedded.set(duplicate);
        }
        self.embedded.get().map(AsFd::as_fd)
    }

    /// Gets ready to wait somewhere else, and says for how long.
    pub(crate) fn prepare_wait(&self) -> Option<Duration> {
        if self.is_closed() {
            return None;
        }
        if self.state().is_inherited() || self.state().is_running() {
            // The turn will say so. What a poll brought in the middle of a run would be lost.
            return Some(Duration::ZERO);
        }
        self.flush_dirty();
        if self.inbox.awake() {
            self.drain_inbox();
        }
        self.withdraw_offers_at_rest();
        if self.is_busy() || !self.inbox.prepare_sleep() {
            return Some(Duration::ZERO);
        }
        // Requests that are still queued would otherwise wait with us. A failure shows in the turn.
        let polled = self.poll_driver(Some(Duration::ZERO));
        self.queue_events();
        // A wake-up that this poll has swallowed no longer shows in the descriptor.
        if polled.is_err() || self.is_busy() || self.inbox.is_notified() {
            return Some(Duration::ZERO);
        }
        self.time_to_sleep()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::thread;

    use anyloop_api::{LoopConfig, RemoteHandle};

    use super::*;
    use crate::driver::{Caps, Closed, Driver, Event, Fd, Interest, Key, Trigger, Waker};

    const CAPS: Caps = Caps::readiness(Trigger::Level);

    /// A driver whose next poll swallows the wake-up of a call that comes meanwhile.
    #[derive(Debug)]
    struct Deaf {
        caller: Rc<RefCell<Option<RemoteHandle>>>,
        rest: Closed,
    }

    impl Driver for Deaf {
        fn name(&self) -> &'static str {
            self.rest.name()
        }
        fn caps(&self) -> Caps {
            CAPS
        }
        fn waker(&self) -> Arc<dyn Waker> {
            self.rest.waker()
        }
        fn poll(&mut self, _: Option<Duration>, _: &mut Vec<Event>) -> io::Result<()> {
            if let Some(remote) = self.caller.take() {
                let call = move || remote.call_soon_threadsafe(|| ()).expect("an open loop");
                thread::spawn(call).join().expect("it calls and ends");
            }
            Ok(())
        }
        fn register(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
            self.rest.register(fd, key, interest)
        }
        fn modify(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
            self.rest.modify(fd, key, interest)
        }
        fn deregister(&mut self, fd: Fd, key: Key) -> io::Result<()> {
            self.rest.deregister(fd, key)
        }
        fn close(&mut self, fd: OwnedFd, key: Key) {
            self.rest.close(fd, key);
        }
    }

    #[test]
    fn a_wake_up_that_its_own_poll_swallows_is_not_slept_over() {
        let caller = Rc::new(RefCell::new(None));
        let driver = Deaf { caller: caller.clone(), rest: Closed::new("deaf", CAPS) };
        let lp = BaseLoop::open(driver, &LoopConfig::default()).unwrap();
        *caller.borrow_mut() = Some(lp.remote());
        assert_eq!(lp.next_timeout(), Some(Duration::ZERO));
        lp.turn().unwrap();
        assert_eq!(lp.next_timeout(), None);
        lp.close().unwrap();
    }
}
