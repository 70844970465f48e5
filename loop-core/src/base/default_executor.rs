//! The pool that `run_in_executor` uses by default: made when it is first needed.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyloop_api::{
    Error, EventLoopExt, LocalBoxFuture, LoopFuture, LoopRef, Panic, Report, Result,
    SharedExecutor, sleep,
};

use super::BaseLoop;
use crate::executor::ThreadPool;

/// How often to ask an executor for which nobody can wait.
const ASKING: Duration = Duration::from_millis(10);

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
        if let Some(executor) = &executor {
            // Now: it is the loop's no longer, and the future may be dropped.
            executor.shutdown();
        }
        let lp = self.handle();
        Box::pin(async move {
            let Some(executor) = executor else { return };
            // A thread of its own: the pool cannot wait for itself.
            let done = lp.create_future::<bool>();
            let key = lp.state().park(Rc::new(done.clone()));
            let (remote, theirs) = (lp.remote(), executor.clone());
            let joiner = std::thread::Builder::new().name("anyloop-join".into()).spawn(move || {
                let joined = join(&theirs, timeout);
                let _ = remote.call_soon_threadsafe(move || {
                    let parked = LoopRef::current().ok().and_then(|lp| lp.state().unpark(key));
                    let done = parked.and_then(|parked| parked.downcast::<LoopFuture<bool>>().ok());
                    if let Some(done) = done {
                        done.set_unless_done(Ok(joined));
                    }
                });
            });
            let joined = match joiner {
                Ok(_) => done.await.unwrap_or(false),
                Err(error) => {
                    lp.state().unpark(key);
                    let text = "waiting for the workers is impossible; the loop asks every 10 ms";
                    let what = "shutdown_default_executor: starting a thread";
                    lp.call_exception_handler(
                        Report::warning(text).exception(Error::os(what, error)),
                    );
                    ask(&lp, &executor, timeout).await
                }
            };
            if !joined {
                lp.call_exception_handler(Report::warning(format!(
                    "shutdown_default_executor: workers did not end within {timeout:?}"
                )));
            }
        })
    }
}

/// The executor may be the user's; whoever waits for it is told in any case.
fn join(executor: &SharedExecutor, timeout: Option<Duration>) -> bool {
    Panic::catch(|| executor.join(timeout)).unwrap_or(false)
}

/// The same without a thread that waits.
async fn ask(lp: &LoopRef, executor: &SharedExecutor, timeout: Option<Duration>) -> bool {
    let end = timeout.map(|timeout| lp.time() + timeout);
    while !join(executor, Some(Duration::ZERO)) {
        if end.is_some_and(|end| lp.time() >= end) {
            return false;
        }
        sleep(ASKING).await;
    }
    true
}
