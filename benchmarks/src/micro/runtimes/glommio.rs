//! glommio, one executor.

use std::io;
use std::time::Duration;

use glommio::channels::local_channel;
use glommio::timer::sleep;
use glommio::{LocalExecutorBuilder, Task, executor, spawn_local, spawn_local_into};

use crate::micro::runtime::{Boxed, Executor, Runtime};

/// The runtime.
#[derive(Debug)]
pub(crate) struct Glommio;

/// `spawn_local` takes the first step at once; what goes to a queue, if only to the same, waits its turn.
fn later<T: 'static>(task: impl Future<Output = T> + 'static) -> Task<T> {
    let queue = executor().current_task_queue();
    spawn_local_into(task, queue).expect("the queue of the suite is open")
}

impl Executor for Glommio {
    fn run<T: 'static>(suite: impl Future<Output = T> + 'static) -> io::Result<T> {
        let local = LocalExecutorBuilder::default().make();
        let local = local.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(local.run(suite))
    }

    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + 'static {
        later(task)
    }

    fn spawn_eagerly<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<impl Future<Output = T> + 'static> {
        Some(spawn_local(task))
    }

    fn call_soon(call: impl FnOnce() + Send + 'static) {
        later(async move { call() }).detach();
    }

    fn yield_now() -> Option<impl Future<Output = ()> + 'static> {
        Some(async { executor().yield_task_queue_now().await })
    }

    fn queue(rounds: u32) -> Option<Boxed> {
        Some(Box::pin(async move {
            let (sender, receiver) = local_channel::new_bounded(64);
            for number in 0..rounds {
                assert!(sender.send(number).await.is_ok());
                assert_eq!(receiver.recv().await, Some(number));
            }
        }))
    }
}

impl Runtime for Glommio {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        sleep(duration)
    }

    fn call_later(delay: Duration, call: impl FnOnce() + Send + 'static) {
        let task = async move {
            sleep(delay).await;
            call();
        };
        spawn_local(task).detach();
    }

    fn unblock(work: impl FnOnce() + Send + 'static) -> impl Future<Output = ()> + 'static {
        executor().spawn_blocking(work)
    }
}
