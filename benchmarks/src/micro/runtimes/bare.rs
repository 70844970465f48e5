//! async-task and a queue, nothing else: the line of tasks whose memory is async-task's.

use std::cell::RefCell;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use async_task::{Runnable, Task};

use crate::micro::runtime::Executor;

/// An executor that never sleeps: everything is woken on its own thread.
#[derive(Debug)]
pub(crate) struct Bare;

thread_local! {
    static QUEUE: RefCell<Vec<Runnable>> = const { RefCell::new(Vec::new()) };
}

fn task<T: 'static>(future: impl Future<Output = T> + 'static) -> (Runnable, Task<T>) {
    async_task::spawn_local(future, |runnable| QUEUE.with_borrow_mut(|queue| queue.push(runnable)))
}

fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    let (runnable, task) = task(future);
    runnable.schedule();
    task
}

impl Executor for Bare {
    fn run<T: 'static>(suite: impl Future<Output = T> + 'static) -> io::Result<T> {
        let mut suite = pin!(spawn(suite));
        let mut batch = Vec::new();
        loop {
            QUEUE.with_borrow_mut(|queue| std::mem::swap(queue, &mut batch));
            if batch.is_empty() {
                return Err(io::Error::other("nobody is left to wake the suite"));
            }
            for runnable in batch.drain(..) {
                runnable.run();
            }
            if suite.is_finished()
                && let Poll::Ready(output) =
                    suite.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                return Ok(output);
            }
        }
    }

    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + 'static {
        spawn(task)
    }

    fn spawn_eagerly<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<impl Future<Output = T> + 'static> {
        let (runnable, task) = self::task(task);
        runnable.run();
        Some(task)
    }

    fn call_soon(call: impl FnOnce() + Send + 'static) {
        spawn(async move { call() }).detach();
    }
}
