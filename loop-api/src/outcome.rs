//! The cell under every future and task: an outcome that is set once, and who waits for it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context as PollContext, Poll, Waker};

use crate::context::Snapshot;
use crate::error::{Cancelled, Error, Result};
use crate::task_core;

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

enum Interested {
    Waker(Waker),
    Callback(DoneCallback, Snapshot),
    Observer(Rc<dyn Observer>, usize),
}

struct Entry {
    id: u32,
    interested: Interested,
}

/// Who is told about the completion, in the order of registration. The first entry needs no
/// allocation, because nearly every future has exactly one awaiter.
#[derive(Default)]
struct Entries {
    next_id: u32,
    first: Option<Entry>,
    more: Vec<Entry>,
}

pub(crate) struct Outcome<T> {
    stage: RefCell<Stage<T>>,
    entries: RefCell<Entries>,
    /// Somebody looked at the error, or nobody will ever care (FUT-17).
    inspected: Cell<bool>,
}

impl<T> Outcome<T> {
    pub(crate) fn new() -> Self {
        Self {
            stage: RefCell::new(Stage::Pending),
            entries: RefCell::default(),
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
        let (first, more) = {
            let mut entries = self.entries.borrow_mut();
            if entries.first.is_none() && entries.more.is_empty() {
                return Ok(());
            }
            (entries.first.take(), std::mem::take(&mut entries.more))
        };
        for entry in first.into_iter().chain(more) {
            match entry.interested {
                Interested::Waker(waker) => waker.wake(),
                Interested::Callback(callback, context) => schedule(callback, context),
                Interested::Observer(observer, number) => observer.done(number),
            }
        }
        Ok(())
    }

    /// Registers a done-callback; the caller has checked that the outcome is pending.
    pub(crate) fn add_callback(&self, callback: DoneCallback, context: Snapshot) -> u32 {
        self.insert(Interested::Callback(callback, context))
    }

    /// Registers an observer; zero if there is nothing to wait for any more.
    pub(crate) fn observe(&self, observer: Rc<dyn Observer>, number: usize) -> u32 {
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

    pub(crate) fn remove(&self, id: u32) -> bool {
        let removed = {
            let mut entries = self.entries.borrow_mut();
            if entries.first.as_ref().is_some_and(|entry| entry.id == id) {
                entries.first.take()
            } else {
                let at = entries.more.iter().position(|entry| entry.id == id);
                at.map(|at| entries.more.remove(at))
            }
        };
        removed.is_some()
    }

    pub(crate) fn entries_len(&self) -> usize {
        let entries = self.entries.borrow();
        usize::from(entries.first.is_some()) + entries.more.len()
    }

    fn insert(&self, interested: Interested) -> u32 {
        let mut entries = self.entries.borrow_mut();
        // Zero means "not registered".
        entries.next_id = entries.next_id.wrapping_add(1).max(1);
        let entry = Entry { id: entries.next_id, interested };
        let id = entry.id;
        if entries.first.is_none() && entries.more.is_empty() {
            entries.first = Some(entry);
        } else {
            entries.more.push(entry);
        }
        id
    }

    /// Leaves or refreshes the waker of an awaiter whose registration is in `id`.
    fn wait(&self, id: &Cell<u32>, waker: &Waker) {
        if id.get() != 0 {
            let mut entries = self.entries.borrow_mut();
            let Entries { first, more, .. } = &mut *entries;
            let mine = first.iter_mut().chain(more).find(|entry| entry.id == id.get());
            if let Some(Entry { interested: Interested::Waker(old), .. }) = mine {
                old.clone_from(waker);
                return;
            }
        }
        id.set(self.insert(Interested::Waker(waker.clone())));
    }

    /// Polls for the end of the outcome, without looking at it.
    pub(crate) fn poll_done(&self, id: &Cell<u32>, cx: &PollContext<'_>) -> Poll<()> {
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
        value: impl FnOnce(&mut Stage<T>) -> Result<R>,
    ) -> Poll<Result<R>> {
        self.inspected.set(true);
        let mut stage = self.stage.borrow_mut();
        if let Stage::Failed(error) = &*stage {
            if let Error::Cancelled(cancelled) = &**error
                && task_core::deliver_if_own(cancelled, owner)
            {
                return Poll::Pending;
            }
            return Poll::Ready(Err((**error).clone()));
        }
        Poll::Ready(value(&mut stage))
    }

    pub(crate) fn take(stage: &mut Stage<T>) -> Result<T> {
        match std::mem::replace(stage, Stage::Taken) {
            Stage::Ready(value) => Ok(value),
            other => {
                *stage = other;
                Err(Error::InvalidState(
                    format!("result: the value of the future is {}", describe(stage)).into(),
                ))
            }
        }
    }

    pub(crate) fn copy(stage: &mut Stage<T>) -> Result<T>
    where
        T: Clone,
    {
        match stage {
            Stage::Ready(value) => Ok(value.clone()),
            Stage::Failed(error) => Err((**error).clone()),
            _ => Err(Error::InvalidState(
                format!("result: the value of the future is {}", describe(stage)).into(),
            )),
        }
    }

    /// `result()`: never suspends, never delivers.
    pub(crate) fn result(&self) -> Result<T>
    where
        T: Clone,
    {
        let mut stage = self.stage.borrow_mut();
        if !matches!(*stage, Stage::Pending) {
            self.inspected.set(true);
        }
        Self::copy(&mut stage)
    }

    pub(crate) fn take_result(&self) -> Result<T> {
        let mut stage = self.stage.borrow_mut();
        if let Stage::Failed(error) = &*stage {
            self.inspected.set(true);
            return Err((**error).clone());
        }
        if matches!(*stage, Stage::Ready(_)) {
            self.inspected.set(true);
        }
        Self::take(&mut stage)
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

    /// The error nobody looked at, for the last owner to report (FUT-16).
    pub(crate) fn lost_error(&self) -> Option<Error>
    where
        T: 'static,
    {
        if self.inspected.get() {
            return None;
        }
        match &*self.stage.borrow() {
            Stage::Pending | Stage::Taken => None,
            // An interrupt has left the run already (EXC-09).
            Stage::Failed(error) if error.is_cancelled() => None,
            Stage::Failed(error) if matches!(**error, Error::Interrupt(_)) => None,
            Stage::Failed(error) => Some((**error).clone()),
            Stage::Ready(value) => error_in(value),
        }
    }

    pub(crate) fn describe(&self) -> &'static str {
        describe(&self.stage.borrow())
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

/// The error inside an output of one of the usual shapes `Result<(), E>`: a detached task that
/// returns one must not lose it silently (TASK-16). Rust cannot ask "is this any `Result`?", so the
/// usual error types are listed.
fn error_in<T: 'static>(value: &T) -> Option<Error> {
    type Unit<E> = std::result::Result<(), E>;
    let value: &dyn Any = value;
    if let Some(Err(error)) = value.downcast_ref::<Unit<Error>>() {
        return (!error.is_cancelled()).then(|| error.clone());
    }
    if let Some(Err(error)) = value.downcast_ref::<Unit<io::Error>>() {
        return Some(Error::failed(error.to_string()));
    }
    if let Some(Err(error)) = value.downcast_ref::<Unit<Box<dyn std::error::Error>>>() {
        return Some(Error::failed(error.to_string()));
    }
    if let Some(Err(error)) = value.downcast_ref::<Unit<Box<dyn std::error::Error + Send + Sync>>>()
    {
        return Some(Error::failed(error.to_string()));
    }
    if let Some(Err(error)) = value.downcast_ref::<Unit<String>>() {
        return Some(Error::failed(error.clone()));
    }
    None
}

/// `Cancelled` as an outcome.
pub(crate) fn cancelled<T>(cancelled: Cancelled) -> Result<T> {
    Err(Error::Cancelled(cancelled))
}
