//! Who waits for a primitive, in order.
//!
//! ```text
//!            enqueue                 wake_one                leave
//!  (future) ─────────▶ waiting: linked ───────▶ woken: apart ─────▶ (free, reused)
//!                         ▲                        │
//!                         └────── wait_again ──────┘  at its old place
//! ```
//!
//! A waiter's future owns its entry and frees it when it ends or is dropped, whatever the state; `leave`
//! says whether a wake-up was lost with it, so that the primitive can pass it on.

use std::cell::{Cell, RefCell};
use std::mem;
use std::task::{Context, Poll, Waker};

use anyloop_api::{Error, LoopRef, Result};
use slab::Slab;

/// The entries of one list, in a table that grows to the largest number of waiters there ever was.
#[derive(Default)]
pub(crate) struct WaitList {
    table: RefCell<Table>,
}

/// The entry of one waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(usize);

#[derive(Default)]
struct Table {
    entries: Slab<Entry>,
    first: Option<usize>,
    last: Option<usize>,
    waiting: usize,
    woken: usize,
    tickets: u64,
}

struct Entry {
    state: State,
    previous: Option<usize>,
    next: Option<usize>,
    /// Rises with the order of arrival.
    ticket: u64,
}

enum State {
    Waiting(Waker),
    /// With what it is told.
    Woken(usize),
}

impl WaitList {
    /// Begins to wait, behind everybody else.
    pub(crate) fn enqueue(&self, cx: &Context<'_>) -> Key {
        let waker = cx.waker().clone();
        let mut table = self.table.borrow_mut();
        table.tickets += 1;
        let ticket = table.tickets;
        let entry = Entry { state: State::Waiting(waker), previous: None, next: None, ticket };
        let at = table.entries.insert(entry);
        let last = table.last;
        table.link(at, last);
        Key(at)
    }

    /// What the waiter was told, if it was woken.
    pub(crate) fn woken_with(&self, key: Key) -> Option<usize> {
        match self.table.borrow().entries[key.0].state {
            State::Woken(word) => Some(word),
            State::Waiting(_) => None,
        }
    }

    /// A waiter that has not been woken was polled.
    pub(crate) fn refresh(&self, key: Key, cx: &Context<'_>) {
        let mut table = self.table.borrow_mut();
        if let State::Waiting(waker) = &mut table.entries[key.0].state
            && !waker.will_wake(cx.waker())
        {
            let old = mem::replace(waker, cx.waker().clone());
            drop(table);
            // Dropping the last waker of a task may run anything.
            drop(old);
        }
    }

    /// A woken waiter found nothing and waits again, at the place where it was: before everybody who
    /// came later.
    pub(crate) fn wait_again(&self, key: Key, cx: &Context<'_>) {
        let waker = cx.waker().clone();
        let mut table = self.table.borrow_mut();
        table.entries[key.0].state = State::Waiting(waker);
        table.woken -= 1;
        let ticket = table.entries[key.0].ticket;
        let mut before = None;
        let mut next = table.first;
        while let Some(at) = next.filter(|at| table.entries[*at].ticket < ticket) {
            before = Some(at);
            next = table.entries[at].next;
        }
        table.link(key.0, before);
    }

    /// The waiter's future ends or is dropped: frees the entry. `Some` if it had been woken.
    pub(crate) fn leave(&self, key: Key) -> Option<usize> {
        let mut table = self.table.borrow_mut();
        if matches!(table.entries[key.0].state, State::Waiting(_)) {
            table.unlink(key.0);
        }
        let entry = table.entries.remove(key.0);
        if let State::Woken(word) = entry.state {
            table.woken -= 1;
            return Some(word);
        }
        drop(table);
        // Dropping the last waker of a task may run anything.
        drop(entry);
        None
    }

    /// Wakes the one that has waited longest and tells it `word`. False if nobody waits.
    #[inline]
    pub(crate) fn wake_one(&self, word: usize) -> bool {
        let first = self.table.borrow().first;
        if let Some(first) = first {
            self.wake_entry(first, word);
        }
        first.is_some()
    }

    fn wake_entry(&self, at: usize, word: usize) {
        let mut table = self.table.borrow_mut();
        table.unlink(at);
        table.woken += 1;
        let state = mem::replace(&mut table.entries[at].state, State::Woken(word));
        drop(table);
        if let State::Waiting(waker) = state {
            waker.wake();
        }
    }

    /// Wakes everybody who waits now.
    pub(crate) fn wake_all(&self, word: usize) {
        for _ in 0..self.waiting() {
            self.wake_one(word);
        }
    }

    /// How many wait and have not been woken.
    pub(crate) fn waiting(&self) -> usize {
        self.table.borrow().waiting
    }

    /// How many have been woken and have not run yet.
    pub(crate) fn woken(&self) -> usize {
        self.table.borrow().woken
    }

    /// Whether nobody waits or is on the way.
    pub(crate) fn is_empty(&self) -> bool {
        let table = self.table.borrow();
        table.waiting == 0 && table.woken == 0
    }
}

impl Table {
    fn link(&mut self, at: usize, before: Option<usize>) {
        let next = match before {
            Some(before) => self.entries[before].next.replace(at),
            None => self.first.replace(at),
        };
        match next {
            Some(next) => self.entries[next].previous = Some(at),
            None => self.last = Some(at),
        }
        self.entries[at].previous = before;
        self.entries[at].next = next;
        self.waiting += 1;
    }

    fn unlink(&mut self, at: usize) {
        let Entry { previous, next, .. } = self.entries[at];
        match previous {
            Some(previous) => self.entries[previous].next = next,
            None => self.first = next,
        }
        match next {
            Some(next) => self.entries[next].previous = previous,
            None => self.last = previous,
        }
        self.waiting -= 1;
    }
}

/// The loop that a primitive belongs to: the first one that waited for it (LOCK-08).
#[derive(Default)]
pub(crate) struct Home(Cell<u64>);

impl Home {
    /// Somebody is about to wait.
    ///
    /// # Errors
    /// `Usage` if no loop is running, or another one than before.
    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        let here = LoopRef::current()?.state().id();
        match self.0.get() {
            0 => self.0.set(here),
            home if home != here => {
                return Err(Error::Usage(
                    format!("{operation}: tasks of another event loop have waited for it").into(),
                ));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Where the future of one wait is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    New,
    Waiting(Key),
    Over,
}

impl Stage {
    /// Polls a wait that is over at once if `free` says so, and else by a wake-up: then with what it was told.
    pub(crate) fn poll(
        &mut self,
        operation: &'static str,
        list: &WaitList,
        home: &Home,
        cx: &Context<'_>,
        free: impl FnOnce() -> bool,
    ) -> Poll<Result<Option<usize>>> {
        match mem::replace(self, Self::Over) {
            Self::New => {
                if free() {
                    return Poll::Ready(Ok(None));
                }
                home.check(operation)?;
                *self = Self::Waiting(list.enqueue(cx));
            }
            Self::Waiting(key) => {
                if list.woken_with(key).is_some() {
                    return Poll::Ready(Ok(list.leave(key)));
                }
                list.refresh(key, cx);
                *self = Self::Waiting(key);
            }
            Self::Over => return Poll::Ready(Err(polled_too_often())),
        }
        Poll::Pending
    }
}

/// What a future says that is polled after its end.
pub(crate) fn polled_too_often() -> Error {
    Error::usage("await: the future has been completed before")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn enqueue(list: &WaitList) -> Key {
        list.enqueue(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn wakes_in_order_and_forgets_who_left() {
        let list = WaitList::default();
        let keys: Vec<Key> = (0..4).map(|_| enqueue(&list)).collect();
        assert_eq!(list.leave(keys[1]), None);
        assert_eq!(list.leave(keys[3]), None);
        assert!(list.wake_one(7));
        assert_eq!(list.woken_with(keys[0]), Some(7));
        assert_eq!((list.waiting(), list.woken()), (1, 1));
        assert_eq!(list.leave(keys[0]), Some(7));
        list.wake_all(8);
        assert!(!list.wake_one(9));
        assert_eq!(list.leave(keys[2]), Some(8));
        assert!(list.is_empty());
    }

    #[test]
    fn who_waits_again_keeps_the_place() {
        let list = WaitList::default();
        let cx = Context::from_waker(Waker::noop());
        let keys: Vec<Key> = (0..4).map(|_| enqueue(&list)).collect();
        for _ in 0..3 {
            list.wake_one(0);
        }
        // In another order than they came.
        for at in [1, 0, 2] {
            list.wait_again(keys[at], &cx);
        }
        for key in &keys {
            list.wake_one(1);
            assert_eq!(list.woken_with(*key), Some(1));
        }
    }

    #[test]
    fn entries_are_reused() {
        let list = WaitList::default();
        for _ in 0..100 {
            let (a, b) = (enqueue(&list), enqueue(&list));
            list.wake_one(0);
            list.leave(b);
            list.leave(a);
        }
        assert!(list.table.borrow().entries.capacity() <= 4);
    }

    #[test]
    fn only_the_newest_waker_is_called() {
        let list = WaitList::default();
        let counts: Vec<_> = (0..2).map(|_| Arc::new(Count(AtomicUsize::new(0)))).collect();
        let wakers: Vec<Waker> = counts.iter().map(|count| Waker::from(count.clone())).collect();
        let key = list.enqueue(&Context::from_waker(&wakers[0]));
        list.refresh(key, &Context::from_waker(&wakers[1]));
        list.wake_one(0);
        let calls: Vec<_> = counts.iter().map(|count| count.0.load(Ordering::Relaxed)).collect();
        assert_eq!(calls, [0, 1]);
    }

    #[test]
    fn a_primitive_has_no_home_outside_a_loop() {
        assert!(matches!(Home::default().check("wait"), Err(Error::Usage(_))));
    }
}
