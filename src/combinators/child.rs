//! One of several things that are gathered.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use anyloop_api::{CallbackId, Cancelled, Error, EventLoopExt, LoopRef, Observer, Result, Task};

use crate::combinators::ongoing::{Ongoing, ongoing};
use crate::combinators::output::{Fate, TaskOutput};

/// A child: work that goes on already, or a future that becomes a task.
pub struct Child<F: Future<Output: TaskOutput>> {
    work: Work<F>,
    watch: Option<CallbackId>,
}

enum Work<F: Future<Output: TaskOutput>> {
    Fresh(F),
    Ours(Task<<F::Output as TaskOutput>::Value>),
    Ongoing(Pin<Box<F>>),
    Gone,
}

/// A child whose type does not matter.
pub trait AnyChild {
    fn home(&self) -> Option<LoopRef>;
    /// Its number, if it is a task.
    fn task(&self) -> Option<u64>;
    /// Makes a task of it, if it is not one.
    fn start(&mut self, lp: &LoopRef, created: &'static Location<'static>) -> Result<()>;
    /// Whether it is a task that was made here.
    fn ours(&self) -> bool;
    fn done(&self) -> bool;
    fn failed(&self) -> bool;
    fn error(&self) -> Option<Error>;
    fn disregard(&self);
    fn watch(&mut self, observer: Rc<dyn Observer>, number: usize);
    fn unwatch(&mut self);
    fn cancel(&self, reason: &Cancelled) -> bool;
}

impl<F: Future<Output: TaskOutput> + 'static> Child<F> {
    pub(crate) fn new(future: F) -> Self {
        let goes_on = ongoing(&future).is_some();
        let work = if goes_on { Work::Ongoing(Box::pin(future)) } else { Work::Fresh(future) };
        Self { work, watch: None }
    }

    fn view(&self) -> Option<&dyn Ongoing> {
        match &self.work {
            Work::Ours(task) => Some(task),
            Work::Ongoing(future) => ongoing(&**future),
            Work::Fresh(_) | Work::Gone => None,
        }
    }

    /// The outcome, moved out; the child is done.
    pub(crate) fn take(&mut self) -> Result<<F::Output as TaskOutput>::Value> {
        if let Some(error) = self.view().and_then(Ongoing::failure) {
            return Err(error);
        }
        let not_done = || Error::InvalidState("gather: the child is not done".into());
        match std::mem::replace(&mut self.work, Work::Gone) {
            Work::Ours(task) => task.take_result(),
            Work::Ongoing(mut future) => {
                let mut cx = Context::from_waker(Waker::noop());
                match future.as_mut().poll(&mut cx) {
                    Poll::Ready(output) => output.into_result(),
                    Poll::Pending => Err(not_done()),
                }
            }
            Work::Fresh(_) | Work::Gone => Err(not_done()),
        }
    }
}

impl<F: Future<Output: TaskOutput> + 'static> AnyChild for Child<F> {
    fn home(&self) -> Option<LoopRef> {
        self.view().and_then(Ongoing::home)
    }

    fn task(&self) -> Option<u64> {
        self.view().and_then(Ongoing::task)
    }

    fn start(&mut self, lp: &LoopRef, created: &'static Location<'static>) -> Result<()> {
        match std::mem::replace(&mut self.work, Work::Gone) {
            Work::Fresh(future) => {
                let builder = lp.task().created(created);
                let task = builder.spawn_settled(future, TaskOutput::into_result)?;
                task.mark_internal();
                self.work = Work::Ours(task);
            }
            other => self.work = other,
        }
        Ok(())
    }

    fn ours(&self) -> bool {
        matches!(self.work, Work::Ours(_))
    }

    fn done(&self) -> bool {
        self.view().is_none_or(Ongoing::is_done)
    }

    fn failed(&self) -> bool {
        self.view().and_then(Ongoing::outcome_fate).is_some_and(|fate| fate != Fate::Value)
    }

    fn error(&self) -> Option<Error> {
        self.view().and_then(Ongoing::failure)
    }

    fn disregard(&self) {
        if let Some(view) = self.view() {
            view.disregard();
        }
    }

    fn watch(&mut self, observer: Rc<dyn Observer>, number: usize) {
        self.watch = self.view().map(|view| view.watch(observer, number));
    }

    fn unwatch(&mut self) {
        if let (Some(id), Some(view)) = (self.watch.take(), self.view()) {
            view.unwatch(id);
        }
    }

    fn cancel(&self, reason: &Cancelled) -> bool {
        self.view().is_some_and(|view| view.request_cancel(reason.clone()))
    }
}

impl<F: Future<Output: TaskOutput>> fmt::Debug for Child<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.work {
            Work::Fresh(_) => "<Child not started>",
            Work::Ours(_) | Work::Ongoing(_) => "<Child>",
            Work::Gone => "<Child taken>",
        })
    }
}
