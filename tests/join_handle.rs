//! A task of a loop, awaited by executors that are no loop.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use anyloop::{Error, LoopRef, RemoteHandle, Result, new_event_loop_with, to_thread, yield_now};

/// What `ask` gives on another thread while a loop of `backend` runs on this one.
fn beside<T: Send + 'static>(
    backend: &str,
    ask: impl FnOnce(RemoteHandle) -> Result<T> + Send + 'static,
) -> Result<T> {
    let lp = new_event_loop_with(backend)?;
    let remote = lp.remote();
    let thread = thread::spawn(move || {
        let answer = ask(remote.clone());
        remote.stop();
        answer
    });
    lp.run_forever()?;
    lp.close()?;
    thread.join().expect("it does not panic")
}

on_every_backend! {
    fn another_executor_awaits(backend) {
        beside(backend, |remote| {
            let asked = async move {
                // Not Send, and made where it runs.
                let join = remote.spawn_with(|| async {
                    let shared = Rc::new(42);
                    yield_now().await;
                    *shared
                })?;
                join.await
            };
            fn is_send<F: Send>(future: F) -> F {
                future
            }
            assert_eq!(support::block_on(is_send(asked))?, 42);
            Ok(())
        })
    }

    fn whoever_polled_last_is_woken(backend) {
        struct Told(mpsc::Sender<()>);
        impl Wake for Told {
            fn wake(self: Arc<Self>) {
                let _ = self.0.send(());
            }
        }
        beside(backend, |remote| {
            let (go, gone) = mpsc::channel();
            let mut join = pin!(remote.spawn_with(move || async move {
                let _ = to_thread(move || gone.recv()).await;
                7
            })?);
            let mut nobody = Context::from_waker(Waker::noop());
            assert!(join.as_mut().poll(&mut nobody).is_pending());
            let (tell, told) = mpsc::channel();
            let waker = Waker::from(Arc::new(Told(tell)));
            let mut somebody = Context::from_waker(&waker);
            assert!(join.as_mut().poll(&mut somebody).is_pending());
            go.send(()).expect("the task waits");
            told.recv().expect("the handle has the waker");
            assert!(matches!(join.as_mut().poll(&mut nobody), Poll::Ready(Ok(7))));
            assert!(matches!(join.poll(&mut nobody), Poll::Ready(Err(Error::InvalidState(_)))));
            Ok(())
        })
    }

    fn an_await_that_is_dropped_has_taken_nothing(backend) {
        beside(backend, |remote| {
            let (go, gone) = mpsc::channel();
            let mut join = remote.spawn_with(move || async move {
                let _ = to_thread(move || gone.recv()).await;
                1
            })?;
            let mut once = Context::from_waker(Waker::noop());
            assert!(pin!(async { (&mut join).await }).poll(&mut once).is_pending());
            go.send(()).expect("the task waits");
            assert_eq!(join.wait()?, 1);
            Ok(())
        })
    }

    fn the_loop_itself_awaits(backend) {
        support::run(backend, async {
            let remote = LoopRef::current()?.remote();
            assert_eq!(remote.spawn(async { "here" })?.await?, "here");
            let ends = remote.spawn(async { panic!("on purpose") })?;
            let ended: Result<()> = ends.await;
            assert!(matches!(ended, Err(Error::Panicked(_))));
            Ok(())
        })?
    }

    fn a_loop_that_closes_ends_the_await(backend) {
        let lp = new_event_loop_with(backend)?;
        let join = lp.remote().spawn(async { 1 })?;
        let thread = thread::spawn(move || support::block_on(join));
        lp.close()?;
        let ended = thread.join().expect("it does not panic");
        assert!(matches!(ended, Err(Error::Cancelled(_))));
        Ok(())
    }
}
