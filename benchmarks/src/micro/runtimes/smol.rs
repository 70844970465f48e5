//! smol, with a local executor.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use smol::{LocalExecutor, Timer};

use crate::micro::runtime::{Boxed, Executor, Runtime};

/// The runtime.
#[derive(Debug)]
pub(crate) struct Smol;

thread_local! {
    static EXECUTOR: Rc<LocalExecutor<'static>> = Rc::new(LocalExecutor::new());
}

impl Executor for Smol {
    fn run<T: 'static>(suite: impl Future<Output = T> + 'static) -> io::Result<T> {
        let executor = EXECUTOR.with(Rc::clone);
        let suite = executor.spawn(suite);
        Ok(smol::block_on(executor.run(suite)))
    }

    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + 'static {
        EXECUTOR.with(|executor| executor.spawn(task))
    }

    fn call_soon(call: impl FnOnce() + Send + 'static) {
        EXECUTOR.with(|executor| executor.spawn(async move { call() }).detach());
    }

    fn yield_now() -> Option<impl Future<Output = ()> + 'static> {
        Some(smol::future::yield_now())
    }

    fn queue(rounds: u32) -> Option<Boxed> {
        Some(Box::pin(async move {
            let (sender, receiver) = smol::channel::bounded(64);
            for number in 0..rounds {
                assert!(sender.send(number).await.is_ok());
                assert_eq!(receiver.recv().await, Ok(number));
            }
        }))
    }
}

impl Runtime for Smol {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        let timer = Timer::after(duration);
        async move {
            timer.await;
        }
    }

    fn call_later(delay: Duration, call: impl FnOnce() + Send + 'static) {
        let task = async move {
            Timer::after(delay).await;
            call();
        };
        EXECUTOR.with(|executor| executor.spawn(task).detach());
    }

    fn unblock(work: impl FnOnce() + Send + 'static) -> impl Future<Output = ()> + 'static {
        smol::unblock(work)
    }
}
