//! asyncio for Rust: write the program once, choose the event loop (mio, io_uring, polling) when it
//! runs.
//!
//! A loop is a value behind one object-safe trait, [`EventLoop`]. Tasks, streams, timers and signals
//! are written against that trait alone, so a program runs unchanged on each of our loops, on one that
//! you wrote, or on one that a third party publishes. Names and behaviour are asyncio's; a conformance
//! suite checks them clause by clause on every loop.
//!
//! The one thing to know before using it: a loop and everything on it stay on one thread. Futures need
//! not be `Send`; the only door from other threads is [`RemoteHandle`].
//!
//! ```text
//!   your program ──▶ run, streams, tasks ──▶ dyn EventLoop ◀── anyloop-uring   io_uring
//!        │               (this crate)              ▲      ◀── anyloop-mio     epoll, kqueue
//!        │                                         │      ◀── anyloop-polling epoll, kqueue, …
//!        └── other threads ──▶ RemoteHandle ───────┘      ◀── yours
//! ```
//!
//! # Quick start
//!
//! ```no_run
//! fn main() -> anyloop::Result<()> {
//!     anyloop::run(async {
//!         let server = anyloop::start_server("127.0.0.1:8888", |reader, writer| async move {
//!             while let Some(line) = reader.next_line().await? {
//!                 writer.write(&line);
//!                 writer.drain().await?;
//!             }
//!             Ok(())
//!         })
//!         .await?;
//!         server.serve_forever().await
//!     })?
//! }
//! ```
//!
//! The same with callbacks and a loop in one's own hands:
//!
//! ```
//! use std::time::Duration;
//! use anyloop::EventLoopExt;
//!
//! let lp = anyloop::new_event_loop()?;
//! let l2 = lp.clone();
//! lp.call_later(Duration::from_millis(10), move || l2.stop())?;
//! let task = lp.create_task(async { 6 * 7 })?;
//! lp.run_forever()?;
//! assert_eq!(task.result()?, 42);
//! lp.close()?;
//! # Ok::<(), anyloop::Error>(())
//! ```
//!
//! Longer explanations, tables for those who come from asyncio or tokio, how to embed a loop in another one, and how
//! to debug a stuck loop are in the [`guide`].
//!
//! # Which backend?
//!
//! | name | kernel interface | needs |
//! | --- | --- | --- |
//! | `uring` | io_uring: completions, multishot accept and receive | Linux 5.19; all of it from 6.1 |
//! | `mio` | epoll through [mio](https://docs.rs/mio) | any Linux |
//! | `polling` | epoll through [polling](https://docs.rs/polling) | any Linux |
//!
//! Who decides, first to last:
//!
//! 1. the program, by value: [`new_event_loop_with`], [`run_with`], [`Runner::backend`], [`select`];
//! 2. the policy that was set: [`set_event_loop_policy`];
//! 3. the environment: `ANYLOOP_BACKEND=mio`, or `-uring` to exclude one (see [`Config`]);
//! 4. otherwise the first of uring, mio, polling that works on this machine.
//!
//! A backend asked for by name is never replaced by another one: if it cannot be had, the error lists
//! every backend with the reason. [`selection()`] says what would be chosen, and why. Third parties'
//! backends are made known with [`register`].
//!
//! # Cancellation
//!
//! [`Task::cancel`] asks a task to end, as in asyncio. The task sees it at its current await: the
//! innermost [`catch_cancel`] scope drops its inner future and yields [`Cancelled`]; without a scope the
//! whole future is dropped. [`on_cancel`] and [`with_cleanup`] await a clean-up, [`uncancellable`] and
//! [`shield`] hold a request back. Every async method says under *Cancel safety* what dropping it loses.
//!
//! # Threads
//!
//! [`RemoteHandle`] (from [`EventLoop::remote`]) is `Send + Sync`: it runs a callback or a task on the
//! loop and wakes it. Blocking functions go to a pool of threads with
//! [`run_in_executor`](EventLoopExt::run_in_executor). To use more cores run one loop per thread.
//!
//! # Panics in callbacks
//!
//! A panic in a callback, task, protocol method or destructor is caught and reported to the loop's
//! exception handler ([`EventLoop::set_exception_handler`]; the default writes to standard error), and
//! the loop lives on. Misuse of this crate is an [`Error`], not a panic; the few functions without a result to say so in
//! ([`sleep`](sleep()) outside a loop) have a section *Panics*. All of this presupposes `panic = "unwind"`.
//!
//! # Feature flags
//!
//! | feature | default | adds |
//! | --- | --- | --- |
//! | `mio` | yes | the backend on mio |
//! | `uring` | yes | the backend on io_uring |
//! | `polling` | yes | the backend on polling |
//! | `hyper` | no | [`compat::hyper`](crate::compat): hyper's I/O, timers and executors |
//! | `tls` | no | `tls`: TLS by rustls, asyncio's `ssl=` and `start_tls` |
//! | `tracing` | no | reports, and which backend was chosen, as events of the tracing crate |
//!
//! Features add backends to the table; they never select one.
//!
//! # Writing libraries and loops
//!
//! A library that only uses loops depends on `anyloop-api`, which is slim, and leaves the choice to the
//! application. Someone who writes a loop implements a driver for `anyloop-core`
//! (`examples/custom_backend.rs` is a tutorial) or the trait itself, and proves it with
//! `anyloop-conformance`.
//!
//! # Minimum supported Rust version
//!
//! 1.88 is declared, and all tests were run with it once; every change is tested with 1.95, on Linux x86-64. The README
//! says what is known of other systems.
#![forbid(unsafe_code)]

mod asyncgen;
mod backends;
mod combinators;
pub mod compat;
mod config;
mod ctrl_c;
mod dumps;
pub mod fs;
pub mod guide;
mod policy;
pub mod queue;
mod runner;
mod selection;
mod streams;
mod subprocess;
pub mod sync;
mod task_group;
mod tasks;
mod threads;
mod timeouts;
#[cfg(feature = "tls")]
pub mod tls;
mod udp;

pub use anyloop_api::{
    AddrInfo, AddrInfoFlags, AnyProtocol, AnyTask, BackendDescriptor, Bind, BufferedProtocol,
    CallbackId, CancelScope, Cancelled, CatchCancel, Completion, Connect, Context, ContextVar,
    Dump, EagerTaskFactory, Ending, Error, ErrorGroup, EventLoop, EventLoopExt, EventLoopPolicy,
    ExceptionHandler, Executor, ExtraInfo, Family, Handle, IncompleteRead, Interrupt, Job,
    JoinHandle, LimitOverrun, LocalBoxFuture, Lookup, LookupError, LoopConfig, LoopFuture,
    LoopInstant, LoopRef, LoopState, NameInfoFlags, Observer, OsError, Panic, Protocol,
    ProtocolFactory, RemoteCall, RemoteHandle, Report, Result, Server, Severity, Shared,
    SharedError, SharedExecutor, SharedTask, Shield, Shieldable, Sleep, Snapshot, SocketKind,
    SocketView, Task, TaskBuilder, TaskFactory, TaskInfo, TaskOptions, TaskState, Text,
    TimerHandle, Transport, Uncancellable, WeakLoop, YieldNow, catch_cancel, current_task,
    on_cancel, raise_interrupt, shield, sleep, sleep_until, uncancellable, with_cleanup, yield_now,
};
// Parts of a dump.
pub use anyloop_api::{Executing, TimerInfo};
// Raw sockets, pipes, datagrams.
pub use anyloop_api::{
    Credentials, DatagramEndpoint, DatagramFactory, DatagramProtocol, DatagramTransport, Datagrams,
    Direction, Domain, Endpoint, PipeView, Received, Rejected, SendFile, Sock, SockAddr, Type,
    UnixBind, UnixConnect, WeakDatagramTransport,
};
// Child processes.
pub use anyloop_api::{
    Command, Program, Stdio, SubprocessFactory, SubprocessProtocol, SubprocessTransport,
};
pub use asyncgen::{Emit, Emitter, Generator, generator, try_generator};
pub use backends::{Backend, backends, register};
pub use combinators::{
    AllResults, AllValues, AsCompleted, Children, Collect, Fate, Gather, IntoLoopFuture,
    NextCompleted, PlainOutput, ReturnWhen, TaskOutput, Wait, Waitable, Waited, as_completed,
    ensure_future, gather, gather_results, gather_vec, run_coroutine_threadsafe, wait, wait_for,
    wrap_future,
};
pub use config::Config;
pub use dumps::{DumpOnSignal, dump, dump_on_signal};
pub use policy::{
    DefaultPolicy, get_event_loop, get_event_loop_policy, get_running_loop, new_event_loop,
    new_event_loop_with, reset_event_loop_policy, set_event_loop, set_event_loop_policy,
};
pub use queue::{LifoQueue, PriorityQueue, Queue};
pub use runner::{Runner, run, run_with};
pub use selection::{Reason, Selection, select, selection};
pub use streams::{
    ConnectionOutcome, DEFAULT_LIMIT, Fallible, Infallible, StreamReader, StreamReaderProtocol,
    StreamWriter, Synchronous, TcpStream, open_connection, open_connection_with_limit,
    start_server, start_server_with_limit,
};
// Streams over local sockets.
pub use streams::{
    open_unix_connection, open_unix_connection_with_limit, start_unix_server,
    start_unix_server_with_limit,
};
pub use subprocess::{
    Process, create_subprocess_exec, create_subprocess_exec_with_limit, create_subprocess_shell,
    create_subprocess_shell_with_limit,
};
pub use sync::{Barrier, BoundedSemaphore, Condition, Event, Lock, Semaphore};
pub use task_group::{GroupTaskBuilder, TaskGroup, task_group};
pub use tasks::{all_tasks, create_task};
pub use threads::to_thread;
pub use timeouts::{Timeout, TimeoutHandle, timeout, timeout_at, timeout_scope};
pub use udp::UdpSocket;

/// Keeps the README's program compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
