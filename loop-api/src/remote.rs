//! The only door into a loop from other threads.

use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::context::Snapshot;
use crate::dump::{Activity, Dump, Executing};
use crate::error::{Error, Panic, Result};
use crate::event_loop_ext::EventLoopExt;
use crate::handle::Handle;
use crate::join_handle::{Finish, JoinHandle, Joint};
use crate::loop_ref::LoopRef;
use crate::runnable::Runnable;

/// Puts woken tasks into a loop's queue, from any thread. Held by every task of the loop.
pub trait Scheduler: Send + Sync {
    /// Queues `runnable` for the loop. After the loop closed, a runnable must not be dropped on a
    /// foreign thread: forget it.
    fn schedule(&self, runnable: Runnable);
}

/// What a loop implements for its [`RemoteHandle`].
pub trait RemoteLoop: Scheduler + fmt::Debug {
    /// Runs `call` on the loop's thread, soon, and wakes the loop if it sleeps.
    ///
    /// # Errors
    /// `Closed`.
    fn submit(&self, call: RemoteCall) -> Result<()>;

    /// Asks the loop to stop, as [`EventLoop::stop`](crate::EventLoop::stop).
    fn stop(&self);

    /// Whether the loop is closed.
    fn is_closed(&self) -> bool;

    /// What the loop is executing, if it keeps that up.
    fn activity(&self) -> Option<&Activity> {
        None
    }
}

/// A `Clone + Send + Sync` handle to a loop. Does not keep it alive: after close it answers
/// `Closed`.
///
/// ```
/// use std::thread;
/// use anyloop_api::{EventLoop, LoopRef, RemoteHandle, Result};
///
/// fn tell_when_it_is_done(lp: &LoopRef, work: impl FnOnce() -> u32 + Send + 'static) {
///     let remote: RemoteHandle = lp.remote();
///     thread::spawn(move || -> Result<()> {
///         let number = work();
///         // On the loop's thread; `Closed` if the loop is gone.
///         remote.call_soon_threadsafe(move || println!("{number}"))?;
///         Ok(())
///     });
/// }
/// ```
#[derive(Clone)]
pub struct RemoteHandle(Arc<dyn RemoteLoop>);

impl RemoteHandle {
    /// Wraps an implementation; called by loops.
    #[must_use]
    pub fn new(remote: Arc<dyn RemoteLoop>) -> Self {
        Self(remote)
    }

    /// Runs `callback` on the loop's thread. Calls of one thread keep their order.
    ///
    /// # Errors
    /// `Closed`.
    #[track_caller]
    pub fn call_soon_threadsafe(
        &self,
        callback: impl FnOnce() + Send + 'static,
    ) -> Result<RemoteCall> {
        let call = RemoteCall::new(callback);
        self.0.submit(call.clone())?;
        Ok(call)
    }

    /// Starts a task on the loop from any thread (Python's `run_coroutine_threadsafe`).
    ///
    /// # Errors
    /// `Closed`.
    pub fn spawn<F>(&self, future: F) -> Result<JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_with(move || future)
    }

    /// The same for futures that are not `Send`: `make` is called on the loop's thread.
    ///
    /// # Errors
    /// `Closed`.
    pub fn spawn_with<M, F>(&self, make: M) -> Result<JoinHandle<F::Output>>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let shared = Arc::new(Joint::default());
        let theirs = Finish(shared.clone());
        self.call_soon_threadsafe(move || {
            // Both `make` and a task factory are code of the user.
            let create = || LoopRef::current()?.create_task(make());
            let task = match Panic::catch(create).unwrap_or_else(|panic| Err(panic.into())) {
                Ok(task) => task,
                Err(error) => {
                    // The loop is told as well as the thread (THR-12).
                    if let Ok(lp) = LoopRef::current() {
                        let message = "a task asked for by another thread could not be created";
                        lp.report_failure(message, error.clone());
                    }
                    theirs.0.finish(Err(error));
                    return;
                }
            };
            let asked = {
                let mut state = theirs.0.lock();
                state.task = Some(task.any().id());
                state.cancel
            };
            if asked {
                task.cancel();
            }
            task.add_done_callback(move |task| theirs.0.finish(task.take_result()));
        })?;
        Ok(JoinHandle { shared, remote: self.clone() })
    }

    /// Asks the loop to stop after the current iteration.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Whether the loop is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// The loop, if this thread runs it.
    pub(crate) fn here(&self) -> Option<LoopRef> {
        let lp = LoopRef::current().ok()?;
        // The same object; which table of methods it is seen through does not matter.
        let same = Arc::as_ptr(&lp.remote().0).cast::<()>() == Arc::as_ptr(&self.0).cast();
        same.then_some(lp)
    }

    /// The names and states of the unfinished tasks, from any thread: asks the loop and waits for its
    /// answer (TASK-10).
    ///
    /// # Errors
    /// `Closed`; `TimedOut` if the loop does not answer in time (it is not running, or stuck).
    pub fn all_tasks(&self, timeout: Duration) -> Result<Vec<String>> {
        let list = |lp: LoopRef| -> Vec<String> {
            lp.all_tasks().iter().map(|task| format!("{task:?}")).collect()
        };
        if let Some(lp) = self.here() {
            return Ok(list(lp));
        }
        let joint = Arc::new(Joint::<Vec<String>>::default());
        let theirs = Finish(joint.clone());
        self.call_soon_threadsafe(move || theirs.0.finish(LoopRef::current().map(list)))?;
        joint.wait(Some(timeout))
    }

    /// What [`EventLoopExt::dump`] says, from any thread: asks the loop and waits for its answer.
    ///
    /// A loop that does not answer in time is stuck in a callback, or has much to do. In debug mode, or
    /// with [introspection](crate::EventLoop::set_introspection), the answer is then the last dump that
    /// it took of itself, with what it is [executing](Dump::executing).
    ///
    /// # Errors
    /// `Closed`; `TimedOut` if the loop does not answer in time, and is not running or not observed.
    pub fn dump(&self, timeout: Duration) -> Result<Dump> {
        if let Some(lp) = self.here() {
            return Ok(lp.dump());
        }
        let joint = Arc::new(Joint::<Dump>::default());
        let theirs = Finish(joint.clone());
        let call = self.call_soon_threadsafe(move || {
            theirs.0.finish(LoopRef::current().map(|lp| lp.dump()));
        })?;
        joint.wait(Some(timeout)).or_else(|error| {
            if !matches!(error, Error::TimedOut(_)) {
                return Err(error);
            }
            call.cancel();
            self.0.activity().and_then(Activity::last_dump).ok_or_else(|| {
                Error::TimedOut(
                    "dump: the loop did not answer in time; it does not run, or something blocks \
                     it (debug mode or set_introspection tell what)"
                        .into(),
                )
            })
        })
    }

    /// What the loop is executing at this moment, and for how long; `None` if it executes nothing, or
    /// is neither in debug mode nor [introspected](crate::EventLoop::set_introspection).
    #[must_use]
    pub fn activity(&self) -> Option<Executing> {
        self.0.activity().and_then(Activity::executing)
    }
}

impl fmt::Debug for RemoteHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A callback on its way to a loop; any thread may cancel it: not started yet means it will not run
/// (THR-09). One allocation holds the callback and its context.
#[derive(Clone)]
pub struct RemoteCall(Arc<CallCell<dyn RemoteSlot>>);

struct CallCell<S: ?Sized> {
    created: &'static Location<'static>,
    slot: S,
}

/// A closure and its context.
struct Content<F> {
    callback: Option<F>,
    context: Snapshot,
}

impl<F> Content<F> {
    fn take(&mut self) -> (Option<F>, Snapshot) {
        (self.callback.take(), mem::take(&mut self.context))
    }
}

/// A closure that can be called or dropped through a shared reference, by any thread.
trait RemoteSlot: Send + Sync {
    /// Calls it in its context, which stays only if it panics.
    fn call(&self) -> Result<(), Panic>;
    /// Says whether it was still there.
    fn clear(&self) -> bool;
    fn context(&self) -> Snapshot;
}

impl<F: FnOnce() + Send> RemoteSlot for Mutex<Content<F>> {
    fn call(&self) -> Result<(), Panic> {
        // Called when the lock is free again.
        let (callback, context) = lock(self).take();
        let Some(callback) = callback else { return Ok(()) };
        let inside = context.clone();
        if let Err(panic) = Panic::catch(|| inside.run(callback)) {
            lock(self).context = context;
            return Err(panic);
        }
        // It may be the last to hold the values in it, which are the user's.
        Panic::catch(|| drop(context))
    }

    fn clear(&self) -> bool {
        // Dropped when the lock is free again.
        let taken = lock(self).take();
        taken.0.is_some()
    }

    fn context(&self) -> Snapshot {
        lock(self).context.clone()
    }
}

impl RemoteCall {
    /// Wraps `callback`, capturing the current context (CTX-04); called by loops and tests.
    #[must_use]
    #[track_caller]
    pub fn new(callback: impl FnOnce() + Send + 'static) -> Self {
        let content = Content { callback: Some(callback), context: Snapshot::current() };
        Self(Arc::new(CallCell { created: Location::caller(), slot: Mutex::new(content) }))
    }

    /// Prevents the call if it has not started, and drops the callback. True if it was in time.
    pub fn cancel(&self) -> bool {
        self.0.slot.clear()
    }

    /// Calls the callback in its context, once; for the loop.
    ///
    /// # Errors
    /// The panic, if the callback panicked, or a destructor of what it held.
    pub fn run(&self) -> Result<(), Panic> {
        self.0.slot.call()
    }

    /// Where it was created.
    #[must_use]
    pub fn created(&self) -> &'static Location<'static> {
        self.0.created
    }

    /// A handle that stands for this call in reports: of the same place, and in the same context.
    #[must_use]
    pub fn stand_in(&self) -> Handle {
        Handle::stand_in(self.0.slot.context(), self.0.created)
    }
}

impl fmt::Debug for RemoteCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<RemoteCall created at {}>", self.0.created)
    }
}

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
