//! The anyloop event loop over io_uring.
//!
//! # Some facts about io_uring
//!
//! * Two rings are shared with the kernel: requests go into one, completions come out of the other. One
//!   system call, `io_uring_enter`, hands over all requests and waits for completions; a busy loop
//!   makes one per iteration, whatever the number of connections.
//! * A *multishot* request stays: one accept brings all connections of a listener, one receive all
//!   bytes of a stream, one poll all changes of a descriptor. Each of its completions says whether
//!   more will follow; it may end at any of them, also at one that brings bytes.
//! * Receives take their memory from a ring of buffers when there are bytes, so idle streams hold
//!   none. What was received is lent to the protocol where it lies. With *incremental* buffers (6.12) the
//!   messages of many streams lie one behind the other in a few large buffers.
//! * The kernel may read and write the memory of a request until its last completion. Cancelling the
//!   request, closing the descriptor or closing the ring does not change that. So an operation's memory
//!   is freed by its last completion, and by nothing else.
//! * A request holds its file open. Closing a descriptor with a receive in flight closes nothing: the
//!   peer sees no end, the port stays taken. Cancel first, and submit the cancellation.
//! * A full completion queue loses nothing, but ends multishot requests, and makes the kernel keep a
//!   list that the next entry takes over.
//! * With `DEFER_TASKRUN` (6.1) completions appear only during an entry that asks for them
//!   (`GETEVENTS`), also one that does not wait; and the ring belongs to the thread that enabled it.
//! * A file is read at once if its contents are in memory, during the submission. Else the kernel waits for the
//!   disk without a thread where the file system lets it, and by a thread of its own where not. Everything
//!   else that concerns files, writes included, is done by such a thread.
//! * A wait is exact: it has no slack and counts nanoseconds.
//! * Containers, seccomp filters and administrators forbid io_uring. [`probe()`] says who.
//!
//! # Which kernel has what
//!
//! | kernel | what is used |
//! | --- | --- |
//! | 5.19 | buffer ring, multishot accept and poll: the least that will do |
//! | 6.0 | multishot receive, one issuer |
//! | 6.1 | completions on request |
//! | 6.6 | no table of submissions |
//! | 6.12 | incremental buffers |
//! | 6.15 | a sleeping loop does not count as waiting for a disk |
//!
//! What is missing is found out by trying. [`Config`] has a switch for each, and `ANYLOOP_URING` sets
//! them from outside: `ANYLOOP_URING=no-multishot-recv,cq=1024`.
//!
//! # Use
//!
//! ```
//! use anyloop_api::EventLoopExt;
//!
//! # if let Err(reason) = anyloop_uring::probe() { eprintln!("not here: {reason}"); return Ok(()); }
//! let lp = anyloop_uring::new_event_loop()?;
//! assert_eq!(lp.run_until_complete(async { 6 * 7 })?, 42);
//! lp.close()?;
//! # Ok::<(), anyloop_api::Error>(())
//! ```
//!
//! Or hand [`EventLoopPolicy`] to `anyloop::set_event_loop_policy`, or choose it at run time with
//! `ANYLOOP_BACKEND=uring`.

mod config;
mod policy;

pub use config::{Config, ConfigError};
pub use policy::{DESCRIPTOR, EventLoopPolicy, new_event_loop, open};

/// The name of this backend, as in `ANYLOOP_BACKEND`.
pub const NAME: &str = "uring";

#[cfg(has_io_uring)]
mod accept;
#[cfg(has_io_uring)]
mod buffers;
#[cfg(has_io_uring)]
mod close;
#[cfg(has_io_uring)]
mod driver;
#[cfg(has_io_uring)]
mod hangup;
#[cfg(has_io_uring)]
mod keys;
#[cfg(has_io_uring)]
mod kind;
#[cfg(has_io_uring)]
mod memory;
#[cfg(has_io_uring)]
mod owner;
#[cfg(has_io_uring)]
mod poll;
#[cfg(has_io_uring)]
mod probe;
#[cfg(has_io_uring)]
mod read;
#[cfg(has_io_uring)]
mod recv;
#[cfg(has_io_uring)]
mod ring;
#[cfg(has_io_uring)]
mod room;
#[cfg(has_io_uring)]
mod send;
#[cfg(has_io_uring)]
mod setup;
#[cfg(has_io_uring)]
mod silent;
#[cfg(has_io_uring)]
mod slot;
#[cfg(has_io_uring)]
mod turn;
#[cfg(has_io_uring)]
mod waker;

#[cfg(has_io_uring)]
pub use self::{driver::UringDriver, probe::probe};

#[cfg(not(has_io_uring))]
mod elsewhere;
#[cfg(not(has_io_uring))]
pub use elsewhere::{UringDriver, probe};
