//! Silent sends, for bytes whose end nobody waits for.
//!
//! A silent send is one that never waits (`MSG_DONTWAIT`) and makes no completion if it sends everything. It is
//! over when the submission returns: with a completion if something is left, without one if all is sent. That
//! spares a loop with little to do its second entry, and a busy one a completion per message.
//!
//! They are over in the order in which they were begun, so they stand in a queue, and the number of the
//! request says where.

use std::io;
use std::iter;
use std::mem;
use std::os::fd::AsRawFd;

use anyloop_core::driver::{Fd, LazySend};
use io_uring::{opcode, squeue, types};

use crate::driver::UringDriver;
use crate::kind::Kind;
use crate::send::{FLAGS, MOST};

/// The bits of a request's number that are not its kind.
const NUMBER: u64 = (1 << 56) - 1;

/// The silent sends that the core was not told about yet.
#[derive(Debug, Default)]
pub(crate) struct Silent {
    /// With what is true of them if nothing is heard: all is sent.
    queue: Vec<LazySend>,
    /// The number of the first.
    first: u64,
    /// How many of them are over.
    over: usize,
    /// How many requests of all kinds had been queued with the last.
    queued: u64,
}

impl Silent {
    /// How many may not be over.
    pub(crate) fn in_kernel(&self) -> usize {
        self.queue.len() - self.over
    }
}

impl UringDriver {
    pub(crate) fn silent_begin(&mut self, fd: Fd, buffer: &mut Vec<u8>, offset: usize) -> bool {
        let bytes = buffer.get(offset..).filter(|bytes| bytes.len() <= MOST);
        let may = self.features.silent_send && self.is_usable() && self.ring.is_enabled();
        let (true, Some(bytes)) = (may, bytes) else { return false };
        let number = self.silent.first.wrapping_add(self.silent.queue.len() as u64) & NUMBER;
        let length = bytes.len();
        let entry = opcode::Send::new(types::Fd(fd.as_raw_fd()), bytes.as_ptr(), length as u32)
            // Who sends a part of it fails, and says so.
            .flags(FLAGS | libc::MSG_WAITALL)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Kind::Silent.alone() | number);
        // SAFETY: the bytes are the heap memory of `buffer`, which goes into the queue. Nobody touches it until
        // the request is over and it leaves the queue; if that is never known, the queue is leaked (see `close.rs`).
        unsafe { self.ring.push(entry) };
        self.silent.queued = self.ring.queued();
        // Made where it stays: put together on the stack and copied at once it would be waited for.
        let send = || LazySend { buffer: mem::take(buffer), result: Ok(length) };
        self.silent.queue.extend(iter::once_with(send));
        true
    }

    /// One did not send everything.
    pub(crate) fn on_silent(&mut self, user_data: u64, result: i32) {
        let index = (user_data & NUMBER).wrapping_sub(self.silent.first) & NUMBER;
        let Some(send) = self.silent.queue.get_mut(index as usize) else { return };
        send.result = match usize::try_from(result) {
            Ok(sent) => Ok(sent),
            Err(_) if matches!(-result, libc::EINTR | libc::EAGAIN) => Ok(0),
            Err(_) => Err(io::Error::from_raw_os_error(-result)),
        };
    }

    /// Finds out whether they are over. To be called when all completions were taken.
    pub(crate) fn silent_confirm(&mut self) {
        if self.silent.in_kernel() > 0
            && self.ring.submitted().is_some_and(|submitted| self.silent.queued <= submitted)
        {
            self.silent.over = self.silent.queue.len();
        }
    }

    /// Tells the core of those that are over.
    pub(crate) fn silent_tell(&mut self, sent: &mut Vec<LazySend>) {
        let silent = &mut self.silent;
        let over = mem::take(&mut silent.over);
        silent.first = silent.first.wrapping_add(over as u64) & NUMBER;
        if over == silent.queue.len() && sent.is_empty() {
            mem::swap(&mut silent.queue, sent);
        } else {
            sent.extend(silent.queue.drain(..over));
        }
    }
}
