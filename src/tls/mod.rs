//! TLS, by [rustls](https://docs.rs/rustls): what asyncio's `ssl=`, `start_tls` and their kin are.
//!
//! A connection with TLS is a transport and a protocol like any other: the same protocols, the same
//! streams, the same server callbacks. Everything here is built on [`EventLoop`](crate::EventLoop) alone,
//! and so works on every loop.
//!
//! | asyncio | here |
//! | --- | --- |
//! | `ssl=context` | [`ClientTls`], [`ServerTls`]: from a configuration of rustls's, or simply with trusted roots, or a certificate |
//! | `create_connection(ssl=…)`, `create_server(ssl=…)` | [`create_connection`], [`create_server`]; `_unix_` too |
//! | `connect_accepted_socket(ssl=…)` | [`connect_accepted_socket`] |
//! | `loop.start_tls` | [`start_tls`] |
//! | `open_connection(ssl=…)`, `start_server(ssl=…)` | [`open_connection`], [`start_server`]; `_unix_` too |
//! | `StreamWriter.start_tls` | [`StreamWriter::start_tls`](crate::StreamWriter::start_tls) |
//! | `get_extra_info("ssl_object")` | the same, or [`Session::of`]; also `"sslcontext"`, `"peercert"` (DER), `"cipher"` |
//! | `ssl.SSLError` | [`rustls_error`] |
//!
//! ```no_run
//! use anyloop::tls::{self, ClientTls, rustls::RootCertStore};
//! # fn main() -> anyloop::Result<()> {
//! # let roots = RootCertStore::empty();
//! // Roots: from the crates rustls-native-certs or webpki-roots, or one's own.
//! let tls = ClientTls::with_roots(roots)?;
//! anyloop::run(async move {
//!     let (reader, writer) = tls::open_connection("example.com:443", tls).await?;
//!     writer.write("GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n");
//!     println!("{} bytes", reader.read_to_end().await?.len());
//!     writer.close();
//!     writer.wait_closed().await
//! })?
//! # }
//! ```
//!
//! # The end of a connection
//!
//! There is no half-close. [`Transport::close`](crate::Transport::close) sends what is queued and a
//! close-notify, and waits for the peer's; when the peer says it first, the protocol's `eof_received` is
//! followed by the same. A peer that ends its stream without it is taken for one that has sent everything,
//! as in asyncio, because many do; whoever must know asks [`Session::close_notify_received`].
//!
//! # Cryptography
//!
//! The feature `tls` brings rustls with *ring*. A process that has installed another
//! [`CryptoProvider`](rustls::crypto::CryptoProvider), or configurations that were made with one, use
//! that.

mod connect;
mod ending;
mod handshake;
mod layer;
mod options;
mod reading;
mod serve;
mod session;
mod start;
mod transport;
mod verifier;
mod writing;

use anyloop_api::Error;
pub use rustls;

pub use self::connect::{connect_accepted_socket, create_connection, create_unix_connection};
pub use self::options::{ClientTls, HANDSHAKE_TIMEOUT, SHUTDOWN_TIMEOUT, ServerTls, Tls};
pub use self::serve::{create_server, create_unix_server};
pub use self::session::Session;
pub use self::start::start_tls;
pub(crate) use self::start::start_tls_with;
pub use self::verifier::AnyName;
pub use crate::streams::tls::{
    open_connection, open_connection_with_limit, open_unix_connection,
    open_unix_connection_with_limit, start_server, start_server_with_limit, start_unix_server,
    start_unix_server_with_limit,
};

/// What rustls had to say, if that is why an operation failed: a certificate that is not trusted, say.
///
/// ```
/// use anyloop::tls::{rustls, rustls_error};
/// # fn example(error: anyloop::Error) {
/// if let Some(rustls::Error::InvalidCertificate(reason)) = rustls_error(&error) {
///     println!("not trusted: {reason}");
/// }
/// # }
/// ```
#[must_use]
pub fn rustls_error(error: &Error) -> Option<&rustls::Error> {
    match error {
        Error::Os(refused) => refused.io_error().get_ref()?.downcast_ref(),
        _ => None,
    }
}
