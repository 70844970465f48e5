//! The contract between the loop core and the kernel interface under it.
//!
//! A backend is a [`Driver`]. Its first tier, readiness, is required and small: `name`, `caps`, `waker`,
//! `poll`, `register`, `modify`, `deregister`, `close`. The second tier, the *engine* (accepting, receiving, sending and
//! reading files done by the kernel), is optional: it is advertised by [`Caps`], and what is not
//! there the core does itself with readiness, plain system calls, and its pool of threads.
//!
//! ```text
//!   BaseLoop ── poll(timeout) ──▶ Driver ── epoll_wait / io_uring_enter / poll ──▶ kernel
//!      ▲                            │
//!      └──── Vec<Event> ◀───────────┘        never a call into user code from inside the driver
//! ```
//!
//! # Rules every driver keeps
//!
//! * `poll` appends plain [`Event`]s and returns; it never calls user code.
//! * Every event carries the [`Key`] given at registration. Keys are never reused by the core (they
//!   hold a generation), so an event for a key that the core has forgotten is simply dropped. A
//!   driver must keep two registrations of one descriptor *number* apart by their keys: the first
//!   descriptor may have been closed behind our back. [`registrations`](crate::registrations) is a table
//!   for that.
//! * Nothing is reported of a registration that is silent ([`Interest::NONE`]), hang-ups and errors
//!   included.
//! * After `deregister` (or `close`) returns, the descriptor may be closed and its number reused at
//!   once; nothing the driver does later may touch it.
//! * Only [`Waker::wake`] may be called from another thread.

mod caps;
mod closed;
mod event;
mod readiness;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

pub use self::caps::{Caps, Trigger};
pub(crate) use self::closed::Closed;
pub use self::event::{Event, LazySend, RecvEnd};
pub use self::readiness::{Interest, Readiness};
pub use crate::chunk::{Chunk, ChunkPool};

/// A borrowed descriptor that the core keeps open for as long as the driver may use it: from
/// `register` (or the first engine call) until `deregister` or `close` returns.
#[derive(Clone, Copy)]
pub struct Fd(BorrowedFd<'static>);

impl Fd {
    /// Wraps a descriptor that stays open while a driver may use it.
    #[must_use]
    pub fn new(fd: BorrowedFd<'static>) -> Self {
        Self(fd)
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl fmt::Debug for Fd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fd({})", self.as_raw_fd())
    }
}

/// Names one registration: a slot and the generation of that slot.
///
/// The core never uses a key twice, so a late event is recognised and dropped.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Index of the slot; small and dense, so a driver may use it as a vector index.
    pub slot: u32,
    /// Generation of the slot; 24 bits are significant.
    pub generation: u32,
}

impl Key {
    /// Slots at and above this one belong to the driver (wakers, timers of its own).
    pub const RESERVED: u32 = 0xffff_ff00;
    /// The bits of a generation, which is also the last one.
    pub const GENERATION: u32 = 0x00ff_ffff;

    /// Packs the key into 56 bits: generation (24) above slot (32). The top byte is free.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        (((self.generation & Self::GENERATION) as u64) << 32) | self.slot as u64
    }

    /// The reverse of [`Key::to_u64`]; the top byte is ignored.
    #[must_use]
    pub const fn from_u64(bits: u64) -> Self {
        Self { slot: bits as u32, generation: (bits >> 32) as u32 & Self::GENERATION }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}.{})", self.slot, self.generation)
    }
}

/// Wakes a driver that sleeps in `poll`, from any thread.
///
/// The core coalesces: it calls `wake` only for a loop that went to sleep. A wake that arrives
/// before the sleep must end it.
pub trait Waker: Send + Sync + fmt::Debug {
    /// Ends the current `poll`, or the next one if none is running. Never blocks; never fails.
    fn wake(&self);
}

/// The kernel interface under a loop. See the [module](self) for the rules.
///
/// All methods but [`Driver::waker`]'s result are called on one thread at a time: the thread that
/// runs the loop, or, before the first run, the thread that created it.
pub trait Driver: fmt::Debug + 'static {
    /// Short name as in `ANYLOOP_BACKEND`: `"mio"`.
    fn name(&self) -> &'static str;

    /// What this driver does itself. Constant over its life.
    fn caps(&self) -> Caps;

    /// Called on the thread that is about to run the loop, before the first `poll` of each run.
    ///
    /// # Errors
    /// If this thread may not drive (an io_uring already owned by another thread).
    fn attach(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The handle with which other threads end a sleep. May be called more than once.
    fn waker(&self) -> Arc<dyn Waker>;

    /// Submits what is queued, waits at most `timeout` (`None`: until something happens; zero: does
    /// not block) and appends what happened to `events`. Returning early with nothing is allowed
    /// (a wake, a signal); returning before `timeout` for no reason is not.
    ///
    /// One system call where the kernel allows it.
    ///
    /// # Errors
    /// Only what makes the loop unusable. `EINTR` is not an error.
    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()>;

    /// A descriptor that becomes readable when `poll` has something to report, so that a foreign loop
    /// can watch this one. `None` if the kernel interface has none.
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    // --- tier 1: readiness ---

    /// Starts watching `fd`. If a wanted condition already holds, an event follows.
    ///
    /// # Errors
    /// `EPERM` for files that cannot be polled, `EEXIST` for a descriptor that is registered already, `EBADF`,
    /// `ENOMEM`.
    fn register(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()>;

    /// Changes what is wanted and re-arms: if the condition holds now, an event follows.
    ///
    /// # Errors
    /// As `register`; `ENOENT` if the descriptor is not registered (it was closed meanwhile).
    fn modify(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()>;

    /// Stops watching. Afterwards `fd` may be closed at once. A descriptor that was closed behind
    /// our back is not an error.
    ///
    /// # Errors
    /// Only what leaves the registration in place.
    fn deregister(&mut self, fd: Fd, key: Key) -> io::Result<()>;

    // --- tier 2: the engine, for streams and listeners that are *not* registered ---

    /// Begins accepting on a listening socket: `Accepted` for each connection until `AcceptEnded`.
    ///
    /// # Errors
    /// `Unsupported` without [`Caps::accept`].
    fn accept_start(&mut self, fd: Fd, key: Key) -> io::Result<()> {
        let _ = (fd, key);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Asks to stop accepting; `AcceptEnded` follows, connections taken meanwhile come before it.
    fn accept_stop(&mut self, fd: Fd, key: Key) {
        let _ = (fd, key);
    }

    /// Begins receiving on a stream socket: `Data` until `RecvEnded`.
    ///
    /// # Errors
    /// `Unsupported` without [`Caps::recv`].
    fn recv_start(&mut self, fd: Fd, key: Key) -> io::Result<()> {
        let _ = (fd, key);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Asks to stop receiving; `RecvEnded` follows, and what was received meanwhile comes before it.
    fn recv_stop(&mut self, fd: Fd, key: Key) {
        let _ = (fd, key);
    }

    /// Sends `buffer[offset..]`. The buffer belongs to the driver until `Sent`. At most one send
    /// is in flight per key; the core sees to that.
    ///
    /// # Errors
    /// The buffer comes back if the driver cannot take it now (no [`Caps::send`], out of slots); the
    /// core then sends by itself.
    fn send(&mut self, fd: Fd, key: Key, buffer: Vec<u8>, offset: usize) -> Result<(), Vec<u8>> {
        let _ = (fd, key, offset);
        Err(buffer)
    }

    /// As [`Driver::send`], for bytes whose end nobody waits for: there is no `Sent`. What became of them
    /// is told by `lazily_sent`, as late as after the next poll that returns for something else.
    ///
    /// Takes what is in `buffer`, and leaves it empty. False, and untouched, if the driver has no such
    /// thing, or cannot take it now; it then goes to `send`.
    fn send_lazily(&mut self, fd: Fd, buffer: &mut Vec<u8>, offset: usize) -> bool {
        let _ = (fd, buffer, offset);
        false
    }

    /// Appends what became of the sends by `send_lazily`: one for each that is over, in the order in which
    /// they were begun, those whose key was closed meanwhile included. The core asks after each poll, as long
    /// as there are any.
    fn lazily_sent(&mut self, sent: &mut Vec<LazySend>) {
        let _ = sent;
    }

    /// Reads from a regular file, from `offset` on, into all of `buffer`. File and buffer belong to the
    /// driver until `Read`; there is one read for a key, and nothing ends it before.
    ///
    /// # Errors
    /// The buffer comes back if the driver cannot take it now (no [`Caps::pread`]); the core then reads in
    /// its pool.
    fn pread(
        &mut self,
        file: Arc<File>,
        key: Key,
        buffer: Vec<u8>,
        offset: u64,
    ) -> Result<(), Vec<u8>> {
        let _ = (file, key, offset);
        Err(buffer)
    }

    /// Ends everything the engine has in flight for `key` and closes `fd`. When it returns, the number
    /// may be reused and the peer will see the end of the connection; late completions of the key are
    /// swallowed by the driver (their buffers and sockets freed). Listeners, streams and registered
    /// descriptors alike.
    fn close(&mut self, fd: OwnedFd, key: Key);

    /// Frees everything: ends all operations, waits (bounded) for the kernel to let go of memory.
    /// Called once, when the loop closes; nothing is called afterwards.
    fn shutdown(&mut self) {}

    /// A line for reports of hangs and for `doctor`: operations in flight, sizes, counters.
    fn describe(&self) -> String {
        String::new()
    }
}
