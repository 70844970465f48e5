//! [`MioDriver`]: registration through mio, waiting on its descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use anyloop_core::driver::{Caps, Driver, Event, Fd, Interest, Key, Readiness, Trigger, Waker};
#[cfg(target_os = "linux")]
use anyloop_core::epoll::{self, EpollWait};
use anyloop_core::registrations::{Registration, Registrations, allow_gone};
use mio::Token;
use mio::unix::SourceFd;

use crate::waker::MioWaker;
use crate::{Config, NAME};

/// The waker's token; [`EpollWait`] drops it likewise.
const WAKER: Token = token(Key { slot: Key::RESERVED, generation: 0 });

const _: () = assert!(usize::BITS >= 64, "a mio token must hold a 56-bit key");

/// A readiness driver over mio.
#[derive(Debug)]
pub struct MioDriver {
    poll: mio::Poll,
    waker: Arc<MioWaker>,
    wait: Wait,
    registered: Registrations,
    #[cfg(target_os = "linux")]
    lower_timer_slack: bool,
}

/// How to wait. Both show the same registrations.
#[derive(Debug)]
enum Wait {
    #[cfg(target_os = "linux")]
    Epoll(EpollWait),
    Portable {
        events: mio::Events,
        waits: u64,
    },
}

impl MioDriver {
    /// Makes a poller and its waker.
    ///
    /// # Errors
    /// Those of `epoll_create1` and `eventfd` (or what the system has instead).
    pub fn new(config: &Config) -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let waker = Arc::new(MioWaker(mio::Waker::new(poll.registry(), WAKER)?));
        Ok(Self {
            poll,
            waker,
            wait: Wait::new(config),
            registered: Registrations::new(),
            #[cfg(target_os = "linux")]
            lower_timer_slack: config.timer_slack,
        })
    }

    /// How often the kernel was asked for events.
    #[must_use]
    pub fn waits(&self) -> u64 {
        match &self.wait {
            #[cfg(target_os = "linux")]
            Wait::Epoll(wait) => wait.waits(),
            Wait::Portable { waits, .. } => *waits,
        }
    }

    /// How it watches and waits on this machine, in words.
    pub(crate) fn features(&self) -> String {
        format!("edge-triggered, waiting with {}", self.wait.system_call())
    }

    fn add(&self, fd: BorrowedFd<'_>, key: Key, interest: mio::Interest) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token(key), interest)
    }

    fn change(&self, fd: BorrowedFd<'_>, key: Key, interest: mio::Interest) -> io::Result<()> {
        self.poll.registry().reregister(&mut SourceFd(&fd.as_raw_fd()), token(key), interest)
    }

    fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        allow_gone(self.poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd())))
    }

    fn forget(&mut self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        if self.registered.get(fd, key) == Registration::Active {
            self.delete(fd)?;
        }
        self.registered.remove(fd, key);
        Ok(())
    }
}

impl Driver for MioDriver {
    fn name(&self) -> &'static str {
        NAME
    }

    fn caps(&self) -> Caps {
        Caps::readiness(Trigger::Edge)
    }

    fn attach(&mut self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if self.lower_timer_slack {
            // Timers are a little late without it; no reason not to run.
            let _ = epoll::lower_timer_slack();
        }
        Ok(())
    }

    fn waker(&self) -> Arc<dyn Waker> {
        Arc::clone(&self.waker) as _
    }

    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.wait.wait(&mut self.poll, timeout, events)
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.poll.registry().as_fd())
    }

    fn register(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
        let fd = fd.as_fd();
        match mio_interest(interest) {
            Some(wanted) => self.add(fd, key, wanted)?,
            None => {
                // Parked from the start; but what the kernel refuses is refused now.
                self.add(fd, key, mio::Interest::READABLE)?;
                self.delete(fd)?;
            }
        }
        self.registered.set(fd, key, interest);
        Ok(())
    }

    fn modify(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
        let fd = fd.as_fd();
        match (self.registered.get(fd, key), mio_interest(interest)) {
            (Registration::Absent, _) => return Err(rustix::io::Errno::NOENT.into()),
            (Registration::Active, Some(wanted)) => self.change(fd, key, wanted)?,
            (Registration::Active, None) => self.delete(fd)?,
            (Registration::Parked, Some(wanted)) => self.add(fd, key, wanted)?,
            (Registration::Parked, None) => {}
        }
        self.registered.set(fd, key, interest);
        Ok(())
    }

    fn deregister(&mut self, fd: Fd, key: Key) -> io::Result<()> {
        self.forget(fd.as_fd(), key)
    }

    fn close(&mut self, fd: OwnedFd, key: Key) {
        // Not left to `close`: the file may be open elsewhere, and then its registration lives on.
        let _ = self.forget(fd.as_fd(), key);
    }

    fn describe(&self) -> String {
        format!(
            "mio: {}; {} registered, {} waits of at most {} events",
            self.features(),
            self.registered.len(),
            self.waits(),
            self.wait.capacity(),
        )
    }
}

impl Wait {
    fn new(config: &Config) -> Self {
        let events = config.events as usize;
        #[cfg(target_os = "linux")]
        if !config.portable_wait {
            return Self::Epoll(EpollWait::new(events, config.pwait2));
        }
        Self::Portable { events: mio::Events::with_capacity(events), waits: 0 }
    }

    fn wait(
        &mut self,
        poll: &mut mio::Poll,
        timeout: Option<Duration>,
        out: &mut Vec<Event>,
    ) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(wait) => wait.wait(poll.registry().as_fd(), timeout, out),
            Self::Portable { events, waits } => {
                *waits += 1;
                match poll.poll(events, timeout) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
                    other => other?,
                }
                out.extend(events.iter().filter(|event| event.token() != WAKER).map(ready));
                Ok(())
            }
        }
    }

    fn system_call(&self) -> &'static str {
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(wait) => wait.system_call(),
            Self::Portable { .. } => "mio::Poll",
        }
    }

    fn capacity(&self) -> usize {
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(wait) => wait.capacity(),
            Self::Portable { events, .. } => events.capacity(),
        }
    }
}

fn ready(event: &mio::event::Event) -> Event {
    let closed = event.is_read_closed() || event.is_write_closed() || event.is_error();
    // The same bits as in `anyloop_core::epoll`: an end or an error is for both sides to fetch.
    let readiness = Readiness::default()
        .readable(event.is_readable() || closed)
        .writable(event.is_writable() || event.is_write_closed() || event.is_error())
        .closed(closed);
    Event::Ready { key: Key::from_u64(event.token().0 as u64), readiness }
}

const fn token(key: Key) -> Token {
    Token(key.to_u64() as usize)
}

/// `None` for the empty interest, which mio does not have.
fn mio_interest(interest: Interest) -> Option<mio::Interest> {
    let read = interest.readable.then_some(mio::Interest::READABLE);
    let write = interest.writable.then_some(mio::Interest::WRITABLE);
    match (read, write) {
        (Some(read), Some(write)) => Some(read | write),
        (read, write) => read.or(write),
    }
}
