//! The contract of anyloop: what an event loop is, whoever made it.
//!
//! Library authors depend on this crate and nothing else: it has the object-safe [`EventLoop`] trait
//! with its generic half [`EventLoopExt`], and the things that loops hand out: futures, tasks and their
//! cancellation, [`sleep`](sleep()), transports and protocols. A library that wants streams, locks, queues, timeouts or
//! groups as well depends on the facade `anyloop` without its default features, which are the backends.
//! Applications depend on the facade, loop authors on `anyloop-core` or on this crate.
//!
//! ```text
//!   your code ──▶ LoopRef ──▶ dyn EventLoop ◀── anyloop-mio, anyloop-uring, anyloop-polling, yours
//!                    ▲
//!   other threads ───┘ RemoteHandle (the only Send + Sync door)
//! ```
//!
//! # A library
//!
//! It finds the loop that runs it, whichever that is, and never makes one:
//!
//! ```
//! use std::time::Duration;
//! use anyloop_api::{EventLoopExt, LoopRef, Result, Task, sleep};
//!
//! /// Calls `beat` every `period`, until the task that it returns is cancelled.
//! ///
//! /// # Errors
//! /// `Usage` outside a running loop.
//! pub fn heartbeat(period: Duration, beat: impl Fn() + 'static) -> Result<Task<()>> {
//!     let lp = LoopRef::current()?;
//!     lp.task().name("heartbeat").spawn(async move {
//!         loop {
//!             sleep(period).await;
//!             beat();
//!         }
//!     })
//! }
//! assert!(heartbeat(Duration::ZERO, || {}).is_err()); // no loop runs here
//! ```
//!
//! Its tests need some loop: `anyloop` or one of the backends as a `dev-dependency`, and
//! `ANYLOOP_BACKEND` runs them on each.
#![forbid(unsafe_code)]

mod any_task;
mod backend;
mod cancel;
mod cancellable;
mod command;
mod completion;
mod context;
mod current;
mod datagram;
mod datagrams;
mod delivery;
mod dump;
mod elsewhere;
mod endpoint;
mod entries;
mod error;
mod event_loop;
mod event_loop_ext;
mod executor;
mod executor_job;
mod extra_info;
mod file;
mod fork;
mod forward;
mod future;
mod handle;
mod instant;
mod join_handle;
mod lookup;
mod loop_ref;
mod net;
mod outcome;
mod output;
mod pipe;
mod policy;
mod protocol;
mod remote;
mod report;
mod requests;
mod root;
mod run_until;
mod runnable;
mod running;
mod scope;
mod sendfile;
mod server;
mod shield;
mod sleep;
mod sock;
mod state;
mod subprocess;
mod task;
mod task_builder;
mod task_cell;
mod task_core;
mod task_factory;
mod tasks;
mod timer_handle;
mod transport;
mod unix;
mod waiter;
mod yield_now;

pub use any_task::AnyTask;
pub use backend::{BackendDescriptor, LoopConfig};
pub use cancel::{
    CancelScope, CatchCancel, CatchPanic, Ending, Uncancellable, catch_cancel, catch_panic,
    on_cancel, raise_interrupt, uncancellable, with_cleanup,
};
pub use cancellable::{Cancellable, check_same_loop, clear_waiter, passes_outwards, set_waiter};
pub use command::{Command, Program, Stdio};
pub use completion::Completion;
pub use context::{Context, ContextVar, Snapshot};
pub use current::{current_task, observe_step};
pub use datagram::{
    DatagramEndpoint, DatagramFactory, DatagramProtocol, DatagramTransport, RawDatagramTransport,
    WeakDatagramTransport,
};
pub use datagrams::Datagrams;
pub use dump::{Activity, Dump, Executing, TaskInfo, TaskState, TimerInfo};
pub use endpoint::Endpoint;
pub use error::{
    Cancelled, Error, ErrorGroup, IncompleteRead, Interrupt, LimitOverrun, OsError, Panic, Result,
    SharedError, Text,
};
pub use event_loop::{EventLoop, ProtocolFactory};
pub use event_loop_ext::EventLoopExt;
pub use executor::{Executor, Job, SharedExecutor};
pub use extra_info::{ExtraInfo, SocketView};
pub use file::pread_in_executor;
pub use fork::{fork_generation, note_fork};
pub use future::{CallbackId, LoopFuture, Shared};
pub use handle::Handle;
pub use instant::LoopInstant;
pub use join_handle::JoinHandle;
pub use lookup::{AddrInfo, AddrInfoFlags, Lookup, LookupError, NameInfoFlags, SocketKind};
pub use loop_ref::{LoopRef, WeakLoop};
pub use net::{Bind, Connect, Family, port_number, split_host_port};
pub use outcome::Observer;
pub use pipe::{PipeView, Rejected};
pub use policy::{
    EventLoopPolicy, install_policy, installed_policy, set_thread_event_loop, thread_event_loop,
};
pub use protocol::{AnyProtocol, BufferedProtocol, Protocol};
pub use remote::{RemoteCall, RemoteHandle, RemoteLoop, Scheduler};
pub use report::{ExceptionHandler, Report, Severity};
pub use runnable::Runnable;
pub use running::RunGuard;
pub use sendfile::SendFile;
pub use server::{LocalBoxFuture, RawServer, Server};
pub use shield::{Shield, Shieldable, shield};
pub use sleep::{Sleep, sleep, sleep_until};
pub use sock::{Claim, Direction, Received, Sock, SockAttachment};
pub use socket2::{Domain, SockAddr, Type};
pub use state::{Interruption, LoopState};
pub use subprocess::{RawSubprocess, SubprocessFactory, SubprocessProtocol, SubprocessTransport};
pub use task::{SharedTask, Task};
pub use task_builder::TaskBuilder;
pub use task_factory::{EagerTaskFactory, TaskFactory, TaskOptions};
pub use timer_handle::{TimerHandle, TimerKey, TimerQueue};
pub use transport::{Borrower, RawTransport, Transport, WeakTransport, write_buffer_limits};
pub use unix::{Credentials, UnixBind, UnixConnect};
pub use waiter::Waiter;
pub use yield_now::{YieldNow, yield_now};
