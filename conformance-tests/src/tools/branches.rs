//! Futures that no loop knows: leaves with a `poll` of their own, and two branches in one task.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Something to wait for that the loop has never heard of: a leaf future with a `poll` written by a
/// user. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Rc<GateState>);

#[derive(Debug, Default)]
struct GateState {
    open: Cell<bool>,
    polls: Cell<usize>,
    wakers: RefCell<Vec<Waker>>,
}

impl Gate {
    /// A closed one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through.
    pub fn open(&self) {
        self.0.open.set(true);
        self.wake();
    }

    /// Wakes everybody who waits, and opens nothing.
    pub fn wake(&self) {
        let wakers = self.0.wakers.take();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits until it is open.
    pub async fn wait(&self) {
        std::future::poll_fn(|cx| {
            self.0.polls.set(self.0.polls.get() + 1);
            if self.0.open.get() {
                return Poll::Ready(());
            }
            self.0.wakers.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// How often somebody's wait was polled.
    #[must_use]
    pub fn polls(&self) -> usize {
        self.0.polls.get()
    }
}

type Branch<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Runs two branches in one task until both are done. Every step polls both, the left one first.
pub async fn both<A, B>(left: impl Future<Output = A>, right: impl Future<Output = B>) -> (A, B) {
    let mut left: Branch<'_, A> = Box::pin(left);
    let mut right: Branch<'_, B> = Box::pin(right);
    let (mut a, mut b) = (None, None);
    std::future::poll_fn(move |cx| {
        poll_branch(&mut left, &mut a, cx);
        poll_branch(&mut right, &mut b, cx);
        match (a.take(), b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (first, second) => {
                (a, b) = (first, second);
                Poll::Pending
            }
        }
    })
    .await
}

fn poll_branch<T>(branch: &mut Branch<'_, T>, value: &mut Option<T>, cx: &mut Context<'_>) {
    if value.is_none()
        && let Poll::Ready(ready) = branch.as_mut().poll(cx)
    {
        *value = Some(ready);
    }
}

/// Runs two branches in one task until one is done, and drops the other. Every step polls both, the
/// left one first.
pub async fn first<T>(left: impl Future<Output = T>, right: impl Future<Output = T>) -> T {
    let mut left: Branch<'_, T> = Box::pin(left);
    let mut right: Branch<'_, T> = Box::pin(right);
    std::future::poll_fn(move |cx| match left.as_mut().poll(cx) {
        Poll::Pending => right.as_mut().poll(cx),
        ready => ready,
    })
    .await
}

/// Like [`both`], but a step polls only the branches that were woken, each by a waker of its own:
/// what sets of futures do.
pub async fn both_when_woken<A, B>(
    left: impl Future<Output = A>,
    right: impl Future<Output = B>,
) -> (A, B) {
    let (on_left, on_right) = (OwnWaker::new(), OwnWaker::new());
    both(on_left.around(left), on_right.around(right)).await
}

/// Remembers whether it was woken, and passes that on.
struct OwnWaker {
    woken: AtomicBool,
    task: std::sync::Mutex<Option<Waker>>,
}

impl OwnWaker {
    fn new() -> Arc<Self> {
        Arc::new(Self { woken: AtomicBool::new(true), task: std::sync::Mutex::new(None) })
    }

    fn around<T>(self: Arc<Self>, future: impl Future<Output = T>) -> impl Future<Output = T> {
        let own = Waker::from(self.clone());
        let mut future = Box::pin(future);
        std::future::poll_fn(move |cx| {
            if let Ok(mut task) = self.task.lock() {
                *task = Some(cx.waker().clone());
            }
            if self.woken.swap(false, Ordering::SeqCst) {
                future.as_mut().poll(&mut Context::from_waker(&own))
            } else {
                Poll::Pending
            }
        })
    }
}

impl Wake for OwnWaker {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        let task = self.task.lock().ok().and_then(|task| task.clone());
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_gate_opens_for_all() {
        let gate = Gate::new();
        let mut wait = Box::pin(both(gate.wait(), gate.wait()));
        assert!(poll(wait.as_mut()).is_pending());
        gate.open();
        assert!(poll(wait.as_mut()).is_ready());
        assert_eq!(gate.polls(), 4);
    }

    #[test]
    fn the_first_one_wins_and_the_other_is_dropped() {
        let gate = Gate::new();
        let mut race = Box::pin(first(gate.wait(), std::future::ready(())));
        assert!(poll(race.as_mut()).is_ready());
    }

    #[test]
    fn a_branch_that_was_not_woken_is_left_alone() {
        let (left, right) = (Gate::new(), Gate::new());
        let mut wait = Box::pin(both_when_woken(left.wait(), right.wait()));
        assert!(poll(wait.as_mut()).is_pending());
        assert!(poll(wait.as_mut()).is_pending());
        left.open();
        assert!(poll(wait.as_mut()).is_pending());
        assert_eq!((left.polls(), right.polls()), (2, 1));
        right.open();
        assert!(poll(wait.as_mut()).is_ready());
    }
}
