//! Queues in another order than that of arrival.

use std::fmt;
use std::ops::Deref;

use super::{Lifo, Priority, Queue};

/// A [`Queue`] that gives the smallest item first.
///
/// An `Ord` may look at the queue that it orders, and end it; what puts or takes an item there fails with
/// `Usage`.
///
/// ```
/// let queue = anyloop::PriorityQueue::new(0);
/// queue.put_nowait((2, "later"))?;
/// queue.put_nowait((1, "now"))?;
/// assert_eq!(queue.get_nowait()?, (1, "now"));
/// # Ok::<(), anyloop::Error>(())
/// ```
pub struct PriorityQueue<T: Ord>(Queue<T, Priority<T>>);

impl<T: Ord> PriorityQueue<T> {
    /// For at most `maxsize` items; zero means without limit.
    #[must_use]
    pub fn new(maxsize: usize) -> Self {
        Self(Queue::with_order(maxsize))
    }
}

impl<T: Ord> Deref for PriorityQueue<T> {
    type Target = Queue<T, Priority<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T: Ord> Clone for PriorityQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Ord> fmt::Debug for PriorityQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A [`Queue`] that gives the newest item first.
///
/// ```
/// let queue = anyloop::LifoQueue::new(0);
/// queue.put_nowait(1)?;
/// queue.put_nowait(2)?;
/// assert_eq!(queue.get_nowait()?, 2);
/// # Ok::<(), anyloop::Error>(())
/// ```
pub struct LifoQueue<T>(Queue<T, Lifo<T>>);

impl<T> LifoQueue<T> {
    /// For at most `maxsize` items; zero means without limit.
    #[must_use]
    pub fn new(maxsize: usize) -> Self {
        Self(Queue::with_order(maxsize))
    }
}

impl<T> Deref for LifoQueue<T> {
    type Target = Queue<T, Lifo<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> Clone for LifoQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for LifoQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
