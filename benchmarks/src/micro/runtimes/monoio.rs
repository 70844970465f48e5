//! monoio on io_uring.

use std::io;
use std::time::Duration;

use local_sync::{mpsc, oneshot};
use monoio::blocking::DefaultThreadPool;
use monoio::{IoUringDriver, RuntimeBuilder};

use crate::micro::runtime::{Boxed, Executor, Runtime};

/// The runtime.
#[derive(Debug)]
pub(crate) struct Monoio;

impl Executor for Monoio {
    fn run<T: 'static>(suite: impl Future<Output = T> + 'static) -> io::Result<T> {
        let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
            .enable_timer()
            .attach_thread_pool(Box::new(DefaultThreadPool::new(1)))
            .build()?;
        Ok(runtime.block_on(async { monoio::spawn(suite).await }))
    }

    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + 'static {
        monoio::spawn(task)
    }

    fn call_soon(call: impl FnOnce() + Send + 'static) {
        monoio::spawn(async move { call() });
    }

    fn one_shot(rounds: u32) -> Option<Boxed> {
        Some(Box::pin(async move {
            for number in 0..rounds {
                let (sender, receiver) = oneshot::channel();
                assert!(sender.send(number).is_ok());
                assert!(receiver.await.is_ok_and(|received| received == number));
            }
        }))
    }

    fn queue(rounds: u32) -> Option<Boxed> {
        Some(Box::pin(async move {
            let (sender, mut receiver) = mpsc::bounded::channel(64);
            for number in 0..rounds {
                assert!(sender.send(number).await.is_ok());
                assert_eq!(receiver.recv().await, Some(number));
            }
        }))
    }
}

impl Runtime for Monoio {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        monoio::time::sleep(duration)
    }

    fn call_later(delay: Duration, call: impl FnOnce() + Send + 'static) {
        monoio::spawn(async move {
            monoio::time::sleep(delay).await;
            call();
        });
    }

    fn unblock(work: impl FnOnce() + Send + 'static) -> impl Future<Output = ()> + 'static {
        let handle = monoio::spawn_blocking(work);
        async move { handle.await.expect("no work panics") }
    }
}
