//! A driver that counts what the core asks of it.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::driver::{Caps, Driver, Event, Fd, Interest, Key, LazySend, Waker};

/// What has been counted; every system call on the way of a wake-up or an iteration is behind one of
/// these.
#[derive(Debug, Default)]
pub struct Counts {
    polls: AtomicU64,
    sleeps: AtomicU64,
    waits: AtomicU64,
    wakes: AtomicU64,
}

impl Counts {
    /// How often the core polled the driver.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.polls.load(Ordering::SeqCst)
    }

    /// How often it was ready to sleep in it, counted before it does.
    #[must_use]
    pub fn sleeps(&self) -> u64 {
        self.sleeps.load(Ordering::SeqCst)
    }

    /// How often the driver entered the kernel to wait, as it says itself.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::SeqCst)
    }

    /// How often its waker was used.
    #[must_use]
    pub fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::SeqCst)
    }
}

/// Any driver, with its [`Counts`].
#[derive(Debug)]
pub struct Counted<D> {
    inner: D,
    waits: fn(&D) -> u64,
    counts: Arc<Counts>,
}

impl<D: Driver> Counted<D> {
    /// Counts what is asked of `inner`; `waits` says how often it has entered the kernel to wait.
    pub fn new(inner: D, waits: fn(&D) -> u64) -> Self {
        Self { inner, waits, counts: Arc::default() }
    }

    /// What has been counted, for any thread.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }
}

#[derive(Debug)]
struct CountedWaker(Arc<dyn Waker>, Arc<Counts>);

impl Waker for CountedWaker {
    fn wake(&self) {
        self.1.wakes.fetch_add(1, Ordering::SeqCst);
        self.0.wake();
    }
}

impl<D: Driver> Driver for Counted<D> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn attach(&mut self) -> io::Result<()> {
        self.inner.attach()
    }

    fn waker(&self) -> Arc<dyn Waker> {
        Arc::new(CountedWaker(self.inner.waker(), self.counts.clone()))
    }

    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.counts.polls.fetch_add(1, Ordering::SeqCst);
        if timeout != Some(Duration::ZERO) {
            self.counts.sleeps.fetch_add(1, Ordering::SeqCst);
        }
        let polled = self.inner.poll(timeout, events);
        self.counts.waits.store((self.waits)(&self.inner), Ordering::SeqCst);
        polled
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.as_fd()
    }

    fn register(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
        self.inner.register(fd, key, interest)
    }

    fn modify(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
        self.inner.modify(fd, key, interest)
    }

    fn deregister(&mut self, fd: Fd, key: Key) -> io::Result<()> {
        self.inner.deregister(fd, key)
    }

    fn accept_start(&mut self, fd: Fd, key: Key) -> io::Result<()> {
        self.inner.accept_start(fd, key)
    }

    fn accept_stop(&mut self, fd: Fd, key: Key) {
        self.inner.accept_stop(fd, key);
    }

    fn recv_start(&mut self, fd: Fd, key: Key) -> io::Result<()> {
        self.inner.recv_start(fd, key)
    }

    fn recv_stop(&mut self, fd: Fd, key: Key) {
        self.inner.recv_stop(fd, key);
    }

    fn send(&mut self, fd: Fd, key: Key, buffer: Vec<u8>, offset: usize) -> Result<(), Vec<u8>> {
        self.inner.send(fd, key, buffer, offset)
    }

    fn send_lazily(&mut self, fd: Fd, buffer: &mut Vec<u8>, offset: usize) -> bool {
        self.inner.send_lazily(fd, buffer, offset)
    }

    fn lazily_sent(&mut self, sent: &mut Vec<LazySend>) {
        self.inner.lazily_sent(sent);
    }

    fn pread(
        &mut self,
        file: Arc<File>,
        key: Key,
        buffer: Vec<u8>,
        offset: u64,
    ) -> Result<(), Vec<u8>> {
        self.inner.pread(file, key, buffer, offset)
    }

    fn close(&mut self, fd: OwnedFd, key: Key) {
        self.inner.close(fd, key);
    }

    fn shutdown(&mut self) {
        self.inner.shutdown();
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}
