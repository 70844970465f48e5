//! Handles: a callback that waits for its turn, and may be cancelled.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::rc::Rc;

use crate::context::{Context, Restore, Snapshot, enter_nested};
use crate::error::Panic;
use crate::loop_ref::LoopRef;
use crate::report::Report;

/// A scheduled callback. One allocation holds the state and the closure.
///
/// Dropping the handle does not cancel the callback (SCHED-14).
#[derive(Clone)]
pub struct Handle {
    cell: Rc<dyn Callback>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Pending,
    Cancelled,
    Done,
}

/// What every handle has, whatever it calls.
pub(crate) struct Head {
    pub(crate) state: Cell<State>,
    /// One word; nothing for the empty context, which is the usual one.
    context: Cell<Option<Box<Captured>>>,
    created: &'static Location<'static>,
}

pub(crate) struct HandleCell<S> {
    pub(crate) head: Head,
    pub(crate) slot: S,
}

impl<S: Slot> HandleCell<S> {
    /// A cell whose callback needs no context, made where it stays.
    #[inline]
    pub(crate) fn new(created: &'static Location<'static>, slot: impl FnOnce() -> S) -> Rc<Self> {
        in_place(|| Self { head: Head::new(None, created), slot: slot() })
    }
}

impl Head {
    #[inline]
    fn new(context: Option<Box<Captured>>, created: &'static Location<'static>) -> Self {
        Self { state: Cell::new(State::Pending), context: Cell::new(context), created }
    }
}

/// `Rc::new` puts its value together in front of the allocation and copies it, because that might fail and
/// the value would have to be dropped. This makes it where it stays.
#[inline]
pub(crate) fn in_place<T>(make: impl FnOnce() -> T) -> Rc<T> {
    Rc::new_cyclic(|_| make())
}

enum Captured {
    Snapshot(Snapshot),
    Shared(Context),
}

impl Captured {
    #[inline]
    fn snapshot(snapshot: Snapshot) -> Option<Box<Self>> {
        if snapshot.is_empty() { None } else { Some(Box::new(Self::Snapshot(snapshot))) }
    }

    #[inline(never)]
    fn enter(&self) -> Restore {
        enter_nested(match self {
            Self::Snapshot(snapshot) => snapshot.clone().into_context(),
            Self::Shared(context) => Some(context.clone()),
        })
    }
}

/// A closure that can be called or dropped through a shared reference.
pub(crate) trait Slot: 'static {
    fn call(&self);
    fn clear(&self);
}

struct OnceSlot<F>(Cell<Option<F>>);

impl<F: FnOnce() + 'static> Slot for OnceSlot<F> {
    #[inline]
    fn call(&self) {
        if let Some(callback) = self.0.take() {
            callback();
        }
    }

    fn clear(&self) {
        drop(self.0.take());
    }
}

/// A cell whose closure is forgotten.
trait Callback {
    fn head(&self) -> &Head;
    /// [`Handle::run`], in one piece with what it calls and with the end of the cell.
    fn run(self: Rc<Self>) -> Result<(), (Panic, Handle)>;
    fn clear(&self);
}

impl<S: Slot> Callback for HandleCell<S> {
    fn head(&self) -> &Head {
        &self.head
    }

    fn run(self: Rc<Self>) -> Result<(), (Panic, Handle)> {
        if self.head.state.get() != State::Pending {
            return Ok(());
        }
        self.head.state.set(State::Done);
        let captured = self.head.context.take();
        let call = AssertUnwindSafe(|| {
            let guard = match &captured {
                None => enter_nested(None),
                Some(captured) => captured.enter(),
            };
            self.slot.call();
            drop(guard);
        });
        if let Err(payload) = catch_unwind(call) {
            return Err(panicked(Handle { cell: self }, captured, payload));
        }
        if captured.is_none() {
            return Ok(());
        }
        // It may be the last to hold the values in it, which are the user's.
        catch_unwind(AssertUnwindSafe(|| drop(captured)))
            .map_err(|payload| panicked(Handle { cell: self }, None, payload))
    }

    fn clear(&self) {
        self.slot.clear();
    }
}

#[cold]
fn panicked(
    handle: Handle,
    context: Option<Box<Captured>>,
    payload: Box<dyn Any + Send>,
) -> (Panic, Handle) {
    // A report wants to know the context (CTX-08).
    handle.head().context.set(context);
    (Panic::new(payload), handle)
}

impl Handle {
    /// Wraps `callback`, capturing the current context (SCHED-15). Not scheduled yet: that is
    /// [`EventLoop::call_soon_handle`](crate::EventLoop::call_soon_handle).
    #[must_use]
    #[track_caller]
    pub fn new(callback: impl FnOnce() + 'static) -> Self {
        Self::build(callback, Captured::snapshot(Snapshot::current()))
    }

    /// The same with an explicit context.
    #[must_use]
    #[track_caller]
    pub fn with_context(callback: impl FnOnce() + 'static, context: Context) -> Self {
        Self::build(callback, Some(Box::new(Captured::Shared(context))))
    }

    /// The same with a snapshot taken earlier.
    #[must_use]
    #[track_caller]
    pub fn with_snapshot(callback: impl FnOnce() + 'static, snapshot: Snapshot) -> Self {
        Self::build(callback, Captured::snapshot(snapshot))
    }

    #[track_caller]
    #[inline]
    fn build<F: FnOnce() + 'static>(callback: F, context: Option<Box<Captured>>) -> Self {
        let created = Location::caller();
        let cell = in_place(|| HandleCell {
            head: Head::new(context, created),
            slot: OnceSlot(Cell::new(Some(callback))),
        });
        Self { cell }
    }

    /// Stands in reports for a callback that ran, but not through a handle (EXC-07): in the same context.
    #[must_use]
    pub fn stand_in(context: Snapshot, created: &'static Location<'static>) -> Self {
        let callback: Option<fn()> = None;
        let head = Head {
            state: Cell::new(State::Done),
            context: Cell::new(Captured::snapshot(context)),
            created,
        };
        Self { cell: Rc::new(HandleCell { head, slot: OnceSlot(Cell::new(callback)) }) }
    }

    /// Shares a cell that somebody keeps.
    pub(crate) fn from_cell<S: Slot>(cell: Rc<HandleCell<S>>) -> Self {
        Self { cell }
    }

    fn head(&self) -> &Head {
        self.cell.head()
    }

    /// Prevents the call and drops the callback with all it captured, now (SCHED-09). Idempotent;
    /// harmless after the call.
    ///
    /// A panic in a destructor of what it captured is reported to the running loop; without one it
    /// is the caller's.
    pub fn cancel(&self) {
        let head = self.head();
        if head.state.get() != State::Pending {
            return;
        }
        head.state.set(State::Cancelled);
        let destroy = || {
            drop(head.context.take());
            self.cell.clear();
        };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(destroy)) {
            let Ok(lp) = LoopRef::current() else { resume_unwind(payload) };
            lp.call_exception_handler(
                Report::new("a destructor panicked while a callback was being cancelled")
                    .exception(Panic::new(payload))
                    .handle(self.clone()),
            );
        }
    }

    /// Whether [`Handle::cancel`] prevented the call. False after a normal run (SCHED-10).
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.head().state.get() == State::Cancelled
    }

    /// Whether it still waits for its turn.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.head().state.get() == State::Pending
    }

    /// Where it was created.
    #[must_use]
    pub fn created(&self) -> &'static Location<'static> {
        self.head().created
    }

    /// The context in which it will run.
    #[must_use]
    pub fn get_context(&self) -> Context {
        let captured = self.head().context.take();
        let context = match captured.as_deref() {
            None => Context::new(),
            Some(Captured::Snapshot(snapshot)) => Context::from(snapshot.clone()),
            Some(Captured::Shared(context)) => context.clone(),
        };
        self.head().context.set(captured);
        context
    }

    /// Calls the callback in its context, once; for the loop. Does nothing if it was cancelled or
    /// ran before.
    ///
    /// # Errors
    /// The panic, if the callback panicked, and the handle again, for the report.
    #[inline]
    pub fn run(self) -> Result<(), (Panic, Self)> {
        self.cell.run()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Handle {:?} created at {}>", self.head().state.get(), self.head().created)
    }
}
