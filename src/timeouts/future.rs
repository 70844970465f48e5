//! The future of a timeout.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyloop_api::{
    Cancelled, CatchCancel, Error, LoopInstant, LoopRef, Result, catch_cancel, current_task,
};
use pin_project_lite::pin_project;

use super::{ACTIVE, CLEANUP, Stage, State, TimeoutHandle};

/// What a scope is entered with.
pub(super) enum Limit {
    After(Duration),
    At(LoopInstant),
    Handle(Rc<State>),
    Over,
}

pin_project! {
    /// The future of [`timeout`](super::timeout), [`timeout_at`](super::timeout_at), [`timeout_scope`](super::timeout_scope) and [`TimeoutHandle::run`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct Timeout<F> {
        #[pin]
        body: CatchCancel<F>,
        limit: Limit,
        // Once it is suspended; with a handle from the entry on.
        state: Option<Rc<State>>,
    }

    impl<F> PinnedDrop for Timeout<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(state) = this.project().state.take() {
                state.leave();
            }
        }
    }
}

impl<F: Future> Timeout<F> {
    pub(super) fn new(limit: Limit, future: F) -> Self {
        Self { body: catch_cancel(future), limit, state: None }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        let Some(state) = this.state.clone() else { return self.enter(cx) };
        if let Some(task) = current_task()
            && task.id() != state.task.get()
        {
            state.follow(&task, this.body.as_mut().scope());
        }
        let polling = Polling::new(state.clone());
        let polled = this.body.poll(cx);
        drop(polling);
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(ended) => {
                this.state.take();
                state.end(ended, cx)
            }
        }
    }
}

impl<F: Future> Timeout<F> {
    /// The first poll. Only a scope that is suspended needs a state and a timer.
    fn enter(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<F::Output>> {
        let mut this = self.project();
        let Some(task) = current_task() else {
            return Poll::Ready(Err(Error::usage("timeout: not inside a task")));
        };
        let lp = LoopRef::current()?;
        let deadline = match std::mem::replace(this.limit, Limit::Over) {
            Limit::After(delay) => lp.time() + delay,
            Limit::At(when) => when,
            Limit::Handle(state) if state.stage.get() == Stage::New => {
                *this.state = Some(state);
                LoopInstant::FAR_FUTURE
            }
            Limit::Handle(_) => {
                return Poll::Ready(Err(Error::usage("timeout: a scope is entered only once")));
            }
            Limit::Over => {
                return Poll::Ready(Err(Error::usage(
                    "await: the future has been completed before",
                )));
            }
        };
        let requests = match task.cancelling() {
            0 => 0,
            _ => this.body.as_mut().scope().map_or(0, |scope| scope.outer_requests()),
        };
        let polling = this.state.as_ref().map(|state| {
            state.enter(&task, &lp, requests);
            Polling::new(state.clone())
        });
        let polled = this.body.as_mut().poll(cx);
        drop(polling);
        match polled {
            Poll::Pending => {
                let state = this.state.get_or_insert_with(|| {
                    let state = State::new(None, Some(deadline));
                    state.enter(&task, &lp, requests);
                    Rc::new(state)
                });
                *state.scope.borrow_mut() = this.body.scope();
                state.arm(&lp)?;
                Poll::Pending
            }
            Poll::Ready(ended) => match this.state.take() {
                Some(state) => state.end(ended, cx),
                None => finish(ended, cx),
            },
        }
    }
}

impl State {
    fn end<T>(&self, ended: Result<T, Cancelled>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let remaining = self.leave();
        if let (Err(_), Some(remaining)) = (&ended, remaining) {
            let later = if remaining > 0 { self.later_ones() } else { Vec::new() };
            if remaining <= later.len() {
                if let Some(innermost) = later.last() {
                    innermost.renew();
                }
                return Poll::Ready(Err(Error::TimedOut(
                    "the deadline of the timeout passed".into(),
                )));
            }
        }
        finish(ended, cx)
    }
}

/// What is not the scope's own goes on outwards.
fn finish<T>(ended: Result<T, Cancelled>, cx: &mut Context<'_>) -> Poll<Result<T>> {
    match ended {
        Ok(value) => Poll::Ready(Ok(value)),
        Err(cancelled) => pin!(cancelled.resume()).poll(cx),
    }
}

/// A scope is being polled.
struct Polling;

impl Polling {
    fn new(state: Rc<State>) -> Self {
        ACTIVE.with(|active| {
            let mut active = active.borrow_mut();
            if active.capacity() == 0 {
                let _ = CLEANUP.try_with(|_| ());
            }
            active.push(state);
        });
        Self
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        let state = ACTIVE.with(|active| active.borrow_mut().pop());
        drop(state);
    }
}

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            Some(state) => TimeoutHandle { state: state.clone() }.fmt(f),
            None => f.write_str("<Timeout not suspended>"),
        }
    }
}
