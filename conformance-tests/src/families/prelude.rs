//! What nearly every family needs. The API's `Context` is called `Vars` here: `Context` is the case's.

pub(super) use std::cell::{Cell, RefCell};
pub(super) use std::future::Future;
pub(super) use std::rc::Rc;
pub(super) use std::thread;
pub(super) use std::time::{Duration, Instant};

pub(super) use anyloop_api::{
    Context as Vars, ContextVar, Error, EventLoopExt, Handle, LoopFuture, LoopInstant, LoopRef,
    RemoteHandle, Task, TimerHandle, current_task, yield_now,
};

pub(super) use crate::case::{Failure, Outcome};
pub(super) use crate::context::Context;
pub(super) use crate::tools::{
    Counter, Reports, block_for, cpu_time, every_iteration, join, run_for, run_once, run_times,
    stop_after, wait_until,
};

/// A delay in milliseconds.
pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// So far away that a case which waits for it hangs.
pub(super) const FAR: Duration = Duration::from_secs(3600);

/// Runs the body of a case as the main task of a loop.
pub(super) fn main(cx: &Context, body: impl Future<Output = Outcome> + 'static) -> Outcome {
    cx.new_loop()?.run_until_complete(body)?
}
