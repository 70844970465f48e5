//! Who waits for an outcome: awaiters, callbacks, observers, in the order in which they came.

use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use crate::loop_ref::WeakLoop;
use crate::outcome::Observer;

/// A done-callback: schedules itself. It is handed the owner of the outcome only then, so that a
/// pending future does not keep itself alive through its callbacks.
pub(crate) type DoneCallback = Box<dyn FnOnce(&WeakLoop, Rc<dyn Any>)>;

pub(crate) enum Interested {
    Waker(Waker),
    Callback(DoneCallback),
    Observer(Rc<dyn Observer>, usize),
}

/// Who is told about the completion. One needs no allocation, because nearly every future has exactly
/// one awaiter.
#[derive(Default)]
pub(crate) enum Entries {
    #[default]
    Nobody,
    Waker(Waker),
    Callback(DoneCallback),
    Observer(Rc<dyn Observer>),
    #[allow(clippy::box_collection, reason = "one word in every future instead of four")]
    Many(Box<VecDeque<Entry>>),
}

pub(crate) struct Entry {
    /// Grows from entry to entry; never zero, never used again.
    id: u64,
    interested: Interested,
}

/// What belongs to [`Entries`] and fits elsewhere in the outcome.
#[derive(Default)]
pub(crate) struct Numbers {
    /// The number of the last entry that was alone when it came.
    last: Cell<u16>,
    /// What the observer that is alone goes by: bytes, because they need no padding.
    observed: Cell<[u8; 4]>,
}

thread_local! {
    /// The number of the last entry that was not alone.
    static LAST: Cell<u64> = const { Cell::new(u16::MAX as u64) };
}

impl Entries {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::Many(all) => all.len(),
            _ => 1,
        }
    }

    /// Adds an entry; its number is not zero.
    pub(crate) fn insert(&mut self, numbers: &Numbers, interested: Interested) -> u64 {
        if !matches!(self, Self::Nobody) || numbers.last.get() == u16::MAX {
            return self.insert_among_many(numbers, interested);
        }
        let id = numbers.count();
        *self = match interested {
            Interested::Waker(waker) => Self::Waker(waker),
            Interested::Callback(callback) => Self::Callback(callback),
            Interested::Observer(observer, number) if numbers.observe(number) => {
                Self::Observer(observer)
            }
            interested => return self.insert_among_many(numbers, interested),
        };
        id
    }

    fn insert_among_many(&mut self, numbers: &Numbers, interested: Interested) -> u64 {
        if !matches!(self, Self::Many(_)) {
            let first = std::mem::take(self).take_first(numbers);
            let first = first.map(|first| Entry { id: numbers.last(), interested: first });
            *self = Self::Many(Box::new(first.into_iter().collect()));
        }
        let id = LAST.get() + 1;
        LAST.set(id);
        if let Self::Many(all) = self {
            all.push_back(Entry { id, interested });
        }
        id
    }

    /// Removes an entry, if it is there.
    pub(crate) fn remove(&mut self, numbers: &Numbers, id: u64) -> Option<Interested> {
        let Self::Many(all) = self else {
            return if id == numbers.last() {
                std::mem::take(self).take_first(numbers)
            } else {
                None
            };
        };
        let at = all.binary_search_by_key(&id, |entry| entry.id).ok()?;
        let entry = all.remove(at)?;
        if all.is_empty() {
            *self = Self::Nobody;
        }
        Some(entry.interested)
    }

    /// The waker of the awaiter with this number.
    pub(crate) fn waker(&mut self, numbers: &Numbers, id: u64) -> Option<&mut Waker> {
        match self {
            Self::Waker(waker) if id == numbers.last() => Some(waker),
            Self::Many(all) => {
                let at = all.binary_search_by_key(&id, |entry| entry.id).ok()?;
                match &mut all.get_mut(at)?.interested {
                    Interested::Waker(waker) => Some(waker),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Those of all awaiters.
    pub(crate) fn wakers(&self) -> Vec<Waker> {
        match self {
            Self::Waker(waker) => vec![waker.clone()],
            Self::Many(all) => {
                let waker = |entry: &Entry| match &entry.interested {
                    Interested::Waker(waker) => Some(waker.clone()),
                    _ => None,
                };
                all.iter().filter_map(waker).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Tells everybody, in order.
    #[inline]
    pub(crate) fn drain(self, numbers: &Numbers, mut tell: impl FnMut(Interested)) {
        match self {
            Self::Nobody => {}
            Self::Waker(waker) => tell(Interested::Waker(waker)),
            Self::Many(all) => all.into_iter().for_each(|entry| tell(entry.interested)),
            one => {
                if let Some(interested) = one.take_first(numbers) {
                    tell(interested);
                }
            }
        }
    }

    fn take_first(self, numbers: &Numbers) -> Option<Interested> {
        match self {
            Self::Nobody | Self::Many(_) => None,
            Self::Waker(waker) => Some(Interested::Waker(waker)),
            Self::Callback(callback) => Some(Interested::Callback(callback)),
            Self::Observer(observer) => {
                let number = u32::from_ne_bytes(numbers.observed.get());
                Some(Interested::Observer(observer, number as usize))
            }
        }
    }
}

impl Numbers {
    fn last(&self) -> u64 {
        u64::from(self.last.get())
    }

    /// Whether there has never been an entry.
    #[inline]
    pub(crate) fn unused(&self) -> bool {
        self.last.get() == 0
    }

    /// The number of an entry that is alone: there is one left.
    #[inline]
    pub(crate) fn count(&self) -> u64 {
        self.last.set(self.last.get() + 1);
        self.last()
    }

    /// Notes the number of an observer, if it fits.
    fn observe(&self, number: usize) -> bool {
        let Ok(number) = u32::try_from(number) else { return false };
        self.observed.set(number.to_ne_bytes());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Waiting(Entries, Numbers);

    impl Waiting {
        fn insert(&mut self) -> u64 {
            self.0.insert(&self.1, Interested::Waker(Waker::noop().clone()))
        }

        fn observe(&mut self, number: usize) -> u64 {
            self.0.insert(&self.1, Interested::Observer(Rc::new(Nobody), number))
        }

        fn remove(&mut self, id: u64) -> bool {
            self.0.remove(&self.1, id).is_some()
        }

        fn has_waker(&mut self, id: u64) -> bool {
            self.0.waker(&self.1, id).is_some()
        }

        fn observed(self) -> Vec<usize> {
            let mut numbers = Vec::new();
            self.0.drain(&self.1, |interested| {
                if let Interested::Observer(_, number) = interested {
                    numbers.push(number);
                }
            });
            numbers
        }
    }

    struct Nobody;

    impl Observer for Nobody {
        fn done(self: Rc<Self>, _: usize) {}
    }

    #[test]
    fn numbers_are_not_used_again() {
        let mut entries = Waiting::default();
        let first = entries.insert();
        assert!(first != 0 && entries.remove(first) && !entries.remove(first));
        let second = entries.insert();
        assert!(second > first && !entries.remove(first) && entries.0.len() == 1);
        assert!(entries.has_waker(second) && !entries.has_waker(first));
        let third = entries.insert();
        assert!(third > second && entries.has_waker(second) && entries.has_waker(third));
        assert!(entries.remove(second) && entries.remove(third));
        let fourth = entries.insert();
        assert!(![first, second, third].contains(&fourth));
    }

    #[test]
    fn numbers_of_those_alone_run_out() {
        let mut entries = Waiting::default();
        let mut last = 0;
        for _ in 0..70_000 {
            let id = entries.insert();
            assert!(id > last && entries.remove(id) && !entries.remove(last));
            last = id;
        }
    }

    #[test]
    fn the_order_survives_removals() {
        let mut entries = Waiting::default();
        let ids: Vec<_> = (0..6).map(|number| entries.observe(number)).collect();
        for removed in [0, 3, 5] {
            assert!(entries.remove(ids[removed]));
        }
        entries.observe(6);
        assert_eq!(entries.0.len(), 4);
        assert_eq!(entries.observed(), [1, 2, 4, 6]);
    }

    #[test]
    fn one_observer_keeps_its_number() {
        for number in [0, 7, u32::MAX as usize, u32::MAX as usize + 1] {
            let mut entries = Waiting::default();
            let id = entries.observe(number);
            assert!(!entries.has_waker(id) && entries.0.len() == 1);
            assert_eq!(entries.observed(), [number]);
        }
    }

    #[test]
    fn memory_is_given_back() {
        let mut entries = Waiting::default();
        let ids: Vec<_> = (0..1000).map(|_| entries.insert()).collect();
        assert!(ids.iter().all(|id| entries.remove(*id)));
        assert!(matches!(entries.0, Entries::Nobody));
    }
}
