//! What a connection has to send.

use crate::uring::{Buffers, Chunk};

/// A connection: flags, and bytes on their way out.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// Between accept and close.
    pub(super) open: bool,
    /// The peer will send no more.
    pub(super) ended: bool,
    /// Whether it is in the outbox already.
    queued: bool,
    /// Received in this batch and contiguous in the buffers.
    fresh: Option<(usize, usize)>,
    /// Handed to the kernel by the last batch.
    sending: Option<(usize, usize)>,
    /// For a peer that is slower than its own questions. Boxed: most never need it.
    slow: Option<Box<Slow>>,
}

/// Bytes copied out of the buffers.
#[derive(Debug, Default)]
struct Slow {
    /// With the kernel, not to be touched.
    leaving: Vec<u8>,
    waiting: Vec<u8>,
}

/// What to send next.
#[derive(Debug)]
pub(super) enum Pending {
    Nothing,
    /// Bytes in the buffers, to be sent at once or not at all.
    InBuffers {
        begin: usize,
        length: usize,
    },
    /// Copied bytes, which may take their time.
    Copied {
        address: *const u8,
        length: usize,
    },
}

impl Connection {
    /// A connection that has just been made.
    pub(super) fn accepted() -> Self {
        Self { open: true, ..Self::default() }
    }

    /// Whether it must be put into the outbox; it counts as being there from now on.
    pub(super) fn idle(&mut self) -> bool {
        !std::mem::replace(&mut self.queued, true)
    }

    /// Takes note of bytes to be echoed.
    pub(super) fn echo(&mut self, chunk: Chunk, buffers: &Buffers) {
        match &mut self.fresh {
            None if self.slow.is_none() => self.fresh = Some((chunk.begin, chunk.length)),
            Some((begin, length)) if *begin + *length == chunk.begin => *length += chunk.length,
            _ => {
                self.copy_fresh(buffers);
                self.waiting().extend_from_slice(buffers.bytes(chunk.begin, chunk.length));
            }
        }
    }

    /// What to send, now that the batch is complete.
    pub(super) fn take(&mut self, buffers: &Buffers) -> Pending {
        self.queued = false;
        // After the last bytes the connection is closed, so their way out must be known.
        if self.slow.is_some() || self.ended {
            self.copy_fresh(buffers);
        }
        self.sending = self.fresh.take();
        if let Some((begin, length)) = self.sending {
            return Pending::InBuffers { begin, length };
        }
        match &mut self.slow {
            Some(slow) if slow.leaving.is_empty() && !slow.waiting.is_empty() => {
                std::mem::swap(&mut slow.leaving, &mut slow.waiting);
                Pending::Copied { address: slow.leaving.as_ptr(), length: slow.leaving.len() }
            }
            _ => Pending::Nothing,
        }
    }

    /// The send from the buffers went only as far as `result` says: keeps the rest.
    pub(super) fn retreat(&mut self, result: i32, buffers: &Buffers) {
        let Some((begin, length)) = self.sending.take() else { return };
        if result < 0 && result != -libc::EAGAIN {
            // The receiving side learns of it too and closes.
            return;
        }
        let sent = result.max(0) as usize;
        let rest = buffers.bytes(begin + sent, length - sent);
        // Older than anything received since.
        self.waiting().splice(0..0, rest.iter().copied());
    }

    /// The send of copied bytes is over.
    pub(super) fn copied_sent(&mut self, result: i32) {
        let Some(slow) = &mut self.slow else { return };
        slow.leaving.clear();
        if slow.waiting.is_empty() || result < 0 {
            self.slow = None;
        }
    }

    /// Whether nothing will be received and nothing is left to be sent.
    pub(super) fn through(&self) -> bool {
        self.open && self.ended && self.slow.is_none()
    }

    fn copy_fresh(&mut self, buffers: &Buffers) {
        if let Some((begin, length)) = self.fresh.take() {
            self.waiting().extend_from_slice(buffers.bytes(begin, length));
        }
    }

    fn waiting(&mut self) -> &mut Vec<u8> {
        &mut self.slow.get_or_insert_default().waiting
    }
}
