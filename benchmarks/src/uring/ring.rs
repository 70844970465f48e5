//! A ring, entered once per batch through its registered descriptor.

use std::io;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue};

/// A ring that is entered once per batch.
pub(crate) struct Ring<'a> {
    submitter: Submitter<'a>,
    submissions: SubmissionQueue<'a>,
    completions: CompletionQueue<'a>,
}

impl<'a> Ring<'a> {
    /// A ring with the cheapest settings this kernel has.
    pub(crate) fn build() -> io::Result<IoUring> {
        let common = || {
            let mut builder = IoUring::builder();
            builder.setup_submit_all().setup_clamp().setup_cqsize(16_384).dontfork();
            builder
        };
        let deferred = || {
            let mut builder = common();
            builder.setup_single_issuer().setup_defer_taskrun();
            builder
        };
        deferred()
            .setup_no_sqarray()
            .build(ENTRIES)
            .or_else(|_| deferred().build(ENTRIES))
            .or_else(|_| common().setup_coop_taskrun().build(ENTRIES))
    }

    /// Takes the ring into use on this thread.
    pub(crate) fn new(ring: &'a mut IoUring) -> Self {
        let (mut submitter, submissions, completions) = ring.split();
        // Before 5.18 there is no such thing; the plain descriptor does as well, a little slower.
        let _ = submitter.register_ring_fd();
        Self { submitter, submissions, completions }
    }

    /// For registering things.
    pub(crate) fn submitter(&self) -> &Submitter<'a> {
        &self.submitter
    }

    /// Queues `entry` for the next [`enter`](Self::enter).
    ///
    /// # Safety
    ///
    /// What `entry` points to must stay valid until the request is finished.
    pub(crate) unsafe fn push(&mut self, entry: &Entry) -> io::Result<()> {
        loop {
            // SAFETY: the caller keeps alive what the entry points to.
            if unsafe { self.submissions.push(entry) }.is_ok() {
                return Ok(());
            }
            self.enter(0)?;
        }
    }

    /// As [`enter`](Self::enter) with one wanted completion, but without one if none comes in time.
    pub(crate) fn enter_within(&mut self, patience: Duration) -> io::Result<()> {
        self.completions.sync();
        self.submissions.sync();
        let timeout = Timespec::from(patience);
        let entered = self.submitter.submit_with_args(1, &SubmitArgs::new().timespec(&timeout));
        self.entered(entered)
    }

    /// Submits what is queued and waits for `wanted` completions, in one system call.
    pub(crate) fn enter(&mut self, wanted: u32) -> io::Result<()> {
        // The kernel must know what has been read, or it sees no reason to wait.
        self.completions.sync();
        self.submissions.sync();
        let queued = self.submissions.len() as u32;
        // SAFETY: no argument is passed, and what the queued entries point to is kept alive by
        // those who pushed them.
        let entered = unsafe {
            self.submitter.enter::<libc::sigset_t>(queued, wanted, ENTER_GETEVENTS, None)
        };
        self.entered(entered)
    }

    /// Takes note of what an enter did.
    fn entered(&mut self, result: io::Result<usize>) -> io::Result<()> {
        match result {
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINTR | libc::EBUSY | libc::ETIME)
                ) => {}
            Err(error) => return Err(error),
        }
        self.submissions.sync();
        self.completions.sync();
        Ok(())
    }

    /// Whether the last [`enter`](Self::enter) brought nothing, or all of it is taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.completions.is_empty()
    }

    /// The next completion of the last [`enter`](Self::enter).
    pub(crate) fn next(&mut self) -> Option<cqueue::Entry> {
        self.completions.next()
    }
}

impl Drop for Ring<'_> {
    fn drop(&mut self) {
        // Leaves the place to the next one; without a place there is nothing to leave.
        let _ = self.submitter.unregister_ring_fd();
    }
}

const ENTRIES: u32 = 4096;
const ENTER_GETEVENTS: u32 = 1;
