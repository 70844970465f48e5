//! [`PollingDriver`]: registration through polling, waiting on its descriptor.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use anyloop_core::driver::{Caps, Driver, Event, Fd, Interest, Key, Readiness, Trigger, Waker};
#[cfg(target_os = "linux")]
use anyloop_core::epoll::{self, EpollWait};
use anyloop_core::polling_source;
use anyloop_core::registrations::{Registration, Registrations, allow_gone};
use polling::{PollMode, Poller};
#[cfg(target_os = "linux")]
use rustix::event::epoll::{EventData, EventFlags};

#[cfg(target_os = "linux")]
use crate::waker::EventfdWaker;
use crate::waker::NotifyWaker;
use crate::{Config, NAME};

const _: () = assert!(usize::BITS >= 64, "a polling key must hold a 56-bit key");

/// A readiness driver over polling.
#[derive(Debug)]
pub struct PollingDriver {
    poller: Arc<Poller>,
    waker: Arc<dyn Waker>,
    wait: Wait,
    trigger: Trigger,
    registered: Registrations,
    #[cfg(target_os = "linux")]
    lower_timer_slack: bool,
}

/// How to wait. Both show the same registrations.
enum Wait {
    #[cfg(target_os = "linux")]
    Epoll(EpollWait),
    Portable {
        events: polling::Events,
        waits: u64,
    },
}

impl PollingDriver {
    /// Makes a poller and its waker.
    ///
    /// # Errors
    /// Those of `epoll_create1` and `eventfd` (or what the system has instead).
    pub fn new(config: &Config) -> io::Result<Self> {
        let poller = Arc::new(Poller::new()?);
        let edge = poller.supports_edge() && !config.level;
        let wait = Wait::new(config);
        Ok(Self {
            waker: wait.waker(&poller)?,
            poller,
            wait,
            trigger: if edge { Trigger::Edge } else { Trigger::Level },
            registered: Registrations::new(),
            #[cfg(target_os = "linux")]
            lower_timer_slack: config.timer_slack,
        })
    }

    /// How often the kernel was asked for events. One portable wait is several system calls.
    #[must_use]
    pub fn waits(&self) -> u64 {
        match &self.wait {
            #[cfg(target_os = "linux")]
            Wait::Epoll(wait) => wait.waits(),
            Wait::Portable { waits, .. } => *waits,
        }
    }

    fn mode(&self) -> PollMode {
        match self.trigger {
            Trigger::Edge => PollMode::Edge,
            Trigger::Level => PollMode::Level,
        }
    }

    /// How it watches and waits on this machine, in words.
    pub(crate) fn features(&self) -> String {
        let trigger = match self.trigger {
            Trigger::Edge => "edge",
            Trigger::Level => "level",
        };
        format!("{trigger}-triggered, waiting with {}", self.wait.system_call())
    }

    fn add(&self, fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
        polling_source::add(&self.poller, fd, event(key, interest), self.mode())?;
        #[cfg(target_os = "linux")]
        if matches!(self.wait, Wait::Epoll(_)) && interest.readable {
            let added = self.change(fd.as_fd(), key, interest);
            if added.is_err() {
                let _ = self.delete(fd.as_fd());
            }
            return added;
        }
        Ok(())
    }

    fn change(&self, fd: BorrowedFd<'_>, key: Key, interest: Interest) -> io::Result<()> {
        match &self.wait {
            #[cfg(target_os = "linux")]
            Wait::Epoll(_) => Ok(rustix::event::epoll::modify(
                &*self.poller,
                fd,
                EventData::new_u64(key.to_u64()),
                epoll_flags(interest, self.trigger),
            )?),
            Wait::Portable { .. } => {
                self.poller.modify_with_mode(fd, event(key, interest), self.mode())
            }
        }
    }

    fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        allow_gone(self.poller.delete(fd))
    }

    fn forget(&mut self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        if self.registered.get(fd, key) == Registration::Active {
            self.delete(fd)?;
        }
        self.registered.remove(fd, key);
        Ok(())
    }
}

impl Driver for PollingDriver {
    fn name(&self) -> &'static str {
        NAME
    }

    fn caps(&self) -> Caps {
        Caps::readiness(self.trigger)
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
        Arc::clone(&self.waker)
    }

    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.wait.wait(&self.poller, self.trigger, timeout, events)
    }

    #[cfg(target_os = "linux")]
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some((*self.poller).as_fd())
    }

    fn register(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
        if interest == Interest::NONE {
            // Parked from the start; but what the kernel refuses is refused now.
            polling_source::add(&self.poller, fd, event(key, interest), self.mode())?;
            self.delete(fd.as_fd())?;
        } else {
            self.add(fd, key, interest)?;
        }
        self.registered.set(fd.as_fd(), key, interest);
        Ok(())
    }

    fn modify(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
        match (self.registered.get(fd.as_fd(), key), interest) {
            (Registration::Absent, _) => return Err(rustix::io::Errno::NOENT.into()),
            (Registration::Active, Interest::NONE) => self.delete(fd.as_fd())?,
            (Registration::Active, _) => self.change(fd.as_fd(), key, interest)?,
            (Registration::Parked, Interest::NONE) => {}
            (Registration::Parked, _) => self.add(fd, key, interest)?,
        }
        self.registered.set(fd.as_fd(), key, interest);
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
            "polling: {}; {} registered, {} waits of at most {} events",
            self.features(),
            self.registered.len(),
            self.waits(),
            self.wait.capacity(),
        )
    }
}

impl Wait {
    fn new(config: &Config) -> Self {
        let events = NonZeroUsize::new(config.events as usize).unwrap_or(NonZeroUsize::MIN);
        #[cfg(target_os = "linux")]
        if !config.portable_wait {
            return Self::Epoll(EpollWait::new(events.get(), config.pwait2));
        }
        Self::Portable { events: polling::Events::with_capacity(events), waits: 0 }
    }

    fn waker(&self, poller: &Arc<Poller>) -> io::Result<Arc<dyn Waker>> {
        Ok(match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(_) => Arc::new(EventfdWaker::new((**poller).as_fd())?),
            Self::Portable { .. } => Arc::new(NotifyWaker(Arc::clone(poller))),
        })
    }

    fn wait(
        &mut self,
        poller: &Poller,
        trigger: Trigger,
        timeout: Option<Duration>,
        out: &mut Vec<Event>,
    ) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(wait) => wait.wait(poller.as_fd(), timeout, out),
            Self::Portable { events, waits } => {
                *waits += 1;
                events.clear();
                poller.wait(events, timeout)?; // goes on by itself after a signal
                out.extend(events.iter().map(|event| ready(&event, trigger)));
                Ok(())
            }
        }
    }

    fn system_call(&self) -> &'static str {
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(wait) => wait.system_call(),
            Self::Portable { .. } => "Poller::wait",
        }
    }

    fn capacity(&self) -> usize {
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(wait) => wait.capacity(),
            Self::Portable { events, .. } => events.capacity().get(),
        }
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("system_call", &self.system_call())
            .field("capacity", &self.capacity())
            .finish()
    }
}

fn event(key: Key, interest: Interest) -> polling::Event {
    polling::Event::new(key.to_u64() as usize, interest.readable, interest.writable)
}

fn ready(event: &polling::Event, trigger: Trigger) -> Event {
    let failed = event.is_interrupt() || event.is_err() == Some(true);
    // Whether the stream ends behind the bytes is not told (no RDHUP), and with edge triggering it
    // will not be told again: claim that it may, so that the reader goes on until `EAGAIN`.
    let maybe_ends = event.readable && trigger == Trigger::Edge;
    let readiness = Readiness::default()
        .readable(event.readable || failed)
        .writable(event.writable || failed)
        .closed(failed || maybe_ends);
    Event::Ready { key: Key::from_u64(event.key as u64), readiness }
}

/// The same as polling's own flags, and `RDHUP`.
#[cfg(target_os = "linux")]
fn epoll_flags(interest: Interest, trigger: Trigger) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::ET, trigger == Trigger::Edge);
    flags.set(EventFlags::IN | EventFlags::PRI | EventFlags::RDHUP, interest.readable);
    flags.set(EventFlags::OUT, interest.writable);
    flags
}
