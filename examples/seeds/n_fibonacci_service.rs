//! Seed (n): an HTTP service that computes Fibonacci numbers in the executor, and stays responsive.
//! HTTP is hyper's.
//!
//! ```python
//! async def respond(request):                    # aiohttp, which cancels it if the client hangs up
//!     if request.path.startswith("/fib/"):
//!         n = int(request.path.removeprefix("/fib/"))
//!         number = await loop.run_in_executor(None, fibonacci, n)
//!         return web.Response(text=str(number))
//!     return web.Response(text="pong")
//!
//! async def get(address, path):
//!     async with session.get(f"http://{address}{path}") as answer:
//!         return await answer.text()
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use anyloop::{
    Error, EventLoopExt, LoopRef, Result, create_task, new_event_loop_with, on_cancel, sleep,
    to_thread,
};

#[path = "../shared/http.rs"]
mod http;

/// What there is to see.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    /// fib(20), as the service said.
    pub(crate) answer: String,
    /// A ping was answered while two numbers were being computed, after this long.
    pub(crate) pinged: (String, Duration),
    /// Both were still being computed then.
    pub(crate) meanwhile: bool,
    /// They were computed by two threads at the same time.
    pub(crate) parallel: bool,
    /// The task of a client that hung up was cancelled.
    pub(crate) cancelled: bool,
    /// The thread computed its number to the end all the same.
    pub(crate) computed: bool,
}

fn fibonacci(n: u64) -> u64 {
    if n < 2 { n } else { fibonacci(n - 1) + fibonacci(n - 2) }
}

/// Who computed from when until when, and how many clients hung up.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<(Vec<Entry>, usize)>>);

type Entry = (ThreadId, Instant, Option<Instant>);

impl Log {
    fn with<T>(&self, f: impl FnOnce(&mut (Vec<Entry>, usize)) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn entries(&self) -> Vec<Entry> {
        self.with(|log| log.0.clone())
    }
}

fn compute(n: u64, log: &Log) -> u64 {
    let index = log.with(|(entries, _)| {
        entries.push((thread::current().id(), Instant::now(), None));
        entries.len() - 1
    });
    let number = fibonacci(n);
    log.with(|(entries, _)| entries[index].2 = Some(Instant::now()));
    number
}

async fn in_executor(n: u64, log: Log) -> Result<String> {
    let computing = LoopRef::current()?.run_in_executor(None, move || compute(n, &log))?;
    Ok(computing.await?.to_string())
}

async fn respond(path: String, log: Log) -> http::Answer {
    let Some(Ok(n)) = path.strip_prefix("/fib/").map(str::parse) else {
        return (200, "pong".into());
    };
    let computing = in_executor(n, log.clone());
    match on_cancel(computing, || async move { log.with(|(_, gone)| *gone += 1) }).await {
        Ok(number) => (200, number),
        Err(error) => (500, error.to_string()),
    }
}

/// The client.
async fn get(address: SocketAddr, path: String) -> Result<String> {
    Ok(http::get(address, &path).await?.1)
}

async fn main_task(n: u64) -> Result<Observations> {
    let log = Log::default();
    let theirs = log.clone();
    let (server, address) = http::serve(move |path| respond(path, theirs.clone())).await?;
    let answer = get(address, "/fib/20".into()).await?;
    let mut seen = Observations { answer, ..Default::default() };

    let slow = format!("/fib/{n}");
    let one = create_task(get(address, slow.clone()))?;
    let two = create_task(get(address, slow.clone()))?;
    while log.entries().len() < 3 {
        sleep(Duration::from_millis(1)).await;
    }
    let begin = Instant::now();
    let pong = get(address, "/ping".into()).await?;
    seen.pinged = (pong, begin.elapsed());
    seen.meanwhile = log.entries()[1..].iter().all(|(_, _, end)| end.is_none());
    println!("fib({n}) = {} = {}", one.await??, two.await??);
    let [_, (one, _, Some(end)), (two, begin, _)] = log.entries()[..] else {
        return Err(Error::usage("two numbers were computed"));
    };
    seen.parallel = one != two && begin < end;

    // This one does not wait for its answer.
    let impatient = create_task(get(address, slow))?;
    while log.entries().len() < 4 {
        sleep(Duration::from_millis(1)).await;
    }
    impatient.cancel();
    while log.with(|(_, gone)| *gone) == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    seen.cancelled = log.entries()[3].2.is_none();
    let waited = to_thread(move || {
        while log.entries()[3].2.is_none() {
            thread::sleep(Duration::from_millis(1));
        }
    });
    waited.await?;
    seen.computed = true;
    server.close();
    server.wait_closed().await?;
    Ok(seen)
}

/// `n` is a number that takes its time.
pub(crate) fn run(backend: &str, n: u64) -> Result<Observations> {
    let lp = new_event_loop_with(backend)?;
    let seen = lp.run_until_complete(main_task(n))??;
    lp.run_until_complete(lp.shutdown_default_executor(None))?;
    lp.close()?;
    Ok(seen)
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    println!("{:#?}", run(backend, 38)?);
    Ok(())
}
