//! The pool that `run_in_executor` uses by default: made when it is first needed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyloop_api::{
    Error, EventLoopExt, LocalBoxFuture, LoopFuture, LoopRef, Report, Result, SharedExecutor,
};

use super::BaseLoop;
use crate::executor::ThreadPool;

impl BaseLoop {
    pub(super) fn default_executor(&self) -> Result<SharedExecutor> {
        if self.executor_shut.get() {
            return Err(Error::usage("run_in_executor: the default executor is shut down"));
        }
        let mut executor = self.executor.borrow_mut();
        Ok(executor
            .get_or_insert_with(|| {
                let threads = self.config.executor_threads;
                Arc::new(ThreadPool::new(threads.unwrap_or_else(ThreadPool::default_limit)))
            })
            .clone())
    }

    /// Lets the workers finish what they have, for `timeout` at most.
    pub(super) fn end_default_executor(&self, timeout: Option<Duration>) -> LocalBoxFuture<()> {
        self.executor_shut.set(true);
        let executor = self.executor.borrow_mut().take();
        let lp = self.handle();
        Box::pin(async move {
            let Some(executor) = executor else { return };
            executor.shutdown();
            // A thread of its own: the pool cannot wait for itself.
            let done = lp.create_future::<bool>();
            let key = lp.state().park(Rc::new(done.clone()));
            let remote = lp.remote();
            let joiner = std::thread::Builder::new().name("anyloop-join".into()).spawn(move || {
                // The executor may be the user's; whoever waits for it is told in any case.
                let join = AssertUnwindSafe(|| executor.join(timeout));
                let joined = catch_unwind(join).unwrap_or(false);
                let _ = remote.call_soon_threadsafe(move || {
                    let parked = LoopRef::current().ok().and_then(|lp| lp.state().unpark(key));
                    let done = parked.and_then(|parked| parked.downcast::<LoopFuture<bool>>().ok());
                    if let Some(done) = done {
                        done.set_unless_done(Ok(joined));
                    }
                });
            });
            let joined = joiner.is_ok() && done.await.unwrap_or(false);
            if !joined {
                lp.call_exception_handler(Report::warning(format!(
                    "shutdown_default_executor: workers did not end within {timeout:?}"
                )));
            }
        })
    }
}
