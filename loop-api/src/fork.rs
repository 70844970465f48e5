//! Forks: how a loop knows that it belongs to the parent of this process.

use std::sync::atomic::{AtomicU64, Ordering};

/// Zero in the process that began; one more in each child that was forked.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// How many forks lie between the first process and this one, as far as
/// [`note_fork`] was told.
#[must_use]
#[inline]
pub fn fork_generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Tells that this process is a child that was just forked. For those who can hook into `fork`
/// (`pthread_atfork`): `anyloop-core` does. May be called there: it changes one atomic number.
pub fn note_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}
