//! Settings of a loop.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::LoopState;
use crate::dump::Activity;
use crate::task_factory::TaskFactory;

impl LoopState {
    /// Whether debug mode is on.
    #[must_use]
    pub fn debug(&self) -> bool {
        self.debug.get()
    }

    /// Switches debug mode.
    pub fn set_debug(&self, on: bool) {
        self.debug.set(on);
        self.update_observed();
    }

    /// Whether the loop is to be dumped also while a callback does not return.
    #[must_use]
    pub fn introspection(&self) -> bool {
        self.introspection.get() || self.introspectors.get() > 0
    }

    /// See [`EventLoop::set_introspection`](crate::EventLoop::set_introspection).
    pub fn set_introspection(&self, on: bool) {
        self.introspection.set(on);
        self.update_observed();
    }

    /// Keeps introspection on, whatever is set, until [`LoopState::release_introspection`] was called as
    /// often.
    pub fn hold_introspection(&self) {
        self.introspectors.set(self.introspectors.get() + 1);
        self.update_observed();
    }

    /// Takes one [`LoopState::hold_introspection`] back.
    pub fn release_introspection(&self) {
        self.introspectors.set(self.introspectors.get().saturating_sub(1));
        self.update_observed();
    }

    fn update_observed(&self) {
        self.tasks.observed.set(self.debug() || self.introspection());
    }

    /// Whether loops keep up [`LoopState::activity`], in debug mode or for introspection: one
    /// predictable branch per callback.
    #[must_use]
    #[inline]
    pub fn observed(&self) -> bool {
        self.tasks.observed.get()
    }

    /// What the loop is executing; loops keep it up while they are [observed](LoopState::observed).
    #[must_use]
    pub fn activity(&self) -> &Arc<Activity> {
        &self.tasks.activity
    }

    /// How long a callback may take before debug mode complains.
    #[must_use]
    pub fn slow_callback_duration(&self) -> Duration {
        self.slow.get()
    }

    /// See [`LoopState::slow_callback_duration`].
    pub fn set_slow_callback_duration(&self, duration: Duration) {
        self.slow.set(duration);
    }

    /// The hook that builds tasks.
    #[must_use]
    pub fn task_factory(&self) -> Option<Rc<dyn TaskFactory>> {
        self.factory.borrow().clone()
    }

    /// Installs the hook; `None` restores the default.
    pub fn set_task_factory(&self, factory: Option<Rc<dyn TaskFactory>>) {
        let old = std::mem::replace(&mut *self.factory.borrow_mut(), factory);
        drop(old);
    }

    /// Whether files are read in the pool only: [`LoopConfig::files_fallback`](crate::LoopConfig).
    #[must_use]
    pub fn files_fallback(&self) -> bool {
        self.files_fallback.get()
    }

    /// See [`LoopState::files_fallback`].
    pub fn set_files_fallback(&self, on: bool) {
        self.files_fallback.set(on);
    }
}
