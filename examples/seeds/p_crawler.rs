//! Seed (p): a crawler. Every page found starts a task of its own; a writer appends the results to a file
//! without blocking the loop. HTTP is hyper's. What has been visited is kept in memory, or in Redis:
//! `cargo run --example seed_p -- [FILE [REDIS_ADDRESS]]`
//!
//! ```python
//! async def crawl(crawler, group, path):
//!     try:
//!         async with session.get(f"http://{crawler.address}{path}") as answer:
//!             answer.raise_for_status()
//!             links = find_links(await answer.text())
//!         for link in links:
//!             if await crawler.visited.add(link):
//!                 group.create_task(crawl(crawler, group, link))
//!         result = f"{path} links to {len(links)}"
//!     except aiohttp.ClientError as error:
//!         result = f"{path} failed: {error}"
//!     await crawler.results.put(result)
//!
//! async def write(results, file):
//!     while True:
//!         line = await results.get()
//!         await file.write(line + "\n")          # aiofiles
//!         results.task_done()
//!
//! async def main(crawler, file):
//!     writer = asyncio.create_task(write(crawler.results, file))
//!     await crawler.visited.add("/0")
//!     async with asyncio.TaskGroup() as group:
//!         group.create_task(crawl(crawler, group, "/0"))
//!     await crawler.results.join()
//!     writer.cancel()
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::RefCell;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyloop::fs::File;
use anyloop::{
    Error, EventLoopExt, Lock, Queue, Result, StreamReader, StreamWriter, TaskGroup, create_task,
    new_event_loop_with, open_connection, task_group,
};

#[path = "../shared/http.rs"]
mod http;

/// How many pages the site has.
pub(crate) const PAGES: usize = 60;

/// What there is to see.
#[derive(Debug)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    /// The paths that were asked for, in the order in which the server saw them.
    pub(crate) requests: Vec<String>,
    /// The file's lines.
    pub(crate) lines: Vec<String>,
}

/// The site: page `n` links to its two children, to its parent, to itself, and to one that is missing.
/// Every tenth page is broken.
fn site(path: &str) -> http::Answer {
    match path[1..].parse::<usize>() {
        Ok(n) if n % 10 == 9 => (500, "this page is broken".into()),
        Ok(n) if n < PAGES => {
            let children = [2 * n + 1, 2 * n + 2].into_iter().filter(|child| *child < PAGES);
            let links = children.chain([n.saturating_sub(1) / 2, n]);
            let links: String = links.map(|n| format!("<a href=\"/{n}\">{n}</a>\n")).collect();
            (200, format!("{links}<a href=\"/missing\">?</a>\n"))
        }
        _ => (404, "there is no such page".into()),
    }
}

fn find_links(page: &str) -> Vec<String> {
    let quoted = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    quoted.map(str::to_owned).collect()
}

/// What has been visited.
enum Visited {
    Here(RefCell<HashSet<String>>),
    /// A set in Redis: several crawlers may share it.
    Redis {
        connection: Lock,
        reader: StreamReader,
        writer: StreamWriter,
    },
}

impl Visited {
    async fn new(redis: Option<SocketAddr>) -> Result<Self> {
        let Some(address) = redis else { return Ok(Self::Here(RefCell::default())) };
        let (reader, writer) = open_connection(address).await?;
        Ok(Self::Redis { connection: Lock::new(), reader, writer })
    }

    /// Whether it is new.
    async fn add(&self, path: &str) -> Result<bool> {
        match self {
            Self::Here(set) => Ok(set.borrow_mut().insert(path.to_owned())),
            Self::Redis { connection, reader, writer } => {
                let _one_at_a_time = connection.lock().await?;
                let length = path.len();
                writer
                    .write(format!("*3\r\n$4\r\nSADD\r\n$7\r\nvisited\r\n${length}\r\n{path}\r\n"));
                writer.drain().await?;
                match reader.read_line().await?.trim_ascii_end() {
                    b":1" => Ok(true),
                    b":0" => Ok(false),
                    other => {
                        let text = String::from_utf8_lossy(other);
                        Err(Error::usage(format!("SADD: Redis said {text:?}")))
                    }
                }
            }
        }
    }
}

impl Drop for Visited {
    fn drop(&mut self) {
        if let Self::Redis { writer, .. } = self {
            writer.close();
        }
    }
}

struct Crawler {
    address: SocketAddr,
    visited: Visited,
    results: Queue<String>,
}

async fn crawl(crawler: Rc<Crawler>, group: TaskGroup, path: String) -> Result<()> {
    let result = match http::get(crawler.address, &path).await {
        Ok((200, page)) => {
            let links = find_links(&page);
            for link in &links {
                if crawler.visited.add(link).await? {
                    group.create_task(crawl(crawler.clone(), group.clone(), link.clone()))?;
                }
            }
            format!("{path} links to {}", links.len())
        }
        Ok((status, _)) => format!("{path} failed: {status}"),
        Err(error) => format!("{path} failed: {error}"),
    };
    Ok(crawler.results.put(result).await?)
}

async fn write(results: Queue<String>, file: File) -> Result<()> {
    loop {
        let line = results.get().await?;
        file.write_all(line + "\n").await?;
        results.task_done()?;
    }
}

async fn main_task(path: PathBuf, redis: Option<SocketAddr>) -> Result<Observations> {
    let requests = Rc::new(RefCell::new(Vec::new()));
    let seen = requests.clone();
    let (server, address) = http::serve(move |path| {
        seen.borrow_mut().push(path.clone());
        async move { site(&path) }
    })
    .await?;

    let (visited, results) = (Visited::new(redis).await?, Queue::new(8));
    let crawler = Rc::new(Crawler { address, visited, results });
    let writer = create_task(write(crawler.results.clone(), File::create(&path).await?))?;
    crawler.visited.add("/0").await?;
    let first = crawler.clone();
    task_group(|group| async move {
        group.create_task(crawl(first, group.clone(), "/0".into()))?;
        Ok(())
    })
    .await?;
    crawler.results.join().await?;
    writer.cancel();
    server.close();
    server.wait_closed().await?;
    let text = anyloop::fs::read_to_string(&path).await?;
    let lines = text.split_inclusive('\n').map(str::to_owned).collect();
    Ok(Observations { requests: requests.take(), lines })
}

pub(crate) fn run(backend: &str, path: &Path, redis: Option<SocketAddr>) -> Result<Observations> {
    let lp = new_event_loop_with(backend)?;
    let seen = lp.run_until_complete(main_task(path.to_owned(), redis))??;
    lp.run_until_complete(lp.shutdown_default_executor(None))?;
    lp.close()?;
    Ok(seen)
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    let mut arguments = std::env::args().skip(1);
    let default = std::env::temp_dir().join("anyloop-crawler.txt");
    let path = arguments.next().map_or(default, PathBuf::from);
    let redis = match arguments.next() {
        Some(address) => Some(address.parse().map_err(|error| {
            Error::invalid_arg(format!("{address:?} is not an address: {error}"))
        })?),
        None => None,
    };
    let seen = run(backend, &path, redis)?;
    println!("{} requests, {} lines in {}", seen.requests.len(), seen.lines.len(), path.display());
    print!("{}", seen.lines.concat());
    Ok(())
}
