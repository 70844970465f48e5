//! `gather`: several things at once, results in the order of the arguments.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use anyloop_api::{
    Cancellable, Cancelled, Error, LoopRef, Observer, Result, WeakLoop, check_same_loop,
    clear_waiter, passes_outwards, set_waiter,
};

use crate::combinators::cancel_walk::{Parent, cancel_children};
use crate::combinators::children::{Children, Group};
use crate::sync::wait_list::polled_too_often;

/// Runs several children at once and gives their values in the order of the arguments: a tuple for a
/// tuple, a `Vec` for a `Vec` or an array.
///
/// Futures become tasks at once, when this is called; tasks and loop futures (by value, or by reference if
/// the value can be cloned) are taken as they are. A child fails if awaiting it gives an `Err`, see
/// [`TaskOutput`](crate::TaskOutput). The first failure ends the gather; the other children keep running, and their errors
/// count as seen.
///
/// # Errors
/// The first failure of a child, also a `Cancelled` of a child that somebody else cancelled; `InvalidArg` if
/// the children belong to several loops; `Usage` if there is no loop, or the task that awaits it belongs to
/// another one.
///
/// # Cancel safety
/// Cancelling the task (or [`Gather::cancel`]) cancels the children, and the gather ends as cancelled when
/// the last of them has ended. Dropping it unfinished requests their cancellation and does not wait.
///
/// # Examples
/// ```
/// use anyloop::{Result, gather};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     let (six, seven) = gather((async { 6 }, async { "7".parse::<u8>() })).await?;
///     assert_eq!((six, seven), (6, 7));
///     let squares = gather([1, 2, 3].map(|n| async move { n * n })).await?;
///     assert_eq!(squares, [1, 4, 9]);
///     Ok(())
/// })?
/// # }
/// ```
#[track_caller]
pub fn gather<C: Children>(children: C) -> Gather<C, AllValues> {
    Gather::new(children)
}

/// [`gather`] over whatever an iterator gives.
///
/// # Errors
/// As [`gather`].
///
/// # Cancel safety
/// As [`gather`].
#[track_caller]
pub fn gather_vec<I>(children: I) -> Gather<Vec<I::Item>, AllValues>
where
    I: IntoIterator,
    Vec<I::Item>: Children,
{
    gather(children.into_iter().collect::<Vec<_>>())
}

/// [`gather`] that waits for every child and gives errors and cancellations as values (Python's
/// `return_exceptions=True`).
///
/// # Errors
/// `InvalidArg` if the children belong to several loops; `Usage` if there is no loop, or the task that awaits
/// it belongs to another one; `Cancelled` if the gather itself was cancelled.
///
/// # Cancel safety
/// As [`gather`].
#[track_caller]
pub fn gather_results<C: Children>(children: C) -> Gather<C, AllResults> {
    Gather::new(children)
}

/// What a [`Gather`] makes of its children.
pub trait Collect<C: Children> {
    /// What awaiting it gives.
    type Output;
    #[doc(hidden)]
    const STOP_AT_FAILURE: bool;
    #[doc(hidden)]
    fn collect(group: C::Group) -> Result<Self::Output>;
}

/// The values, or the first failure.
#[derive(Debug)]
pub enum AllValues {}

impl<C: Children> Collect<C> for AllValues {
    type Output = C::Values;
    const STOP_AT_FAILURE: bool = true;

    fn collect(group: C::Group) -> Result<C::Values> {
        group.values()
    }
}

/// A result for each.
#[derive(Debug)]
pub enum AllResults {}

impl<C: Children> Collect<C> for AllResults {
    type Output = C::Results;
    const STOP_AT_FAILURE: bool = false;

    fn collect(group: C::Group) -> Result<C::Results> {
        Ok(group.results())
    }
}

/// The future of [`gather`], [`gather_vec`] and [`gather_results`].
#[must_use = "dropping a gather cancels its children"]
pub struct Gather<C: Children, M> {
    state: Rc<State<C::Group>>,
    refused: Option<Error>,
    mode: PhantomData<fn() -> M>,
}

struct State<G> {
    /// Gone when the outcome was given.
    group: RefCell<Option<G>>,
    pending: Cell<usize>,
    /// The loop of the children; none if there are none.
    home: Option<WeakLoop>,
    /// The first child that failed, in time.
    failed: Cell<Option<usize>>,
    stop_at_failure: bool,
    /// Somebody cancelled the gather.
    cancelled: RefCell<Option<Cancelled>>,
    /// Where a walk that is under way has met it.
    met: Cell<Option<usize>>,
    waker: RefCell<Option<Waker>>,
}

impl<C: Children, M: Collect<C>> Gather<C, M> {
    #[track_caller]
    fn new(children: C) -> Self {
        let mut group = children.into_group();
        let (home, refused) = match start(&mut group, Location::caller()) {
            Ok(home) => (home.map(|lp| lp.downgrade()), None),
            Err(error) => (None, Some(error)),
        };
        if refused.is_some() {
            // Nothing has happened to what was passed in.
            let started = (0..group.len()).map(|number| group.child(number));
            started.filter(|child| child.ours()).for_each(|child| {
                child.cancel(&Cancelled::new());
            });
        }
        let state = State {
            pending: Cell::new(if refused.is_some() { 0 } else { group.len() }),
            group: RefCell::new(Some(group).filter(|_| refused.is_none())),
            home,
            failed: Cell::new(None),
            stop_at_failure: M::STOP_AT_FAILURE,
            cancelled: RefCell::new(None),
            met: Cell::new(None),
            waker: RefCell::new(None),
        };
        let state = Rc::new(state);
        if refused.is_none() {
            state.watch();
        }
        Self { state, refused, mode: PhantomData }
    }

    /// Whether awaiting it would not suspend.
    #[must_use]
    pub fn done(&self) -> bool {
        self.refused.is_some() || self.state.over()
    }

    /// Requests cancellation of every unfinished child; true if any accepted. The gather is done when all
    /// of them are, and has been cancelled then. False if it is done already.
    pub fn cancel(&self) -> bool {
        self.refused.is_none() && self.state.request_cancel(&Cancelled::new())
    }
}

/// Makes tasks of the children that are none, on the loop to which the others belong.
fn start<G: Group>(group: &mut G, created: &'static Location<'static>) -> Result<Option<LoopRef>> {
    let mut home: Option<LoopRef> = None;
    for lp in (0..group.len()).filter_map(|number| group.child(number).home()) {
        if home.as_ref().is_some_and(|home| !home.same(&lp)) {
            return Err(Error::invalid_arg("gather: the children belong to several event loops"));
        }
        home = Some(lp);
    }
    for number in 0..group.len() {
        let lp = match &home {
            Some(lp) => lp,
            None => home.insert(LoopRef::current()?),
        };
        group.child_mut(number).start(lp, created)?;
    }
    Ok(home)
}

impl<G: Group> State<G> {
    fn watch(self: &Rc<Self>) {
        let mut borrowed = self.group.borrow_mut();
        let Some(group) = &mut *borrowed else { return };
        for number in 0..group.len() {
            if group.child(number).done() {
                self.pending.set(self.pending.get() - 1);
                if self.failed.get().is_none() && group.child(number).failed() {
                    self.failed.set(Some(number));
                }
            } else {
                group.child_mut(number).watch(self.clone(), number);
            }
        }
    }

    fn over(&self) -> bool {
        let failed = self.stop_at_failure && self.failed.get().is_some();
        // A gather that was cancelled waits for everybody.
        self.pending.get() == 0 || (failed && self.cancelled.borrow().is_none())
    }

    fn request_cancel(self: &Rc<Self>, reason: &Cancelled) -> bool {
        if self.over() {
            return false;
        }
        // First, because a child may end at once.
        let before = self.cancelled.replace(Some(reason.clone()));
        let accepted = cancel_children(self.clone(), reason);
        if !accepted {
            self.cancelled.replace(before);
        }
        accepted
    }

    /// Nothing more is to be expected from the children.
    fn abandon(&self, cancel: bool) {
        let group = self.group.borrow_mut().take();
        let Some(mut group) = group else { return };
        for number in 0..group.len() {
            group.child_mut(number).unwatch();
            group.child(number).disregard();
            if cancel && !group.child(number).done() {
                group.child(number).cancel(&Cancelled::new());
            }
        }
    }
}

impl<G: Group> Observer for State<G> {
    fn done(self: Rc<Self>, number: usize) {
        self.pending.set(self.pending.get() - 1);
        if self.failed.get().is_none() {
            let group = self.group.borrow();
            if group.as_ref().is_some_and(|group| group.child(number).failed()) {
                self.failed.set(Some(number));
            }
        }
        if self.over() {
            let waker = self.waker.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<G: Group> Parent for State<G> {
    fn met(&self) -> &Cell<Option<usize>> {
        &self.met
    }

    fn cancel_children(&self, reason: &Cancelled) -> bool {
        let mut accepted = false;
        if let Some(group) = &*self.group.borrow() {
            for number in 0..group.len() {
                accepted |= !group.child(number).done() && group.child(number).cancel(reason);
            }
        }
        accepted
    }
}

impl<G: Group> Cancellable for State<G> {
    fn cancel(self: Rc<Self>, reason: &Cancelled) -> bool {
        self.request_cancel(reason)
    }

    fn cancelled(&self) -> bool {
        self.over() && self.cancelled.borrow().is_some()
    }

    fn describe(&self) -> String {
        format!("gather, {} children unfinished", self.pending.get())
    }

    fn tasks(&self) -> Vec<u64> {
        let group = self.group.borrow();
        let Some(group) = &*group else { return Vec::new() };
        let children = (0..group.len()).map(|number| group.child(number));
        children.filter(|child| !child.done()).filter_map(|child| child.task()).collect()
    }
}

impl<C: Children, M: Collect<C>> Future for Gather<C, M> {
    type Output = Result<M::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.refused.take() {
            return Poll::Ready(Err(error));
        }
        let state = &self.state;
        if !state.over() {
            if let Err(error) = state.home.as_ref().map_or(Ok(()), check_same_loop) {
                return Poll::Ready(Err(error));
            }
            let old = state.waker.borrow_mut().replace(cx.waker().clone());
            drop(old);
            set_waiter(|| state.clone());
            return Poll::Pending;
        }
        let cancelled = state.cancelled.borrow_mut().take();
        if let Some(reason) = cancelled {
            state.abandon(false);
            if passes_outwards(state, &reason) {
                return Poll::Pending;
            }
            return Poll::Ready(Err(reason.into()));
        }
        if state.stop_at_failure
            && let Some(number) = state.failed.get()
        {
            let error = state.group.borrow().as_ref().and_then(|group| group.child(number).error());
            state.abandon(false);
            return Poll::Ready(Err(error.unwrap_or_else(polled_too_often)));
        }
        let group = state.group.borrow_mut().take();
        Poll::Ready(group.ok_or_else(polled_too_often).and_then(M::collect))
    }
}

impl<C: Children, M> Drop for Gather<C, M> {
    fn drop(&mut self) {
        clear_waiter(&self.state);
        let cancel = !self.state.over();
        self.state.abandon(cancel);
    }
}

impl<C: Children, M> fmt::Debug for Gather<C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Gather, {} children unfinished>", self.state.pending.get())
    }
}
