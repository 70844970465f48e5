//! Handles to a loop, strong and weak.

use std::fmt;
use std::ops::Deref;
use std::rc::{Rc, Weak};

use crate::error::{Error, Result};
use crate::event_loop::EventLoop;
use crate::running;

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
    pub fn current() -> Result<Self> {
        running::current().ok_or_else(|| Error::usage("no event loop is running on this thread"))
    }

    /// A handle that does not keep the loop alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakLoop {
        WeakLoop(Some(Rc::downgrade(&self.0)))
    }

    /// Whether both name the same loop.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.state().id() == other.state().id()
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
pub struct WeakLoop(Option<Weak<dyn EventLoop>>);

impl WeakLoop {
    pub(crate) fn new(weak: Weak<dyn EventLoop>) -> Self {
        Self(Some(weak))
    }

    pub(crate) fn dangling() -> Self {
        Self(None)
    }

    /// The loop, if it still exists.
    #[must_use]
    pub fn upgrade(&self) -> Option<LoopRef> {
        self.0.as_ref()?.upgrade().map(LoopRef)
    }

    /// Whether both name the same loop.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(mine), Some(theirs)) => mine.ptr_eq(theirs),
            _ => false,
        }
    }

    pub(crate) fn is(&self, lp: &LoopRef) -> bool {
        self.0.as_ref().is_some_and(|mine| std::ptr::addr_eq(mine.as_ptr(), Rc::as_ptr(&lp.0)))
    }
}

impl fmt::Debug for WeakLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakLoop")
    }
}
