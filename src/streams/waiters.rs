//! Tasks that wait for one event, any number of them.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// An event that may happen several times; each time releases everybody who waits.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    happened: Cell<u64>,
    next: Cell<u64>,
    wakers: RefCell<Vec<(u64, Waker)>>,
}

impl Waiters {
    /// Releases everybody who waits now.
    pub(super) fn release(&self) {
        self.happened.set(self.happened.get() + 1);
        let wakers = mem::take(&mut *self.wakers.borrow_mut());
        for (_, waker) in wakers {
            waker.wake();
        }
    }

    /// Completes at the next [`Waiters::release`]. Dropping it forgets the waiter.
    pub(super) fn wait(&self) -> Wait<'_> {
        let id = self.next.replace(self.next.get() + 1);
        Wait { waiters: self, id, since: self.happened.get() }
    }

    /// Wakes whoever polls with `cx`, once; for poll functions, which cannot say that they gave up.
    pub(super) fn register(&self, cx: &Context<'_>) {
        let mut wakers = self.wakers.borrow_mut();
        if !wakers.iter().any(|(_, waker)| waker.will_wake(cx.waker())) {
            let id = self.next.replace(self.next.get() + 1);
            wakers.push((id, cx.waker().clone()));
        }
    }
}

#[derive(Debug)]
pub(super) struct Wait<'a> {
    waiters: &'a Waiters,
    id: u64,
    since: u64,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiters.happened.get() != self.since {
            return Poll::Ready(());
        }
        let mut wakers = self.waiters.wakers.borrow_mut();
        match wakers.iter_mut().find(|(id, _)| *id == self.id) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => wakers.push((self.id, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.waiters.happened.get() == self.since {
            let mut wakers = self.waiters.wakers.borrow_mut();
            let at = wakers.iter().position(|(id, _)| *id == self.id);
            let mine = at.map(|at| wakers.remove(at));
            drop(wakers);
            drop(mine);
        }
    }
}
