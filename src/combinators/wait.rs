//! `wait`: until some or all of several tasks are done, without touching them.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use anyloop_api::{
    CallbackId, Cancellable, Cancelled, Error, EventLoopExt, LoopRef, Observer, Result,
    TimerHandle, clear_waiter, set_waiter,
};

use crate::combinators::ongoing::{Ongoing, Waitable, check_home};
use crate::combinators::output::Fate;
use crate::sync::wait_list::polled_too_often;

/// Waits until all of `tasks` are done, or until what [`Wait::return_when`] and [`Wait::timeout`] say.
///
/// Never fails because a child failed, and cancels nothing: children that are not done go on. Takes
/// [tasks and futures](Waitable) of a loop, each once, however often it is given.
///
/// # Errors
/// `InvalidArg` if there is nothing to wait for, or something of another loop; `Usage` outside a running
/// loop.
///
/// # Cancel safety
/// Dropping it, or cancelling the task, leaves the children alone. It owns the handles it was given: keep
/// clones of those that matter.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use anyloop::{Result, ReturnWhen, create_task, sleep, wait};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     let tasks = [1, 60_000].map(|ms| create_task(sleep(Duration::from_millis(ms))));
///     let tasks = tasks.into_iter().collect::<Result<Vec<_>>>()?;
///     let waited = wait(tasks).return_when(ReturnWhen::FirstCompleted).await?;
///     assert_eq!((waited.done.len(), waited.pending.len()), (1, 1));
///     Ok(())
/// })?
/// # }
/// ```
pub fn wait<W: Waitable>(tasks: impl IntoIterator<Item = W>) -> Wait<W> {
    let state = State {
        children: RefCell::new(distinct(tasks)),
        watches: RefCell::default(),
        return_when: Cell::default(),
        unfinished: Cell::new(0),
        over: Cell::new(false),
        waker: RefCell::new(None),
    };
    Wait { state: Rc::new(state), stage: Stage::New, timeout: None }
}

/// Each once, in the order of the first mention.
pub(super) fn distinct<W: Waitable>(tasks: impl IntoIterator<Item = W>) -> Vec<W> {
    let mut seen = HashSet::new();
    tasks.into_iter().filter(|task| seen.insert(task.identity())).collect()
}

/// When [`wait`] returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReturnWhen {
    /// When all are done.
    #[default]
    AllCompleted,
    /// When one is done.
    FirstCompleted,
    /// When one has failed (being cancelled is no failure), or all are done.
    FirstException,
}

/// What [`wait`] returns: its input in two parts, each in the order in which it was given.
#[derive(Debug)]
#[non_exhaustive]
pub struct Waited<W> {
    /// Those that were done when the waiting task went on.
    pub done: Vec<W>,
    /// The others.
    pub pending: Vec<W>,
}

/// The future of [`wait`].
#[must_use = "futures do nothing unless awaited"]
pub struct Wait<W: Waitable> {
    state: Rc<State<W>>,
    stage: Stage,
    timeout: Option<Duration>,
}

enum Stage {
    New,
    Waiting(Option<TimerHandle>),
    Over,
}

struct State<W> {
    children: RefCell<Vec<W>>,
    watches: RefCell<Vec<Option<CallbackId>>>,
    return_when: Cell<ReturnWhen>,
    unfinished: Cell<usize>,
    /// There is a reason to return.
    over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl<W: Waitable> Wait<W> {
    /// When to return; [`ReturnWhen::AllCompleted`] if nothing is said.
    pub fn return_when(self, when: ReturnWhen) -> Self {
        self.state.return_when.set(when);
        self
    }

    /// How long to wait at most, counted from the first poll; `None`: without limit. What is not done
    /// then is `pending`.
    pub fn timeout(mut self, delay: impl Into<Option<Duration>>) -> Self {
        self.timeout = delay.into();
        self
    }

    fn start(&mut self) -> Result<()> {
        let lp = LoopRef::current()?;
        if self.state.children.borrow().is_empty() {
            return Err(Error::invalid_arg("wait: there is nothing to wait for"));
        }
        check_home(self.state.children.borrow().iter(), &lp, "wait")?;
        self.state.watch();
        if self.state.over.get() {
            return Ok(());
        }
        let timer = match self.timeout {
            None => None,
            Some(delay) => {
                let weak = Rc::downgrade(&self.state);
                Some(lp.call_later(delay, move || {
                    if let Some(state) = weak.upgrade() {
                        state.end();
                    }
                })?)
            }
        };
        self.stage = Stage::Waiting(timer);
        Ok(())
    }

    fn finish(&mut self) -> Waited<W> {
        self.stop();
        let children = self.state.children.take();
        let (done, pending) = children.into_iter().partition(Ongoing::is_done);
        Waited { done, pending }
    }

    /// Nobody waits any more.
    fn stop(&mut self) {
        if let Stage::Waiting(Some(timer)) = std::mem::replace(&mut self.stage, Stage::Over) {
            timer.cancel();
        }
        let watches = self.state.watches.take();
        for (child, watch) in self.state.children.borrow().iter().zip(watches) {
            if let Some(watch) = watch {
                child.unwatch(watch);
            }
        }
    }
}

impl<W: Waitable> State<W> {
    fn watch(self: &Rc<Self>) {
        let children = self.children.borrow();
        self.unfinished.set(children.len());
        let mut watches = self.watches.borrow_mut();
        for (number, child) in children.iter().enumerate() {
            if child.is_done() {
                self.count(child);
                watches.push(None);
            } else {
                watches.push(Some(child.watch(self.clone(), number)));
            }
        }
    }

    fn count(&self, child: &W) {
        self.unfinished.set(self.unfinished.get() - 1);
        let enough = match self.return_when.get() {
            ReturnWhen::AllCompleted => false,
            ReturnWhen::FirstCompleted => true,
            ReturnWhen::FirstException => child.fate() == Some(Fate::Failed),
        };
        if enough || self.unfinished.get() == 0 {
            self.over.set(true);
        }
    }

    fn end(&self) {
        self.over.set(true);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<W: Waitable> Observer for State<W> {
    fn done(self: Rc<Self>, number: usize) {
        if let Some(child) = self.children.borrow().get(number) {
            self.count(child);
        }
        if self.over.get() {
            self.end();
        }
    }
}

impl<W: Waitable> Cancellable for State<W> {
    /// Nothing ends here: the task drops its wait, and the children go on.
    fn cancel(self: Rc<Self>, _: &Cancelled) -> bool {
        false
    }

    fn describe(&self) -> String {
        format!("wait for {} tasks", self.unfinished.get())
    }

    fn tasks(&self) -> Vec<u64> {
        let children = self.children.borrow();
        children.iter().filter(|child| !child.is_done()).filter_map(Ongoing::task).collect()
    }
}

impl<W: Waitable> Future for Wait<W> {
    type Output = Result<Waited<W>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Stage::Over = self.stage {
            return Poll::Ready(Err(polled_too_often()));
        }
        if let Stage::New = self.stage
            && let Err(error) = self.start()
        {
            self.stop();
            return Poll::Ready(Err(error));
        }
        if self.state.over.get() {
            return Poll::Ready(Ok(self.finish()));
        }
        let old = self.state.waker.borrow_mut().replace(cx.waker().clone());
        drop(old);
        set_waiter(|| self.state.clone());
        Poll::Pending
    }
}

impl<W: Waitable> Drop for Wait<W> {
    fn drop(&mut self) {
        clear_waiter(&self.state);
        self.stop();
    }
}

impl<W: Waitable> fmt::Debug for Wait<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let children = self.state.children.borrow().len();
        write!(f, "<Wait for {children} tasks, {:?}>", self.state.return_when.get())
    }
}
