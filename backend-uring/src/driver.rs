//! The driver: what the loop calls, and the completions that follow.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyloop_core::driver::{Caps, Driver, Event, Fd, Interest, Key, LazySend, Trigger, Waker};
use io_uring::{cqueue, opcode, types};

use crate::NAME;
use crate::buffers::{Buffers, Inconsistent};
use crate::config::Config;
use crate::hangup::Fresh;
use crate::keys::{KeyOps, Keys};
use crate::kind::Kind;
use crate::owner::Process;
use crate::poll::Watched;
use crate::ring::Ring;
use crate::setup::Refusal;
use crate::silent::Silent;
use crate::slot::{OpId, Slots};
use crate::waker::RingWaker;

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
    /// Descriptors that were given to be closed while requests that go by their numbers could not be
    /// submitted.
    pub(crate) retained: Vec<OwnedFd>,
    /// By descriptor number.
    pub(crate) watched: Vec<Watched>,
    pub(crate) finished: bool,
    pub(crate) waker: Arc<RingWaker>,
    process: Process,
    pub(crate) failure: Option<&'static str>,
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

impl UringDriver {
    /// Makes a driver. It belongs to the thread on which it is first attached.
    ///
    /// # Errors
    /// As [`probe()`](crate::probe()), in the same words; or the process is out of descriptors or memory.
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
        let caps = Caps::readiness(Trigger::Edge)
            .accept(config.accept)
            .recv(buffers.is_some())
            .send(config.send)
            .pread(config.pread);
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
            retained: Vec::new(),
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

    /// Whether the kernel may be given anything. Nobody waits for what is begun after the end.
    pub(crate) fn is_usable(&self) -> bool {
        !self.finished && self.is_ours()
    }

    fn check_usable(&self) -> io::Result<()> {
        if self.is_usable() {
            return Ok(());
        }
        if self.finished {
            return Err(io::Error::other("this io_uring was shut down"));
        }
        Err(io::Error::other(
            "this io_uring belongs to the parent process: a child that was forked makes a loop of its \
             own",
        ))
    }

    fn check_owner(&self) -> io::Result<()> {
        self.check_usable()?;
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

    pub(crate) fn on_wake(&mut self, flags: u32) {
        if cqueue::more(flags) || self.finished {
            return;
        }
        self.arm_waker();
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
        self.check_usable()?;
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
        // A foreign loop sleeps on the descriptor next: what this poll has only queued would wait with it.
        let unfinished = self.ring.has_business() || !self.starved.is_empty();
        if self.waker.is_watched() && (unfinished || self.ring.has_news()) {
            self.waker.watch_more();
        }
        result
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.check_usable().ok()?;
        self.waker.watch(&self.ring)
    }

    fn register(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
        self.check_usable()?;
        self.poll_register(fd, key, interest)
    }

    fn modify(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
        self.check_usable()?;
        self.poll_modify(fd, key, interest)
    }

    fn deregister(&mut self, _fd: Fd, key: Key) -> io::Result<()> {
        if self.is_usable() {
            self.poll_deregister(key);
        }
        Ok(())
    }

    fn accept_start(&mut self, fd: Fd, key: Key) -> io::Result<()> {
        if !self.caps.accept {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.check_usable()?;
        self.accept_begin(fd, key)
    }

    fn accept_stop(&mut self, _fd: Fd, key: Key) {
        if self.is_usable() {
            self.inward_stop(key);
        }
    }

    fn recv_start(&mut self, fd: Fd, key: Key) -> io::Result<()> {
        if !self.caps.recv {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.check_usable()?;
        self.recv_begin(fd, key)
    }

    fn recv_stop(&mut self, _fd: Fd, key: Key) {
        if self.is_usable() {
            self.inward_stop(key);
        }
    }

    fn send(&mut self, fd: Fd, key: Key, buffer: Vec<u8>, offset: usize) -> Result<(), Vec<u8>> {
        self.send_begin(fd, key, buffer, offset)
    }

    fn send_lazily(&mut self, fd: Fd, buffer: &mut Vec<u8>, offset: usize) -> bool {
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
        if self.is_usable() {
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
             {} hang-up, {} room), {} starved; {} enters, sq full {} times ({} waiting), cq overflown {} times",
            self.ops.live() + silent,
            self.ops.in_kernel() + silent,
            self.ops.count(Kind::Poll),
            self.ops.count(Kind::Accept),
            self.ops.count(Kind::Recv),
            self.ops.count(Kind::Send) + silent,
            self.ops.count(Kind::Read),
            self.keys.hangups(),
            self.keys.rooms(),
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
