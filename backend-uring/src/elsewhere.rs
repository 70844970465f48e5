//! What stands in for the driver on systems without io_uring: nothing can be made of it.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyloop_core::driver::{Caps, Driver, Event, Fd, Interest, Key, Waker};

use crate::Config;

const REASON: &str = if cfg!(target_os = "linux") {
    "io_uring is not used on this kind of processor: on 32-bit ARM it is known not to work, on the others it \
     is not tried"
} else {
    "io_uring is a part of Linux"
};

/// Says why io_uring is not here.
///
/// # Errors
/// Always, on this system.
pub fn probe() -> Result<String, String> {
    Err(REASON.to_owned())
}

/// The driver, which there is none of on this system.
#[derive(Debug)]
pub struct UringDriver(Infallible);

impl UringDriver {
    /// Fails.
    ///
    /// # Errors
    /// Always, on this system.
    pub fn new(_config: &Config) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, REASON))
    }
}

impl Driver for UringDriver {
    fn name(&self) -> &'static str {
        match self.0 {}
    }

    fn caps(&self) -> Caps {
        match self.0 {}
    }

    fn waker(&self) -> Arc<dyn Waker> {
        match self.0 {}
    }

    fn poll(&mut self, _timeout: Option<Duration>, _events: &mut Vec<Event>) -> io::Result<()> {
        match self.0 {}
    }

    fn register(&mut self, _fd: Fd, _key: Key, _interest: Interest) -> io::Result<()> {
        match self.0 {}
    }

    fn modify(&mut self, _fd: Fd, _key: Key, _interest: Interest) -> io::Result<()> {
        match self.0 {}
    }

    fn deregister(&mut self, _fd: Fd, _key: Key) -> io::Result<()> {
        match self.0 {}
    }

    fn close(&mut self, _fd: OwnedFd, _key: Key) {
        match self.0 {}
    }
}
