//! [`Harness`]: a driver without a loop.

use std::collections::HashMap;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::driver::{Driver, Event, Fd, Interest, Key, Readiness};

/// A driver and the descriptors that it watches.
///
/// It does what the core promises a driver: it owns the descriptors, keeps each open until
/// `deregister` or `close` has returned, and never uses a key twice. That makes the tests of a driver
/// safe code.
#[derive(Debug)]
pub struct Harness<D: Driver> {
    driver: D,
    open: HashMap<Key, OwnedFd>,
    next: Key,
}

impl<D: Driver> Harness<D> {
    /// Attaches `driver` to this thread.
    ///
    /// # Errors
    /// Those of [`Driver::attach`].
    pub fn new(mut driver: D) -> io::Result<Self> {
        driver.attach()?;
        Ok(Self { driver, open: HashMap::new(), next: Key { slot: 0, generation: 0x00ff_fffd } })
    }

    /// The driver, to look at.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// The descriptor registered under `key`.
    ///
    /// # Panics
    /// If there is none.
    pub fn fd(&self, key: Key) -> BorrowedFd<'_> {
        self.open[&key].as_fd()
    }

    /// Gives `fd` to the driver under a new key.
    ///
    /// # Errors
    /// Those of [`Driver::register`]; `fd` is then closed.
    pub fn register(&mut self, fd: impl Into<OwnedFd>, interest: Interest) -> io::Result<Key> {
        let (fd, key) = (fd.into(), self.next_key());
        self.driver.register(lend(&fd), key, interest)?;
        self.open.insert(key, fd);
        Ok(key)
    }

    /// Changes the interest.
    ///
    /// # Errors
    /// Those of [`Driver::modify`].
    ///
    /// # Panics
    /// If nothing is registered under `key`.
    pub fn modify(&mut self, key: Key, interest: Interest) -> io::Result<()> {
        self.driver.modify(lend(&self.open[&key]), key, interest)
    }

    /// Takes the descriptor back, open.
    ///
    /// # Errors
    /// Those of [`Driver::deregister`]; the registration then stays.
    ///
    /// # Panics
    /// If nothing is registered under `key`.
    pub fn deregister(&mut self, key: Key) -> io::Result<OwnedFd> {
        self.driver.deregister(lend(&self.open[&key]), key)?;
        Ok(self.open.remove(&key).expect("looked up above"))
    }

    /// Lets the driver close the descriptor.
    ///
    /// # Panics
    /// If nothing is registered under `key`.
    pub fn close(&mut self, key: Key) {
        let fd = self.open.remove(&key).expect("a registered key");
        self.driver.close(fd, key);
    }

    /// Replaces the file behind a registered number, behind the driver's back: what a program does that
    /// closes a descriptor while it is registered and then opens another one. The number stays open
    /// throughout.
    ///
    /// # Errors
    /// Those of `dup2`.
    ///
    /// # Panics
    /// If nothing is registered under `key`.
    pub fn replace(&mut self, key: Key, with: BorrowedFd<'_>) -> io::Result<()> {
        let fd = self.open.get_mut(&key).expect("a registered key");
        Ok(rustix::io::dup2(with, fd)?)
    }

    /// Registers the number of `key` again, under a new key that owns it from now on. The old key is
    /// left to [`Harness::deregister_stale`].
    ///
    /// # Errors
    /// Those of [`Driver::register`].
    ///
    /// # Panics
    /// If nothing is registered under `key`.
    pub fn register_again(&mut self, key: Key, interest: Interest) -> io::Result<Key> {
        let new = self.next_key();
        self.driver.register(lend(&self.open[&key]), new, interest)?;
        let fd = self.open.remove(&key).expect("looked up above");
        self.open.insert(new, fd);
        Ok(new)
    }

    /// Takes back the registration `stale` of the number that `owner` has now.
    ///
    /// # Errors
    /// Those of [`Driver::deregister`].
    ///
    /// # Panics
    /// If nothing is registered under `owner`.
    pub fn deregister_stale(&mut self, owner: Key, stale: Key) -> io::Result<()> {
        self.driver.deregister(lend(&self.open[&owner]), stale)
    }

    /// Changes the interest under the key `stale` of the number that `owner` has now.
    ///
    /// # Errors
    /// Those of [`Driver::modify`].
    ///
    /// # Panics
    /// If nothing is registered under `owner`.
    pub fn modify_stale(&mut self, owner: Key, stale: Key, interest: Interest) -> io::Result<()> {
        self.driver.modify(lend(&self.open[&owner]), stale, interest)
    }

    /// One [`Driver::poll`]; gives what it reported, in order.
    ///
    /// # Errors
    /// Those of [`Driver::poll`].
    pub fn poll(&mut self, timeout: Option<Duration>) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        self.driver.poll(timeout, &mut events)?;
        Ok(events)
    }

    /// One [`Driver::poll`], reduced to its readiness events.
    ///
    /// # Errors
    /// Those of [`Driver::poll`].
    pub fn ready(&mut self, timeout: Option<Duration>) -> io::Result<Vec<(Key, Readiness)>> {
        let ready = |event| match event {
            Event::Ready { key, readiness } => Some((key, readiness)),
            _ => None,
        };
        Ok(self.poll(timeout)?.into_iter().filter_map(ready).collect())
    }

    fn next_key(&mut self) -> Key {
        let key = self.next;
        self.next = Key { slot: key.slot + 1, generation: (key.generation + 1) & Key::GENERATION };
        key
    }
}

impl<D: Driver> Drop for Harness<D> {
    fn drop(&mut self) {
        for (key, fd) in self.open.drain() {
            if self.driver.deregister(lend(&fd), key).is_err() {
                // The registration is still there, so the descriptor must stay open.
                mem::forget(fd);
            }
        }
        self.driver.shutdown();
    }
}

fn lend(fd: &OwnedFd) -> Fd {
    // SAFETY: the descriptor must stay open while the driver may use it, that is until `deregister` or
    // `close` returns, or until `register` has failed. The harness takes a descriptor out of `open`
    // only after `deregister` returned, gives it away in `close`, and in `drop` forgets what the
    // driver would not let go.
    Fd::new(unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) })
}
