//! The timers of a loop: a 4-ary heap ordered by deadline, then by creation.
//!
//! Cancelling marks the entry and frees the closure at once; the entry itself leaves the heap at once if
//! it is the last (the usual timeout that is not reached), when it reaches the front, or when more than a
//! hundred entries, and more than half of all, are cancelled (asyncio's numbers, TIMER-11). Both insert and
//! cancel are O(1) for the usual growing deadlines.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use anyloop_api::{Handle, LoopInstant, TimerHandle, TimerInfo, TimerQueue};

/// Deadline and sequence number, as one number: compared without a branch, which nobody could predict.
type Key = u128;

fn key(when: LoopInstant, sequence: u64) -> Key {
    Key::from(when.as_nanos()) << 64 | Key::from(sequence)
}

fn when(key: Key) -> LoopInstant {
    LoopInstant::from_nanos((key >> 64) as u64)
}

/// Keys and handles apart: a handle is pushed and popped in two registers. As a part of something larger
/// it would be put together in memory and copied from there at once, for which the processor waits.
#[derive(Default)]
struct Heap {
    keys: Vec<Key>,
    handles: Vec<Handle>,
}

#[derive(Default)]
pub(crate) struct Timers {
    heap: RefCell<Heap>,
    sequence: Cell<u64>,
    cancelled: Cell<usize>,
    /// The memory of the last compaction, for the next one.
    dead: Cell<Vec<Handle>>,
}

const ARITY: usize = 4;
const COMPACT_ABOVE: usize = 100;

impl Timers {
    pub(crate) fn insert(self: &Rc<Self>, when: LoopInstant, handle: Handle) -> TimerHandle {
        let sequence = self.push(when, handle.clone());
        TimerHandle::new(handle, when, sequence, self.clone())
    }

    /// Returns the number by which [`TimerQueue::timer_cancelled`] knows the timer.
    #[inline]
    pub(crate) fn push(&self, when: LoopInstant, handle: Handle) -> u64 {
        let sequence = self.sequence.get();
        self.sequence.set(sequence + 1);
        let mut heap = self.heap.borrow_mut();
        heap.handles.push(handle);
        heap.keys.push(key(when, sequence));
        let last = heap.len() - 1;
        heap.sift_up(last);
        sequence
    }

    /// The earliest deadline of a live timer; cancelled ones at the front are thrown out first, so
    /// that they never cause a wake-up (TIMER-12).
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<LoopInstant> {
        if self.is_empty() {
            return None;
        }
        self.first_deadline()
    }

    #[inline(never)]
    fn first_deadline(&self) -> Option<LoopInstant> {
        loop {
            let dead = {
                let mut heap = self.heap.borrow_mut();
                let &key = heap.keys.first()?;
                if heap.handles.first()?.is_pending() {
                    return Some(when(key));
                }
                heap.pop()
            };
            self.forget_cancelled();
            drop(dead);
        }
    }

    /// Takes the earliest timer if it is due at `now`.
    pub(crate) fn pop_due(&self, now: LoopInstant) -> Option<Handle> {
        let deadline = self.next_deadline()?;
        // A deadline at the end of time never comes (TIMER-13).
        if deadline > now || deadline == LoopInstant::FAR_FUTURE {
            return None;
        }
        self.heap.borrow_mut().pop()
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.heap.borrow().keys.is_empty()
    }

    /// How many entries are stored, cancelled ones included.
    pub(crate) fn len(&self) -> usize {
        self.heap.borrow().len()
    }

    /// The live ones, in the order in which they will be called; for dumps.
    pub(crate) fn list(&self, now: LoopInstant) -> Vec<TimerInfo> {
        let heap = self.heap.borrow();
        let all = heap.keys.iter().zip(&heap.handles);
        let mut live: Vec<_> = all.filter(|(_, handle)| handle.is_pending()).collect();
        live.sort_by_key(|(key, _)| **key);
        let info =
            |(key, handle): (&Key, &Handle)| TimerInfo::new(when(*key) - now, handle.created());
        live.into_iter().map(info).collect()
    }

    /// Takes everything out.
    pub(crate) fn take(&self) -> Vec<Handle> {
        let heap = std::mem::take(&mut *self.heap.borrow_mut());
        self.cancelled.set(0);
        heap.handles
    }

    fn forget_cancelled(&self) {
        self.cancelled.set(self.cancelled.get().saturating_sub(1));
    }

    /// What is cancelled at the end leaves at once as well: timeouts that end in the reverse order.
    fn drop_cancelled_end(&self) {
        while self.cancelled.get() > 0 {
            let mut heap = self.heap.borrow_mut();
            if heap.handles.last().is_none_or(Handle::is_pending) {
                break;
            }
            let dead = heap.pop_last();
            drop(heap);
            self.forget_cancelled();
            drop(dead);
        }
    }

    fn compact(&self) {
        let mut dead = self.dead.take();
        {
            let heap = &mut *self.heap.borrow_mut();
            let mut live = 0;
            for at in 0..heap.len() {
                if heap.handles[at].is_pending() {
                    heap.swap(live, at);
                    live += 1;
                }
            }
            heap.keys.truncate(live);
            dead.extend(heap.handles.drain(live..));
            for at in (0..live.div_ceil(ARITY)).rev() {
                heap.sift_down(at);
            }
            give_back(&mut heap.keys);
            give_back(&mut heap.handles);
        }
        self.cancelled.set(0);
        give_back(&mut dead);
        // The heap is whole again: the context of a callback that panicked may have destructors.
        dead.clear();
        self.dead.set(dead);
    }
}

/// Keeps memory for as much again, and a little more.
fn give_back<T>(entries: &mut Vec<T>) {
    if entries.capacity() > 4 * entries.len() + COMPACT_ABOVE {
        entries.shrink_to(2 * entries.len());
    }
}

impl TimerQueue for Timers {
    fn timer_cancelled(&self, token: u64) {
        // A destructor run in here may cancel further timers: the heap is whole by then.
        let Ok(mut heap) = self.heap.try_borrow_mut() else {
            self.cancelled.set(self.cancelled.get() + 1);
            return;
        };
        if heap.keys.last().is_some_and(|key| *key as u64 == token) {
            let last = heap.pop_last();
            drop(heap);
            drop(last);
            self.drop_cancelled_end();
            return;
        }
        let (len, cancelled) = (heap.len(), self.cancelled.get() + 1);
        drop(heap);
        self.cancelled.set(cancelled);
        if len > COMPACT_ABOVE && cancelled * 2 > len {
            self.compact();
        }
    }
}

impl Heap {
    fn len(&self) -> usize {
        self.keys.len()
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.keys.swap(a, b);
        self.handles.swap(a, b);
    }

    fn sift_up(&mut self, mut at: usize) {
        let key = self.keys[at];
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if key >= self.keys[parent] {
                break;
            }
            self.keys[at] = self.keys[parent];
            self.handles.swap(at, parent);
            at = parent;
        }
        self.keys[at] = key;
    }

    fn sift_down(&mut self, mut at: usize) {
        let Some(&key) = self.keys.get(at) else { return };
        while let Some(least) = self.least_child(at) {
            if self.keys[least] >= key {
                break;
            }
            self.keys[at] = self.keys[least];
            self.handles.swap(at, least);
            at = least;
        }
        self.keys[at] = key;
    }

    #[inline]
    fn least_child(&self, at: usize) -> Option<usize> {
        let first = at * ARITY + 1;
        let Some(four) = self.keys.get(first..first + ARITY) else {
            return (first..self.len()).min_by_key(|child| self.keys[*child]);
        };
        let left = usize::from(four[1] < four[0]);
        let right = 2 + usize::from(four[3] < four[2]);
        Some(first + if four[right] < four[left] { right } else { left })
    }

    /// Takes the first in order out.
    fn pop(&mut self) -> Option<Handle> {
        if self.keys.is_empty() {
            return None;
        }
        self.keys.swap_remove(0);
        let handle = self.handles.swap_remove(0);
        self.sift_down(0);
        Some(handle)
    }

    /// Takes the last in memory out.
    fn pop_last(&mut self) -> Option<Handle> {
        self.keys.pop();
        self.handles.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> LoopInstant {
        LoopInstant::from_nanos(nanos)
    }

    #[test]
    fn pops_in_the_order_of_deadline_then_creation() {
        let timers = Rc::new(Timers::default());
        let order = Rc::new(RefCell::new(Vec::new()));
        for i in 0..1000 {
            let when = i * 7919 % 97;
            let order = order.clone();
            timers.insert(at(when), Handle::new(move || order.borrow_mut().push((when, i))));
        }
        while let Some(handle) = timers.pop_due(at(100)) {
            handle.run().unwrap();
        }
        assert!(order.borrow().is_sorted());
        assert_eq!(order.borrow().len(), 1000);
    }

    #[test]
    fn memory_follows_the_live_timers() {
        let timers = Rc::new(Timers::default());
        let keep = timers.insert(at(1), Handle::new(|| {}));
        for i in 0..100_000 {
            timers.insert(at(1000 + i), Handle::new(|| {})).cancel();
            assert!(timers.len() <= 2 * COMPACT_ABOVE + 2);
        }
        assert!(keep.is_pending());
        assert_eq!(timers.next_deadline(), Some(at(1)));
        let many: Vec<_> =
            (0..100_000).map(|i| timers.insert(at(1000 + i), Handle::new(|| {}))).collect();
        many.iter().for_each(TimerHandle::cancel);
        assert!(timers.len() <= COMPACT_ABOVE + 1);
        assert!(timers.heap.borrow().keys.capacity() <= 10 * COMPACT_ABOVE);
        assert!(timers.dead.take().capacity() <= 10 * COMPACT_ABOVE);
    }

    #[test]
    fn what_is_cancelled_at_the_end_leaves_at_once() {
        let timers = Rc::new(Timers::default());
        let [keep, inner, last] = [1, 2, 3].map(|when| timers.insert(at(when), Handle::new(|| {})));
        inner.cancel();
        assert_eq!((timers.len(), timers.cancelled.get()), (3, 1), "it is in the middle");
        last.cancel();
        assert_eq!((timers.len(), timers.cancelled.get()), (1, 0), "both were at the end");
        keep.cancel();
        assert_eq!((timers.len(), timers.cancelled.get()), (0, 0));
        last.cancel();
        assert_eq!(timers.next_deadline(), None);
    }

    #[test]
    fn a_cancelled_front_is_no_deadline() {
        let timers = Rc::new(Timers::default());
        let first = timers.insert(at(1), Handle::new(|| {}));
        timers.insert(at(9), Handle::new(|| {}));
        first.cancel();
        first.cancel();
        assert_eq!(timers.next_deadline(), Some(at(9)));
        assert_eq!(timers.cancelled.get(), 0);
    }
}
