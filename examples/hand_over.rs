//! One loop accepts, the others serve: a server on many cores, until Ctrl-C.
//!
//! ```text
//! ANYLOOP_BACKEND=uring cargo run --release --example hand_over [HOST:PORT [WORKERS]]
//! ```
//!
//! The kernel spreads connections by itself if each loop has a listener with `reuse_port`, blindly. Here one
//! loop decides, by how many connections each of the others has open, and hands the descriptor over: a socket
//! belongs to no loop until a loop takes it into use.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

#[path = "shared/echo.rs"]
mod echo;
#[path = "shared/exit.rs"]
mod exit;

use std::cell::Cell;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyloop::{
    AnyProtocol, Error, LoopRef, Protocol, RemoteHandle, Result, Sock, Transport, create_task,
    new_event_loop_with, sleep,
};

/// Threads with a loop each.
pub(crate) struct Workers(Vec<Worker>);

struct Worker {
    remote: RemoteHandle,
    thread: thread::JoinHandle<Result<()>>,
    open: Arc<AtomicUsize>,
    served: Cell<usize>,
}

/// One connection's share of a worker.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a worker does with a connection.
struct Served {
    echo: echo::Echo,
    _place: Option<Place>,
}

impl Protocol for Served {
    fn connection_made(&self, transport: Transport) {
        self.echo.connection_made(transport);
    }

    fn data_received(&self, data: &[u8]) {
        self.echo.data_received(data);
    }

    fn pause_writing(&self) {
        self.echo.pause_writing();
    }

    fn resume_writing(&self) {
        self.echo.resume_writing();
    }
}

/// Takes a connection into use; called on the worker's thread.
fn adopt(connection: OwnedFd, place: Place) -> Result<()> {
    let lp = LoopRef::current()?;
    let place = Cell::new(Some(place));
    let factory = Rc::new(move || {
        AnyProtocol::plain(Served { echo: echo::Echo::default(), _place: place.take() })
    });
    let adopted = lp.connect_accepted_socket(factory, connection);
    create_task(async move { adopted.await.map(drop) }).map(drop)
}

impl Workers {
    /// Starts as many.
    ///
    /// # Errors
    /// Those of making a loop; `Os` if there is no thread to be had.
    pub(crate) fn start(backend: &'static str, count: usize) -> Result<Self> {
        let mut workers = Self(Vec::new());
        for number in 0..count {
            let (tell, told) = mpsc::channel();
            let work = move || {
                let lp = new_event_loop_with(backend)?;
                // Whoever started this waits for it.
                let _ = tell.send(lp.remote());
                let ran = lp.run_forever();
                lp.close()?;
                ran
            };
            let thread = thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(work)
                .map_err(|error| Error::os("starting a worker", error))?;
            match told.recv() {
                Ok(remote) => {
                    let (open, served) = (Arc::default(), Cell::new(0));
                    workers.0.push(Worker { remote, thread, open, served });
                }
                // It has an error instead.
                Err(_) => {
                    return Err(join(thread).err().unwrap_or_else(|| Error::usage("no loop")));
                }
            }
        }
        Ok(workers)
    }

    /// Hands a connection to the worker that has the fewest.
    ///
    /// # Errors
    /// `Closed` if no worker is left; the connection is closed.
    pub(crate) fn hand_over(&self, connection: OwnedFd) -> Result<()> {
        let alive = self.0.iter().filter(|worker| !worker.remote.is_closed());
        let Some(worker) = alive.min_by_key(|worker| worker.open.load(Ordering::Relaxed)) else {
            return Err(Error::closed("every worker has ended"));
        };
        let place = Place::take(&worker.open);
        worker.served.set(worker.served.get() + 1);
        worker.remote.call_soon_threadsafe(move || {
            if let Err(error) = adopt(connection, place) {
                eprintln!("a connection was lost: {error}");
            }
        })?;
        Ok(())
    }

    /// Ends them, and the connections they have. Says how many connections each has had.
    ///
    /// # Errors
    /// The first of theirs.
    pub(crate) fn stop(self) -> Result<Vec<usize>> {
        self.0.iter().for_each(|worker| worker.remote.stop());
        self.0.into_iter().map(|worker| join(worker.thread).map(|()| worker.served.get())).collect()
    }
}

fn join(thread: thread::JoinHandle<Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|_| Err(Error::usage("a worker panicked")))
}

/// Accepts for the workers, for ever.
///
/// # Errors
/// `Closed` if no worker is left; `Os` if the listener does not work.
pub(crate) async fn accept(listener: TcpListener, workers: Rc<Workers>) -> Result<()> {
    let lp = LoopRef::current()?;
    let listener = Sock::new(listener)?;
    loop {
        match lp.sock_accept(&listener).await {
            Ok((connection, _)) => {
                // Nobody else has a handle of it.
                if let Ok(connection) = connection.into_fd() {
                    workers.hand_over(connection)?;
                }
            }
            // Of one connection, or there is no descriptor left: others are still to come.
            Err(error @ Error::Os(_)) => {
                eprintln!("accept: {error}");
                sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn serve(address: &str, count: usize) -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    let listener = TcpListener::bind(address)
        .map_err(|error| Error::os(format!("binding {address}"), error))?;
    let bound = listener.local_addr().map_err(|error| Error::os("getsockname", error))?;
    println!("echo on {bound}, {count} workers, backend {backend}");
    let workers = Rc::new(Workers::start(backend, count)?);
    let served = anyloop::run_with(backend, accept(listener, workers.clone()));
    if let Ok(workers) = Rc::try_unwrap(workers) {
        for (number, connections) in workers.stop()?.into_iter().enumerate() {
            println!("worker {number}: {connections} connections");
        }
    }
    served?
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8888".into());
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let count = arguments.next().and_then(|count| count.parse().ok()).unwrap_or_else(cores);
    exit::exit(serve(&address, count.max(1)))
}
