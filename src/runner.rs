//! `run` and `Runner`: a loop from creation to orderly end around asynchronous programs.

use std::fmt;
use std::future::IntoFuture;
use std::io::{self, Write as _};
use std::time::Duration;

use anyloop_api::{AnyTask, Context, Error, EventLoopExt, Interrupt, LoopRef, Report, Result};

use crate::backends::Backend;
use crate::ctrl_c::CtrlC;
use crate::policy;

/// How long the end of a run waits for functions still running in the loop's pool of threads.
const EXECUTOR_JOIN: Duration = Duration::from_secs(300);

/// Runs `main` on a new loop of the policy's choice and closes the loop, whatever happens (Python's
/// `asyncio.run`).
///
/// Tasks that are left when `main` is done are cancelled and awaited. Ctrl-C cancels `main`, so that its
/// clean-up runs, and becomes `Error::Interrupt`.
///
/// # Errors
/// `Usage` inside a running loop; what [`new_event_loop`](crate::new_event_loop) fails with;
/// `Cancelled`, `Panicked` or `Interrupt` if `main` ended so. An `Err` that `main` returns is part of its
/// output.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let answer = anyloop::run(async {
///     anyloop::sleep(Duration::from_millis(1)).await;
///     42
/// })?;
/// assert_eq!(answer, 42);
/// # Ok::<(), anyloop::Error>(())
/// ```
#[track_caller]
pub fn run<F>(main: F) -> Result<F::Output>
where
    F: IntoFuture,
    F::IntoFuture: 'static,
    F::Output: 'static,
{
    run_in(Runner::new(), main)
}

/// [`run`] on the given backend, whatever policy and environment say.
///
/// ```
/// # #[cfg(feature = "mio")] {
/// let answer = anyloop::run_with("mio", async { 42 })?;
/// assert_eq!(answer, 42);
/// # }
/// # Ok::<(), anyloop::Error>(())
/// ```
///
/// # Errors
/// As [`run`].
#[track_caller]
pub fn run_with<F>(backend: impl Into<Backend>, main: F) -> Result<F::Output>
where
    F: IntoFuture,
    F::IntoFuture: 'static,
    F::Output: 'static,
{
    run_in(Runner::new().backend(backend), main)
}

#[track_caller]
fn run_in<F>(mut runner: Runner, main: F) -> Result<F::Output>
where
    F: IntoFuture,
    F::IntoFuture: 'static,
    F::Output: 'static,
{
    let outcome = runner.run(main);
    match runner.close() {
        Err(error) if outcome.is_ok() => {
            warn(&format!("closing the event loop failed: {error}"));
        }
        _ => {}
    }
    outcome
}

type Factory = Box<dyn Fn() -> Result<LoopRef>>;

/// Owns a loop and runs asynchronous programs on it, one after the other (Python's `asyncio.Runner`).
///
/// The loop is made by the first [`Runner::run`] or [`Runner::get_loop`]. Tasks and context variables
/// carry over from one run to the next (RUN-05). Dropping the runner closes it.
///
/// ```
/// use anyloop::Runner;
/// let mut runner = Runner::new().debug(true);
/// let first = runner.run(async { 20 })?;
/// let second = runner.run(async move { first + 1 })?;
/// runner.close()?;
/// assert_eq!(second, 21);
/// # Ok::<(), anyloop::Error>(())
/// ```
#[derive(Default)]
pub struct Runner {
    debug: Option<bool>,
    factory: Option<Factory>,
    stage: Stage,
}

#[derive(Default)]
enum Stage {
    #[default]
    New,
    Open {
        lp: LoopRef,
        context: Context,
    },
    Closed,
}

impl Runner {
    /// A runner whose loop the policy will make.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Switches debug mode of the loop; left alone, the loop's own default holds (RUN-08).
    #[must_use]
    pub fn debug(mut self, on: bool) -> Self {
        self.debug = Some(on);
        self
    }

    /// Takes loops of this backend. The thread's loop is then not touched (RUN-07).
    #[must_use]
    pub fn backend(self, backend: impl Into<Backend>) -> Self {
        let backend = backend.into();
        self.loop_factory(move || policy::new_event_loop_with(backend.clone()))
    }

    /// Takes the loop from `factory` instead of the policy. The thread's loop is then not touched
    /// (RUN-07).
    #[must_use]
    pub fn loop_factory(mut self, factory: impl Fn() -> Result<LoopRef> + 'static) -> Self {
        self.factory = Some(Box::new(factory));
        self
    }

    /// The loop, made now if need be.
    ///
    /// # Errors
    /// `Usage` on a closed runner; what making the loop fails with.
    pub fn get_loop(&mut self) -> Result<LoopRef> {
        Ok(self.open("Runner::get_loop")?.0)
    }

    /// Runs `main` as a task until it is done.
    ///
    /// # Errors
    /// `Usage` inside a running loop, on a closed runner, or if `main` stopped the loop; what making
    /// the loop fails with; `Cancelled`, `Panicked` or `Interrupt` if `main` ended so.
    #[track_caller]
    pub fn run<F>(&mut self, main: F) -> Result<F::Output>
    where
        F: IntoFuture,
        F::IntoFuture: 'static,
        F::Output: 'static,
    {
        if LoopRef::current().is_ok() {
            return Err(Error::usage("run: an event loop is running on this thread already"));
        }
        let (lp, context) = self.open("Runner::run")?;
        let task = lp.task().context(context).spawn(main.into_future())?;
        let ctrl_c = CtrlC::install(&lp, task.any());
        let outcome = lp.run_until_done(&task);
        let interrupted = ctrl_c.is_some_and(|hook| hook.used());
        match outcome {
            // Nobody else wanted it to end (RUN-11).
            Err(Error::Cancelled(_)) if interrupted && task.cancelling() <= 1 => {
                Err(Interrupt::new("Ctrl-C").into())
            }
            outcome => outcome,
        }
    }

    /// Ends what is left and closes the loop: cancels all tasks and waits for them, finalises
    /// asynchronous generators, joins the pool of threads (300 s at most), unsets the thread's loop,
    /// closes (RUN-02). Idempotent.
    ///
    /// # Errors
    /// `Usage` inside a running loop; what closing the loop fails with.
    pub fn close(&mut self) -> Result<()> {
        if LoopRef::current().is_ok() && matches!(self.stage, Stage::Open { .. }) {
            return Err(Error::usage("Runner::close: an event loop is running on this thread"));
        }
        let Stage::Open { lp, .. } = std::mem::replace(&mut self.stage, Stage::Closed) else {
            return Ok(());
        };
        let ended = if lp.is_closed() { Ok(()) } else { end_tasks(&lp) };
        if self.factory.is_none() {
            policy::set_event_loop(None);
        }
        lp.close().and(ended)
    }

    fn open(&mut self, operation: &str) -> Result<(LoopRef, Context)> {
        if matches!(self.stage, Stage::New) {
            let lp = match &self.factory {
                Some(factory) => factory()?,
                None => policy::new_event_loop()?,
            };
            if let Some(on) = self.debug {
                lp.set_debug(on);
            }
            if self.factory.is_none() {
                policy::set_event_loop(lp.clone());
            }
            self.stage = Stage::Open { lp, context: Context::copy_current() };
        }
        match &self.stage {
            Stage::Open { lp, context } => Ok((lp.clone(), context.clone())),
            _ => Err(Error::usage(format!("{operation}: the runner is closed"))),
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            warn(&format!("a runner could not be closed when it was dropped: {error}"));
        }
    }
}

/// Nobody is left to be told if this cannot be written.
fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "anyloop: warning: {text}");
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            Stage::New => f.write_str("<Runner not started>"),
            Stage::Open { lp, .. } => write!(f, "<Runner of {lp:?}>"),
            Stage::Closed => f.write_str("<Runner closed>"),
        }
    }
}

/// The asynchronous part of the end, each step whatever became of the one before.
fn end_tasks(lp: &LoopRef) -> Result<()> {
    let cancelled = cancel_all(lp);
    let finalised = lp.run_until_complete(lp.shutdown_asyncgens());
    let joined = lp.run_until_complete(lp.shutdown_default_executor(Some(EXECUTOR_JOIN)));
    cancelled.and(finalised).and(joined)
}

/// Cancels every task and waits until all have ended; what they fail with is reported (RUN-03).
fn cancel_all(lp: &LoopRef) -> Result<()> {
    let tasks = lp.all_tasks();
    if tasks.is_empty() {
        return Ok(());
    }
    for task in &tasks {
        task.cancel();
    }
    for task in &tasks {
        run_until_ended(lp, task)?;
    }
    for task in tasks {
        report_failure(lp, task);
    }
    Ok(())
}

/// No task waits for it: the clean-up of another one may cancel all that it finds.
fn run_until_ended(lp: &LoopRef, task: &AnyTask) -> Result<()> {
    if task.done() {
        return Ok(());
    }
    let ended = lp.create_future::<()>();
    let told = ended.clone();
    task.add_done_callback(move |_| {
        told.set_unless_done(Ok(()));
    });
    lp.run_until_done(&ended)
}

fn report_failure(lp: &LoopRef, task: AnyTask) {
    let error = task.unhandled_error().or_else(|| task.exception().ok().flatten());
    if let Some(error) = error {
        task.mark_inspected();
        lp.call_exception_handler(
            Report::new("a task failed while the runner was shutting down")
                .exception(error)
                .task(Some(task)),
        );
    }
}
