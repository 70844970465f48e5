//! Tasks that wait for one event, any number of them.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// An event that may happen several times; each time releases everybody who waits. One word, until
/// somebody waits for the first time.
#[derive(Debug, Default)]
pub(super) struct Waiters(OnceCell<Box<State>>);

#[derive(Debug, Default)]
struct State {
    happened: Cell<u64>,
    next: Cell<u64>,
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
        Wait { state, id: state.new_id(), since: state.happened.get() }
    }

    /// Wakes whoever polls with `cx`, once; for poll functions, which cannot say that they gave up.
    pub(super) fn register(&self, cx: &Context<'_>) {
        let state = self.state();
        let mut wakers = state.wakers.borrow_mut();
        if !wakers.iter().any(|(_, waker)| waker.will_wake(cx.waker())) {
            wakers.push((state.new_id(), cx.waker().clone()));
        }
    }
}

impl State {
    fn new_id(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
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
        let mut wakers = self.state.wakers.borrow_mut();
        match wakers.iter_mut().find(|(id, _)| *id == self.id) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => wakers.push((self.id, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.state.happened.get() == self.since {
            let mut wakers = self.state.wakers.borrow_mut();
            let at = wakers.iter().position(|(id, _)| *id == self.id);
            let mine = at.map(|at| wakers.remove(at));
            drop(wakers);
            drop(mine);
        }
    }
}
