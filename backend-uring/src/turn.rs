//! One poll: submits and waits by one entry, takes the completions, and makes events of them.

use std::io;
use std::mem::MaybeUninit;
use std::thread;
use std::time::{Duration, Instant};

use anyloop_core::driver::{Event, Key};

use crate::driver::UringDriver;
use crate::kind::Kind;
use crate::ring::{BATCH, Waited};
use crate::slot::OpId;

/// Completions handled in one poll, so that a flood of them does not keep the loop from its timers.
const MOST_PER_POLL: usize = 8192;

/// How long a poll rests when the kernel has no memory for what is to go in, and no completion gave any back.
const BREATHER: Duration = Duration::from_millis(1);

/// What taking completions out brought.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reaped {
    /// Completions of any kind.
    pub(crate) count: usize,
    /// Whether one of them ends the poll without an event: the waker's, that of a silent send.
    pub(crate) woken: bool,
}

impl UringDriver {
    /// Takes the completions that are there and turns them into events.
    pub(crate) fn reap(&mut self, events: &mut Vec<Event>) -> Reaped {
        let mut reaped = Reaped::default();
        let mut batch = [const { MaybeUninit::uninit() }; BATCH];
        loop {
            let completions = self.ring.reap(&mut batch);
            if completions.is_empty() {
                // What the kernel kept for want of room comes at the next entry.
                let again = reaped.count < MOST_PER_POLL
                    && self.ring.is_overflown()
                    && self.ring.fetch().is_ok()
                    && self.ring.has_completions();
                if again {
                    continue;
                }
                self.hangup_look();
                self.hangup_kick();
                return reaped;
            }
            reaped.count += completions.len();
            for completion in completions {
                let (result, flags) = (completion.result(), completion.flags());
                let user_data = completion.user_data();
                let id = OpId::of(user_data);
                match Kind::of(user_data) {
                    Kind::Recv => self.on_recv(id, result, flags, events),
                    Kind::Send => self.on_send(id, result, events),
                    Kind::Silent => {
                        // The core is to ask for it.
                        reaped.woken = true;
                        self.on_silent(user_data, result);
                    }
                    Kind::Read => self.on_read(id, result, events),
                    Kind::Room => self.on_room(Key::from_u64(user_data), result, flags),
                    Kind::Hangup => self.on_hangup(Key::from_u64(user_data)),
                    Kind::Kick => self.on_kick_missed(id),
                    Kind::Poll => self.on_poll(id, result, flags, events),
                    Kind::Accept => self.on_accept(id, result, flags, events),
                    Kind::AcceptReady => self.on_accept_ready(id, result, events),
                    Kind::Wake => {
                        reaped.woken = true;
                        self.on_wake(flags);
                    }
                    Kind::Ignore => {}
                }
            }
        }
    }

    pub(crate) fn poll_once(
        &mut self,
        timeout: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        self.waker.watch_anew(&self.ring);
        if let Some(buffers) = &self.buffers {
            buffers.begin_poll();
        }
        let before = events.len();
        events.append(&mut self.stash);
        let mut woken = std::mem::take(&mut self.woken);
        let mut timeout = timeout;
        let mut deadline = None;
        if self.ring.is_overflown() {
            woken |= self.reap(events).woken;
        }
        loop {
            if !self.starved.is_empty() {
                self.recv_rearm_starved(events);
            }
            let may_wait = events.len() == before && !woken && timeout != Some(Duration::ZERO);
            // What is there already may be of our own, and no reason to return. Nor may those wait who are
            // to be armed next: whoever is armed may have nothing to receive.
            let wait = may_wait && self.starved.is_empty() && !self.ring.has_completions();
            let mut ended = !may_wait;
            let entered = if wait {
                if deadline.is_none() {
                    // Too far to be computed is as good as never.
                    deadline = timeout.map(|timeout| Instant::now().checked_add(timeout));
                }
                self.ring.wait(timeout).map(|waited| ended = waited == Waited::Ended)
            } else if self.ring.has_business() {
                self.ring.submit()
            } else {
                Ok(())
            };
            if !self.retained.is_empty() && !self.ring.has_queued() {
                self.retained.clear();
            }
            let reaped = self.reap(events);
            self.silent_confirm();
            match entered {
                Ok(()) => {}
                // What did not go in goes in next time: at once if room was made just now.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN)) => {
                    if may_wait && reaped.count == 0 {
                        thread::sleep(timeout.map_or(BREATHER, |timeout| timeout.min(BREATHER)));
                        ended = true;
                    }
                }
                Err(error) => return Err(error),
            }
            self.check_health()?;
            woken |= reaped.woken;
            if ended || woken || events.len() > before || (wait && reaped.count == 0) {
                // What could not be submitted is next time, and then somebody may wait for it.
                self.woken |= self.silent.in_kernel() > 0;
                return Ok(());
            }
            // Only completions of our own: on with the wait.
            if let Some(Some(deadline)) = deadline {
                let left: Duration = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(());
                }
                timeout = Some(left);
            }
        }
    }

    fn check_health(&mut self) -> io::Result<()> {
        if let Some(failure) = self.failure {
            return Err(io::Error::other(failure));
        }
        if self.ring.lost() > 0 {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "io_uring: the kernel had no memory for a completion, and lost it",
            ));
        }
        Ok(())
    }
}
