//! Queues between tasks: first in first out, by priority, last in first out.

mod order;
mod ordered;
mod wait;

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::rc::Rc;

use anyloop_api::{Cancellable, Cancelled, Error, Result};

pub use order::{Fifo, Lifo, Order, Priority};
pub use ordered::{LifoQueue, PriorityQueue};
pub use wait::{Get, Join, Put, Rejected};

use crate::sync::wait_list::{Home, WaitList};

/// Why something is refused in the middle of a comparison.
fn comparing(operation: &str) -> Error {
    Error::usage(format!("{operation}: the queue is comparing its items"))
}

/// A queue for tasks of one loop, first in first out. Clones name the same queue.
///
/// Waiting getters and putters are woken in the order in which they came. A newcomer that finds an item
/// (or room) may take it before the woken one runs; that one then waits on, still ahead of everybody who
/// came later.
///
/// ```
/// use anyloop::{Queue, Result};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     let queue = Queue::new(10);
///     let theirs = queue.clone();
///     let consumer = anyloop::create_task(async move {
///         while let Ok(item) = theirs.get().await {
///             println!("{item}");
///             theirs.task_done()?;
///         }
///         Ok(())
///     })?;
///     for item in 0..3 {
///         queue.put(item).await?;
///     }
///     queue.join().await?;
///     queue.shutdown(false);
///     consumer.await?
/// })?
/// # }
/// ```
pub struct Queue<T, O = Fifo<T>> {
    state: Rc<State<T, O>>,
    _items: std::marker::PhantomData<T>,
}

struct State<T, O> {
    /// Borrowed while items are compared, which is user code.
    items: RefCell<O>,
    /// How many items there are; also known during a comparison.
    len: Cell<usize>,
    maxsize: usize,
    getters: WaitList,
    putters: WaitList,
    joiners: WaitList,
    unfinished: Cell<usize>,
    shut_down: Cell<bool>,
    /// What is left when the comparison is over is to be dropped.
    discarding: Cell<bool>,
    home: Home,
    _items: std::marker::PhantomData<T>,
}

impl<T> Queue<T> {
    /// For at most `maxsize` items; zero means without limit.
    #[must_use]
    pub fn new(maxsize: usize) -> Self {
        Self::with_order(maxsize)
    }
}

impl<T, O: Order<T>> Queue<T, O> {
    fn with_order(maxsize: usize) -> Self {
        let state = State {
            items: RefCell::default(),
            len: Cell::new(0),
            maxsize,
            getters: WaitList::default(),
            putters: WaitList::default(),
            joiners: WaitList::default(),
            unfinished: Cell::new(0),
            shut_down: Cell::new(false),
            discarding: Cell::new(false),
            home: Home::default(),
            _items: std::marker::PhantomData,
        };
        Self { state: Rc::new(state), _items: std::marker::PhantomData }
    }

    /// Adds an item, waiting for room if need be.
    ///
    /// # Errors
    /// `QueueShutDown`, also if that happens while waiting; `Usage` if it has to wait and tasks of
    /// another loop have waited before. The item comes back with the error.
    ///
    /// # Cancel safety
    /// Dropping it inserts nothing (the item is dropped with it), and passes room that was on its way to
    /// the next one.
    pub fn put(&self, item: T) -> Put<T, O> {
        Put::new(self.state.clone(), item)
    }

    /// Adds an item if there is room; also from callbacks.
    ///
    /// # Errors
    /// `QueueFull`; `QueueShutDown`; `Usage` from the `Ord` of its items. The item comes back with the error.
    pub fn put_nowait(&self, item: T) -> Result<(), Rejected<T>> {
        if self.state.shut_down.get() {
            return Err(Rejected::new(item, Error::QueueShutDown));
        }
        if self.state.full() {
            return Err(Rejected::new(item, Error::QueueFull));
        }
        let pushed = self.state.push(item);
        pushed.map_err(|item| Rejected::new(item, comparing("Queue::put_nowait")))
    }

    /// Takes the next item, waiting for one if need be.
    ///
    /// # Errors
    /// `QueueShutDown` once the queue is shut down and empty; `Usage` if it has to wait and tasks of
    /// another loop have waited before.
    ///
    /// # Cancel safety
    /// Dropping it takes nothing: an item that was on its way goes to the next one.
    pub fn get(&self) -> Get<T, O> {
        Get::new(self.state.clone())
    }

    /// Takes the next item if there is one; also from callbacks.
    ///
    /// # Errors
    /// `QueueEmpty`; `QueueShutDown` if in addition nothing can come any more; `Usage` from the `Ord` of its
    /// items.
    pub fn get_nowait(&self) -> Result<T> {
        self.state.pop("Queue::get_nowait")?.ok_or_else(|| {
            if self.state.shut_down.get() { Error::QueueShutDown } else { Error::QueueEmpty }
        })
    }

    /// Says that the work on an item that was taken is done.
    ///
    /// # Errors
    /// `InvalidArg` if it is said more often than items were put.
    pub fn task_done(&self) -> Result<()> {
        match self.state.unfinished.get() {
            0 => Err(Error::invalid_arg("task_done: called more often than items were put")),
            unfinished => {
                self.state.set_unfinished(unfinished - 1);
                Ok(())
            }
        }
    }

    /// Waits until every item that was put is done with.
    ///
    /// # Errors
    /// `Usage` if it has to wait and tasks of another loop have waited before.
    ///
    /// # Cancel safety
    /// Dropping it concerns nobody else.
    pub fn join(&self) -> Join<T, O> {
        Join::new(self.state.clone())
    }

    /// Ends the queue: puts fail from now on, also those that wait, and gets fail once it is empty.
    ///
    /// With `immediate`, the items in it are dropped and count as done, so gets fail at once; items
    /// that were taken still need their [`Queue::task_done`].
    pub fn shutdown(&self, immediate: bool) {
        self.state.shut_down.set(true);
        let discarded = if immediate { self.state.discard() } else { None };
        self.state.getters.wake_all(0);
        self.state.putters.wake_all(0);
        // Destructors are user code: last.
        drop(discarded);
    }

    /// How many items are in it.
    #[must_use]
    pub fn qsize(&self) -> usize {
        self.state.len()
    }

    /// Whether it has no items.
    #[must_use]
    pub fn empty(&self) -> bool {
        self.state.len() == 0
    }

    /// Whether it has no room. Never, without a limit.
    #[must_use]
    pub fn full(&self) -> bool {
        self.state.full()
    }

    /// The limit; zero means none.
    #[must_use]
    pub fn maxsize(&self) -> usize {
        self.state.maxsize
    }

    /// How many items were put and are not done with.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.state.unfinished.get()
    }

    /// How many wait for an item, and how many for room.
    #[must_use]
    pub fn waiters(&self) -> (usize, usize) {
        let waiters = |list: &WaitList| list.waiting() + list.woken();
        (waiters(&self.state.getters), waiters(&self.state.putters))
    }
}

impl<T, O: Order<T>> State<T, O> {
    fn len(&self) -> usize {
        self.len.get()
    }

    fn full(&self) -> bool {
        self.maxsize > 0 && self.len() >= self.maxsize
    }

    /// Gives the item back during a comparison.
    #[inline]
    fn push(&self, item: T) -> Result<(), T> {
        let Some(mut items) = self.items() else { return Err(item) };
        items.all.push(item);
        drop(items);
        self.unfinished.set(self.unfinished.get() + 1);
        self.getters.wake_one(0);
        self.compared();
        Ok(())
    }

    #[inline]
    fn pop(&self, operation: &str) -> Result<Option<T>> {
        let Some(mut items) = self.items() else { return Err(comparing(operation)) };
        let item = items.all.pop();
        drop(items);
        if item.is_some() {
            self.putters.wake_one(0);
        }
        self.compared();
        Ok(item)
    }

    /// The items, unless they are being compared.
    fn items(&self) -> Option<Items<'_, T, O>> {
        let all = self.items.try_borrow_mut().ok()?;
        Some(Items { all, len: &self.len, _items: std::marker::PhantomData })
    }

    /// What was put off during a comparison.
    #[inline]
    fn compared(&self) {
        if self.discarding.take() {
            drop(self.discard());
        }
    }

    /// Takes everything out, which counts as done; later, if items are being compared.
    fn discard(&self) -> Option<O> {
        let Some(mut items) = self.items() else {
            self.discarding.set(true);
            return None;
        };
        let discarded = std::mem::take(&mut *items.all);
        drop(items);
        let unfinished = self.unfinished.get();
        self.set_unfinished(unfinished.saturating_sub(discarded.len()));
        Some(discarded)
    }

    fn set_unfinished(&self, unfinished: usize) {
        let before = self.unfinished.replace(unfinished);
        if unfinished == 0 && before > 0 {
            self.joiners.wake_all(0);
        }
    }
}

/// The items, borrowed. Counts them when it goes, also if an `Ord` panics.
struct Items<'a, T, O: Order<T>> {
    all: RefMut<'a, O>,
    len: &'a Cell<usize>,
    _items: std::marker::PhantomData<T>,
}

impl<T, O: Order<T>> Drop for Items<'_, T, O> {
    fn drop(&mut self) {
        self.len.set(self.all.len());
    }
}

impl<T, O> Cancellable for State<T, O> {
    /// Nothing ends here: the task drops its wait.
    fn cancel(self: Rc<Self>, _: &Cancelled) -> bool {
        false
    }

    fn describe(&self) -> String {
        "queue".into()
    }
}

impl<T, O> Clone for Queue<T, O> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), _items: std::marker::PhantomData }
    }
}

impl<T, O: Order<T>> fmt::Debug for Queue<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Queue {} items", self.qsize())?;
        if self.maxsize() > 0 {
            write!(f, " of {}", self.maxsize())?;
        }
        let (getters, putters) = self.waiters();
        write!(f, ", {getters} getters, {putters} putters, {} unfinished", self.unfinished())?;
        if self.state.shut_down.get() {
            f.write_str(", shut down")?;
        }
        f.write_str(">")
    }
}
