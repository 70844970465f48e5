//! asyncio for Rust: write the program once, choose the event loop (mio, io_uring, polling) when it
//! runs.
#![forbid(unsafe_code)]

mod backends;
mod config;
mod ctrl_c;
mod policy;
mod runner;
mod selection;
mod tasks;

pub use anyloop_api::{
    AnyProtocol, AnyTask, BackendDescriptor, Bind, BufferedProtocol, CallbackId, Cancelled,
    CatchCancel, Completion, Connect, Context, ContextVar, EagerTaskFactory, Ending, Error,
    ErrorGroup, EventLoop, EventLoopExt, EventLoopPolicy, ExceptionHandler, Executor, ExtraInfo,
    Family, Handle, Interrupt, Job, JoinHandle, LocalBoxFuture, LoopConfig, LoopFuture,
    LoopInstant, LoopRef, Panic, Protocol, ProtocolFactory, RemoteCall, RemoteHandle, Report,
    Result, Server, Severity, Shared, SharedError, SharedExecutor, SharedTask, Shield, Shieldable,
    Sleep, Snapshot, SocketView, Task, TaskBuilder, TaskFactory, TaskOptions, Text, TimerHandle,
    Transport, Uncancellable, WeakLoop, YieldNow, catch_cancel, current_task, on_cancel,
    raise_interrupt, shield, sleep, sleep_until, uncancellable, with_cleanup, yield_now,
};
pub use backends::{Backend, backends, register};
pub use config::Config;
pub use policy::{
    DefaultPolicy, get_event_loop, get_event_loop_policy, get_running_loop, new_event_loop,
    new_event_loop_with, reset_event_loop_policy, set_event_loop, set_event_loop_policy,
};
pub use runner::{Runner, run, run_with};
pub use selection::{Reason, Selection, select, selection};
pub use tasks::{all_tasks, create_task};
