//! How a transport speaks to its protocol: in the context of its creation, panics caught and reported.

use std::cell::RefCell;
use std::rc::Weak;

use anyloop_api::{Panic, Report, Snapshot};

use crate::base::BaseLoop;

/// A protocol that is called.
pub(crate) struct Voice<P> {
    base: Weak<BaseLoop>,
    context: Snapshot,
    protocol: RefCell<Option<P>>,
}

impl<P: Clone> Voice<P> {
    /// For a protocol that was made in the current context.
    pub(crate) fn new(base: Weak<BaseLoop>, protocol: P) -> Self {
        Self::within(base, protocol, Snapshot::current())
    }

    /// For one that was made in another.
    pub(crate) fn within(base: Weak<BaseLoop>, protocol: P, context: Snapshot) -> Self {
        Self { base, context, protocol: RefCell::new(Some(protocol)) }
    }

    pub(crate) fn base(&self) -> &Weak<BaseLoop> {
        &self.base
    }

    pub(crate) fn protocol(&self) -> Option<P> {
        self.protocol.borrow().clone()
    }

    /// Another protocol, from the next call on; none after the end.
    pub(crate) fn replace(&self, protocol: P) {
        let old = {
            let mut mine = self.protocol.borrow_mut();
            if mine.is_some() { mine.replace(protocol) } else { None }
        };
        drop(old);
    }

    /// Calls the protocol. `None` if there is none any more; a panic is reported and returned.
    pub(crate) fn call<R>(
        &self,
        f: impl FnOnce(&P) -> R,
        report: impl FnOnce(Panic) -> Report,
    ) -> Option<Result<R, Panic>> {
        let base = self.base.upgrade()?;
        let protocol = self.protocol()?;
        Some(self.run(&base, || f(&protocol), report))
    }

    /// Runs `f` as a call of the protocol; a panic is reported and returned.
    pub(crate) fn run<R>(
        &self,
        base: &BaseLoop,
        f: impl FnOnce() -> R,
        report: impl FnOnce(Panic) -> Report,
    ) -> Result<R, Panic> {
        base.guard(|| self.context.clone().run(f), report)
    }

    /// The last call was made: lets go of the protocol.
    pub(crate) fn end(&self) {
        let protocol = self.protocol.borrow_mut().take();
        if let Some(base) = self.base.upgrade() {
            let _ = base.guard(
                || drop(protocol),
                |panic| Report::new("the destructor of a protocol panicked").exception(panic),
            );
        }
    }
}
