//! Adapters for other people's traits; those for a crate are behind a feature of its own, and follow its
//! version.
//!
//! Streams have the traits of futures-io. Who wants tokio's wraps them by `tokio_util::compat`
//! (`FuturesAsyncReadCompatExt`), which needs no runtime of tokio's.
//!
//! A loop's tasks and streams are not `Send`. Libraries that ask for it all the same are served like this:
//!
//! | wants `Send` | give it |
//! | --- | --- |
//! | a connection | [`SendIo`] around the stream |
//! | a future, such as a handler of axum's or a middleware of tower's | [`RemoteHandle::spawn_with`], whose [`JoinHandle`] is a `Send` future; what runs inside need not be |
//! | an executor, a timer | `hyper::HyperSendExecutor`, `hyper::HyperTimer` |
//!
//! [`JoinHandle`]: crate::JoinHandle
//! [`RemoteHandle::spawn_with`]: crate::RemoteHandle::spawn_with

#[cfg(feature = "hyper")]
pub mod hyper;
mod send;

pub use send::SendIo;
