//! What is awaited by code that is no task of the loop: it is told of the loop's close.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::cell::RefCell;
use std::fmt::Debug;
use std::future::Future;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use anyloop::{
    Command, Connect, Error, EventLoopExt, Executor, Job, LoopRef, Process, Result, Sock, Stdio,
    UdpSocket, create_subprocess_exec, new_event_loop_with, sleep, start_server, to_thread,
    yield_now,
};

/// How often.
#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

type Wait = Pin<Box<dyn Future<Output = Result<()>>>>;

/// A wait, polled by nobody's task.
struct Polled {
    what: &'static str,
    wait: Wait,
    woken: Arc<Woken>,
}

impl Polled {
    fn new<T: Debug + 'static>(
        what: &'static str,
        wait: impl Future<Output = Result<T>> + 'static,
    ) -> Self {
        Self { what, wait: Box::pin(async { wait.await.map(drop) }), woken: Arc::default() }
    }

    fn poll(&mut self) -> Poll<Result<()>> {
        self.wait.as_mut().poll(&mut Context::from_waker(&Waker::from(self.woken.clone())))
    }

    fn stays(&mut self) {
        let polled = self.poll();
        assert!(polled.is_pending(), "{}: {polled:?}", self.what);
    }
}

/// Polls each, by no task, while the loop runs and while it does not; closes the loop.
fn end_with(lp: &LoopRef, waits: Vec<Polled>) -> Result<()> {
    let waits = Rc::new(RefCell::new(waits));
    let theirs = waits.clone();
    // Some have to begin inside a loop.
    lp.call_soon(move || theirs.borrow_mut().iter_mut().for_each(Polled::stays))?;
    lp.run_until_complete(yield_now())?;
    let mut waits = waits.take();
    for wait in &mut waits {
        wait.stays();
        wait.woken.0.store(0, Relaxed);
    }
    lp.close()?;
    let mut wrong = Vec::new();
    for wait in &mut waits {
        let woken = wait.woken.0.load(Relaxed);
        let polled = wait.poll();
        if woken == 0 || !matches!(polled, Poll::Ready(Err(Error::Closed(_)))) {
            wrong.push(format!("{}: woken {woken} times, then {polled:?}", wait.what));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// Runs nothing, and keeps what it is given.
#[derive(Debug)]
struct Never;

impl Executor for Never {
    fn execute(&self, job: Job) -> Result<()> {
        std::mem::forget(job);
        Ok(())
    }
}

on_every_backend! {
    fn raw_sockets(backend) {
        let lp = new_event_loop_with(backend)?;
        let (near, _far) = UnixStream::pair()?;
        let full = UnixStream::pair()?;
        let udp = lp.run_until_complete(UdpSocket::bind("127.0.0.1:0"))??;
        let listener = Sock::new(std::net::TcpListener::bind("127.0.0.1:0")?)?;
        let (near, full, _far2) = (Sock::new(near)?, Sock::new(full.0)?, full.1);
        let waits = vec![
            Polled::new("sock_recv", lp.sock_recv(&near, 10)),
            Polled::new("sock_accept", lp.sock_accept(&listener)),
            Polled::new("sock_sendall", {
                let sending = lp.sock_sendall(&full, vec![0; 64 << 20]);
                async { sending.await.0 }
            }),
            Polled::new("UdpSocket::recv", async move { udp.recv(10).await }),
        ];
        end_with(&lp, waits)
    }

    fn executors(backend) {
        let lp = new_event_loop_with(backend)?;
        let (hold, held) = mpsc::channel::<()>();
        let running = lp.run_in_executor(None, move || held.recv().is_ok())?;
        lp.set_default_executor(Arc::new(Never));
        let waits = vec![
            Polled::new("running job", running),
            Polled::new("queued job", lp.run_in_executor(None, || ())?),
            Polled::new("to_thread", to_thread(|| ())),
            Polled::new("getaddrinfo", lp.getaddrinfo(anyloop::Lookup::to("localhost", "80"))),
            Polled::new("File::open", anyloop::fs::File::open("/etc/passwd")),
        ];
        end_with(&lp, waits)?;
        drop(hold);
        Ok(())
    }

    fn futures_and_servers(backend) {
        let lp = new_event_loop_with(backend)?;
        let future = lp.create_future::<()>();
        let (server, other) = lp.run_until_complete(async {
            let server = start_server("127.0.0.1:0", |_, _| async { Ok(()) }).await?;
            let other = start_server("127.0.0.1:0", |_, _| async { Ok(()) }).await?;
            Ok::<_, Error>((server, other))
        })??;
        lp.set_default_executor(Arc::new(Never));
        let shared = future.clone();
        let waits = vec![
            Polled::new("future", future.clone()),
            Polled::new("shared future", async move { (&shared).await }),
            Polled::new("wait_closed", async move { server.wait_closed().await }),
            Polled::new("serve_forever", async move { other.serve_forever().await }),
            Polled::new("open_connection", async {
                anyloop::open_connection(Connect::from("localhost:80")).await.map(drop)
            }),
        ];
        end_with(&lp, waits)?;
        drop(future);
        Ok(())
    }

    /// It has no way to say why.
    fn a_sleep(backend) {
        let lp = new_event_loop_with(backend)?;
        let mut sleeping = Polled::new("sleep", async {
            sleep(Duration::from_secs(3600)).await;
            Ok(())
        });
        let sleeping = lp.run_until_complete(async move {
            let told = LoopRef::current()?.create_future();
            let tell = told.clone();
            LoopRef::current()?.call_soon(move || {
                sleeping.stays();
                tell.set_unless_done(Ok(sleeping));
            })?;
            told.await
        })??;
        lp.close()?;
        assert_eq!(sleeping.woken.0.load(Relaxed), 1, "it was not woken");
        let mut sleeping = sleeping;
        let polled = catch_unwind(AssertUnwindSafe(|| sleeping.poll().is_pending()));
        assert!(polled.is_err(), "{polled:?}");
        Ok(())
    }

    fn children(backend) {
        let lp = new_event_loop_with(backend)?;
        let child = lp.run_until_complete(cat())??;
        let waits = vec![
            Polled::new("wait", { let child = child.clone(); async move { child.wait().await } }),
            Polled::new("communicate", { let child = child.clone(); async move { child.communicate(vec![7; 1 << 20]).await } }),
        ];
        end_with(&lp, waits)
    }

    fn children_of_a_closed_loop(backend) {
        let (one, two) = (new_event_loop_with(backend)?, new_event_loop_with(backend)?);
        let child = one.run_until_complete(cat())??;
        let ended = two.run_until_complete({ let child = child.clone(); async move { child.wait().await }})?;
        assert!(matches!(ended, Err(Error::Usage(_))), "{ended:?}");
        one.close()?;
        let ended = two.run_until_complete({ let child = child.clone(); async move { child.wait().await }})?;
        assert!(matches!(ended, Err(Error::Closed(_))), "{ended:?}");
        let ended = two.run_until_complete({ let child = child.clone(); async move { child.communicate("").await }})?;
        assert!(matches!(ended, Err(Error::Closed(_))), "{ended:?}");
        assert!(matches!(child.kill(), Err(Error::ProcessGone(_))));
        two.close()
    }
}

async fn cat() -> Result<Process> {
    let cat = Command::new("sleep").arg("1000").stdin(Stdio::Pipe).stdout(Stdio::Pipe);
    create_subprocess_exec(cat).await
}
