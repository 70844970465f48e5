//! The driver: what the loop calls, and the completions that follow.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyloop_core::driver::{Caps, Driver, Event, Fd, Interest, Key, LazySend, Trigger, Waker};
use io_uring::{cqueue, opcode, types};

use crate::NAME;
use crate::buffers::{Buffers, Inconsistent};
use crate::config::Config;
use crate::hangup::Fresh;
use crate::keys::{KeyOps, Keys};
use crate::owner::Process;
use crate::poll::Watched;
use crate::ring::{BATCH, Ring, Waited};
use crate::setup::Refusal;
use crate::silent::Silent;
use crate::slot::{Kind, OpId, Slots};
use crate::waker::RingWaker;

/// Completions handled in one poll, so that a flood of them does not keep the loop from its timers.
const MOST_PER_POLL: usize = 8192;

/// A [`Driver`] over one io_uring.
pub struct UringDriver {
    pub(crate) ring: Ring,
    pub(crate) ops: Slots,
    pub(crate) keys: Keys,
    pub(crate) buffers: Option<Rc<Buffers>>,
    pub(crate) features: Features,
    /// Whether `EINVAL` can no longer mean that the kernel knows no multishot receive (before 6.0).
    pub(crate) recv_proven: bool,
    /// Events that arose outside of a poll.
    pub(crate) stash: Vec<Event>,
    /// A wake that arose outside of a poll.
    pub(crate) woken: bool,
    /// Receives that found no buffer, longest waiting first.
    pub(crate) starved: VecDeque<OpId>,
    pub(crate) silent: Silent,
    pub(crate) fresh: Fresh,
    /// Receives whose stream has hung up.
    pub(crate) doubtful: Vec<OpId>,
    /// A poll was replaced; the cancellation of the old one may still be queued.
    pub(crate) replaced: bool,
    /// By descriptor number.
    pub(crate) watched: Vec<Watched>,
    pub(crate) finished: bool,
    waker: Arc<RingWaker>,
    process: Process,
    failure: Option<&'static str>,
    config: Config,
    pub(crate) caps: Caps,
}

/// What is in use. Begins as configured; what turns out to be missing is switched off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    pub(crate) multishot_accept: bool,
    pub(crate) multishot_recv: bool,
    pub(crate) poll_before_accept: bool,
    pub(crate) silent_send: bool,
}

/// What taking completions out brought.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reaped {
    /// Completions of any kind.
    pub(crate) count: usize,
    /// Whether one of them ends the poll without an event: the waker's, that of a silent send.
    pub(crate) woken: bool,
}

impl UringDriver {
    /// Makes a driver. It belongs to the thread on which it is first attached.
    ///
    /// # Errors
    /// As [`probe`](crate::probe), in the same words; or the process is out of descriptors or memory.
    pub fn new(config: &Config) -> io::Result<Self> {
        let ring = Ring::new(config).map_err(Refusal::into_error)?;
        let wants_buffers = config.recv && config.buffer_ring;
        let buffers = if wants_buffers {
            Buffers::register(ring.io(), config).map_err(Refusal::of("io_uring_register"))?
        } else {
            None
        };
        let recv_proven = ring.rung().single_issuer;
        let features = Features {
            multishot_accept: config.multishot_accept,
            multishot_recv: config.multishot_recv,
            poll_before_accept: config.poll_before_accept,
            silent_send: config.silent_send && ring.keeps_partial_results(),
        };
        let caps = Caps {
            trigger: Trigger::Edge,
            accept: config.accept,
            recv: buffers.is_some(),
            send: config.send,
            pread: config.pread,
        };
        Ok(Self {
            ring,
            ops: Slots::default(),
            keys: Keys::default(),
            buffers,
            features,
            recv_proven,
            stash: Vec::new(),
            woken: false,
            replaced: false,
            starved: VecDeque::new(),
            silent: Silent::default(),
            fresh: Fresh::default(),
            doubtful: Vec::new(),
            watched: Vec::new(),
            finished: false,
            waker: Arc::new(RingWaker::new()?),
            process: Process::current(),
            failure: None,
            config: config.clone(),
            caps,
        })
    }

    /// What is in use, in words.
    pub(crate) fn features(&self) -> String {
        let rung = self.ring.rung();
        let caps = self.caps;
        let incremental = self.buffers.as_ref().is_some_and(|buffers| buffers.is_incremental());
        let marks = [
            (rung.single_issuer, "single issuer"),
            (rung.defer_taskrun, "deferred task work"),
            (rung.no_sqarray, "no sq array"),
            (self.ring.has_index(), "registered ring"),
            (self.ring.has_ext_arg(), "timed enter"),
            (self.ring.has_no_iowait(), "no iowait"),
            (caps.accept && self.features.poll_before_accept, "poll before accept"),
            (
                caps.accept,
                if self.features.multishot_accept { "multishot accept" } else { "one-shot accept" },
            ),
            (
                caps.recv,
                if self.features.multishot_recv { "multishot recv" } else { "one-shot recv" },
            ),
            (incremental, "incremental buffers"),
            (caps.send, if self.features.silent_send { "silent send" } else { "send" }),
            (caps.pread, "pread"),
        ];
        let marks = marks.into_iter().filter(|(on, _)| *on).map(|(_, mark)| mark);
        marks.collect::<Vec<_>>().join(", ")
    }

    /// The operations of a key, if it has an entry.
    pub(crate) fn key_ops(&mut self, key: Key) -> Option<&mut KeyOps> {
        self.keys.get(key)
    }

    /// The entry of a key. What an older key left behind in it is given up.
    pub(crate) fn key_entry(&mut self, key: Key) -> &mut KeyOps {
        let (_, left) = self.keys.entry(key);
        if let Some(left) = left {
            self.abandon_all(key.slot, left);
        }
        self.keys.entry(key).0
    }

    /// Makes the next poll fail: what the kernel says does not add up.
    pub(crate) fn fail(&mut self, _: &Inconsistent) {
        self.failure = Some("io_uring: a completion names bytes that are not in the buffer ring");
    }

    /// Whether this process made the ring. If not, nothing of it may be touched.
    pub(crate) fn is_ours(&self) -> bool {
        self.process == Process::current()
    }

    fn check_process(&self) -> io::Result<()> {
        if self.is_ours() {
            return Ok(());
        }
        Err(io::Error::other(
            "this io_uring belongs to the parent process: a child that was forked makes a loop of its \
             own",
        ))
    }

    fn check_owner(&self) -> io::Result<()> {
        self.check_process()?;
        if self.ring.is_owned_here() || !self.ring.is_enabled() {
            return Ok(());
        }
        Err(io::Error::other(
            "this io_uring belongs to another thread: a loop stays on the thread that ran it first",
        ))
    }

    fn arm_waker(&mut self) {
        let entry = opcode::PollAdd::new(types::Fd(self.waker.raw()), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(Kind::Wake.alone());
        // SAFETY: the request points to no memory.
        unsafe { self.ring.push(entry) };
    }

    fn on_wake(&mut self, flags: u32) {
        if cqueue::more(flags) || self.finished {
            return;
        }
        self.arm_waker();
    }

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

    fn poll_once(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
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
            // What is there already may be of our own, and no reason to return.
            let wait = may_wait && !self.ring.has_completions();
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
            let reaped = self.reap(events);
            self.silent_confirm();
            match entered {
                Ok(()) => {}
                // Room was made just now; what did not go in goes in next time.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN)) => {}
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

impl Driver for UringDriver {
    fn name(&self) -> &'static str {
        NAME
    }

    fn caps(&self) -> Caps {
        self.caps
    }

    fn attach(&mut self) -> io::Result<()> {
        self.check_process()?;
        if self.ring.is_owned_here() {
            return Ok(());
        }
        if self.ring.rung().single_issuer {
            self.check_owner()?;
        }
        let first = !self.ring.is_enabled();
        self.ring.enable(&self.config).map_err(Refusal::of("io_uring_register"))?;
        if first {
            self.arm_waker();
        }
        Ok(())
    }

    fn waker(&self) -> Arc<dyn Waker> {
        Arc::clone(&self.waker) as _
    }

    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        if !self.ring.is_enabled() {
            self.attach()?;
        }
        self.check_owner()?;
        let result = self.poll_once(timeout, events);
        if self.waker.is_watched() && self.ring.has_news() {
            self.waker.watch_more();
        }
        result
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.check_process().ok()?;
        self.waker.watch(&self.ring)
    }

    fn register(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
        self.check_process()?;
        self.poll_register(fd, key, interest)
    }

    fn modify(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
        self.check_process()?;
        self.poll_modify(fd, key, interest)
    }

    fn deregister(&mut self, _fd: Fd, key: Key) -> io::Result<()> {
        if self.is_ours() {
            self.poll_deregister(key);
        }
        Ok(())
    }

    fn accept_start(&mut self, fd: Fd, key: Key) -> io::Result<()> {
        if !self.caps.accept {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.check_process()?;
        self.accept_begin(fd, key)
    }

    fn accept_stop(&mut self, _fd: Fd, key: Key) {
        if self.is_ours() {
            self.inward_stop(key);
        }
    }

    fn recv_start(&mut self, fd: Fd, key: Key) -> io::Result<()> {
        if !self.caps.recv {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.check_process()?;
        self.recv_begin(fd, key)
    }

    fn recv_stop(&mut self, _fd: Fd, key: Key) {
        if self.is_ours() {
            self.inward_stop(key);
        }
    }

    fn send(&mut self, fd: Fd, key: Key, buffer: Vec<u8>, offset: usize) -> Result<(), Vec<u8>> {
        self.send_begin(fd, key, buffer, offset)
    }

    fn send_lazily(&mut self, fd: Fd, buffer: Vec<u8>, offset: usize) -> Result<(), Vec<u8>> {
        self.silent_begin(fd, buffer, offset)
    }

    fn lazily_sent(&mut self, sent: &mut Vec<LazySend>) {
        self.silent_tell(sent);
    }

    fn pread(
        &mut self,
        file: Arc<File>,
        key: Key,
        buffer: Vec<u8>,
        offset: u64,
    ) -> Result<(), Vec<u8>> {
        self.read_begin(file, key, buffer, offset)
    }

    fn close(&mut self, fd: OwnedFd, key: Key) {
        if self.is_ours() {
            self.close_key(fd, key);
        }
    }

    fn shutdown(&mut self) {
        self.wind_down();
    }

    fn describe(&self) -> String {
        let (sq, cq) = self.ring.sizes();
        let mut line = format!("uring: {}; sq {sq}, cq {cq}", self.features());
        if let Some(buffers) = &self.buffers {
            let (count, size) = buffers.shape();
            let (free, copied) = (buffers.in_ring(), buffers.copies());
            let _ = write!(line, ", {count} buffers of {size}, {free} free, {copied} copies");
        }
        let counters = self.ring.counters;
        let silent = self.silent.in_kernel();
        let _ = write!(
            line,
            "; {} operations, {} in the kernel ({} poll, {} accept, {} recv, {} send, {} read, \
             {} hang-up), {} starved; {} enters, sq full {} times ({} waiting), cq overflown {} times",
            self.ops.live() + silent,
            self.ops.in_kernel() + silent,
            self.ops.count(Kind::Poll),
            self.ops.count(Kind::Accept),
            self.ops.count(Kind::Recv),
            self.ops.count(Kind::Send) + silent,
            self.ops.count(Kind::Read),
            self.keys.hangups(),
            self.starved.len(),
            counters.enters,
            counters.backlogged,
            self.ring.backlog(),
            counters.overflows,
        );
        line
    }
}

impl Drop for UringDriver {
    fn drop(&mut self) {
        self.wind_down();
    }
}

impl fmt::Debug for UringDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UringDriver({})", self.describe())
    }
}
