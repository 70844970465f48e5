//! Seed (n): an HTTP service that computes Fibonacci numbers in the executor, and stays responsive.
//!
//! ```python
//! async def respond(path):
//!     if path.startswith("/fib/"):
//!         n = int(path.removeprefix("/fib/"))
//!         return str(await loop.run_in_executor(None, fibonacci, n))
//!     return "pong"
//!
//! async def hang_up(reader, task):
//!     if not await reader.read(1):
//!         task.cancel()
//!
//! async def handle(reader, writer):
//!     path = await read_request(reader)
//!     task = asyncio.create_task(respond(path))
//!     watcher = asyncio.create_task(hang_up(reader, task))
//!     try:
//!         body = await task
//!         writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
//!         await writer.drain()
//!     finally:
//!         watcher.cancel()
//!         writer.close()
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use anyloop::{
    Error, EventLoopExt, LoopRef, Result, StreamReader, StreamWriter, Task, create_task,
    new_event_loop_with, open_connection, sleep, start_server, to_thread,
};

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

/// Who computed from when until when.
type Log = Arc<Mutex<Vec<(ThreadId, Instant, Option<Instant>)>>>;

fn entries(log: &Log) -> Vec<(ThreadId, Instant, Option<Instant>)> {
    log.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn compute(n: u64, log: &Log) -> u64 {
    let index = {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push((thread::current().id(), Instant::now(), None));
        log.len() - 1
    };
    let number = fibonacci(n);
    log.lock().unwrap_or_else(PoisonError::into_inner)[index].2 = Some(Instant::now());
    number
}

async fn respond(path: String, log: Log) -> Result<String> {
    match path.strip_prefix("/fib/").map(str::parse) {
        Some(Ok(n)) => {
            let lp = LoopRef::current()?;
            let number = lp.run_in_executor(None, move || compute(n, &log))?.await?;
            Ok(number.to_string())
        }
        _ => Ok("pong".into()),
    }
}

async fn hang_up(reader: StreamReader, task: Task<Result<String>>) -> Result<()> {
    if reader.read(1).await?.is_empty() {
        task.cancel();
    }
    Ok(())
}

async fn read_request(reader: &StreamReader) -> Result<String> {
    let request = String::from_utf8_lossy(&reader.read_line().await?).into_owned();
    while reader.read_line().await?.trim_ascii() != b"" {}
    Ok(request.split(' ').nth(1).unwrap_or("/").to_owned())
}

async fn handle(
    reader: StreamReader,
    writer: StreamWriter,
    log: Log,
    cancelled: Arc<Mutex<bool>>,
) -> Result<()> {
    let path = read_request(&reader).await?;
    let task = create_task(respond(path, log))?;
    let watcher = create_task(hang_up(reader, task.clone()))?;
    match task.await {
        Ok(body) => {
            let body = body?;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            writer.writelines(&[head.as_bytes(), body.as_bytes()]);
            writer.drain().await?;
        }
        Err(Error::Cancelled(_)) => {
            *cancelled.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
        Err(error) => return Err(error),
    }
    watcher.cancel();
    writer.close();
    Ok(())
}

/// The client.
async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let (reader, writer) = open_connection(address).await?;
    writer.write(format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n"));
    let answer = String::from_utf8_lossy(&reader.read_to_end().await?).into_owned();
    writer.close();
    Ok(answer.rsplit("\r\n").next().unwrap_or_default().to_owned())
}

async fn main_task(n: u64) -> Result<Observations> {
    let (log, cancelled) = (Log::default(), Arc::new(Mutex::new(false)));
    let (theirs, flag) = (log.clone(), cancelled.clone());
    let server = start_server("127.0.0.1:0", move |reader, writer| {
        handle(reader, writer, theirs.clone(), flag.clone())
    })
    .await?;
    let address = server.local_addr().ok_or_else(|| Error::usage("the server has no address"))?;
    let mut seen = Observations { answer: get(address, "/fib/20").await?, ..Default::default() };

    let slow = format!("/fib/{n}");
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let slow = slow.clone();
        tasks.push(create_task(async move { get(address, &slow).await })?);
    }
    while entries(&log).len() < 3 {
        sleep(Duration::from_millis(1)).await;
    }
    let begin = Instant::now();
    let pong = get(address, "/ping").await?;
    seen.pinged = (pong, begin.elapsed());
    seen.meanwhile = entries(&log)[1..].iter().all(|(_, _, end)| end.is_none());
    for task in tasks {
        println!("fib({n}) = {}", task.await??);
    }
    let [_, (one, _, Some(end)), (two, begin, _)] = entries(&log)[..] else {
        return Err(Error::usage("two numbers were computed"));
    };
    seen.parallel = one != two && begin < end;

    // This one does not wait for its answer.
    let (reader, writer) = open_connection(address).await?;
    writer.write(format!("GET {slow} HTTP/1.1\r\n\r\n"));
    while entries(&log).len() < 4 {
        sleep(Duration::from_millis(1)).await;
    }
    writer.close();
    drop(reader);
    let flag = cancelled.clone();
    while !*flag.lock().unwrap_or_else(PoisonError::into_inner) {
        sleep(Duration::from_millis(1)).await;
    }
    seen.cancelled = entries(&log)[3].2.is_none();
    let end = log.clone();
    let waited = to_thread(move || {
        while entries(&end)[3].2.is_none() {
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
