//! tokio, current-thread runtime.

use std::io;
use std::net::UdpSocket;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};

use crate::micro::runtime::{Boxed, Executor, Post, Receive, Runtime};

/// The runtime. Its suite is the root future: tasks of this runtime must be `Send`.
#[derive(Debug)]
pub(crate) struct Tokio;

impl Executor for Tokio {
    fn run<T: 'static>(suite: impl Future<Output = T> + 'static) -> io::Result<T> {
        Ok(Builder::new_current_thread().enable_all().build()?.block_on(suite))
    }

    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + 'static {
        let handle = tokio::spawn(task);
        async move { handle.await.expect("no task panics") }
    }

    fn call_soon(call: impl FnOnce() + Send + 'static) {
        tokio::spawn(async move { call() });
    }

    fn yield_now() -> Option<impl Future<Output = ()> + 'static> {
        Some(tokio::task::yield_now())
    }

    fn one_shot(rounds: u32) -> Option<Boxed> {
        Some(Box::pin(async move {
            for number in 0..rounds {
                let (sender, receiver) = oneshot::channel();
                assert!(sender.send(number).is_ok());
                assert_eq!(receiver.await, Ok(number));
            }
        }))
    }

    fn queue(rounds: u32) -> Option<Boxed> {
        Some(Box::pin(async move {
            let (sender, mut receiver) = mpsc::channel(64);
            for number in 0..rounds {
                assert!(sender.send(number).await.is_ok());
                assert_eq!(receiver.recv().await, Some(number));
            }
        }))
    }
}

impl Runtime for Tokio {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        tokio::time::sleep(duration)
    }

    fn call_later(delay: Duration, call: impl FnOnce() + Send + 'static) {
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            call();
        });
    }

    fn unblock(work: impl FnOnce() + Send + 'static) -> impl Future<Output = ()> + 'static {
        let handle = tokio::task::spawn_blocking(work);
        async move { handle.await.expect("no work panics") }
    }

    fn recv_from(socket: UdpSocket) -> Option<Receive> {
        let socket = Rc::new(tokio::net::UdpSocket::from_std(socket).ok()?);
        Some(Box::new(move |count| {
            let socket = Rc::clone(&socket);
            Box::pin(async move {
                let mut buffer = [0; 2048];
                for _ in 0..count {
                    let received = socket.recv_from(&mut buffer).await;
                    assert_eq!(received.ok().map(|(length, _)| length), Some(64));
                }
            })
        }))
    }

    fn poster() -> Option<impl Post> {
        Some(Handle::current())
    }
}

impl Post for Handle {
    fn post(&self, call: impl FnOnce() + Send + 'static) {
        self.spawn(async move { call() });
    }
}
