//! Seed (e): echo with streams, line by line; the client half-closes.
//!
//! ```python
//! async def handle(reader, writer):
//!     async for line in reader:
//!         writer.write(line.upper())
//!         await writer.drain()
//!     writer.close()
//!     await writer.wait_closed()
//!
//! async def main():
//!     server = await asyncio.start_server(handle, "127.0.0.1", 0)
//!     host, port = server.sockets[0].getsockname()
//!     reader, writer = await asyncio.open_connection(host, port)
//!     for line in [b"one\n", b"two\n", b"three"]:
//!         writer.write(line)
//!         await writer.drain()
//!     writer.write_eof()
//!     async for line in reader:
//!         print(line)
//!     writer.close()
//!     await writer.wait_closed()
//!     server.close()
//!     await server.wait_closed()
//!
//! loop = asyncio.new_event_loop()
//! loop.run_until_complete(main())
//! loop.close()
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::Cell;
use std::rc::Rc;

use anyloop::{
    Error, EventLoopExt, Result, StreamReader, StreamWriter, new_event_loop_with, open_connection,
    start_server,
};

/// What there is to see.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "main prints what the test reads")]
pub(crate) struct Observations {
    /// The answers, in order.
    pub(crate) lines: Vec<String>,
    /// The client's iteration ended because the stream did.
    pub(crate) at_eof: bool,
    /// `wait_closed` returned: at the server's side, at the client's side.
    pub(crate) closed: (bool, bool),
}

async fn handle(reader: StreamReader, writer: StreamWriter, closed: Rc<Cell<bool>>) -> Result<()> {
    while let Some(line) = reader.next_line().await? {
        writer.write(line.to_ascii_uppercase());
        writer.drain().await?;
    }
    writer.close();
    writer.wait_closed().await?;
    closed.set(true);
    Ok(())
}

async fn main_task() -> Result<Observations> {
    let mut seen = Observations::default();
    let closed = Rc::new(Cell::new(false));
    let at_server = closed.clone();
    let server = start_server("127.0.0.1:0", move |reader, writer| {
        handle(reader, writer, at_server.clone())
    })
    .await?;
    let address = server.local_addr().ok_or_else(|| Error::usage("the server has no address"))?;
    let (reader, writer) = open_connection(address).await?;
    for line in ["one\n", "two\n", "three"] {
        writer.write(line);
        writer.drain().await?;
    }
    writer.write_eof()?;
    while let Some(line) = reader.next_line().await? {
        let line = String::from_utf8_lossy(&line).into_owned();
        println!("{line:?}");
        seen.lines.push(line);
    }
    seen.at_eof = reader.at_eof();
    writer.close();
    writer.wait_closed().await?;
    seen.closed.1 = true;
    server.close();
    server.wait_closed().await?;
    seen.closed.0 = closed.get();
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
