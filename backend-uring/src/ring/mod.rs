//! Putting requests in, entering the kernel, taking completions out.

mod wait;

use std::collections::VecDeque;
use std::io;
use std::mem::{ManuallyDrop, MaybeUninit, size_of};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::time::Instant;

use anyloop_core::returns;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, squeue};

pub(crate) use self::wait::Waited;
use crate::config::Config;
use crate::kind::Kind;
use crate::owner::ThreadMark;
use crate::setup::{self, Refusal, Rung};

/// Completions that are taken out at a time.
pub(crate) const BATCH: usize = 64;

/// Requests for which there is room besides the submission queue; memory for more is given back.
const KEPT: usize = 1024;

/// The two queues shared with the kernel, and the system call between them.
///
/// Nothing is ever submitted before [`Ring::enable`]: until then requests wait in the backlog, from
/// which they can be taken back.
pub(crate) struct Ring {
    io: ManuallyDrop<IoUring>,
    rung: Rung,
    /// Requests that did not fit, in order.
    backlog: VecDeque<squeue::Entry>,
    queued: u64,
    /// The thread that enabled it.
    owner: Option<ThreadMark>,
    disowned: bool,
    /// The number by which the owning thread enters.
    index: Option<u32>,
    ext_arg: bool,
    /// Where a timer request finds its time, and the number of the last one.
    timer: Box<Timespec>,
    timers: u64,
    /// When the timer that is running ends, if one is.
    timer_due: Option<Instant>,
    /// Flags of each entry.
    flags: EnterFlags,
    pub(crate) counters: Counters,
}

/// What happened so far that should be rare.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Entries to the kernel.
    pub(crate) enters: u64,
    /// Requests that found the submission queue full.
    pub(crate) backlogged: u64,
    /// Times the completion queue was seen overflown.
    pub(crate) overflows: u64,
}

impl Ring {
    pub(crate) fn new(config: &Config) -> Result<Self, Refusal> {
        let (io, rung) = setup::build(config)?;
        let mut flags = EnterFlags::GETEVENTS;
        if io.params().is_feature_no_iowait() {
            // Else a loop that sleeps counts as waiting for a disk.
            flags |= EnterFlags::NO_IOWAIT;
        }
        let ext_arg = config.ext_arg && io.params().is_feature_ext_arg();
        Ok(Self {
            io: ManuallyDrop::new(io),
            rung,
            backlog: VecDeque::new(),
            queued: 0,
            owner: None,
            disowned: false,
            index: None,
            ext_arg,
            timer: Box::default(),
            timers: 0,
            timer_due: None,
            flags,
            counters: Counters::default(),
        })
    }

    pub(crate) fn rung(&self) -> Rung {
        self.rung
    }

    pub(crate) fn io(&self) -> &IoUring {
        &self.io
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.owner.is_some()
    }

    /// Whether the calling thread may enter.
    pub(crate) fn is_owned_here(&self) -> bool {
        self.owner == Some(ThreadMark::current())
    }

    pub(crate) fn has_index(&self) -> bool {
        self.index.is_some()
    }

    pub(crate) fn has_ext_arg(&self) -> bool {
        self.ext_arg
    }

    pub(crate) fn has_no_iowait(&self) -> bool {
        self.flags.contains(EnterFlags::NO_IOWAIT)
    }

    /// Whether a send that fails half-way tells how much it sent: from 6.1 on, which has no mark of its
    /// own.
    pub(crate) fn keeps_partial_results(&self) -> bool {
        self.rung.defer_taskrun || self.io.params().is_feature_recvsend_bundle()
    }

    /// Makes the calling thread the owner.
    pub(crate) fn enable(&mut self, config: &Config) -> io::Result<()> {
        if self.rung.single_issuer && !self.is_enabled() {
            self.io.submitter().register_enable_rings()?;
        }
        self.owner = Some(ThreadMark::current());
        self.index = config.registered_ring_fd.then(|| setup::register_ring_fd(&self.io)).flatten();
        Ok(())
    }

    /// Queues a request for the next entry.
    ///
    /// # Safety
    /// What the request points to must stay valid until its terminal completion.
    pub(crate) unsafe fn push(&mut self, entry: squeue::Entry) {
        self.queued += 1;
        if self.is_enabled() && self.backlog.is_empty() {
            // SAFETY: the caller answers for the memory of the request.
            if unsafe { self.io.submission().push(&entry) }.is_ok() {
                return;
            }
            self.counters.backlogged += 1;
        }
        self.backlog.push_back(entry);
    }

    /// Takes a request back that was queued before the ring was enabled; whether it was there.
    pub(crate) fn retract(&mut self, user_data: u64) -> bool {
        if self.is_enabled() {
            return false;
        }
        let before = self.backlog.len();
        self.backlog.retain(|entry| entry.get_user_data() != user_data);
        let gone = before - self.backlog.len();
        self.queued -= gone as u64;
        gone > 0
    }

    /// Moves what waits into the submission queue; the number of requests in it.
    fn fill(&mut self) -> u32 {
        let mut queue = self.io.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: who pushed the request answers for its memory.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.backlog.pop_front();
        }
        if self.backlog.is_empty() && self.backlog.capacity() > KEPT {
            self.backlog = VecDeque::new();
        }
        queue.len() as u32
    }

    /// Whether requests wait to be submitted.
    pub(crate) fn has_queued(&mut self) -> bool {
        !self.backlog.is_empty() || !self.io.submission().is_empty()
    }

    /// Whether an entry without waiting would do anything: requests, completions the kernel has not
    /// worked off, completions it keeps for want of room.
    pub(crate) fn has_business(&mut self) -> bool {
        if self.has_queued() {
            return true;
        }
        let queue = self.io.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Whether the kernel keeps completions for want of room. Counts them.
    pub(crate) fn is_overflown(&mut self) -> bool {
        let overflown = self.io.submission().cq_overflow();
        self.counters.overflows += u64::from(overflown);
        overflown
    }

    /// Whether the kernel has completions to work off.
    pub(crate) fn has_deferred_work(&mut self) -> bool {
        self.io.submission().taskrun()
    }

    pub(crate) fn has_completions(&mut self) -> bool {
        !self.io.completion().is_empty()
    }

    /// How many requests were queued so far. Counts the last one.
    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    /// How many of them the kernel has been through with, as far as completions can tell: `None` if there
    /// are any that were not taken yet.
    pub(crate) fn submitted(&mut self) -> Option<u64> {
        let (_, submissions, completions) = self.io.split();
        let told = completions.is_empty() && !submissions.cq_overflow();
        told.then(|| self.queued - (self.backlog.len() + submissions.len()) as u64)
    }

    /// Whether an entry without waiting would bring completions, or there are some.
    pub(crate) fn has_news(&self) -> bool {
        // SAFETY: no other view of either queue exists: each is dropped in the method that makes it.
        let (submissions, completions) =
            unsafe { (self.io.submission_shared(), self.io.completion_shared()) };
        !completions.is_empty() || submissions.taskrun() || submissions.cq_overflow()
    }

    /// Completions that are gone for good, for the kernel had no memory for them.
    pub(crate) fn lost(&mut self) -> u32 {
        self.io.completion().overflow()
    }

    /// Submits all requests and has the kernel work off completions, without waiting.
    ///
    /// # Errors
    /// `EBUSY`, `EAGAIN`: take completions out and try again. All else is final.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        loop {
            let count = self.fill();
            match self.enter(count, 0, EnterFlags::empty(), None) {
                Ok(taken) if taken < count && taken > 0 => {}
                Ok(taken) if taken < count => {
                    return Err(io::Error::from_raw_os_error(libc::EAGAIN));
                }
                Ok(_) if self.backlog.is_empty() => return Ok(()),
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Has the kernel move the completions that it keeps into the queue, as many as fit. Submits nothing:
    /// while some are kept, the kernel cannot keep a multishot request going, and one that is armed anew on
    /// something ready would end at once, and be armed anew, for ever.
    ///
    /// # Errors
    /// Those of the system call.
    pub(crate) fn fetch(&mut self) -> io::Result<()> {
        self.enter(0, 0, EnterFlags::empty(), None).map(drop)
    }

    fn enter(
        &mut self,
        to_submit: u32,
        min_complete: u32,
        extra: EnterFlags,
        args: Option<&SubmitArgs<'_, '_>>,
    ) -> io::Result<u32> {
        self.counters.enters += 1;
        let mut flags = self.flags | extra;
        let fd = match self.index {
            Some(index) => {
                flags |= EnterFlags::REGISTERED_RING;
                index as RawFd
            }
            None => self.io.as_raw_fd(),
        };
        let size = if args.is_some() { size_of::<SubmitArgs<'_, '_>>() } else { 0 };
        let args: *const SubmitArgs<'_, '_> = args.map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the ring is open as long as `self` lives, and `index` stands for it on this thread.
        // The kernel reads `size` bytes at `args`, which outlives the call. The requests in the
        // queue were pushed under `push`'s contract.
        let result = unsafe {
            returns::system_call(
                libc::SYS_io_uring_enter,
                [
                    fd as usize,
                    to_submit as usize,
                    min_complete as usize,
                    flags.bits() as usize,
                    args.expose_provenance(),
                    size,
                ],
            )
        };
        result.map(|taken| taken as u32)
    }

    /// Takes completions out, at most a batch.
    pub(crate) fn reap<'a>(
        &mut self,
        batch: &'a mut [MaybeUninit<cqueue::Entry>; BATCH],
    ) -> &'a [cqueue::Entry] {
        let reaped = self.io.completion().fill(batch);
        if self.timer_due.is_some() {
            let timer = Kind::Ignore.alone() | self.timers;
            if reaped.iter().any(|entry| entry.user_data() == timer) {
                self.timer_due = None;
            }
        }
        reaped
    }

    pub(crate) fn sizes(&self) -> (u32, u32) {
        (self.io.params().sq_entries(), self.io.params().cq_entries())
    }

    pub(crate) fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// Drops the requests that were not submitted and gives the thread's number back.
    pub(crate) fn wind_down(&mut self) {
        self.backlog.clear();
        // Another thread has other rings under these numbers.
        if let Some(index) = self.index.take()
            && self.is_owned_here()
        {
            setup::unregister_ring_fd(&self.io, index);
        }
    }
}

impl Ring {
    /// Lets go of the ring in a process that did not make it: of the descriptor only, for the memory is
    /// not there, and its addresses may be used for something else.
    pub(crate) fn disown(&mut self) {
        if !self.disowned {
            self.disowned = true;
            // SAFETY: the descriptor is not used again: every method but this is kept from being called by
            // the driver, and `drop` does nothing.
            unsafe { libc::close(self.io.as_raw_fd()) };
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.disowned {
            return;
        }
        self.wind_down();
        // SAFETY: this is the only place where `io` is dropped, and nothing uses it afterwards.
        unsafe { ManuallyDrop::drop(&mut self.io) };
    }
}
