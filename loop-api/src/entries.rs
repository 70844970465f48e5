//! Who waits for an outcome: awaiters, callbacks, observers, in the order in which they came.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use crate::context::Snapshot;
use crate::outcome::{DoneCallback, Observer};

pub(crate) enum Interested {
    Waker(Waker),
    Callback(DoneCallback, Snapshot),
    Observer(Rc<dyn Observer>, usize),
}

struct Entry {
    /// Grows from entry to entry; never zero, never used again.
    id: u64,
    interested: Interested,
}

/// Who is told about the completion. The first entry needs no allocation, because nearly every
/// future has exactly one awaiter.
#[derive(Default)]
pub(crate) struct Entries(RefCell<State>);

#[derive(Default)]
struct State {
    last_id: u64,
    first: Option<Entry>,
    #[allow(clippy::box_collection, reason = "one word in every future instead of four")]
    more: Option<Box<VecDeque<Entry>>>,
}

impl Entries {
    pub(crate) fn len(&self) -> usize {
        let state = self.0.borrow();
        usize::from(state.first.is_some()) + state.more.as_ref().map_or(0, |more| more.len())
    }

    /// Adds an entry; its number is not zero.
    pub(crate) fn insert(&self, interested: Interested) -> u64 {
        let state = &mut *self.0.borrow_mut();
        state.last_id += 1;
        let entry = Entry { id: state.last_id, interested };
        match &mut state.more {
            None if state.first.is_none() => state.first = Some(entry),
            more => more.get_or_insert_default().push_back(entry),
        }
        state.last_id
    }

    /// Removes an entry. True if it was there.
    pub(crate) fn remove(&self, id: u64) -> bool {
        // Dropped when the borrow has ended: it may hold things of the user.
        let removed = self.0.borrow_mut().take(id);
        removed.is_some()
    }

    /// Replaces the waker of the awaiter with this number. False if there is none.
    pub(crate) fn refresh(&self, id: u64, waker: &Waker) -> bool {
        let mut state = self.0.borrow_mut();
        let Some(Entry { interested: Interested::Waker(mine), .. }) = state.find(id) else {
            return false;
        };
        if !mine.will_wake(waker) {
            let old = std::mem::replace(mine, waker.clone());
            drop(state);
            drop(old);
        }
        true
    }

    /// Takes everybody out, in order.
    #[inline]
    pub(crate) fn drain(&self, mut tell: impl FnMut(Interested)) {
        let (first, more) = {
            let mut state = self.0.borrow_mut();
            if state.first.is_none() && state.more.is_none() {
                return;
            }
            (state.first.take(), state.more.take())
        };
        if let Some(first) = first {
            tell(first.interested);
        }
        if let Some(more) = more {
            more.into_iter().for_each(|entry| tell(entry.interested));
        }
    }
}

impl State {
    fn find(&mut self, id: u64) -> Option<&mut Entry> {
        if self.first.as_ref().is_some_and(|entry| entry.id == id) {
            return self.first.as_mut();
        }
        let more = self.more.as_mut()?;
        let at = more.binary_search_by_key(&id, |entry| entry.id).ok()?;
        more.get_mut(at)
    }

    fn take(&mut self, id: u64) -> Option<Entry> {
        if self.first.as_ref().is_some_and(|entry| entry.id == id) {
            return self.first.take();
        }
        let more = self.more.as_mut()?;
        let at = more.binary_search_by_key(&id, |entry| entry.id).ok()?;
        let entry = more.remove(at);
        if more.is_empty() {
            self.more = None;
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(entries: &Entries) -> u64 {
        entries.insert(Interested::Waker(Waker::noop().clone()))
    }

    #[test]
    fn numbers_are_not_used_again() {
        let entries = Entries::default();
        let first = insert(&entries);
        assert!(first != 0 && entries.remove(first) && !entries.remove(first));
        let second = insert(&entries);
        assert!(second > first && !entries.remove(first) && entries.len() == 1);
        assert!(entries.refresh(second, Waker::noop()) && !entries.refresh(first, Waker::noop()));
    }

    #[test]
    fn the_order_survives_removals() {
        struct Nobody;
        impl Observer for Nobody {
            fn done(self: Rc<Self>, _: usize) {}
        }
        let entries = Entries::default();
        let observe = |number| entries.insert(Interested::Observer(Rc::new(Nobody), number));
        let ids: Vec<_> = (0..6).map(observe).collect();
        for removed in [0, 3, 5] {
            assert!(entries.remove(ids[removed]));
        }
        observe(6);
        assert_eq!(entries.len(), 4);
        let mut numbers = Vec::new();
        entries.drain(|interested| {
            if let Interested::Observer(_, number) = interested {
                numbers.push(number);
            }
        });
        assert_eq!(numbers, [1, 2, 4, 6]);
        assert_eq!(entries.len(), 0);
    }

    #[test]
    fn memory_is_given_back() {
        let entries = Entries::default();
        let ids: Vec<_> = (0..1000).map(|_| insert(&entries)).collect();
        assert!(ids.iter().all(|id| entries.remove(*id)));
        assert!(entries.0.borrow().more.is_none());
    }
}
