//! Who waits for one event, any number of them, each with one waker.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

thread_local! {
    static LAST_ID: Cell<u64> = const { Cell::new(0) };
}

/// Who waits: an awaiting method, or a handle with poll functions. No other one of this thread has the number.
pub(super) fn new_id() -> u64 {
    LAST_ID.set(LAST_ID.get() + 1);
    LAST_ID.get()
}

/// An event that may happen several times; each time releases everybody who waits. One word, until
/// somebody waits for the first time.
#[derive(Debug, Default)]
pub(super) struct Waiters(OnceCell<Box<State>>);

#[derive(Debug, Default)]
struct State {
    happened: Cell<u64>,
    wakers: RefCell<Vec<(u64, Waker)>>,
}

impl Waiters {
    /// Releases everybody who waits now.
    pub(super) fn release(&self) {
        let Some(state) = self.0.get() else { return };
        state.happened.set(state.happened.get() + 1);
        let wakers = mem::take(&mut *state.wakers.borrow_mut());
        for (_, waker) in wakers {
            waker.wake();
        }
    }

    fn state(&self) -> &State {
        self.0.get_or_init(Box::default)
    }

    /// Completes at the next [`Waiters::release`]. Dropping it forgets the waiter.
    pub(super) fn wait(&self) -> Wait<'_> {
        let state = self.state();
        Wait { state, id: new_id(), since: state.happened.get() }
    }

    /// Wakes the last one who polled as `id`, once; for poll functions, which cannot say that they gave up.
    pub(super) fn register(&self, id: u64, cx: &Context<'_>) {
        self.state().keep(id, cx);
    }

    /// Nobody polls as `id` any more.
    pub(super) fn forget(&self, id: u64) {
        if let Some(state) = self.0.get() {
            state.forget(id);
        }
    }
}

impl State {
    fn keep(&self, id: u64, cx: &Context<'_>) {
        let kept = |(mine, waker): &(u64, Waker)| *mine == id && waker.will_wake(cx.waker());
        if self.wakers.borrow().iter().any(kept) {
            return;
        }
        let waker = cx.waker().clone();
        let mut wakers = self.wakers.borrow_mut();
        let old = match wakers.iter_mut().find(|(mine, _)| *mine == id) {
            Some((_, mine)) => Some(mem::replace(mine, waker)),
            None => {
                wakers.push((id, waker));
                None
            }
        };
        drop(wakers);
        // Dropping the last waker of a task may run anything.
        drop(old);
    }

    fn forget(&self, id: u64) {
        let mut wakers = self.wakers.borrow_mut();
        let at = wakers.iter().position(|(mine, _)| *mine == id);
        let mine = at.map(|at| wakers.remove(at));
        drop(wakers);
        drop(mine);
    }
}

#[derive(Debug)]
pub(super) struct Wait<'a> {
    state: &'a State,
    id: u64,
    since: u64,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.state.happened.get() != self.since {
            return Poll::Ready(());
        }
        self.state.keep(self.id, cx);
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.state.happened.get() == self.since {
            self.state.forget(self.id);
        }
    }
}
