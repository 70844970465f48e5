//! The cell under every future and task: an outcome that is set once, and who waits for it.

mod unseen;

use std::cell::Cell;
use std::mem;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::delivery;
use crate::entries::{DoneCallback, Entries, Interested, Numbers};
use crate::error::{Error, Result};

/// Where an outcome is in its life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Pending,
    Ready,
    /// The value was moved out by an awaiter.
    Taken,
    Failed,
    Cancelled,
}

/// What there is to an outcome at its stage.
enum Content<T> {
    Waiting(Entries),
    Value(T),
    Failed(Error),
    /// It was moved out, for good or for a moment.
    Nothing,
}

/// Told, from inside the call that completes them, that futures or tasks are done: how combinators wait
/// for many with one object and no allocation for each.
///
/// Must not run user code, and has to leave the rest to a task that it wakes.
pub trait Observer {
    /// The one observed under this number is done.
    fn done(self: Rc<Self>, number: usize);
}

/// Small, because every task and future has one: while there is no value, its place is that of those
/// who wait for it.
pub(crate) struct Outcome<T> {
    content: Cell<Content<T>>,
    numbers: Numbers,
    stage: Cell<Stage>,
    /// Somebody looked at the error, or nobody will ever care (FUT-17).
    inspected: Cell<bool>,
}

impl<T> Outcome<T> {
    pub(crate) fn new() -> Self {
        Self {
            content: Cell::new(Content::Waiting(Entries::Nobody)),
            numbers: Numbers::default(),
            stage: Cell::new(Stage::Pending),
            inspected: Cell::new(false),
        }
    }

    #[inline]
    pub(crate) fn done(&self) -> bool {
        self.stage.get() != Stage::Pending
    }

    #[inline]
    pub(crate) fn cancelled(&self) -> bool {
        self.stage.get() == Stage::Cancelled
    }

    /// Completes and tells everybody. `schedule` puts a done-callback into the ready queue.
    #[inline]
    pub(crate) fn complete(
        &self,
        outcome: Result<T>,
        operation: &'static str,
        schedule: impl Fn(DoneCallback),
    ) -> Result<()> {
        if self.done() {
            return Err(self.done_already(operation));
        }
        let (stage, content) = match outcome {
            Ok(value) => (Stage::Ready, Content::Value(value)),
            Err(error) => {
                let cancelled = error.is_cancelled();
                let stage = if cancelled { Stage::Cancelled } else { Stage::Failed };
                (stage, Content::Failed(error))
            }
        };
        self.stage.set(stage);
        let waited = self.content.replace(content);
        if self.numbers.unused() {
            // There is nothing in it, and looking for that costs more than the rest.
            mem::forget(waited);
        } else if let Content::Waiting(entries) = waited {
            self.tell(entries, schedule);
        }
        Ok(())
    }

    #[inline(never)]
    fn tell(&self, waiting: Entries, schedule: impl Fn(DoneCallback)) {
        waiting.drain(&self.numbers, |interested| match interested {
            Interested::Waker(waker) => waker.wake(),
            Interested::Callback(callback) => schedule(callback),
            Interested::Observer(observer, number) => observer.done(number),
        });
    }

    #[cold]
    fn done_already(&self, operation: &str) -> Error {
        Error::InvalidState(
            format!("{operation}: the future is already {}", self.describe()).into(),
        )
    }

    /// Registers a done-callback; the caller has checked that the outcome is pending.
    pub(crate) fn add_callback(&self, callback: DoneCallback) -> u64 {
        self.insert(Interested::Callback(callback))
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
        if !self.done() {
            return None;
        }
        let taken = self.take_out(Stage::Taken);
        match taken.content.as_ref()? {
            Content::Value(value) => Some(look(Ok(value))),
            Content::Failed(error) => Some(look(Err(error))),
            Content::Waiting(_) | Content::Nothing => None,
        }
    }

    /// Takes the content out for a moment, in which the outcome is at `stage`.
    fn take_out(&self, stage: Stage) -> TakenOut<'_, T> {
        let stage = self.stage.replace(stage);
        TakenOut { outcome: self, stage, content: Some(self.content.replace(Content::Nothing)) }
    }

    /// Runs `f`, which calls no code of the user, with those who wait; they are nobody once it is done.
    fn with_entries<R>(&self, f: impl FnOnce(&mut Entries) -> R) -> R {
        let mut content = self.content.replace(Content::Nothing);
        let result = match &mut content {
            Content::Waiting(entries) => f(entries),
            _ => f(&mut Entries::Nobody),
        };
        self.content.set(content);
        result
    }

    pub(crate) fn remove(&self, id: u64) -> bool {
        // Dropped outside: it may hold things of the user.
        let removed = self.with_entries(|entries| entries.remove(&self.numbers, id));
        removed.is_some()
    }

    pub(crate) fn entries_len(&self) -> usize {
        self.with_entries(|entries| entries.len())
    }

    fn insert(&self, interested: Interested) -> u64 {
        self.with_entries(|entries| entries.insert(&self.numbers, interested))
    }

    /// The same for an awaiter, who mostly is the first: nothing is then read that was just written.
    fn insert_waker(&self, waker: Waker) -> u64 {
        if !self.numbers.unused() {
            return self.insert(Interested::Waker(waker));
        }
        mem::forget(self.content.replace(Content::Waiting(Entries::Waker(waker))));
        self.numbers.count()
    }

    /// Leaves or refreshes the waker of an awaiter whose registration is in `id`; zero: none.
    pub(crate) fn wait(&self, id: &Cell<u64>, waker: &Waker) {
        let mut known = false;
        let mut same = false;
        if id.get() != 0 {
            self.with_entries(|entries| {
                if let Some(mine) = entries.waker(&self.numbers, id.get()) {
                    known = true;
                    same = mine.will_wake(waker);
                }
            });
        }
        if same {
            return;
        }
        let waker = waker.clone();
        if known {
            let old = self.with_entries(|entries| {
                let mine = entries.waker(&self.numbers, id.get());
                mine.map(|mine| mem::replace(mine, waker))
            });
            drop(old);
        } else {
            id.set(self.insert_waker(waker));
        }
    }

    /// Has every awaiter look again.
    pub(crate) fn wake_all(&self) {
        let wakers = self.with_entries(|entries| entries.wakers());
        wakers.into_iter().for_each(Waker::wake);
    }

    /// What an awaiter sees of an outcome that has no value for it: why. `Pending` when the cancellation is the
    /// current task's own: it is then delivered by scope. `owner` is where the future or task is.
    #[cold]
    pub(crate) fn settle_error(&self, owner: *const ()) -> Poll<Error> {
        self.inspected.set(true);
        let error = self.no_value();
        match &error {
            Error::Cancelled(cancelled) => {
                if delivery::deliver_if_own(cancelled, owner) {
                    return Poll::Pending;
                }
            }
            _ => delivery::answered(owner),
        }
        Poll::Ready(error)
    }

    /// What an awaiter sees of a value: it, moved out. Inlined into whoever awaits, who would otherwise get it
    /// by way of memory, written in parts and read as a whole. `id` is its registration, which is over.
    #[inline(always)]
    pub(crate) fn take_awaited(&self, owner: *const (), id: &Cell<u64>) -> Option<T> {
        let value = self.take_value()?;
        self.inspected.set(true);
        delivery::answered(owner);
        id.set(0);
        Some(value)
    }

    /// The same, cloned.
    pub(crate) fn copy_awaited(&self, owner: *const (), id: &Cell<u64>) -> Option<T>
    where
        T: Clone,
    {
        if self.stage.get() != Stage::Ready {
            return None;
        }
        self.inspected.set(true);
        delivery::answered(owner);
        id.set(0);
        self.copy_value()
    }

    #[inline(always)]
    fn take_value(&self) -> Option<T> {
        if self.stage.get() != Stage::Ready {
            return None;
        }
        self.stage.set(Stage::Taken);
        match self.content.replace(Content::Nothing) {
            Content::Value(value) => Some(value),
            // There is nothing else at this stage. To drop it, it would be read as a whole, for which the
            // processor waits if it was just written.
            other => {
                mem::forget(other);
                None
            }
        }
    }

    /// Clones the value, which is code of the user. As in [`Outcome::peek`], the outcome is taken
    /// meanwhile.
    fn copy_value(&self) -> Option<T>
    where
        T: Clone,
    {
        if self.stage.get() != Stage::Ready {
            return None;
        }
        match &self.take_out(Stage::Taken).content {
            Some(Content::Value(value)) => Some(value.clone()),
            _ => None,
        }
    }

    /// `result()`: never suspends, never delivers.
    pub(crate) fn result(&self) -> Result<T>
    where
        T: Clone,
    {
        self.look();
        self.copy_value().ok_or_else(|| self.no_value())
    }

    pub(crate) fn take_result(&self) -> Result<T> {
        self.look();
        self.take_value().ok_or_else(|| self.no_value())
    }

    fn look(&self) {
        if self.done() {
            self.inspected.set(true);
        }
    }

    /// `exception()`: the stored error, or none.
    pub(crate) fn exception(&self) -> Result<Option<Error>> {
        match self.stage.get() {
            Stage::Pending => {
                Err(Error::InvalidState("exception: the future is not done yet".into()))
            }
            Stage::Ready | Stage::Taken => Ok(None),
            failed => {
                self.look();
                if failed == Stage::Cancelled { Err(self.no_value()) } else { Ok(self.error()) }
            }
        }
    }

    pub(crate) fn mark_inspected(&self) {
        self.inspected.set(true);
    }

    /// The stored error.
    fn error(&self) -> Option<Error> {
        match &self.take_out(self.stage.get()).content {
            Some(Content::Failed(error)) => Some(error.clone()),
            _ => None,
        }
    }

    /// Why there is no value to be had.
    #[cold]
    fn no_value(&self) -> Error {
        self.error().unwrap_or_else(|| {
            Error::InvalidState(
                format!("result: the value of the future is {}", self.describe()).into(),
            )
        })
    }

    pub(crate) fn describe(&self) -> &'static str {
        match self.stage.get() {
            Stage::Pending => "not set yet",
            Stage::Ready => "set",
            Stage::Taken => "taken by an earlier await",
            Stage::Cancelled => "cancelled",
            Stage::Failed => "failed",
        }
    }
}

/// Puts the content back, also when code of the user panics.
struct TakenOut<'a, T> {
    outcome: &'a Outcome<T>,
    stage: Stage,
    content: Option<Content<T>>,
}

impl<T> Drop for TakenOut<'_, T> {
    fn drop(&mut self) {
        self.outcome.stage.set(self.stage);
        if let Some(content) = self.content.take() {
            self.outcome.content.set(content);
        }
    }
}
