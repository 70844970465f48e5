//! Streams: reading and writing connections with `await`, on top of transports and protocols.
//!
//! ```text
//!             data_received ┌──────────────────────┐ feed    ┌──────────────┐ read, next_line, …
//!  transport ──────────────▶│ StreamReaderProtocol │────────▶│ StreamReader │──────────────────▶ task
//!      ▲  ▲                 └──────────────────────┘         └──────────────┘
//!      │  └── pause_reading above twice the limit ──────────────────┘
//!      │                                          write, drain ┌──────────────┐
//!      └───────────────────────────────────────────────────────│ StreamWriter │◀────────────── task
//!                                                              └──────────────┘
//! ```

pub(crate) mod buffer;
mod closing;
mod direct;
mod incoming;
mod open;
mod outgoing;
mod protocol;
mod reader;
mod reading;
mod tcp;
#[cfg(feature = "tls")]
pub(crate) mod tls;
mod unix;
mod waiters;
mod writer;

use std::cell::Cell;

pub use open::{
    ConnectionOutcome, Fallible, Infallible, Synchronous, open_connection,
    open_connection_with_limit, start_server, start_server_with_limit,
};
pub use protocol::StreamReaderProtocol;
pub use reader::{DEFAULT_LIMIT, StreamReader};
pub use tcp::TcpStream;
pub use unix::{
    open_unix_connection, open_unix_connection_with_limit, start_unix_server,
    start_unix_server_with_limit,
};
pub use writer::StreamWriter;

/// A copy of what is in the cell; no user code runs in its `Clone`.
#[inline]
fn copy_of<T: Clone>(cell: &Cell<Option<T>>) -> Option<T> {
    let content = cell.take();
    let copy = content.clone();
    cell.set(content);
    copy
}
