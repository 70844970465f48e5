//! `as_completed`: several tasks, in the order in which they end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyloop_api::{
    CallbackId, Cancellable, Cancelled, Error, EventLoopExt, LoopRef, Observer, Result,
    TimerHandle, clear_waiter, set_waiter,
};
use futures_core::Stream;

use crate::combinators::ongoing::{Waitable, check_home};
use crate::combinators::wait::distinct;
use crate::sync::wait_list::{Home, Key, WaitList, polled_too_often};

/// Gives `tasks` in the order in which they end: the very handles that were passed in, each once.
///
/// It is a stream with a [`next`](AsCompleted::next) of its own; [`AsCompleted::awaitables`] gives futures
/// instead, one for each task, which may be awaited in any order and at once.
///
/// # Errors
/// Items are `Err(TimedOut)` for every task that has not ended when the time is over. `InvalidArg`, as the
/// last item, if one belongs to another loop.
///
/// # Cancel safety
/// Dropping a `next`, or the whole of it, loses no completion and leaves the tasks alone.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use anyloop::{Result, as_completed, create_task, sleep};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     let tasks = [30, 10].map(|ms| {
///         create_task(async move {
///             sleep(Duration::from_millis(ms)).await;
///             ms
///         })
///     });
///     let mut completed = as_completed(tasks.into_iter().collect::<Result<Vec<_>>>()?);
///     let mut order = Vec::new();
///     while let Some(task) = completed.next().await {
///         order.push(task?.result()?);
///     }
///     assert_eq!(order, [10, 30]);
///     Ok(())
/// })?
/// # }
/// ```
pub fn as_completed<W: Waitable>(tasks: impl IntoIterator<Item = W>) -> AsCompleted<W> {
    let children: Vec<Slot<W>> =
        distinct(tasks).into_iter().map(|child| Slot { child: Some(child), watch: None }).collect();
    let state = State {
        unfinished: Cell::new(children.len()),
        left: Cell::new(children.len()),
        children: RefCell::new(children),
        ended: RefCell::default(),
        waiters: WaitList::default(),
        home: Home::default(),
        timer: RefCell::new(None),
        expired: Cell::new(false),
    };
    let state = Rc::new(state);
    state.watch();
    AsCompleted { queue: Rc::new(Queue(state)), waiting: None }
}

/// The stream of [`as_completed`].
#[must_use = "streams do nothing unless polled"]
pub struct AsCompleted<W: Waitable> {
    queue: Rc<Queue<W>>,
    waiting: Option<Key>,
}

/// The state, as its users share it; the tasks share it too, until the last user is gone.
struct Queue<W: Waitable>(Rc<State<W>>);

impl<W: Waitable> Drop for Queue<W> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

struct State<W: Waitable> {
    children: RefCell<Vec<Slot<W>>>,
    /// The numbers of those that have ended and were not given out.
    ended: RefCell<VecDeque<usize>>,
    unfinished: Cell<usize>,
    /// Items that were not given out.
    left: Cell<usize>,
    waiters: WaitList,
    home: Home,
    timer: RefCell<Option<TimerHandle>>,
    expired: Cell<bool>,
}

struct Slot<W> {
    /// Taken when it is given out.
    child: Option<W>,
    watch: Option<CallbackId>,
}

impl<W: Waitable> AsCompleted<W> {
    /// How long to wait at most, counted from now; `None`: without limit.
    ///
    /// # Errors
    /// `Usage` outside a running loop.
    pub fn timeout(self, delay: impl Into<Option<Duration>>) -> Result<Self> {
        let timer = match delay.into() {
            Some(delay) if self.queue.0.unfinished.get() > 0 => {
                let weak = Rc::downgrade(&self.queue.0);
                let expire = move || {
                    if let Some(state) = weak.upgrade() {
                        state.expire();
                    }
                };
                Some(LoopRef::current()?.call_later(delay, expire)?)
            }
            _ => None,
        };
        let old = self.queue.0.timer.replace(timer);
        if let Some(old) = old {
            old.cancel();
        }
        Ok(self)
    }

    /// The next task that ends; `None` after the last.
    ///
    /// # Cancel safety
    /// Dropping it loses no completion.
    pub async fn next(&mut self) -> Option<Result<W>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Futures of the next completions, as many as there are tasks left. They may be awaited in any order
    /// and at once; those that are waited for first get the first completions.
    pub fn awaitables(self) -> impl Iterator<Item = NextCompleted<W>> + use<W> {
        let queue = self.queue.clone();
        let awaitable = move |_| NextCompleted { queue: queue.clone(), waiting: None, over: false };
        (0..self.left()).map(awaitable)
    }

    /// How many tasks were not given out yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.queue.0.left.get()
    }
}

impl<W: Waitable> State<W> {
    fn watch(self: &Rc<Self>) {
        for (number, slot) in self.children.borrow_mut().iter_mut().enumerate() {
            let Some(child) = &slot.child else { continue };
            if child.is_done() {
                self.ended.borrow_mut().push_back(number);
                self.unfinished.set(self.unfinished.get() - 1);
            } else {
                slot.watch = Some(child.watch(self.clone(), number));
            }
        }
    }

    /// The time is over: nobody is watched any more.
    fn expire(&self) {
        self.expired.set(true);
        self.stop();
        self.waiters.wake_all(0);
    }

    fn stop(&self) {
        let timer = self.timer.take();
        if let Some(timer) = timer {
            timer.cancel();
        }
        for slot in self.children.borrow_mut().iter_mut() {
            if let (Some(watch), Some(child)) = (slot.watch.take(), &slot.child) {
                child.unwatch(watch);
            }
        }
    }

    /// The next item, if there is one now.
    fn take(&self) -> Option<Result<W>> {
        let number = self.ended.borrow_mut().pop_front();
        let item = match number {
            Some(number) => Ok(self.children.borrow_mut()[number].child.take()?),
            None if self.expired.get() => {
                Err(Error::TimedOut("as_completed: the time is over".into()))
            }
            None => return None,
        };
        self.left.set(self.left.get() - 1);
        Some(item)
    }

    /// Waits in the place `waiting`.
    fn poll(
        self: &Rc<Self>,
        waiting: &mut Option<Key>,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<W>>> {
        let woken = waiting.is_some_and(|key| self.waiters.woken_with(key).is_some());
        if waiting.is_none() || woken {
            // The first one in the queue is served first.
            let item = if self.left.get() == 0 { Some(None) } else { self.take().map(Some) };
            if let Some(item) = item {
                if let Some(key) = waiting.take() {
                    self.waiters.leave(key);
                }
                return Poll::Ready(item);
            }
        }
        match *waiting {
            None => {
                if let Err(error) = self.home.check("as_completed") {
                    return Poll::Ready(Some(Err(error)));
                }
                if let Err(error) = self.check_children() {
                    // It would never end.
                    self.left.set(0);
                    return Poll::Ready(Some(Err(error)));
                }
                *waiting = Some(self.waiters.enqueue(cx));
            }
            Some(key) if woken => self.waiters.wait_again(key, cx),
            Some(key) => self.waiters.refresh(key, cx),
        }
        set_waiter(|| self.clone());
        Poll::Pending
    }

    fn check_children(&self) -> Result<()> {
        let children = self.children.borrow();
        let waited_for = children.iter().filter_map(|slot| slot.child.as_ref());
        check_home(waited_for, &LoopRef::current()?, "as_completed")
    }

    /// Gives up the place `waiting`, and passes a wake-up on.
    fn leave(self: &Rc<Self>, waiting: &mut Option<Key>) {
        let Some(key) = waiting.take() else { return };
        clear_waiter(self);
        if self.waiters.leave(key).is_some() && !self.ended.borrow().is_empty() {
            self.waiters.wake_one(0);
        }
    }
}

impl<W: Waitable> Observer for State<W> {
    fn done(self: Rc<Self>, number: usize) {
        if let Some(slot) = self.children.borrow_mut().get_mut(number) {
            slot.watch = None;
        }
        self.ended.borrow_mut().push_back(number);
        self.unfinished.set(self.unfinished.get() - 1);
        if self.unfinished.get() == 0 {
            let timer = self.timer.take();
            if let Some(timer) = timer {
                timer.cancel();
            }
        }
        self.waiters.wake_one(0);
    }
}

impl<W: Waitable> Cancellable for State<W> {
    /// Nothing ends here: the task drops its wait, and the tasks go on.
    fn cancel(self: Rc<Self>, _: &Cancelled) -> bool {
        false
    }

    fn describe(&self) -> String {
        format!("as_completed, {} tasks unfinished", self.unfinished.get())
    }

    fn tasks(&self) -> Vec<u64> {
        let children = self.children.borrow();
        let watched = children.iter().filter(|slot| slot.watch.is_some());
        watched.filter_map(|slot| slot.child.as_ref()?.task()).collect()
    }
}

impl<W: Waitable> Stream for AsCompleted<W> {
    type Item = Result<W>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<W>>> {
        let this = &mut *self;
        this.queue.0.poll(&mut this.waiting, cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left(), Some(self.left()))
    }
}

impl<W: Waitable> Drop for AsCompleted<W> {
    fn drop(&mut self) {
        self.queue.0.leave(&mut self.waiting);
    }
}

impl<W: Waitable> fmt::Debug for AsCompleted<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<AsCompleted, {} left>", self.left())
    }
}

/// One of [`AsCompleted::awaitables`].
#[must_use = "futures do nothing unless awaited"]
pub struct NextCompleted<W: Waitable> {
    queue: Rc<Queue<W>>,
    waiting: Option<Key>,
    over: bool,
}

impl<W: Waitable> Future for NextCompleted<W> {
    type Output = Result<W>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<W>> {
        let this = &mut *self;
        if this.over {
            // The next one belongs to another.
            return Poll::Ready(Err(polled_too_often()));
        }
        let item = ready!(this.queue.0.poll(&mut this.waiting, cx));
        this.over = true;
        Poll::Ready(item.unwrap_or_else(|| {
            Err(Error::usage("as_completed: every task has been given out already"))
        }))
    }
}

impl<W: Waitable> Drop for NextCompleted<W> {
    fn drop(&mut self) {
        self.queue.0.leave(&mut self.waiting);
    }
}

impl<W: Waitable> fmt::Debug for NextCompleted<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<NextCompleted of {}>", self.queue.0.left.get())
    }
}
