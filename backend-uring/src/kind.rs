//! What a request is: the top byte of the number by which the kernel names it (see `slot.rs`).

use anyloop_core::driver::Key;

/// What an operation is, as far as the completion loop must know before it looks at memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Nobody waits for it: cancellations.
    Ignore = 0,
    /// The poll of the waker.
    Wake = 1,
    /// Readiness of a registered descriptor.
    Poll = 2,
    /// Accepting.
    Accept = 3,
    /// Waiting to accept, on kernels that do not wait by themselves.
    AcceptReady = 4,
    /// Receiving.
    Recv = 5,
    /// Sending.
    Send = 6,
    /// The companion of a receive. It has no slot: the rest of its number is its key.
    Hangup = 7,
    /// The cancellation that kicks a receive.
    Kick = 8,
    /// Reading a file.
    Read = 9,
    /// Sending in silence. It has no slot: the rest of its number says where it stands (see `silent.rs`).
    Silent = 10,
    /// The poll of a send that waits for room. It has no slot: the rest of its number is its key.
    Room = 11,
}

impl Kind {
    /// The number of a request that has no slot.
    pub(crate) const fn alone(self) -> u64 {
        (self as u64) << 56
    }

    /// The number of a request of which a key has one.
    pub(crate) const fn of_key(self, key: Key) -> u64 {
        self.alone() | key.to_u64()
    }

    pub(crate) fn of(user_data: u64) -> Self {
        match (user_data >> 56) as u8 {
            1 => Self::Wake,
            2 => Self::Poll,
            3 => Self::Accept,
            4 => Self::AcceptReady,
            5 => Self::Recv,
            6 => Self::Send,
            7 => Self::Hangup,
            8 => Self::Kick,
            9 => Self::Read,
            10 => Self::Silent,
            11 => Self::Room,
            _ => Self::Ignore,
        }
    }
}
