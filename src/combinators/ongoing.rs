//! Work that goes on by itself, and the handles by which it is known: tasks and futures of a loop.

use std::any::Any;
use std::future::Future;
use std::rc::Rc;

use anyloop_api::{
    AnyTask, CallbackId, Cancelled, Error, LoopFuture, LoopRef, Observer, Result, Shared,
    SharedTask, Shield, Task,
};

use crate::combinators::output::{Fate, TaskOutput};

/// What combinators need to know of a task or future; not to be implemented elsewhere.
pub trait Ongoing: 'static {
    /// Whether it has an outcome.
    fn is_done(&self) -> bool;
    /// Which one; `None` while pending. Does not count as a look at an error.
    fn outcome_fate(&self) -> Option<Fate>;
    /// How awaiting it fails, if it does. Counts as a look.
    fn failure(&self) -> Option<Error>;
    /// Nobody will look at its error.
    fn disregard(&self);
    /// Tells `observer` when it is done.
    fn watch(&self, observer: Rc<dyn Observer>, number: usize) -> CallbackId;
    /// Takes that back.
    fn unwatch(&self, id: CallbackId);
    /// Requests cancellation.
    fn request_cancel(&self, reason: Cancelled) -> bool;
    /// Its loop; `None` once that is gone.
    fn home(&self) -> Option<LoopRef>;
    /// What it is recognised by among things of its type.
    fn identity(&self) -> u64;
    /// Its number, if it is a task.
    fn task(&self) -> Option<u64>;
}

macro_rules! ongoing {
    ($name:ident, $self:ident => $inner:expr, $fate:expr, $identity:expr, $task:expr) => {
        impl<T: 'static> Ongoing for $name<T> {
            fn is_done(&$self) -> bool {
                $inner.done()
            }

            fn outcome_fate(&$self) -> Option<Fate> {
                $fate
            }

            fn failure(&$self) -> Option<Error> {
                $inner.exception().unwrap_or_else(Some)
            }

            fn disregard(&$self) {
                $inner.mark_inspected();
            }

            fn watch(&$self, observer: Rc<dyn Observer>, number: usize) -> CallbackId {
                $inner.observe(observer, number)
            }

            fn unwatch(&$self, id: CallbackId) {
                $inner.remove_done_callback(id);
            }

            fn request_cancel(&$self, reason: Cancelled) -> bool {
                $inner.cancel_with(reason)
            }

            fn home(&$self) -> Option<LoopRef> {
                $inner.get_loop()
            }

            fn identity(&$self) -> u64 {
                $identity
            }

            fn task(&$self) -> Option<u64> {
                $task
            }
        }
    };
}

fn fate_of<T>(outcome: std::result::Result<&T, &Error>) -> Fate {
    outcome.map_or_else(Fate::of, |_| Fate::Value)
}

/// A value that was taken was one.
fn fate_if_done(done: bool, fate: Option<Fate>) -> Option<Fate> {
    done.then(|| fate.unwrap_or(Fate::Value))
}

ongoing!(Task, self => self,
    fate_if_done(self.done(), self.peek(fate_of)), self.id(), Some(self.id()));
ongoing!(SharedTask, self => self.task(),
    self.task().outcome_fate(), self.task().id(), Some(self.task().id()));
ongoing!(LoopFuture, self => self,
    fate_if_done(self.done(), self.peek(fate_of)), self.id() as u64, None);
ongoing!(Shared, self => self.future(),
    self.future().outcome_fate(), self.future().id() as u64, None);

impl Ongoing for AnyTask {
    fn is_done(&self) -> bool {
        self.done()
    }

    fn outcome_fate(&self) -> Option<Fate> {
        let failed = || if self.failed() { Fate::Failed } else { Fate::Value };
        self.done().then(|| if self.cancelled() { Fate::Cancelled } else { failed() })
    }

    /// Of a task whose output type is forgotten: also the error inside the output, if it can be told.
    fn failure(&self) -> Option<Error> {
        let failure = self.exception().unwrap_or_else(Some).or_else(|| self.error());
        self.mark_inspected();
        failure
    }

    fn disregard(&self) {
        self.mark_inspected();
    }

    fn watch(&self, observer: Rc<dyn Observer>, number: usize) -> CallbackId {
        self.observe(observer, number)
    }

    fn unwatch(&self, id: CallbackId) {
        self.remove_done_callback(id);
    }

    fn request_cancel(&self, reason: Cancelled) -> bool {
        self.cancel_with(reason)
    }

    fn home(&self) -> Option<LoopRef> {
        self.get_loop()
    }

    fn identity(&self) -> u64 {
        self.id()
    }

    fn task(&self) -> Option<u64> {
        Some(self.id())
    }
}

/// Refuses work that belongs to another loop than `lp`.
pub(crate) fn check_home<'a, W: Ongoing>(
    mut work: impl Iterator<Item = &'a W>,
    lp: &LoopRef,
    operation: &'static str,
) -> Result<()> {
    if work.any(|work| work.home().is_some_and(|home| !home.same(lp))) {
        let text = format!("{operation}: a task or future belongs to another event loop");
        return Err(Error::InvalidArg(text.into()));
    }
    Ok(())
}

/// The work behind `future`, if it is a handle to some that goes on by itself. Everything else has to be
/// made a task first.
pub(crate) fn ongoing<F>(future: &F) -> Option<&dyn Ongoing>
where
    F: Future<Output: TaskOutput> + 'static,
{
    fn view<H: Ongoing>(future: &dyn Any) -> Option<&dyn Ongoing> {
        future.downcast_ref::<H>().map(|handle| handle as &dyn Ongoing)
    }

    // Awaiting a handle gives a `Result` of the value, which determines the type of the handle.
    view::<Task<Value<F>>>(future)
        .or_else(|| view::<SharedTask<Value<F>>>(future))
        .or_else(|| view::<LoopFuture<Value<F>>>(future))
        .or_else(|| view::<Shared<Value<F>>>(future))
        .or_else(|| view::<AnyTask>(future))
}

/// The work behind `future`, if it is a shield of some.
pub(crate) fn shielded<F>(future: &F) -> Option<&dyn Ongoing>
where
    F: Future<Output: TaskOutput> + 'static,
{
    fn view<H: Ongoing>(future: &dyn Any) -> Option<&dyn Ongoing> {
        future.downcast_ref::<Shield<H>>().map(|shield| shield.work() as &dyn Ongoing)
    }

    view::<Task<Value<F>>>(future).or_else(|| view::<LoopFuture<Value<F>>>(future))
}

/// What the work behind a future gives.
type Value<F> = <<F as Future>::Output as TaskOutput>::Value;

/// What [`wait`](crate::wait()) and [`as_completed`](crate::as_completed) take: [`Task`], [`LoopFuture`],
/// [`AnyTask`]. Make a task of anything else, with [`ensure_future`](crate::ensure_future()).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a task nor a future of a loop",
    note = "make a task of it: `anyloop::ensure_future(..)?`"
)]
pub trait Waitable: Ongoing {
    /// How it ended; `None` while pending. Does not count as a look at an error.
    fn fate(&self) -> Option<Fate>;
}

impl<T: TaskOutput> Waitable for Task<T> {
    fn fate(&self) -> Option<Fate> {
        let fate = self.peek(|outcome| outcome.map_or_else(Fate::of, TaskOutput::fate));
        fate_if_done(self.done(), fate)
    }
}

impl<T: 'static> Waitable for LoopFuture<T> {
    fn fate(&self) -> Option<Fate> {
        self.outcome_fate()
    }
}

impl Waitable for AnyTask {
    fn fate(&self) -> Option<Fate> {
        self.outcome_fate()
    }
}
