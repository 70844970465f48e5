//! What every event loop keeps, whoever wrote it: tasks, handlers, settings.
//!
//! A loop author embeds one [`LoopState`] and returns it from
//! [`EventLoop::state`]; most of the trait's methods then have their bodies
//! already.

mod closing;
mod settings;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::ready;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use slab::Slab;

use crate::error::{Error, Interrupt, Panic, Result};
use crate::event_loop::EventLoop;
use crate::fork::fork_generation;
use crate::loop_ref::WeakLoop;
use crate::report::ExceptionHandler;
use crate::running::{self, RunGuard};
use crate::server::LocalBoxFuture;
use crate::task_factory::TaskFactory;
use crate::tasks::Tasks;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Why a run ends before `stop`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Interruption {
    /// Somebody asked for it.
    Interrupt(Interrupt),
    /// A panic that is to leave the loop (`resume_panics`).
    Panic(Panic),
}

/// The loop-independent part of a loop: tasks, handlers, settings.
///
/// A loop author embeds one and returns it from [`EventLoop::state`]; most of
/// the trait's methods then have their bodies already.
pub struct LoopState {
    id: u64,
    backend: &'static str,
    /// The process it was made in.
    pub(crate) born: u64,
    pub(crate) running: Cell<bool>,
    closed: Cell<bool>,
    pub(crate) tasks: Rc<Tasks>,
    handler: RefCell<Option<ExceptionHandler>>,
    factory: RefCell<Option<Rc<dyn TaskFactory>>>,
    debug: Cell<bool>,
    introspection: Cell<bool>,
    /// How many keep it on, whatever is set.
    introspectors: Cell<usize>,
    slow: Cell<Duration>,
    interruption: RefCell<Option<Interruption>>,
    interrupted: Cell<bool>,
    resume_panics: Cell<bool>,
    files_fallback: Cell<bool>,
    parked: RefCell<Slab<Rc<dyn Any>>>,
    finalisers: RefCell<Slab<Finaliser>>,
}

type Finaliser = Box<dyn FnOnce() -> LocalBoxFuture<Result<()>>>;

impl LoopState {
    /// For a loop of the backend with this name.
    #[must_use]
    pub fn new(backend: &'static str) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            backend,
            born: fork_generation(),
            running: Cell::new(false),
            closed: Cell::new(false),
            tasks: Rc::default(),
            handler: RefCell::new(None),
            factory: RefCell::new(None),
            debug: Cell::new(false),
            introspection: Cell::new(false),
            introspectors: Cell::new(0),
            slow: Cell::new(Duration::from_millis(100)),
            interruption: RefCell::new(None),
            interrupted: Cell::new(false),
            resume_panics: Cell::new(false),
            files_fallback: Cell::new(false),
            parked: RefCell::default(),
            finalisers: RefCell::default(),
        }
    }

    /// Tells the state which loop it belongs to; called once, when the loop is put into its `Rc`.
    pub fn bind(&self, this: Weak<dyn EventLoop>) {
        self.tasks.bind(this);
    }

    /// A number that no other loop of the process has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The backend's name.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// The loop, weakly.
    #[must_use]
    pub fn weak(&self) -> WeakLoop {
        WeakLoop::new(self.tasks.clone())
    }

    // --- running and closing ---

    /// Whether a [`RunGuard`] exists.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.get() && !self.is_inherited()
    }

    /// Whether it was made by the parent of this process, before a fork: then it may be closed, and
    /// nothing else. See [`note_fork`](crate::note_fork).
    #[must_use]
    #[inline]
    pub fn is_inherited(&self) -> bool {
        self.born != fork_generation()
    }

    /// Whether [`LoopState::set_closed`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// From now on every scheduling call fails with `Closed`.
    pub fn set_closed(&self) {
        self.closed.set(true);
    }

    /// Fails with `Closed` on a closed loop, with `Usage` on one that belongs to the parent process.
    ///
    /// # Errors
    /// `Closed` or `Usage`, naming the operation.
    #[inline]
    pub fn check_open(&self, operation: &'static str) -> Result<()> {
        if self.closed.get() || self.is_inherited() {
            return Err(self.not_open(operation));
        }
        Ok(())
    }

    #[cold]
    fn not_open(&self, operation: &'static str) -> Error {
        if self.closed.get() {
            return Error::closed(format!("{operation}: the event loop is closed"));
        }
        Error::usage(format!(
            "{operation}: the event loop belongs to the parent process; a child that was forked \
             makes a loop of its own"
        ))
    }

    /// Makes this the running loop of the thread, until the guard is dropped (LIFE-14, LIFE-25).
    ///
    /// # Errors
    /// `Closed`; `AlreadyRunning` if any loop runs on this thread.
    pub fn enter_run(&self, operation: &'static str) -> Result<RunGuard<'_>> {
        self.check_open(operation)?;
        if self.running.get() {
            let text = format!("{operation}: this event loop is already running");
            return Err(Error::AlreadyRunning(text.into()));
        }
        if running::current().is_some() {
            let text = format!("{operation}: another event loop is running on this thread");
            return Err(Error::AlreadyRunning(text.into()));
        }
        Ok(RunGuard::enter(self))
    }

    /// Asks the run to end at once, after the current callback (LIFE-18).
    pub fn interrupt(&self, interruption: Interruption) {
        let old = self.interruption.replace(Some(interruption));
        self.interrupted.set(true);
        drop(old);
    }

    /// Whether the run is to end at once: one flag to look at after every callback.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.interrupted.get()
    }

    /// Takes the reason; a panic resumes here.
    ///
    /// # Errors
    /// `Interrupt`, if one was asked for.
    pub fn take_interruption(&self) -> Result<()> {
        self.interrupted.set(false);
        let interruption = self.interruption.borrow_mut().take();
        match interruption {
            None => Ok(()),
            Some(Interruption::Interrupt(interrupt)) => Err(Error::Interrupt(interrupt)),
            Some(Interruption::Panic(panic)) => match panic.take_payload() {
                Some(payload) => std::panic::resume_unwind(payload),
                None => Err(Error::Panicked(panic)),
            },
        }
    }

    /// Whether panics of user code leave the loop instead of being reported.
    #[must_use]
    pub fn resume_panics(&self) -> bool {
        self.resume_panics.get()
    }

    /// See [`LoopState::resume_panics`].
    pub fn set_resume_panics(&self, on: bool) {
        self.resume_panics.set(on);
    }

    /// Lets `panic` out of the run if that was asked for. Says whether it was.
    pub fn resume_panic(&self, panic: &Panic) -> bool {
        if self.resume_panics.get() {
            self.interrupt(Interruption::Panic(panic.clone()));
        }
        self.resume_panics.get()
    }

    // --- reports ---

    /// The installed handler.
    #[must_use]
    pub fn exception_handler(&self) -> Option<ExceptionHandler> {
        self.handler.borrow().clone()
    }

    /// Installs a handler; `None` restores the default.
    pub fn set_exception_handler(&self, handler: Option<ExceptionHandler>) {
        let old = std::mem::replace(&mut *self.handler.borrow_mut(), handler);
        drop(old);
    }

    // --- things that other threads name by number ---

    /// Keeps a value of the loop's thread where a callback from another thread can find it.
    pub fn park(&self, value: Rc<dyn Any>) -> usize {
        self.parked.borrow_mut().insert(value)
    }

    /// A parked value, which stays. `None` if it is gone.
    #[must_use]
    pub fn parked(&self, key: usize) -> Option<Rc<dyn Any>> {
        self.parked.borrow().get(key).cloned()
    }

    /// Takes a parked value back. `None` if it is gone.
    pub fn unpark(&self, key: usize) -> Option<Rc<dyn Any>> {
        self.parked.borrow_mut().try_remove(key)
    }

    // --- asynchronous finalisers (AGEN) ---

    /// Registers something to be awaited by `shutdown_asyncgens`.
    pub fn add_finaliser(
        &self,
        finaliser: impl FnOnce() -> LocalBoxFuture<Result<()>> + 'static,
    ) -> usize {
        self.finalisers.borrow_mut().insert(Box::new(finaliser))
    }

    /// Takes a finaliser back, because the work is done. True if it was still there.
    pub fn remove_finaliser(&self, key: usize) -> bool {
        let removed = self.finalisers.borrow_mut().try_remove(key);
        removed.is_some()
    }

    /// Every finaliser, in the order of registration; one that panics gives that as its error.
    pub fn take_finalisers(&self) -> Vec<LocalBoxFuture<Result<()>>> {
        let all: Vec<Finaliser> = self.finalisers.borrow_mut().drain().collect();
        let begin = |finaliser: Finaliser| {
            Panic::catch(finaliser).unwrap_or_else(|panic| Box::pin(ready(Err(panic.into()))))
        };
        all.into_iter().map(begin).collect()
    }
}

impl Drop for LoopState {
    fn drop(&mut self) {
        // The tasks of a loop that was never closed have hold of their table.
        drop(self.tasks.take());
        self.wake_elsewhere(None);
    }
}

impl fmt::Debug for LoopState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopState")
            .field("id", &self.id)
            .field("backend", &self.backend)
            .field("running", &self.running.get())
            .field("closed", &self.closed.get())
            .field("tasks", &self.tasks.len())
            .finish_non_exhaustive()
    }
}
