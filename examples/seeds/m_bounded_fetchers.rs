//! Seed (m): a hundred fetchers, of which a semaphore lets five work at once. HTTP is hyper's.
//!
//! ```python
//! async def fetch(address, path, limit):
//!     async with limit:
//!         async with session.get(f"http://{address}{path}") as answer:
//!             return await answer.text()
//!
//! async def main(address):
//!     limit = asyncio.Semaphore(5)
//!     never = asyncio.create_task(fetch(address, "/never", limit))
//!     fetchers = [asyncio.create_task(fetch(address, f"/{n}", limit)) for n in range(100)]
//!     await fetchers[9]
//!     never.cancel()
//!     pages = await asyncio.gather(*fetchers)
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyloop::{
    EventLoopExt, Result, Semaphore, create_task, gather_vec, new_event_loop_with, sleep,
};

#[path = "../shared/http.rs"]
mod http;

/// How many pages there are.
pub(crate) const PAGES: usize = 100;

/// What there is to see.
#[derive(Debug)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    /// The most requests that the server saw at once.
    pub(crate) most: usize,
    /// Pages that arrived complete.
    pub(crate) complete: usize,
    /// Whether the cancelled fetcher ended so.
    pub(crate) cancelled: bool,
    /// Free permits at the end.
    pub(crate) free: usize,
}

/// How many requests the server is working on, and the most there were.
#[derive(Clone, Default)]
struct Load(Rc<(Cell<usize>, Cell<usize>)>);

/// One request.
struct Working(Load);

impl Load {
    fn begin(&self) -> Working {
        let (now, most) = &*self.0;
        now.set(now.get() + 1);
        most.set(most.get().max(now.get()));
        Working(self.clone())
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let (now, _) = &*self.0.0;
        now.set(now.get() - 1);
    }
}

/// The text of a page: the longer the higher its number.
fn page(number: usize) -> String {
    format!("page {number}\n").repeat(10 * number)
}

async fn respond(path: String, load: Load) -> http::Answer {
    let working = load.begin();
    let answer = match path[1..].parse() {
        Ok(number) => {
            sleep(Duration::from_millis(2)).await;
            (200, page(number))
        }
        Err(_) => {
            sleep(Duration::from_secs(3600)).await;
            (200, "at last".into())
        }
    };
    drop(working);
    answer
}

async fn fetch(address: SocketAddr, path: String, limit: Semaphore) -> Result<String> {
    let _permit = limit.permit().await?;
    Ok(http::get(address, &path).await?.1)
}

async fn main_task() -> Result<Observations> {
    let load = Load::default();
    let theirs = load.clone();
    let (server, address) = http::serve(move |path| respond(path, theirs.clone())).await?;

    let limit = Semaphore::new(5);
    let never = create_task(fetch(address, "/never".into(), limit.clone()))?;
    let mut fetchers = Vec::new();
    for number in 0..PAGES {
        fetchers.push(create_task(fetch(address, format!("/{number}"), limit.clone()))?);
    }
    while !fetchers[9].done() {
        sleep(Duration::from_millis(1)).await;
    }
    never.cancel();
    let pages = gather_vec(fetchers).await?;
    let mut complete = 0;
    for (number, text) in pages.into_iter().enumerate() {
        complete += usize::from(text? == page(number));
    }
    let seen = Observations {
        most: load.0.1.get(),
        complete,
        cancelled: never.cancelled(),
        free: limit.available(),
    };
    server.close();
    server.wait_closed().await?;
    Ok(seen)
}

pub(crate) fn run(backend: &str) -> Result<Observations> {
    let lp = new_event_loop_with(backend)?;
    let seen = lp.run_until_complete(main_task())??;
    lp.close()?;
    Ok(seen)
}

fn main() -> Result<()> {
    let backend = anyloop::selection()?.backend.name;
    println!("{:#?}", run(backend)?);
    Ok(())
}
