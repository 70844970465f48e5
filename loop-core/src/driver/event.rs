//! What a driver tells.

use std::io;
use std::os::fd::OwnedFd;

use super::{Chunk, Key, Readiness};

/// One thing that happened, as plain data.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Readiness of a registered descriptor.
    Ready {
        /// The registration.
        key: Key,
        /// What was seen.
        readiness: Readiness,
    },
    /// A connection taken from a listener on which `accept_start` is in force. The socket is
    /// non-blocking and close-on-exec.
    Accepted {
        /// The listener.
        key: Key,
        /// The connection.
        fd: OwnedFd,
    },
    /// Accepting ended (by an error, by `accept_stop`, or because the kernel gave it up).
    /// No further `Accepted` follows until the next `accept_start`.
    AcceptEnded {
        /// The listener.
        key: Key,
        /// Why; `None` if it was stopped or merely needs to be started again.
        error: Option<io::Error>,
    },
    /// Bytes received on a stream on which `recv_start` is in force, in order.
    Data {
        /// The stream.
        key: Key,
        /// The bytes, lent until the chunk is dropped. Never empty.
        chunk: Chunk,
    },
    /// Receiving ended. No further `Data` follows until the next `recv_start`.
    RecvEnded {
        /// The stream.
        key: Key,
        /// Why.
        reason: RecvEnd,
    },
    /// The send in flight is finished: the terminal event of each accepted `send`.
    Sent {
        /// The stream.
        key: Key,
        /// The buffer, given back.
        buffer: Vec<u8>,
        /// How many bytes the kernel took, or the error. May be short.
        result: io::Result<usize>,
    },
    /// A read of a file is finished: the terminal event of each accepted `pread`.
    Read {
        /// The read.
        key: Key,
        /// The buffer, given back.
        buffer: Vec<u8>,
        /// How many bytes are at its front, none at the end of the file; or the error. `EAGAIN` and the
        /// like mean that this file is not to be read in this way.
        result: io::Result<usize>,
    },
}

impl Event {
    /// The registration it is about.
    #[must_use]
    pub const fn key(&self) -> Key {
        match self {
            Self::Ready { key, .. }
            | Self::Accepted { key, .. }
            | Self::AcceptEnded { key, .. }
            | Self::Data { key, .. }
            | Self::RecvEnded { key, .. }
            | Self::Sent { key, .. }
            | Self::Read { key, .. } => *key,
        }
    }
}

/// What became of a [`Driver::send_lazily`](super::Driver::send_lazily).
#[derive(Debug)]
pub struct LazySend {
    /// The buffer, given back.
    pub buffer: Vec<u8>,
    /// How many bytes the kernel took, or the error. May be short, down to none, without an error; what is
    /// left goes to [`Driver::send`](super::Driver::send).
    pub result: io::Result<usize>,
}

/// Why receiving ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecvEnd {
    /// The peer will send no more.
    Eof,
    /// The connection failed.
    Error(io::Error),
    /// `recv_stop` took effect. Everything received before it has been delivered as `Data`.
    Stopped,
    /// The kernel gave the request up without an error (no buffer, completion queue full): call
    /// `recv_start` again, or read directly.
    Exhausted,
}
