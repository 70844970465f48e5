//! What a case gets to work with.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use anyloop_api::{BackendDescriptor, LoopConfig, LoopRef, RemoteHandle, Result, WeakLoop};

use crate::candidate::Candidate;
use crate::child;
use crate::tools::Trace;

/// Handed to every case: makes loops of the backend under test.
#[derive(Debug)]
pub struct Context {
    factory: LoopFactory,
    loops: Rc<RefCell<Vec<WeakLoop>>>,
}

/// Makes loops of the backend under test, on any thread.
#[derive(Clone, Debug)]
pub struct LoopFactory {
    descriptor: &'static BackendDescriptor,
    config: LoopConfig,
    watched: Watched,
}

/// What the watchdog looks at when a case hangs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    trace: Trace,
    loops: Arc<Mutex<Vec<RemoteHandle>>>,
}

impl Context {
    pub(crate) fn new(candidate: &Candidate) -> Self {
        let factory = LoopFactory {
            descriptor: candidate.descriptor(),
            config: candidate.loop_config(),
            watched: Watched::default(),
        };
        Self { factory, loops: Rc::default() }
    }

    /// The name of the backend under test.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.factory.descriptor.name
    }

    /// A loop. It is closed after the case, if the case does not do it.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn new_loop(&self) -> Result<LoopRef> {
        self.new_loop_with(|config| config)
    }

    /// A loop with a configuration of its own: `cx.new_loop_with(|config| config.debug(true))`.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn new_loop_with(&self, adjust: impl FnOnce(LoopConfig) -> LoopConfig) -> Result<LoopRef> {
        let lp = self.factory.new_loop_with(adjust)?;
        self.loops.borrow_mut().push(lp.downgrade());
        Ok(lp)
    }

    /// For cases with more threads than one. The loops it makes are the case's own to close.
    #[must_use]
    pub fn factory(&self) -> LoopFactory {
        self.factory.clone()
    }

    /// The case's log; printed if the case hangs.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.factory.watched.trace.clone()
    }

    /// How many panics there were in this process since the case began, on any thread, caught or not.
    #[must_use]
    pub fn panics(&self) -> usize {
        child::panics()
    }

    pub(crate) fn watched(&self) -> Watched {
        self.factory.watched.clone()
    }

    /// The case is over: closes what it left open, so that callbacks which hold their own loop let
    /// go of it.
    pub(crate) fn clean_up(&self) -> Result<()> {
        self.factory.watched.lock().clear();
        self.trace().push("the case is over; closing the loops that it left open");
        let left: Vec<_> = self.loops.take();
        left.iter().filter_map(WeakLoop::upgrade).try_for_each(|lp| lp.close())
    }
}

impl LoopFactory {
    /// As [`Context::new_loop`].
    ///
    /// # Errors
    /// Those of the backend.
    pub fn new_loop(&self) -> Result<LoopRef> {
        self.new_loop_with(|config| config)
    }

    /// As [`Context::new_loop_with`].
    ///
    /// # Errors
    /// Those of the backend.
    pub fn new_loop_with(&self, adjust: impl FnOnce(LoopConfig) -> LoopConfig) -> Result<LoopRef> {
        let lp = (self.descriptor.open)(&adjust(self.config.clone()))?;
        let mut loops = self.watched.lock();
        // Cases that make thousands of loops need no more than the newest to be watched.
        if loops.len() == MOST_WATCHED {
            loops.remove(0);
        }
        loops.push(lp.remote());
        Ok(lp)
    }
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, Vec<RemoteHandle>> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MOST_WATCHED: usize = 8;

/// What is known about a case that does not end.
impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "trace: {}", self.trace)?;
        let loops = self.lock().clone();
        for (number, remote) in loops.iter().enumerate() {
            writeln!(f, "loop {number}: {remote:?}")?;
            if remote.is_closed() {
                continue;
            }
            let (answer, answered) = mpsc::channel();
            let ask = move || {
                let state = LoopRef::current().map(|lp| lp.describe());
                let _ = answer.send(state.unwrap_or_else(|error| error.to_string()));
            };
            let asked = remote.call_soon_threadsafe(ask);
            let state = asked.ok().and_then(|_| answered.recv_timeout(PATIENCE).ok());
            let state = state.unwrap_or_else(|| {
                "does not answer: it is not running, or a callback does not return".to_owned()
            });
            for line in state.lines() {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}

const PATIENCE: Duration = Duration::from_secs(1);
