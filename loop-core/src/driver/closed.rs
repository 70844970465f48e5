//! No driver.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::{Caps, Driver, Event, Fd, Interest, Key, Waker};

/// What a closed loop has instead of its driver, whose descriptors are gone.
#[derive(Debug)]
pub(crate) struct Closed(&'static str, Caps);

#[derive(Debug)]
struct Nobody;

impl Waker for Nobody {
    fn wake(&self) {}
}

impl Closed {
    pub(crate) fn new(name: &'static str, caps: Caps) -> Self {
        Self(name, caps)
    }
}

impl Driver for Closed {
    fn name(&self) -> &'static str {
        self.0
    }
    fn caps(&self) -> Caps {
        self.1
    }
    fn waker(&self) -> Arc<dyn Waker> {
        Arc::new(Nobody)
    }
    fn poll(&mut self, _: Option<Duration>, _: &mut Vec<Event>) -> io::Result<()> {
        Err(io::ErrorKind::NotConnected.into())
    }
    fn register(&mut self, _: Fd, _: Key, _: Interest) -> io::Result<()> {
        Err(io::ErrorKind::NotConnected.into())
    }
    fn modify(&mut self, _: Fd, _: Key, _: Interest) -> io::Result<()> {
        Err(io::ErrorKind::NotConnected.into())
    }
    fn deregister(&mut self, _: Fd, _: Key) -> io::Result<()> {
        Ok(())
    }
    fn close(&mut self, fd: OwnedFd, _: Key) {
        drop(fd);
    }
}
