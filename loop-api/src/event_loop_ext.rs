//! The generic half of the contract: what cannot be called through `dyn`.

use std::cell::Cell;
use std::future::Future;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::cancel::catch_panic;
use crate::command::{Command, Program};
use crate::completion::Completion;
use crate::context::Context;
use crate::dump::Dump;
use crate::error::{Error, Panic, Result};
use crate::event_loop::EventLoop;
use crate::executor::SharedExecutor;
use crate::executor_job::{Queued, deliver, not_run};
use crate::future::LoopFuture;
use crate::handle::Handle;
use crate::instant::LoopInstant;
use crate::loop_ref::LoopRef;
use crate::net::{Bind, Connect};
use crate::protocol::{AnyProtocol, Protocol};
use crate::remote::{RemoteHandle, lock};
use crate::root::spawn;
use crate::run_until::run_until;
use crate::running;
use crate::server::{LocalBoxFuture, Server};
use crate::subprocess::{SubprocessProtocol, SubprocessTransport};
use crate::task::Task;
use crate::task_builder::TaskBuilder;
use crate::task_factory::TaskOptions;
use crate::timer_handle::TimerHandle;
use crate::transport::Transport;

/// The generic half of the contract, for every loop.
///
/// Everything here is built on the object-safe methods of [`EventLoop`]. A call on a closed loop
/// fails with `Closed`.
///
/// ```
/// use std::time::Duration;
/// use anyloop_api::{EventLoopExt, LoopRef, Result, sleep};
///
/// fn main_of_a_program(lp: &LoopRef) -> Result<u32> {
///     let late = lp.call_later(Duration::from_secs(60), || println!("never"))?;
///     let task = lp.create_task(async {
///         sleep(Duration::from_millis(10)).await;
///         42
///     })?;
///     let answer = lp.run_until_done(&task)?;
///     late.cancel();
///     Ok(answer)
/// }
/// ```
pub trait EventLoopExt: EventLoop {
    /// A strong handle to this loop.
    ///
    /// # Panics
    /// If the loop was never put into a [`LoopRef`], which its constructor does.
    #[must_use]
    fn handle(&self) -> LoopRef {
        self.state().weak().upgrade().expect("the loop was made without LoopRef::new")
    }

    /// Appends a callback to the ready queue. It runs after everything queued before, never from
    /// inside this call.
    ///
    /// # Errors
    /// `Closed`.
    #[track_caller]
    fn call_soon(&self, callback: impl FnOnce() + 'static) -> Result<Handle> {
        let handle = Handle::new(callback);
        self.call_soon_handle(handle.clone())?;
        Ok(handle)
    }

    /// The same in an explicit context.
    ///
    /// # Errors
    /// `Closed`.
    #[track_caller]
    fn call_soon_in(&self, context: Context, callback: impl FnOnce() + 'static) -> Result<Handle> {
        let handle = Handle::with_context(callback, context);
        self.call_soon_handle(handle.clone())?;
        Ok(handle)
    }

    /// Calls back after `delay`, measured from now; zero means the next iteration.
    ///
    /// # Errors
    /// `Closed`.
    #[track_caller]
    fn call_later(
        &self,
        delay: Duration,
        callback: impl FnOnce() + 'static,
    ) -> Result<TimerHandle> {
        self.call_at_handle(self.time() + delay, Handle::new(callback))
    }

    /// Calls back at `when` on the loop's clock; the past means the next iteration.
    ///
    /// # Errors
    /// `Closed`.
    #[track_caller]
    fn call_at(&self, when: LoopInstant, callback: impl FnOnce() + 'static) -> Result<TimerHandle> {
        self.call_at_handle(when, Handle::new(callback))
    }

    /// A pending future of this loop. Works on a closed loop too.
    #[must_use]
    #[track_caller]
    fn create_future<T: 'static>(&self) -> LoopFuture<T> {
        LoopFuture::new(self.state().weak())
    }

    /// Makes a task of `future` and schedules its first step.
    ///
    /// # Errors
    /// `Closed`, or what the task factory says; `future` is dropped un-polled.
    #[track_caller]
    fn create_task<F>(&self, future: F) -> Result<Task<F::Output>>
    where
        F: Future + 'static,
    {
        spawn(self, future, Ok, TaskOptions::default())
    }

    /// The same with a name, a context, or an eager start.
    fn task(&self) -> TaskBuilder {
        TaskBuilder::new(self.handle())
    }

    /// Runs `future` as a task until it is done and returns its output.
    ///
    /// # Errors
    /// `Closed`; `AlreadyRunning` (then `future` is dropped un-polled); `Usage` if the loop was
    /// stopped first, and the task stays pending; `Interrupt`; `Panicked`; `Cancelled`.
    #[track_caller]
    fn run_until_complete<F>(&self, future: F) -> Result<F::Output>
    where
        F: Future + 'static,
    {
        // Refuse before the task exists.
        self.state().check_open("run_until_complete")?;
        if self.is_running() || running::current().is_some() {
            return Err(Error::AlreadyRunning(
                "run_until_complete: an event loop is already running on this thread".into(),
            ));
        }
        let task = self.create_task(future)?;
        task.mark_internal();
        run_until(self, &task)?;
        task.take_result()
    }

    /// Runs until an existing task or future is done and returns its outcome.
    ///
    /// # Errors
    /// As [`EventLoopExt::run_until_complete`], and `InvalidArg` if it belongs to another loop.
    fn run_until_done<C: Completion>(&self, completion: &C) -> Result<C::Value> {
        if !completion.belongs_to(&self.handle()) {
            return Err(Error::invalid_arg(
                "run_until_complete: the future belongs to another event loop",
            ));
        }
        run_until(self, completion)?;
        completion.outcome()
    }

    /// Runs a blocking function in `executor` (or the loop's own pool) and returns its result as a
    /// future.
    ///
    /// # Errors
    /// `Closed`; `Usage` after the pool was shut down. The future: `Panicked`; `Cancelled` if the executor
    /// drops the job.
    ///
    /// # Cancel safety
    /// Cancelling before the function started prevents it; afterwards it runs to its end unobserved.
    #[track_caller]
    fn run_in_executor<T: Send + 'static>(
        &self,
        executor: Option<SharedExecutor>,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> Result<LoopFuture<T>> {
        self.state().check_open("run_in_executor")?;
        let future = self.create_future::<T>();
        let key = self.state().park(Rc::new(future.clone()));
        let slot = Arc::new(Mutex::new(Some(function)));
        let remote = self.remote();
        let dropped = move |remote: &RemoteHandle| {
            let _ = remote.call_soon_threadsafe(move || deliver::<T>(key, Err(not_run())));
        };
        let queued = Queued { slot: slot.clone(), remote, dropped };
        let job = move || {
            let Some(function) = lock(&queued.slot).take() else { return };
            let result = Panic::catch(function).map_err(Error::from);
            // A loop that closed meanwhile does not want it any more (THR-15).
            let _ = queued.remote.call_soon_threadsafe(move || deliver::<T>(key, result));
        };
        if let Err(error) = self.execute(executor, Box::new(job)) {
            // Else the job was dropped, and its word is under way.
            if lock(&slot).take().is_some() {
                self.state().unpark(key);
            }
            return Err(error);
        }
        let weak = self.state().weak();
        future.add_done_callback(move |_| {
            // Done by a cancellation: the job is taken out of the queue (EXEC-04).
            let taken = lock(&slot).take();
            if let (Some(_), Some(lp)) = (taken, weak.upgrade()) {
                lp.state().unpark(key);
            }
        });
        Ok(future)
    }

    /// The unfinished tasks with what each of them waits for, and the timers, watchers, operations and
    /// transports there are. Also on a loop that is not running.
    #[must_use]
    fn dump(&self) -> Dump {
        let mut dump = Dump::of(self.state());
        self.list(&mut dump);
        dump
    }

    /// [`EventLoop::create_connection`] for a protocol of a known type.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    fn connect<P: Protocol>(
        &self,
        factory: impl FnOnce() -> P + 'static,
        to: impl Into<Connect>,
    ) -> impl Future<Output = Result<(Transport, Rc<P>)>> + 'static {
        let factory = Cell::new(Some(factory));
        let make = move || {
            let factory = factory.take().expect("the factory of a connection is called once");
            AnyProtocol::plain(factory())
        };
        let connecting = self.create_connection(Rc::new(make), to.into());
        async move {
            let (transport, protocol) = connecting.await?;
            let protocol = protocol.downcast::<P>().ok_or_else(|| {
                Error::WrongType("connect: the loop returned a protocol of another type".into())
            })?;
            Ok((transport, protocol))
        }
    }

    /// Runs a program as a child process with a protocol of a known type. Streams that are not
    /// [`Stdio::Pipe`](crate::Stdio::Pipe) are inherited.
    ///
    /// # Errors
    /// `InvalidArg` for a command that is the shell's; as [`EventLoop::subprocess`].
    ///
    /// # Cancel safety
    /// As [`EventLoop::subprocess`].
    fn subprocess_exec<P: SubprocessProtocol>(
        &self,
        factory: impl FnOnce() -> P + 'static,
        command: impl Into<Command>,
    ) -> impl Future<Output = Result<(SubprocessTransport, Rc<P>)>> + 'static {
        let command = command.into();
        let exec = matches!(command.program, Program::Exec(_));
        let started = exec.then(|| start(self, factory, command));
        async move {
            match started {
                Some(started) => started.await,
                None => Err(Error::invalid_arg("subprocess_exec: the command is the shell's")),
            }
        }
    }

    /// The same for [`Command::shell`].
    ///
    /// # Errors
    /// `InvalidArg` for a command that is not the shell's; as [`EventLoop::subprocess`].
    ///
    /// # Cancel safety
    /// As [`EventLoop::subprocess`].
    fn subprocess_shell<P: SubprocessProtocol>(
        &self,
        factory: impl FnOnce() -> P + 'static,
        command: Command,
    ) -> impl Future<Output = Result<(SubprocessTransport, Rc<P>)>> + 'static {
        let shell = matches!(command.program, Program::Shell(_));
        let started = shell.then(|| start(self, factory, command));
        async move {
            match started {
                Some(started) => started.await,
                None => Err(Error::invalid_arg("subprocess_shell: the command is not the shell's")),
            }
        }
    }

    /// [`EventLoop::create_server`] for protocols of a known type.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    fn serve<P: Protocol>(
        &self,
        factory: impl Fn() -> P + 'static,
        at: impl Into<Bind>,
    ) -> LocalBoxFuture<Result<Server>> {
        self.create_server(Rc::new(move || AnyProtocol::plain(factory())), at.into())
    }

    /// [`EventLoop::add_reader_fd`] for anything with a descriptor.
    ///
    /// # Errors
    /// As there.
    fn add_reader(&self, fd: &impl AsRawFd, callback: impl FnMut() + 'static) -> Result<()> {
        self.add_reader_fd(fd.as_raw_fd(), Box::new(callback))
    }

    /// [`EventLoop::add_writer_fd`] for anything with a descriptor.
    ///
    /// # Errors
    /// As there.
    fn add_writer(&self, fd: &impl AsRawFd, callback: impl FnMut() + 'static) -> Result<()> {
        self.add_writer_fd(fd.as_raw_fd(), Box::new(callback))
    }

    /// [`EventLoop::remove_reader_fd`] for anything with a descriptor.
    ///
    /// # Errors
    /// As there.
    fn remove_reader(&self, fd: &impl AsRawFd) -> Result<bool> {
        self.remove_reader_fd(fd.as_raw_fd())
    }

    /// [`EventLoop::remove_writer_fd`] for anything with a descriptor.
    ///
    /// # Errors
    /// As there.
    fn remove_writer(&self, fd: &impl AsRawFd) -> Result<bool> {
        self.remove_writer_fd(fd.as_raw_fd())
    }

    /// [`EventLoop::add_signal_handler_fn`] without the box.
    ///
    /// # Errors
    /// As there.
    fn add_signal_handler(&self, signal: i32, callback: impl FnMut() + 'static) -> Result<()> {
        self.add_signal_handler_fn(signal, Box::new(callback))
    }

    /// Awaits every registered asynchronous finaliser; their errors are reported (AGEN-01).
    ///
    /// # Cancel safety
    /// Dropping it drops the finaliser that it is at in the middle, and the others before their beginning: they
    /// are no longer registered.
    fn shutdown_asyncgens(&self) -> LocalBoxFuture<()> {
        let lp = self.handle();
        Box::pin(async move {
            for finaliser in lp.state().take_finalisers() {
                let ended = catch_panic(finaliser).await;
                let ended = ended.unwrap_or_else(|payload| Err(Panic::new(payload).into()));
                if let Err(error) = ended {
                    lp.report_failure("finalising an asynchronous generator failed", error);
                }
            }
        })
    }
}

impl<L: EventLoop + ?Sized> EventLoopExt for L {}

/// A subprocess whose protocol keeps its type.
fn start<L: EventLoop + ?Sized, P: SubprocessProtocol>(
    lp: &L,
    factory: impl FnOnce() -> P + 'static,
    command: Command,
) -> impl Future<Output = Result<(SubprocessTransport, Rc<P>)>> + 'static {
    let made = Rc::new(Cell::new(None));
    let theirs = made.clone();
    let factory = Box::new(move || {
        let protocol = Rc::new(factory());
        theirs.set(Some(protocol.clone()));
        protocol as Rc<dyn SubprocessProtocol>
    });
    let starting = lp.subprocess(factory, command);
    async move {
        let (transport, _) = starting.await?;
        let protocol = made.take().ok_or_else(|| {
            Error::WrongType("subprocess: the loop did not call the protocol factory".into())
        })?;
        Ok((transport, protocol))
    }
}
