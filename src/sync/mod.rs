//! Synchronisation of tasks: locks, events, conditions, semaphores, barriers.
//!
//! All of them are cheap handles of objects on one loop: clones name the same object. Taking what is free
//! neither suspends nor allocates. Waiters are served in the order in which they came, and one that is
//! cancelled or dropped, at whatever moment, leaves nothing behind and keeps nothing to itself: a lock, a
//! permit or a wake-up that was on its way goes to the next one. An object belongs to the first loop that
//! waits for it; tasks of another one get a `Usage` error when they would have to wait.

mod barrier;
mod condition;
mod event;
mod lock;
mod semaphore;
pub(crate) mod wait_list;

pub use barrier::{Barrier, BarrierWait};
pub use condition::{Condition, Holds};
pub use event::{Event, EventWait};
pub use lock::{Acquire, Lock, LockGuard, LockScoped};
pub use semaphore::{BoundedSemaphore, Permit, Semaphore, SemaphoreAcquire, SemaphoreScoped};
