//! One connection of the generator: what it still has to send and what it expects back.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use super::Meter;
use super::pattern::Pattern;

/// A socket and the state of its two streams. Knows nothing of how bytes are moved.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The socket.
    pub(crate) socket: OwnedFd,
    sent_to: usize,
    unsent: usize,
    received_to: usize,
    of_message: usize,
    under_way: VecDeque<u64>,
}

impl Connection {
    /// A fresh connection that has exchanged nothing.
    pub(crate) fn new(socket: OwnedFd, start: usize) -> Self {
        Self {
            socket,
            sent_to: start,
            unsent: 0,
            received_to: start,
            of_message: 0,
            under_way: VecDeque::new(),
        }
    }

    /// Lets `messages` more messages of `size` bytes leave.
    pub(crate) fn push(&mut self, messages: usize, size: usize, now: u64) {
        self.unsent += messages * size;
        self.under_way.extend(std::iter::repeat_n(now, messages));
    }

    /// The bytes to send next; empty if there are none.
    pub(crate) fn outgoing<'a>(&self, pattern: &'a Pattern) -> &'a [u8] {
        pattern.slice(self.sent_to, self.unsent)
    }

    /// Notes that the first `length` bytes of [`outgoing`](Self::outgoing) have left.
    pub(crate) fn sent(&mut self, length: usize, pattern: &Pattern) {
        self.sent_to = pattern.advance(self.sent_to, length);
        self.unsent -= length;
    }

    /// Checks `bytes` that came back and counts the messages they complete.
    pub(crate) fn received(
        &mut self,
        bytes: &[u8],
        size: usize,
        pattern: &Pattern,
        meter: &mut Meter,
    ) -> io::Result<usize> {
        if !pattern.matches(self.received_to, bytes) {
            return Err(io::Error::other("the server answered with other bytes than it was sent"));
        }
        self.received_to = pattern.advance(self.received_to, bytes.len());
        self.of_message += bytes.len();
        let complete = self.of_message / size;
        self.of_message %= size;
        if complete > 0 {
            let now = meter.now();
            for _ in 0..complete {
                let sent_at = self.under_way.pop_front();
                let extra = || io::Error::other("the server answered more than it was sent");
                meter.answered(sent_at.ok_or_else(extra)?, now);
            }
        }
        Ok(complete)
    }
}
