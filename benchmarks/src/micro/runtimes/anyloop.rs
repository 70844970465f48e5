//! Ours, on each backend.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::UdpSocket;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use anyloop::{
    DatagramEndpoint, DatagramProtocol, Datagrams, EventLoopExt, LoopConfig, LoopRef, RemoteHandle,
    SockAddr,
};

use crate::micro::runtime::{Boxed, Executor, Post, Receive, Runtime};

fn current() -> LoopRef {
    LoopRef::current().expect("the suite runs on a loop")
}

fn open(backend: &str, spin: Duration) -> io::Result<LoopRef> {
    let descriptor = anyloop::backends().into_iter().find(|descriptor| descriptor.name == backend);
    let descriptor = descriptor.ok_or_else(|| io::Error::other(format!("no backend {backend}")))?;
    Ok((descriptor.open)(&LoopConfig::default().spin(spin))?)
}

/// One type per backend: `Runtime` has no receiver.
macro_rules! runtimes {
    ($($(#[$doc:meta])* $name:ident = $backend:literal, spins $spin:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name;

        impl Executor for $name {
            fn run<T: 'static>(suite: impl Future<Output = T> + 'static) -> io::Result<T> {
                let lp = open($backend, Duration::from_micros($spin))?;
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

            fn spawn_eagerly<T: Send + 'static>(
                task: impl Future<Output = T> + Send + 'static,
            ) -> Option<impl Future<Output = T> + 'static> {
                let task = current().task().eager(true).spawn(task).expect("the loop is open");
                Some(async move { task.await.expect("no task panics") })
            }

            fn call_soon(call: impl FnOnce() + Send + 'static) {
                current().call_soon(call).expect("the loop is open");
            }

            fn yield_now() -> Option<impl Future<Output = ()> + 'static> {
                Some(anyloop::yield_now())
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
        }

        impl Runtime for $name {
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

            fn recv_from(socket: UdpSocket) -> Option<Receive> {
                let socket = anyloop::UdpSocket::from_fd(socket).ok()?;
                let spare = Rc::new(Cell::new(vec![0; 2048]));
                Some(Box::new(move |count| {
                    let (socket, spare) = (socket.clone(), spare.clone());
                    Box::pin(async move {
                        let mut buffer = spare.take();
                        for _ in 0..count {
                            let received;
                            (received, buffer) = socket.recv_from_into(buffer).await;
                            assert_eq!(received.ok().map(|(length, _)| length), Some(64));
                        }
                        spare.set(buffer);
                    })
                }))
            }

            fn recv_batch(socket: UdpSocket) -> Option<Receive> {
                let socket = anyloop::UdpSocket::from_fd(socket).ok()?;
                let spare = Rc::new(Cell::new(Some(Datagrams::new(16, 2048))));
                Some(Box::new(move |count| {
                    let (socket, spare) = (socket.clone(), spare.clone());
                    Box::pin(async move {
                        let mut batch = spare.take().expect("one receive at a time");
                        let mut received = 0;
                        while received < count as usize {
                            let some;
                            (some, batch) = socket.recv_batch(batch).await;
                            received += some.expect("nothing is refused");
                            assert!(batch.iter().all(|(data, _)| data.len() == 64));
                        }
                        spare.set(Some(batch));
                    })
                }))
            }

            fn datagram_protocol(socket: UdpSocket) -> Option<Receive> {
                let count = Rc::new(Count::default());
                let (protocol, lp) = (count.clone(), current());
                let factory = move || -> Rc<dyn DatagramProtocol> { protocol.clone() };
                let at = DatagramEndpoint::socket(socket);
                let opening = lp.create_datagram_endpoint(Rc::new(factory), at);
                let opening = lp.create_task(async move { opening.await.is_ok() }).ok()?;
                Some(Box::new(move |more| {
                    let (count, opening) = (count.clone(), opening.clone());
                    Box::pin(async move {
                        assert_eq!((&opening).await.ok(), Some(true));
                        count.received(more).await;
                    })
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
    Uring = "uring", spins 0;
    /// On io_uring, looking for work before each sleep.
    Spinning = "uring", spins 50;
    /// On mio.
    Mio = "mio", spins 0;
    /// On polling.
    Polling = "polling", spins 0;
}

/// A protocol that counts.
#[derive(Default)]
struct Count {
    received: Cell<u32>,
    wanted: Cell<u32>,
    waker: Cell<Option<Waker>>,
}

impl Count {
    /// Waits for so many more.
    async fn received(&self, more: u32) {
        self.wanted.set(self.wanted.get() + more);
        poll_fn(|cx| {
            if self.received.get() == self.wanted.get() {
                return Poll::Ready(());
            }
            self.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl DatagramProtocol for Count {
    fn datagram_received(&self, data: &[u8], _: Option<&SockAddr>) {
        assert_eq!(data.len(), 64);
        self.received.set(self.received.get() + 1);
        if self.received.get() == self.wanted.get()
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }
}

impl Post for RemoteHandle {
    fn post(&self, call: impl FnOnce() + Send + 'static) {
        self.call_soon_threadsafe(call).expect("the loop is open");
    }
}
