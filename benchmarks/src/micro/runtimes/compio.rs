//! compio.

use std::io;
use std::time::Duration;

use compio::runtime::{self, Runtime as CompioRuntime};

use crate::micro::runtime::{Executor, Runtime};

/// The runtime.
#[derive(Debug)]
pub(crate) struct Compio;

impl Executor for Compio {
    fn run<T: 'static>(suite: impl Future<Output = T> + 'static) -> io::Result<T> {
        let suite = async { runtime::spawn(suite).await.map_err(|_| io::Error::other("panicked")) };
        CompioRuntime::new()?.block_on(suite)
    }

    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + 'static {
        let handle = runtime::spawn(task);
        async move { handle.await.unwrap_or_else(|_| panic!("no task panics")) }
    }

    fn call_soon(call: impl FnOnce() + Send + 'static) {
        runtime::spawn(async move { call() }).detach();
    }
}

impl Runtime for Compio {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        compio::time::sleep(duration)
    }

    fn call_later(delay: Duration, call: impl FnOnce() + Send + 'static) {
        let task = async move {
            compio::time::sleep(delay).await;
            call();
        };
        runtime::spawn(task).detach();
    }

    fn unblock(work: impl FnOnce() + Send + 'static) -> impl Future<Output = ()> + 'static {
        let handle = runtime::spawn_blocking(work);
        async move { handle.await.unwrap_or_else(|_| panic!("no work panics")) }
    }
}
