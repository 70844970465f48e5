//! Handles to a loop, strong and weak.

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::event_loop::EventLoop;
use crate::report::Report;
use crate::running;
use crate::tasks::Tasks;

/// A cheap handle to a loop; stays on its thread.
#[derive(Clone)]
pub struct LoopRef(Rc<dyn EventLoop>);

impl LoopRef {
    /// Takes a loop into use; binds its [`LoopState`](crate::LoopState) to it.
    #[must_use]
    pub fn new(lp: Rc<dyn EventLoop>) -> Self {
        lp.state().bind(Rc::downgrade(&lp));
        Self(lp)
    }

    /// The loop that is running on this thread (`get_running_loop`).
    ///
    /// # Errors
    /// `Usage` if none is.
    #[inline]
    pub fn current() -> Result<Self> {
        running::current().ok_or_else(|| Error::usage("no event loop is running on this thread"))
    }

    /// A handle that does not keep the loop alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakLoop {
        self.state().weak()
    }

    /// Whether both name the same loop.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.state().id() == other.state().id()
    }

    /// Tells the exception handler of a failure that nobody awaits, unless it is a panic that is let out of
    /// the run instead ([`LoopState::resume_panic`](crate::LoopState::resume_panic)).
    pub fn report_failure(&self, message: &'static str, error: Error) {
        if let Error::Panicked(panic) = &error
            && self.state().resume_panic(panic)
        {
            return;
        }
        self.call_exception_handler(Report::new(message).exception(error));
    }
}

impl Deref for LoopRef {
    type Target = dyn EventLoop;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for LoopRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        write!(f, "<EventLoop {} {}", state.backend(), state.id())?;
        write!(f, " running={} closed={}", state.is_running(), state.is_closed())?;
        write!(f, " debug={}>", state.debug())
    }
}

/// A handle to a loop that does not keep it alive.
#[derive(Clone)]
pub struct WeakLoop(Rc<Tasks>);

impl WeakLoop {
    pub(crate) fn new(tasks: Rc<Tasks>) -> Self {
        Self(tasks)
    }

    /// The loop, if it still exists.
    #[must_use]
    pub fn upgrade(&self) -> Option<LoopRef> {
        self.0.lp().map(LoopRef)
    }

    /// Whether both name the same loop.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Whether it is the loop that is running on this thread.
    #[must_use]
    #[inline]
    pub fn is_current(&self) -> bool {
        running::is(self)
    }

    /// Whether it is closed or gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.upgrade().is_none_or(|lp| lp.is_closed())
    }

    pub(crate) fn is(&self, lp: &LoopRef) -> bool {
        Rc::ptr_eq(&self.0, &lp.state().tasks)
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0
    }
}

impl fmt::Debug for WeakLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakLoop")
    }
}
