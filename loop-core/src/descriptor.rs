//! [`Descriptor`]: a transport's descriptor, from the loop's care to its close.
//!
//! ```text
//!  own ──register──▶ update … ──closing──▶ close
//!  the number is ours           the user may watch it again    it is closed
//! ```

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::{Rc, Weak};

use anyloop_api::Result;

use crate::base::BaseLoop;
use crate::driver::{Fd, Interest, Key, Trigger};
use crate::lend::lend;

/// The descriptor of one transport, and its registration with the driver.
pub(crate) struct Descriptor<F> {
    key: Key,
    file: RefCell<Option<Own<F>>>,
    /// What the driver was told; `None` while it is not registered.
    armed: Cell<Option<Interest>>,
}

/// Only lent out for a moment, and weakly by views: who closes it has the only one.
enum Own<F> {
    /// As long as nobody has asked for a view: most are small things in large numbers.
    Alone(F),
    Shared(Rc<F>),
}

impl<F> Own<F> {
    fn get(&self) -> &F {
        match self {
            Self::Alone(file) => file,
            Self::Shared(file) => file,
        }
    }

    fn into_shared(self) -> Rc<F> {
        match self {
            Self::Alone(file) => Rc::new(file),
            Self::Shared(file) => file,
        }
    }

    /// `None` if somebody else has it.
    fn into_alone(self) -> Option<F> {
        match self {
            Self::Alone(file) => Some(file),
            Self::Shared(file) => Rc::into_inner(file),
        }
    }
}

impl<F: AsRawFd + Into<OwnedFd>> Descriptor<F> {
    /// Takes `file` into the loop's care, under a key that the caller fills.
    pub(crate) fn own(base: &BaseLoop, file: F, operation: &str) -> Result<Self> {
        base.own(file.as_raw_fd(), operation)?;
        let key = base.sources.reserve();
        Ok(Self { key, file: RefCell::new(Some(Own::Alone(file))), armed: Cell::new(None) })
    }

    pub(crate) fn key(&self) -> Key {
        self.key
    }

    /// For views and other rare guests. `None` once it is closed.
    pub(crate) fn get(&self) -> Option<Rc<F>> {
        let mut file = self.file.borrow_mut();
        let shared = file.take()?.into_shared();
        *file = Some(Own::Shared(shared.clone()));
        Some(shared)
    }

    /// Until user code is called. `None` once it is closed.
    pub(crate) fn lent(&self) -> Option<Fd> {
        self.with(|file| lend(file))
    }

    /// No user code runs inside `f`. `None` once it is closed.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&F) -> R) -> Option<R> {
        self.file.borrow().as_ref().map(|own| f(own.get()))
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.armed.get().is_some()
    }

    /// Has the driver watch it: for `edge` if it is told once, else for what is `wanted` now.
    pub(crate) fn register(
        &self,
        base: &BaseLoop,
        edge: Interest,
        wanted: impl FnOnce() -> Interest,
    ) -> io::Result<()> {
        let Some(file) = self.lent() else { return Ok(()) };
        let interest = match base.caps().trigger {
            Trigger::Edge => edge,
            Trigger::Level => wanted(),
        };
        base.with_driver(|driver| driver.register(file, self.key, interest))?;
        self.armed.set(Some(interest));
        Ok(())
    }

    /// A level-triggered driver is told what we wait for; an edge-triggered one was told everything.
    pub(crate) fn update(
        &self,
        base: &BaseLoop,
        wanted: impl FnOnce() -> Interest,
    ) -> io::Result<()> {
        let Some(armed) = self.armed.get() else { return Ok(()) };
        if base.caps().trigger == Trigger::Edge {
            return Ok(());
        }
        let (wanted, Some(file)) = (wanted(), self.lent()) else { return Ok(()) };
        if wanted == armed {
            return Ok(());
        }
        self.armed.set(Some(wanted));
        base.with_driver(|driver| driver.modify(file, self.key, wanted))
    }

    /// Has the driver watch it no more.
    pub(crate) fn deregister(&self, base: &BaseLoop) -> io::Result<()> {
        let Some(file) = self.lent() else { return Ok(()) };
        base.with_driver(|driver| driver.deregister(file, self.key))?;
        self.armed.set(None);
        Ok(())
    }

    /// The transport will close it soon (FD-07).
    pub(crate) fn closing(&self, base: &Weak<BaseLoop>) {
        if let (Some(base), Some(file)) = (base.upgrade(), self.lent()) {
            base.sources.closing(file.as_raw_fd());
        }
    }

    /// Closes it, and frees the key. Nothing happens the second time.
    pub(crate) fn close(&self, base: &Weak<BaseLoop>) {
        let Some(file) = self.file.take() else { return };
        let Some(base) = base.upgrade() else { return };
        base.disown(file.get().as_raw_fd());
        if let Some(file) = file.into_alone() {
            base.with_driver(|driver| driver.close(file.into(), self.key));
        }
        base.sources.remove(self.key);
    }
}

/// ` fd=7`, ` closed`
impl<F: AsRawFd> fmt::Display for Descriptor<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.file.borrow() {
            Some(own) => write!(f, " fd={}", own.get().as_raw_fd()),
            None => f.write_str(" closed"),
        }
    }
}
