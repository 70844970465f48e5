//! Ending things: one operation, one descriptor, the whole driver.
//!
//! A request that waits holds its file open, whatever we do with the descriptor: the peer sees no
//! end, the port stays taken. So requests are cancelled first, the cancellation is submitted and
//! worked off, and only then the descriptor is closed. Requests are cancelled by their number
//! and not by descriptor: that is a look-up and not a search of all requests, and spares those on
//! a duplicate of the descriptor.

use std::mem;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyloop_core::driver::Key;
use io_uring::types::CancelBuilder;
use io_uring::{opcode, squeue};

use crate::driver::UringDriver;
use crate::keys::KeyOps;
use crate::kind::Kind;
use crate::room::Room;
use crate::slot::{OpId, State};

/// How long the end of the driver waits for the kernel to let go of memory.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a flush is refused before it gives up.
const REFUSALS: usize = 64;

impl UringDriver {
    /// Gives an operation up: frees it, or makes it an orphan whose cancellation is queued. Whether
    /// the kernel has something to do.
    pub(crate) fn abandon(&mut self, id: OpId) -> bool {
        let Some(op) = self.ops.get(id) else { return false };
        let before = op.state;
        match before {
            State::Idle => {
                self.ops.remove(id);
            }
            State::Armed => {
                op.state = State::Orphan;
                return self.cancel_op(id);
            }
            // The cancellation is queued, or was submitted already.
            State::Stopping | State::Restarting => op.state = State::Orphan,
            State::Orphan => {}
        }
        before.in_kernel()
    }

    /// Gives up what a key with this slot has, or had; whether the kernel has something to do.
    pub(crate) fn abandon_all(&mut self, slot: u32, left: KeyOps) -> bool {
        if left.hangup {
            self.cancel(Kind::Hangup.of_key(left.key(slot)), Kind::Ignore.alone());
        }
        if left.room == Room::Watched {
            self.cancel(Kind::Room.of_key(left.key(slot)), Kind::Ignore.alone());
        }
        let mut cancelled = left.hangup || left.room != Room::Unwatched;
        for op in left.all() {
            if let Some((id, _)) = self.ops.at(op) {
                cancelled |= self.abandon(id);
            }
        }
        cancelled
    }

    /// Takes an operation back that was never submitted, or queues its cancellation; whether the
    /// latter.
    pub(crate) fn cancel_op(&mut self, id: OpId) -> bool {
        let Some(op) = self.ops.get(id) else { return false };
        let kind = op.kind;
        if self.ring.retract(id.user_data(kind)) {
            if self.ops.landed(id) == State::Orphan {
                self.ops.remove(id);
            }
            return false;
        }
        self.cancel(id.user_data(kind), Kind::Ignore.alone());
        if kind == Kind::Accept && self.features.poll_before_accept {
            // Which of the two it is now is the kernel's secret.
            self.cancel(id.user_data(Kind::AcceptReady), Kind::Ignore.alone());
        }
        true
    }

    /// Queues the cancellation of a request. It says nothing if it works; if the request is gone
    /// already, it says so under the number `answer`.
    pub(crate) fn cancel(&mut self, user_data: u64, answer: u64) {
        let entry = opcode::AsyncCancel::new(user_data)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(answer);
        // SAFETY: the request points to no memory.
        unsafe { self.ring.push(entry) };
    }

    /// Gives up all operations of a key and closes the descriptor.
    pub(crate) fn close_key(&mut self, fd: OwnedFd, key: Key) {
        self.stash.retain(|event| event.key() != key);
        // A silent send needs no cancellation, but its descriptor until it is submitted.
        let mut cancelled = mem::take(&mut self.replaced) | (self.silent.in_kernel() > 0);
        if let Some(ops) = self.keys.take(key) {
            cancelled |= self.abandon_all(key.slot, ops);
        }
        // If there is nothing to submit, the cancellation was submitted before and has been worked off.
        if cancelled && self.ring.has_business() && !self.flush() && self.ring.has_queued() {
            // Requests that go by its number have yet to be submitted: until then no other file may
            // have it.
            self.retained.push(fd);
        }
    }

    /// Submits everything and has the kernel work off what follows from it, without waiting; whether
    /// it did. Completions that this brings are kept for the next poll.
    pub(crate) fn flush(&mut self) -> bool {
        if !self.ring.is_enabled() {
            return true;
        }
        if !self.ring.is_owned_here() {
            return false;
        }
        let mut refusals = 0;
        // An entry works off about twenty completions, and whoever floods us adds to them meanwhile.
        for _ in 0..REFUSALS + self.ops.in_kernel() {
            match self.ring.submit() {
                Ok(()) if !self.ring.has_deferred_work() => return true,
                Ok(()) => {}
                Err(error)
                    if refusals < REFUSALS
                        && matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN)) =>
                {
                    refusals += 1;
                    let mut stash = mem::take(&mut self.stash);
                    self.woken |= self.reap(&mut stash).woken;
                    self.stash.append(&mut stash);
                }
                Err(_) => return false,
            }
        }
        false
    }

    /// Ends all operations and waits until the kernel has let go of them; what it still has after a
    /// bounded time is leaked.
    pub(crate) fn wind_down(&mut self) {
        if mem::replace(&mut self.finished, true) {
            return;
        }
        self.stash.clear();
        if !self.is_ours() {
            self.ring.disown();
            mem::forget((mem::take(&mut self.ops), mem::take(&mut self.silent)));
            return;
        }
        self.ops.orphan_all();
        if self.ring.is_enabled() {
            let cancel_all = opcode::AsyncCancel2::new(CancelBuilder::any())
                .build()
                .user_data(Kind::Ignore.alone());
            // SAFETY: the request points to no memory.
            unsafe { self.ring.push(cancel_all) };
            self.drain(Instant::now() + PATIENCE);
        } else {
            // Nothing was ever submitted.
            self.ops = Default::default();
        }
        self.ring.wind_down();
        if self.ops.in_kernel() + self.silent.in_kernel() > 0 {
            // The kernel may still read and write these. Leaking is safe, freeing is not.
            mem::forget((mem::take(&mut self.ops), mem::take(&mut self.silent)));
            if let Some(buffers) = &self.buffers {
                mem::forget(Rc::clone(buffers));
            }
        } else if self.buffers.is_some() {
            let _ = self.ring.io().submitter().unregister_buf_ring(crate::buffers::GROUP);
        }
    }

    /// Takes completions until the kernel has no request of ours or time is up.
    fn drain(&mut self, deadline: Instant) {
        let mut nothing = Vec::new();
        let mut rounds = 0_u32;
        while self.ops.in_kernel() + self.silent.in_kernel() > 0 || rounds == 0 {
            rounds += 1;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // The first round only submits. Later ones wait, but not for long: completions of the
            // waker would do for the kernel, not for us.
            let result = if rounds == 1 || self.ring.has_completions() {
                self.ring.submit()
            } else {
                self.ring.wait(Some(left.min(Duration::from_millis(50)))).map(drop)
            };
            self.reap(&mut nothing);
            self.silent_confirm();
            nothing.clear();
            if let Err(error) = result
                && !matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN | libc::EINTR))
            {
                return;
            }
        }
    }
}
