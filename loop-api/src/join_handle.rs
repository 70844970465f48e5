//! `JoinHandle`: a task of a loop, seen from another thread.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::any_task::AnyTask;
use crate::error::{Cancelled, Error, Result};
use crate::loop_ref::LoopRef;
use crate::remote::{RemoteHandle, lock};

/// The thread-side future of a task on a loop: a thread [waits](JoinHandle::wait) for it, an executor of
/// any kind awaits it.
///
/// As a future it needs no loop, and is `Send`: so a handler that has to be `Send` (axum's, say) does what
/// is not on the loop, and other runtimes use a loop. To wait for it as a [`LoopFuture`](crate::LoopFuture)
/// there is `wrap_future` in `anyloop`.
///
/// ```
/// # use anyloop_api::{RemoteHandle, Result, sleep};
/// # use std::time::Duration;
/// /// Runs anywhere, on the thread pool of another runtime as well.
/// async fn ask(remote: RemoteHandle) -> Result<u32> {
///     let asked = remote.spawn_with(|| async {
///         sleep(Duration::from_millis(1)).await;
///         42
///     })?;
///     asked.await
/// }
/// fn is_send(_: impl Send) {}
/// # fn example(remote: RemoteHandle) {
/// is_send(ask(remote));
/// # }
/// ```
///
/// # Errors
/// Of an await: those of [`JoinHandle::wait`].
///
/// # Cancel safety
/// Dropping it lets the task go on; [`JoinHandle::cancel`] cancels it. An await of `&mut handle` that is
/// dropped has taken nothing.
pub struct JoinHandle<T> {
    pub(crate) shared: Arc<Joint<T>>,
    pub(crate) remote: RemoteHandle,
}

pub(crate) struct Joint<T> {
    state: Mutex<JointState<T>>,
    done: Condvar,
}

pub(crate) struct JointState<T> {
    outcome: Option<Result<T>>,
    /// Gets the outcome instead of a waiting thread.
    callback: Option<Box<dyn FnOnce(Result<T>) + Send>>,
    /// Who awaits it.
    waker: Option<Waker>,
    finished: bool,
    pub(crate) cancel: bool,
    pub(crate) task: Option<u64>,
}

impl<T> Default for Joint<T> {
    fn default() -> Self {
        let state = JointState {
            outcome: None,
            callback: None,
            waker: None,
            finished: false,
            cancel: false,
            task: None,
        };
        Self { state: Mutex::new(state), done: Condvar::new() }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not locked while it is written to wherever that is, which may take its time.
        let JointState { finished, cancel, task, .. } = *self.shared.lock();
        f.debug_struct("JoinHandle")
            .field("finished", &finished)
            .field("cancel", &cancel)
            .field("task", &task)
            .finish_non_exhaustive()
    }
}

impl<T> Joint<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, JointState<T>> {
        lock(&self.state)
    }

    pub(crate) fn finish(&self, outcome: Result<T>) {
        let mut state = self.lock();
        if state.finished {
            return;
        }
        state.finished = true;
        let waker = state.waker.take();
        // The callback and the waker are other people's code, which is called without the lock.
        let callback = match state.callback.take() {
            Some(callback) => Some((callback, outcome)),
            None => {
                state.outcome = Some(outcome);
                None
            }
        };
        drop(state);
        self.done.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some((callback, outcome)) = callback {
            callback(outcome);
        }
    }

    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Result<T> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.lock();
        while !state.finished {
            let Some(deadline) = deadline else {
                state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::TimedOut("wait: the loop did not answer in time".into()));
            }
            let waited = self.done.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.take()
    }
}

impl<T> JointState<T> {
    /// What the first who asks gets.
    fn take(&mut self) -> Result<T> {
        self.outcome.take().unwrap_or_else(|| {
            Err(Error::InvalidState("the outcome was taken by an earlier wait".into()))
        })
    }
}

/// Finishes as cancelled when the loop throws the call or the task away.
pub(crate) struct Finish<T>(pub(crate) Arc<Joint<T>>);

impl<T> Drop for Finish<T> {
    fn drop(&mut self) {
        self.0.finish(Err(Error::Cancelled(Cancelled::with_message("the event loop was closed"))));
    }
}

impl<T: Send + 'static> JoinHandle<T> {
    /// Blocks the calling thread until the task has ended.
    ///
    /// # Errors
    /// How the task failed; `Cancelled`; `Usage` if it has not ended, and this thread runs the loop, which would
    /// not get on meanwhile: a task awaits the handle instead.
    pub fn wait(&self) -> Result<T> {
        self.check_elsewhere()?;
        self.shared.wait(None)
    }

    /// The same with a limit; the task goes on after it.
    ///
    /// # Errors
    /// `TimedOut`; those of [`JoinHandle::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<T> {
        self.check_elsewhere()?;
        self.shared.wait(Some(timeout))
    }

    fn check_elsewhere(&self) -> Result<()> {
        if self.remote.here().is_none() || self.done() {
            return Ok(());
        }
        Err(Error::usage("wait: this thread runs the loop, which gets on only if nobody blocks it"))
    }

    /// Whether the outcome is there.
    #[must_use]
    pub fn done(&self) -> bool {
        self.shared.lock().finished
    }

    /// Hands the outcome to `callback`, on the thread where it comes about: on this one, now, if it is
    /// there already. Replaces an earlier callback. A thread that waits as well finds the outcome taken.
    pub fn on_done(&self, callback: impl FnOnce(Result<T>) + Send + 'static) {
        let mut state = self.shared.lock();
        if state.finished {
            let outcome = state.take();
            drop(state);
            callback(outcome);
        } else {
            let old = state.callback.replace(Box::new(callback));
            drop(state);
            drop(old);
        }
    }

    /// Cancels the task. False if it is done.
    pub fn cancel(&self) -> bool {
        let task = {
            let mut state = self.shared.lock();
            if state.finished {
                return false;
            }
            state.cancel = true;
            state.task
        };
        if let Some(id) = task {
            let cancel = move || {
                if let Ok(lp) = LoopRef::current() {
                    let tasks = lp.all_tasks();
                    tasks.iter().filter(|task| task.id() == id).for_each(|task: &AnyTask| {
                        task.cancel();
                    });
                }
            };
            let _ = self.remote.call_soon_threadsafe(cancel);
        }
        true
    }
}

impl<T: Send + 'static> Future for JoinHandle<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        // Cloned and dropped without the lock: a waker is other people's code.
        let waker = cx.waker().clone();
        let mut state = self.shared.lock();
        if state.finished {
            return Poll::Ready(state.take());
        }
        let old = state.waker.replace(waker);
        drop(state);
        drop(old);
        Poll::Pending
    }
}
