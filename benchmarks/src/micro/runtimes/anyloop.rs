//! Ours, on each backend.

use std::io;
use std::time::Duration;

use anyloop::{EventLoopExt, LoopRef, RemoteHandle};

use crate::micro::runtime::{Boxed, Post, Runtime};

fn current() -> LoopRef {
    LoopRef::current().expect("the suite runs on a loop")
}

/// One type per backend: `Runtime` has no receiver.
macro_rules! runtimes {
    ($($(#[$doc:meta])* $name:ident = $backend:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name;

        impl Runtime for $name {
            fn run<T: 'static>(suite: impl Future<Output = T> + 'static) -> io::Result<T> {
                let lp = anyloop::new_event_loop_with($backend)?;
                let output = lp.run_until_complete(suite)?;
                lp.close()?;
                Ok(output)
            }

            fn spawn<T: Send + 'static>(
                task: impl Future<Output = T> + Send + 'static,
            ) -> impl Future<Output = T> + 'static {
                let task = current().create_task(task).expect("the loop is open");
                async move { task.await.expect("no task panics") }
            }

            fn call_soon(call: impl FnOnce() + Send + 'static) {
                current().call_soon(call).expect("the loop is open");
            }

            fn yield_now() -> Option<impl Future<Output = ()> + 'static> {
                Some(anyloop::yield_now())
            }

            fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
                anyloop::sleep(duration)
            }

            fn call_later(delay: Duration, call: impl FnOnce() + Send + 'static) {
                current().call_later(delay, call).expect("the loop is open");
            }

            fn unblock(work: impl FnOnce() + Send + 'static) -> impl Future<Output = ()> + 'static {
                let done = current().run_in_executor(None, work).expect("the pool is open");
                async move { done.await.expect("no work panics") }
            }

            fn one_shot(rounds: u32) -> Option<Boxed> {
                Some(Box::pin(async move {
                    let lp = current();
                    for number in 0..rounds {
                        let future = lp.create_future();
                        assert!(future.set_result(number).is_ok());
                        assert_eq!(future.await.ok(), Some(number));
                    }
                }))
            }

            fn queue(rounds: u32) -> Option<Boxed> {
                Some(Box::pin(async move {
                    let queue = anyloop::Queue::new(64);
                    for number in 0..rounds {
                        assert!(queue.put(number).await.is_ok());
                        assert_eq!(queue.get().await.ok(), Some(number));
                    }
                }))
            }

            fn poster() -> Option<impl Post> {
                Some(current().remote())
            }
        }
    )*};
}

runtimes! {
    /// On io_uring.
    Uring = "uring";
    /// On mio.
    Mio = "mio";
    /// On polling.
    Polling = "polling";
}

impl Post for RemoteHandle {
    fn post(&self, call: impl FnOnce() + Send + 'static) {
        self.call_soon_threadsafe(call).expect("the loop is open");
    }
}
