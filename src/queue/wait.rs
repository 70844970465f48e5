//! The futures of a queue: putting, getting, joining.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use anyloop_api::{Error, Result, clear_waiter, set_waiter};

use crate::queue::{Order, State};
use crate::sync::wait_list::{Key, Stage, polled_too_often};

/// An item that a queue did not take, and why. `?` makes an [`Error`] of it and drops the item.
pub struct Rejected<T> {
    /// The item.
    pub item: T,
    /// `QueueFull`, `QueueShutDown` or `Usage`.
    pub error: Error,
}

impl<T> Rejected<T> {
    pub(super) fn new(item: T, error: Error) -> Self {
        Self { item, error }
    }
}

impl<T> From<Rejected<T>> for Error {
    fn from(rejected: Rejected<T>) -> Self {
        rejected.error
    }
}

impl<T> fmt::Debug for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> std::error::Error for Rejected<T> {}

/// The future of [`Queue::get`](super::Queue::get).
#[must_use = "futures do nothing unless awaited"]
pub struct Get<T, O: Order<T>> {
    state: Rc<State<T, O>>,
    stage: Stage,
}

impl<T, O: Order<T>> Get<T, O> {
    pub(super) fn new(state: Rc<State<T, O>>) -> Self {
        Self { state, stage: Stage::New }
    }

    /// Frees the place in the list, so that dropping does nothing more.
    fn end(&mut self) {
        if let Stage::Waiting(key) = std::mem::replace(&mut self.stage, Stage::Over) {
            self.state.getters.leave(key);
        }
    }

    /// Dropped while it waits: an item on its way goes to the next one.
    #[inline(never)]
    fn give_up(&self, key: Key) {
        let state = &self.state;
        clear_waiter(state);
        if state.getters.leave(key).is_some() && state.len() > 0 {
            state.getters.wake_one(0);
        }
    }

    /// An item, or the end of the queue.
    fn take(&mut self) -> Option<Result<T>> {
        match self.state.pop("Queue::get") {
            Ok(None) => {}
            Ok(Some(item)) => {
                self.end();
                return Some(Ok(item));
            }
            Err(error) => {
                self.end();
                // What it was woken for is somebody else's.
                self.state.getters.wake_one(0);
                return Some(Err(error));
            }
        }
        if self.state.shut_down.get() {
            self.end();
            return Some(Err(Error::QueueShutDown));
        }
        None
    }
}

impl<T: 'static, O: Order<T> + 'static> Get<T, O> {
    #[inline(never)]
    fn wait(&mut self, cx: &Context<'_>) -> Poll<Result<T>> {
        match self.stage {
            Stage::New => {
                if let Some(done) = self.take() {
                    return Poll::Ready(done);
                }
                if let Err(error) = self.state.home.check("Queue::get") {
                    self.stage = Stage::Over;
                    return Poll::Ready(Err(error));
                }
                self.stage = Stage::Waiting(self.state.getters.enqueue(cx));
            }
            Stage::Waiting(key) if self.state.getters.woken_with(key).is_some() => {
                if let Some(done) = self.take() {
                    return Poll::Ready(done);
                }
                // Somebody else was faster.
                self.state.getters.wait_again(key, cx);
            }
            Stage::Waiting(key) => self.state.getters.refresh(key, cx),
            Stage::Over => return Poll::Ready(Err(polled_too_often())),
        }
        set_waiter(|| self.state.clone());
        Poll::Pending
    }
}

impl<T: 'static, O: Order<T> + 'static> Future for Get<T, O> {
    type Output = Result<T>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        if matches!(self.stage, Stage::New)
            && self.state.len() > 0
            && let Ok(Some(item)) = self.state.pop("Queue::get")
        {
            self.stage = Stage::Over;
            return Poll::Ready(Ok(item));
        }
        self.wait(cx)
    }
}

impl<T, O: Order<T>> Drop for Get<T, O> {
    #[inline]
    fn drop(&mut self) {
        if let Stage::Waiting(key) = self.stage {
            self.give_up(key);
        }
    }
}

/// The future of [`Queue::put`](super::Queue::put).
#[must_use = "futures do nothing unless awaited"]
pub struct Put<T, O: Order<T>> {
    state: Rc<State<T, O>>,
    item: Option<T>,
    stage: Stage,
}

// The item is only moved, never pinned.
impl<T, O: Order<T>> Unpin for Put<T, O> {}

impl<T, O: Order<T>> Put<T, O> {
    pub(super) fn new(state: Rc<State<T, O>>, item: T) -> Self {
        Self { state, item: Some(item), stage: Stage::New }
    }

    fn end(&mut self) {
        if let Stage::Waiting(key) = std::mem::replace(&mut self.stage, Stage::Over) {
            self.state.putters.leave(key);
        }
    }

    /// Dropped while it waits: room on its way goes to the next one.
    #[inline(never)]
    fn give_up(&self, key: Key) {
        let state = &self.state;
        clear_waiter(state);
        if state.putters.leave(key).is_some() && !state.full() {
            state.putters.wake_one(0);
        }
    }

    fn reject(&mut self, item: T, error: Error) -> Poll<Result<(), Rejected<T>>> {
        self.end();
        Poll::Ready(Err(Rejected::new(item, error)))
    }

    /// There is room.
    #[inline]
    fn insert(&mut self, item: T) -> Poll<Result<(), Rejected<T>>> {
        self.end();
        Poll::Ready(self.state.push(item).map_err(|item| {
            // What it was woken for is somebody else's.
            self.state.putters.wake_one(0);
            Rejected::new(item, super::comparing("Queue::put"))
        }))
    }
}

impl<T: 'static, O: Order<T> + 'static> Put<T, O> {
    #[inline(never)]
    fn wait(&mut self, cx: &Context<'_>) -> Poll<Result<(), Rejected<T>>> {
        if let Stage::Waiting(key) = self.stage
            && self.state.putters.woken_with(key).is_none()
        {
            self.state.putters.refresh(key, cx);
            set_waiter(|| self.state.clone());
            return Poll::Pending;
        }
        let item = self.item.take().expect("Put: polled after its end");
        if self.state.shut_down.get() {
            return self.reject(item, Error::QueueShutDown);
        }
        if !self.state.full() {
            return self.insert(item);
        }
        match self.stage {
            // Somebody else was faster.
            Stage::Waiting(key) => self.state.putters.wait_again(key, cx),
            _ => {
                if let Err(error) = self.state.home.check("Queue::put") {
                    return self.reject(item, error);
                }
                self.stage = Stage::Waiting(self.state.putters.enqueue(cx));
            }
        }
        self.item = Some(item);
        set_waiter(|| self.state.clone());
        Poll::Pending
    }
}

impl<T: 'static, O: Order<T> + 'static> Future for Put<T, O> {
    type Output = Result<(), Rejected<T>>;

    /// # Panics
    /// When polled after its end: there is no item left to give back.
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if matches!(self.stage, Stage::New)
            && !self.state.shut_down.get()
            && !self.state.full()
            && let Some(item) = self.item.take()
        {
            return self.insert(item);
        }
        self.wait(cx)
    }
}

impl<T, O: Order<T>> Drop for Put<T, O> {
    #[inline]
    fn drop(&mut self) {
        if let Stage::Waiting(key) = self.stage {
            self.give_up(key);
        }
    }
}

/// The future of [`Queue::join`](super::Queue::join).
#[must_use = "futures do nothing unless awaited"]
pub struct Join<T, O: Order<T>> {
    state: Rc<State<T, O>>,
    stage: Stage,
}

impl<T, O: Order<T>> Join<T, O> {
    pub(super) fn new(state: Rc<State<T, O>>) -> Self {
        Self { state, stage: Stage::New }
    }
}

impl<T: 'static, O: Order<T> + 'static> Future for Join<T, O> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        let state = &this.state;
        let free = || state.unfinished.get() == 0;
        let poll = this.stage.poll("Queue::join", &state.joiners, &state.home, cx, free);
        if poll.is_pending() {
            set_waiter(|| state.clone());
        }
        poll.map_ok(|_| ())
    }
}

impl<T, O: Order<T>> Drop for Join<T, O> {
    fn drop(&mut self) {
        if let Stage::Waiting(key) = self.stage {
            clear_waiter(&self.state);
            self.state.joiners.leave(key);
        }
    }
}

macro_rules! debug {
    ($($name:ident)+) => {
        $(impl<T, O: Order<T>> fmt::Debug for $name<T, O> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!("<Queue ", stringify!($name), ">"))
            }
        })+
    };
}

debug!(Get Put Join);
