//! Mounts a test once per backend, each under a name of its own.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use anyloop::{LoopRef, Result};
use futures_io::{AsyncRead, AsyncWrite};

/// Runs `test` on a backend, unless this machine does not let it work; then says why.
pub(crate) fn mount<T>(backend: &'static str, test: impl FnOnce(&'static str) -> T) -> T
where
    T: Default,
{
    let known = anyloop::backends().iter().any(|known| known.name == backend);
    assert!(known, "the table has no {backend}");
    match anyloop::select(backend) {
        Ok(_) => test(backend),
        Err(error) => {
            eprintln!("ignored: {error}");
            T::default()
        }
    }
}

/// Runs `main` on a loop of `backend`; fails instead of hanging.
#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) fn run<F>(backend: &'static str, main: F) -> Result<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    anyloop::run_with(backend, async move {
        let lp = LoopRef::current()?;
        let watchdog = give_up(lp);
        let output = main.await;
        watchdog.cancel();
        Ok(output)
    })?
}

fn give_up(lp: LoopRef) -> anyloop::TimerHandle {
    use anyloop::EventLoopExt;
    let l2 = lp.clone();
    lp.call_later(Duration::from_secs(30), move || {
        eprintln!("the test hangs:\n{}", l2.describe());
        l2.stop();
    })
    .expect("the loop is open")
}

/// Runs a future on a thread without a loop.
#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// Reads as libraries do, by the trait.
#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) async fn read(io: &mut (impl AsyncRead + Unpin), buf: &mut [u8]) -> io::Result<usize> {
    poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, buf)).await
}

/// Writes as libraries do, by the trait.
#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) async fn write_all(io: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> io::Result<()> {
    let mut rest = data;
    while !rest.is_empty() {
        let count = poll_fn(|cx| Pin::new(&mut *io).poll_write(cx, rest)).await?;
        rest = &rest[count..];
    }
    poll_fn(|cx| Pin::new(&mut *io).poll_flush(cx)).await
}

/// Closes as libraries do, by the trait.
#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) async fn close(io: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    poll_fn(|cx| Pin::new(&mut *io).poll_close(cx)).await
}

/// `on_every_backend! { fn name(backend) { … } }`: tests that return `Result<()>`.
#[allow(unused_macros, reason = "not every test file needs it")]
macro_rules! on_every_backend {
    ($($(#[$meta:meta])* fn $name:ident($backend:ident) $body:block)+) => {
        $($(#[$meta])* mod $name {
            #[allow(unused_imports, reason = "not every test needs all of them")]
            use super::*;

            fn test($backend: &'static str) -> Result<()> $body

            #[test]
            fn mio() -> Result<()> {
                support::mount("mio", |backend| Some(test(backend))).unwrap_or(Ok(()))
            }

            #[test]
            fn polling() -> Result<()> {
                support::mount("polling", |backend| Some(test(backend))).unwrap_or(Ok(()))
            }

            #[test]
            fn uring() -> Result<()> {
                support::mount("uring", |backend| Some(test(backend))).unwrap_or(Ok(()))
            }
        })+
    };
}
