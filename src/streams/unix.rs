//! `open_unix_connection` and `start_unix_server`.

use anyloop_api::{LoopRef, Result, Server, UnixBind, UnixConnect};

use super::open::{Client, ConnectionOutcome, server_factory};
use super::reader::{DEFAULT_LIMIT, StreamReader};
use super::writer::StreamWriter;

/// [`open_connection`](crate::open_connection) to a local socket: a path, or an abstract name
/// ([`UnixConnect::abstract_name`]).
///
/// # Errors
/// Contradictory options: `InvalidArg`; connecting: `Os`; outside a running loop: `Usage`.
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
///
/// # Examples
/// ```
/// # fn main() -> anyloop::Result<()> {
/// # let path = std::env::temp_dir().join(format!("anyloop-doc-{}.sock", std::process::id()));
/// anyloop::run(async move {
///     let server = anyloop::start_unix_server(&path, |reader, writer| async move {
///         while let Some(line) = reader.next_line().await? {
///             writer.write(&line);
///         }
///         Ok(())
///     })
///     .await?;
///     let (reader, writer) = anyloop::open_unix_connection(&path).await?;
///     writer.write("hello\n");
///     assert_eq!(reader.read_line().await?, b"hello\n");
///     server.close();
///     assert!(!path.exists());
///     Ok(())
/// })?
/// # }
/// ```
pub async fn open_unix_connection(
    to: impl Into<UnixConnect>,
) -> Result<(StreamReader, StreamWriter)> {
    open_unix_connection_with_limit(to, DEFAULT_LIMIT).await
}

/// [`open_unix_connection`] with a limit, in bytes, for the reader.
///
/// # Errors
/// As [`open_unix_connection`]; `InvalidArg` if the limit is 0.
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
pub async fn open_unix_connection_with_limit(
    to: impl Into<UnixConnect>,
    limit: usize,
) -> Result<(StreamReader, StreamWriter)> {
    let lp = LoopRef::current()?;
    let client = Client::new(limit)?;
    let (transport, _) = lp.create_unix_connection(client.factory(), to.into()).await?;
    Ok(client.streams(transport))
}

/// [`start_server`](crate::start_server) on a local socket: a path, or an abstract name
/// ([`UnixBind::abstract_name`]). A socket that is there already is replaced; closing the server
/// removes the file.
///
/// # Errors
/// Contradictory options: `InvalidArg`; binding: `Os`; outside a running loop: `Usage`.
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
///
/// # Examples
/// See [`open_unix_connection`].
pub async fn start_unix_server<C, R, Kind>(at: impl Into<UnixBind>, callback: C) -> Result<Server>
where
    C: Fn(StreamReader, StreamWriter) -> R + 'static,
    R: ConnectionOutcome<Kind>,
{
    start_unix_server_with_limit(at, DEFAULT_LIMIT, callback).await
}

/// [`start_unix_server`] with a limit, in bytes, for the readers.
///
/// # Errors
/// As [`start_unix_server`]; `InvalidArg` if the limit is 0.
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
pub async fn start_unix_server_with_limit<C, R, Kind>(
    at: impl Into<UnixBind>,
    limit: usize,
    callback: C,
) -> Result<Server>
where
    C: Fn(StreamReader, StreamWriter) -> R + 'static,
    R: ConnectionOutcome<Kind>,
{
    let lp = LoopRef::current()?;
    let factory = server_factory(&lp, limit, callback)?;
    lp.create_unix_server(factory, at.into()).await
}
