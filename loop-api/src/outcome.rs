//! The cell under every future and task: an outcome that is set once, and who waits for it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context as PollContext, Poll, Waker};

use crate::context::Snapshot;
use crate::delivery;
use crate::entries::{Entries, Interested};
use crate::error::{Cancelled, Error, Result};

/// Where an outcome is in its life.
pub(crate) enum Stage<T> {
    Pending,
    Ready(T),
    /// The value was moved out by an awaiter.
    Taken,
    /// Boxed, so that the common outcomes stay small.
    Failed(Box<Error>),
}

/// A done-callback; it is handed the owner of the outcome when it runs, so that a pending future
/// does not keep itself alive through its callbacks.
pub(crate) type DoneCallback = Box<dyn FnOnce(Rc<dyn Any>)>;

/// Told, from inside the call that completes them, that futures or tasks are done: how combinators wait
/// for many with one object and no allocation for each.
///
/// Must not run user code, and has to leave the rest to a task that it wakes.
pub trait Observer {
    /// The one observed under this number is done.
    fn done(self: Rc<Self>, number: usize);
}

pub(crate) struct Outcome<T> {
    stage: RefCell<Stage<T>>,
    entries: Entries,
    /// Somebody looked at the error, or nobody will ever care (FUT-17).
    inspected: Cell<bool>,
}

impl<T> Outcome<T> {
    pub(crate) fn new() -> Self {
        Self {
            stage: RefCell::new(Stage::Pending),
            entries: Entries::default(),
            inspected: Cell::new(false),
        }
    }

    pub(crate) fn done(&self) -> bool {
        !matches!(*self.stage.borrow(), Stage::Pending)
    }

    pub(crate) fn cancelled(&self) -> bool {
        matches!(&*self.stage.borrow(), Stage::Failed(error) if error.is_cancelled())
    }

    /// Completes and tells everybody. `schedule` puts a done-callback into the ready queue.
    pub(crate) fn complete(
        &self,
        outcome: Result<T>,
        operation: &'static str,
        schedule: impl Fn(DoneCallback, Snapshot),
    ) -> Result<()> {
        {
            let mut stage = self.stage.borrow_mut();
            if !matches!(*stage, Stage::Pending) {
                return Err(Error::InvalidState(
                    format!("{operation}: the future is already {}", describe(&stage)).into(),
                ));
            }
            *stage = match outcome {
                Ok(value) => Stage::Ready(value),
                Err(error) => Stage::Failed(Box::new(error)),
            };
        }
        self.entries.drain(|interested| match interested {
            Interested::Waker(waker) => waker.wake(),
            Interested::Callback(callback, context) => schedule(callback, context),
            Interested::Observer(observer, number) => observer.done(number),
        });
        Ok(())
    }

    /// Registers a done-callback; the caller has checked that the outcome is pending.
    pub(crate) fn add_callback(&self, callback: DoneCallback, context: Snapshot) -> u64 {
        self.insert(Interested::Callback(callback, context))
    }

    /// Registers an observer; zero if there is nothing to wait for any more.
    pub(crate) fn observe(&self, observer: Rc<dyn Observer>, number: usize) -> u64 {
        if self.done() {
            return 0;
        }
        self.insert(Interested::Observer(observer, number))
    }

    /// Looks at the outcome without counting as a look. What asks about the outcome meanwhile finds
    /// it taken.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(Result<&T, &Error>) -> R) -> Option<R> {
        struct PutBack<'a, T>(&'a RefCell<Stage<T>>, Stage<T>);

        impl<T> Drop for PutBack<'_, T> {
            fn drop(&mut self) {
                *self.0.borrow_mut() = std::mem::replace(&mut self.1, Stage::Taken);
            }
        }

        if !self.done() {
            return None;
        }
        let stage = self.stage.replace(Stage::Taken);
        let stage = PutBack(&self.stage, stage);
        match &stage.1 {
            Stage::Ready(value) => Some(look(Ok(value))),
            Stage::Failed(error) => Some(look(Err(error))),
            Stage::Pending | Stage::Taken => None,
        }
    }

    pub(crate) fn remove(&self, id: u64) -> bool {
        self.entries.remove(id)
    }

    pub(crate) fn entries_len(&self) -> usize {
        self.entries.len()
    }

    fn insert(&self, interested: Interested) -> u64 {
        self.entries.insert(interested)
    }

    /// Leaves or refreshes the waker of an awaiter whose registration is in `id`; zero: none.
    fn wait(&self, id: &Cell<u64>, waker: &Waker) {
        if id.get() == 0 || !self.entries.refresh(id.get(), waker) {
            id.set(self.insert(Interested::Waker(waker.clone())));
        }
    }

    /// Polls for the end of the outcome, without looking at it.
    pub(crate) fn poll_done(&self, id: &Cell<u64>, cx: &PollContext<'_>) -> Poll<()> {
        if self.done() {
            id.set(0);
            Poll::Ready(())
        } else {
            self.wait(id, cx.waker());
            Poll::Pending
        }
    }

    /// What an awaiter sees once the outcome is there: the error, or what `value` makes of the value.
    /// `Pending` when the cancellation is the current task's own: it is then delivered by scope.
    /// `owner` is where the future or task is.
    pub(crate) fn settle<R>(
        &self,
        owner: *const (),
        value: impl FnOnce(&Self) -> Result<R>,
    ) -> Poll<Result<R>> {
        self.inspected.set(true);
        if matches!(*self.stage.borrow(), Stage::Failed(_)) {
            return self.settle_error(owner);
        }
        delivery::answered(owner);
        Poll::Ready(value(self))
    }

    #[cold]
    fn settle_error<R>(&self, owner: *const ()) -> Poll<Result<R>> {
        let error = match &*self.stage.borrow() {
            Stage::Failed(error) => (**error).clone(),
            other => return Poll::Ready(other.no_value()),
        };
        match &error {
            Error::Cancelled(cancelled) => {
                if delivery::deliver_if_own(cancelled, owner) {
                    return Poll::Pending;
                }
            }
            _ => delivery::answered(owner),
        }
        Poll::Ready(Err(error))
    }

    /// Moves the value out.
    pub(crate) fn take(&self) -> Result<T> {
        let mut stage = self.stage.borrow_mut();
        match std::mem::replace(&mut *stage, Stage::Taken) {
            Stage::Ready(value) => Ok(value),
            other => {
                *stage = other;
                stage.no_value()
            }
        }
    }

    /// Clones the value, which is code of the user.
    pub(crate) fn copy(&self) -> Result<T>
    where
        T: Clone,
    {
        match &*self.stage.borrow() {
            Stage::Ready(value) => Ok(value.clone()),
            other => other.no_value(),
        }
    }

    /// `result()`: never suspends, never delivers.
    pub(crate) fn result(&self) -> Result<T>
    where
        T: Clone,
    {
        self.look();
        self.copy()
    }

    pub(crate) fn take_result(&self) -> Result<T> {
        self.look();
        self.take()
    }

    fn look(&self) {
        if self.done() {
            self.inspected.set(true);
        }
    }

    /// `exception()`: the stored error, or none.
    pub(crate) fn exception(&self) -> Result<Option<Error>> {
        match &*self.stage.borrow() {
            Stage::Pending => {
                Err(Error::InvalidState("exception: the future is not done yet".into()))
            }
            Stage::Ready(_) | Stage::Taken => Ok(None),
            Stage::Failed(error) => {
                self.inspected.set(true);
                if error.is_cancelled() {
                    return Err((**error).clone());
                }
                Ok(Some((**error).clone()))
            }
        }
    }

    pub(crate) fn mark_inspected(&self) {
        self.inspected.set(true);
    }

    /// The error nobody looked at, for the last owner to report (FUT-16). Interrupts are none: the
    /// run has ended with them (EXC-09).
    pub(crate) fn lost_error(&self) -> Option<Error> {
        if self.inspected.get() {
            return None;
        }
        match &*self.stage.borrow() {
            Stage::Failed(error) => match &**error {
                Error::Cancelled(_) | Error::Interrupt(_) => None,
                error => Some(error.clone()),
            },
            _ => None,
        }
    }

    /// The same, and the error in a value that a body returned: nobody else may ever see it (TASK-16).
    pub(crate) fn lost_error_of_task(&self) -> Option<Error>
    where
        T: 'static,
    {
        match &*self.stage.borrow() {
            Stage::Ready(value) if !self.inspected.get() => error_in(value),
            _ => self.lost_error(),
        }
    }

    pub(crate) fn describe(&self) -> &'static str {
        describe(&self.stage.borrow())
    }
}

impl<T> Stage<T> {
    /// Why there is no value to be had.
    fn no_value<R>(&self) -> Result<R> {
        Err(match self {
            Self::Failed(error) => (**error).clone(),
            other => Error::InvalidState(
                format!("result: the value of the future is {}", describe(other)).into(),
            ),
        })
    }
}

fn describe<T>(stage: &Stage<T>) -> &'static str {
    match stage {
        Stage::Pending => "not set yet",
        Stage::Ready(_) => "set",
        Stage::Taken => "taken by an earlier await",
        Stage::Failed(error) if error.is_cancelled() => "cancelled",
        Stage::Failed(_) => "failed",
    }
}

type Fallible<E> = std::result::Result<(), E>;
type Boxed = Box<dyn std::error::Error>;
type Sendable = Box<dyn std::error::Error + Send + Sync>;

/// The error inside an output of one of the usual shapes `Result<(), E>`: a detached task that
/// returns one must not lose it silently (TASK-16). Rust cannot ask "is this any `Result`?", so the
/// usual error types are listed.
fn error_in<T: 'static>(value: &T) -> Option<Error> {
    let value: &dyn Any = value;
    if let Some(Err(error)) = value.downcast_ref::<Fallible<Error>>() {
        return Some(error.clone());
    }
    if let Some(Err(error)) = value.downcast_ref::<Fallible<io::Error>>() {
        return Some(Error::failed(error.to_string()));
    }
    if let Some(Err(error)) = value.downcast_ref::<Fallible<Boxed>>() {
        return Some(Error::failed(error.to_string()));
    }
    if let Some(Err(error)) = value.downcast_ref::<Fallible<Sendable>>() {
        return Some(Error::failed(error.to_string()));
    }
    if let Some(Err(error)) = value.downcast_ref::<Fallible<String>>() {
        return Some(Error::failed(error.clone()));
    }
    None
}

/// The cancellation inside an output of one of these shapes: a body that ends with `Cancelled` makes
/// a cancelled task (CANCEL-15). All of this is decided when the program is compiled.
pub(crate) fn cancelled_in<T: 'static>(value: &T) -> Option<Cancelled> {
    let value: &dyn Any = value;
    if let Some(Err(cancelled)) = value.downcast_ref::<Fallible<Cancelled>>() {
        return Some(cancelled.clone());
    }
    if let Some(Err(error)) = value.downcast_ref::<Fallible<Error>>() {
        return cancellation(error);
    }
    if let Some(Err(error)) = value.downcast_ref::<Fallible<io::Error>>() {
        return cancellation(error.get_ref()?);
    }
    if let Some(Err(error)) = value.downcast_ref::<Fallible<Boxed>>() {
        return cancellation(&**error);
    }
    if let Some(Err(error)) = value.downcast_ref::<Fallible<Sendable>>() {
        return cancellation(&**error);
    }
    None
}

fn cancellation(error: &(dyn std::error::Error + 'static)) -> Option<Cancelled> {
    match error.downcast_ref::<Error>() {
        Some(Error::Cancelled(cancelled)) => Some(cancelled.clone()),
        Some(_) => None,
        None => error.downcast_ref::<Cancelled>().cloned(),
    }
}

/// `Cancelled` as an outcome.
pub(crate) fn cancelled<T>(cancelled: Cancelled) -> Result<T> {
    Err(Error::Cancelled(cancelled))
}
