//! One wait on an epoll descriptor: what every backend over epoll shares.
//!
//! The poller crates hide three things that a loop needs: timeouts finer than a millisecond, the
//! `RDHUP` bit, and a wait that is exactly one system call. So the backends register through their
//! crate and wait here, on the crate's own epoll descriptor.
//!
//! # Some facts about epoll
//!
//! * `epoll_wait` takes whole milliseconds. `epoll_pwait2` (Linux 5.11) takes nanoseconds. rustix
//!   calls the former unless its feature `linux_5_11` is on, which would be on for the whole program
//!   and leave it without any wait on an older kernel, or where seccomp forbids the call. Hence the one
//!   `unsafe` block below, and the step back to milliseconds (rounded up: a loop that wakes early
//!   spins).
//! * A timeout is late by the larger of the thread's timer slack (50 µs unless changed, see
//!   [`lower_timer_slack`]) and 0.1 % of the timeout (0.5 % for a process with a positive nice
//!   value), at most 100 ms. The kernel does the latter for every `poll`-like call; only a timerfd or
//!   an io_uring wait is exact.
//! * What does not fit into the buffer stays on the kernel's ready list, and the next wait goes on where
//!   this one ended. Nothing is lost with edge triggering, and no descriptor can starve another.
//! * With edge triggering data and end of stream that arrive together make *one* event. It has the
//!   `RDHUP` bit, if that was asked for; `HUP` and `ERR` come unasked.
//! * `EPOLL_CTL_MOD` looks at the descriptor again: an event follows if it is ready now.
//! * Closing a descriptor ends its registration only if nobody else has the file open (`dup`, a
//!   child). So deregister first, always.

use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

use crate::driver::{Event, Key, Readiness};
use crate::returns;

/// A reused event buffer and the knowledge of how this kernel waits.
pub struct EpollWait {
    buffer: Vec<epoll::Event>,
    nanoseconds: bool,
    waits: u64,
}

impl EpollWait {
    /// Makes a buffer of `events` (at least one) events. `nanoseconds: false` forces the older system
    /// call, which knows only milliseconds.
    #[must_use]
    pub fn new(events: usize, nanoseconds: bool) -> Self {
        let empty =
            epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
        Self { buffer: vec![empty; events.max(1)], nanoseconds, waits: 0 }
    }

    /// Waits as [`Driver::poll`](crate::driver::Driver::poll) does, with one system call. The data words
    /// must be [`Key::to_u64`]; events of slots at or above [`Key::RESERVED`] (a backend's waker) end the
    /// wait and are not reported.
    ///
    /// # Errors
    /// Those of `epoll_wait`, except `EINTR`.
    pub fn wait(
        &mut self,
        epoll: BorrowedFd<'_>,
        timeout: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        let ready = match self.call(epoll, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        };
        for event in &self.buffer[..ready] {
            // By value: the struct is packed on some machines.
            let (data, flags) = (event.data.u64(), event.flags);
            let key = Key::from_u64(data);
            if key.slot < Key::RESERVED {
                events.push(Event::Ready { key, readiness: readiness(flags) });
            }
        }
        Ok(())
    }

    /// How many system calls [`EpollWait::wait`] has made.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.waits
    }

    /// The system call in use, for reports.
    #[must_use]
    pub fn system_call(&self) -> &'static str {
        if self.nanoseconds { "epoll_pwait2" } else { "epoll_wait" }
    }

    /// How many events one wait can bring.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buffer.len()
    }

    fn call(&mut self, epoll: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<usize> {
        self.waits += 1;
        if self.nanoseconds {
            match pwait2(epoll, &mut self.buffer, timeout) {
                // Older than 5.11, or a sandbox that does not know the call. Once is enough to learn it.
                Err(e) if is_refusal(&e) => {
                    self.nanoseconds = false;
                    self.waits += 1;
                }
                other => return other,
            }
        }
        let timeout = timeout.map(whole_milliseconds);
        let ready = epoll::wait(epoll, &mut self.buffer[..], timeout.as_ref());
        returns::refill();
        Ok(ready?)
    }
}

impl fmt::Debug for EpollWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpollWait")
            .field("system_call", &self.system_call())
            .field("capacity", &self.capacity())
            .field("waits", &self.waits)
            .finish()
    }
}

/// Lets the calling thread's sleeps end within 1 µs of their time instead of 50 µs.
///
/// The slack belongs to the thread, and threads and processes that it starts inherit it. A slack that
/// is already finer stays.
///
/// # Errors
/// Those of `prctl` (a sandbox may forbid it).
pub fn lower_timer_slack() -> io::Result<()> {
    const SLACK: NonZeroU64 = NonZeroU64::new(1_000).unwrap();
    if rustix::thread::current_timer_slack()? > SLACK.get() {
        rustix::thread::set_current_timer_slack(Some(SLACK))?;
    }
    Ok(())
}

/// What the raw bits mean for a reader and a writer.
fn readiness(flags: epoll::EventFlags) -> Readiness {
    use epoll::EventFlags as Bits;
    // HUP and ERR are for both sides: a read tells the end or the error, a write the error. PRI
    // (urgent data; `polling` asks for it) is for the reader: the next read passes the mark.
    let both = Bits::HUP | Bits::ERR;
    Readiness {
        readable: flags.intersects(Bits::IN | Bits::PRI | Bits::RDHUP | both),
        writable: flags.intersects(Bits::OUT | both),
        closed: flags.intersects(Bits::RDHUP | both),
    }
}

/// Rounds up to what `epoll_wait` can do. The longest it knows is 24 days; the loop just waits again.
fn whole_milliseconds(timeout: Duration) -> Timespec {
    let millis = timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i64;
    Timespec { tv_sec: millis / 1000, tv_nsec: (millis % 1000 * 1_000_000) as _ }
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

/// `epoll_pwait2` without a signal mask.
fn pwait2(
    epoll: BorrowedFd<'_>,
    buffer: &mut [epoll::Event],
    timeout: Option<Duration>,
) -> io::Result<usize> {
    /// `struct __kernel_timespec`: 64-bit everywhere.
    #[repr(C)]
    struct KernelTimespec {
        seconds: i64,
        nanoseconds: i64,
    }
    // A timeout beyond the end of time is none.
    let timeout = timeout.and_then(|timeout| {
        let seconds = i64::try_from(timeout.as_secs()).ok()?;
        Some(KernelTimespec { seconds, nanoseconds: timeout.subsec_nanos().into() })
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let room = buffer.len().min(libc::c_int::MAX as usize);
    // SAFETY: the kernel reads `timeout` (null, or the struct above, which outlives the call) and writes at
    // most `room` entries to `buffer`, which is ours alone and at least that long; rustix lays
    // `epoll::Event` out as `struct epoll_event`, and any bits are a valid value. The mask is null.
    unsafe {
        returns::system_call(
            libc::SYS_epoll_pwait2,
            [
                epoll.as_raw_fd() as usize,
                buffer.as_mut_ptr().expose_provenance(),
                room,
                timeout.expose_provenance(),
                0,
                0,
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_rounded_up_and_bounded() {
        let spec = |timeout| {
            let spec = whole_milliseconds(timeout);
            (spec.tv_sec, spec.tv_nsec)
        };
        assert_eq!(spec(Duration::ZERO), (0, 0));
        assert_eq!(spec(Duration::from_nanos(1)), (0, 1_000_000));
        assert_eq!(spec(Duration::from_micros(1999)), (0, 2_000_000));
        assert_eq!(spec(Duration::from_secs(3)), (3, 0));
        assert_eq!(spec(Duration::MAX), (2_147_483, 647_000_000));
    }

    #[test]
    fn each_bit_reaches_the_side_that_must_see_it() {
        use epoll::EventFlags as Bits;
        let seen = |bits| {
            let r = readiness(bits);
            (r.readable, r.writable, r.closed)
        };
        assert_eq!(seen(Bits::IN), (true, false, false));
        assert_eq!(seen(Bits::PRI), (true, false, false));
        assert_eq!(seen(Bits::OUT), (false, true, false));
        assert_eq!(seen(Bits::IN | Bits::RDHUP), (true, false, true));
        assert_eq!(seen(Bits::HUP), (true, true, true));
        assert_eq!(seen(Bits::ERR), (true, true, true));
    }
}
