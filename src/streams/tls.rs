//! Streams over TLS: `open_connection` and `start_server` with `ssl=`, and `StreamWriter::start_tls`.

use std::io;

use anyloop_api::{Bind, Connect, Error, LoopRef, Result, Server, UnixBind, UnixConnect};

use super::open::{Client, ConnectionOutcome, server_factory};
use super::reader::{DEFAULT_LIMIT, StreamReader};
use super::writer::StreamWriter;
use crate::tls::{self, ClientTls, ServerTls, Tls};

/// [`open_connection`](crate::open_connection) with TLS: returns when the peer has shown who it is.
///
/// # Errors
/// As [`tls::create_connection`]; outside a running loop: `Usage`.
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
///
/// # Examples
/// See [`tls`].
pub async fn open_connection(
    to: impl Into<Connect>,
    tls: impl Into<ClientTls>,
) -> Result<(StreamReader, StreamWriter)> {
    open_connection_with_limit(to, tls, DEFAULT_LIMIT).await
}

/// [`open_connection`] with a limit, in bytes, for the reader.
///
/// # Errors
/// As [`open_connection`]; `InvalidArg` if the limit is 0.
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
pub async fn open_connection_with_limit(
    to: impl Into<Connect>,
    tls: impl Into<ClientTls>,
    limit: usize,
) -> Result<(StreamReader, StreamWriter)> {
    let client = Client::new(limit)?;
    let connecting = tls::create_connection(&LoopRef::current()?, client.factory(), to, tls);
    let (transport, _) = connecting.await?;
    Ok(client.streams(transport))
}

/// [`open_unix_connection`](crate::open_unix_connection) with TLS; the server's name must be given.
///
/// # Errors
/// As [`open_connection`].
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
pub async fn open_unix_connection(
    to: impl Into<UnixConnect>,
    tls: impl Into<ClientTls>,
) -> Result<(StreamReader, StreamWriter)> {
    open_unix_connection_with_limit(to, tls, DEFAULT_LIMIT).await
}

/// [`open_unix_connection`] with a limit, in bytes, for the reader.
///
/// # Errors
/// As [`open_connection`]; `InvalidArg` if the limit is 0.
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
pub async fn open_unix_connection_with_limit(
    to: impl Into<UnixConnect>,
    tls: impl Into<ClientTls>,
    limit: usize,
) -> Result<(StreamReader, StreamWriter)> {
    let client = Client::new(limit)?;
    let connecting = tls::create_unix_connection(&LoopRef::current()?, client.factory(), to, tls);
    let (transport, _) = connecting.await?;
    Ok(client.streams(transport))
}

/// [`start_server`](crate::start_server) with TLS: the callback is called when the handshake is done.
///
/// ```no_run
/// use anyloop::tls::{self, ServerTls};
/// # async fn example(tls: ServerTls) -> anyloop::Result<()> {
/// let server = tls::start_server("0.0.0.0:8443", tls, |reader, writer| async move {
///     while let Some(line) = reader.next_line().await? {
///         writer.write(&line);
///         writer.drain().await?;
///     }
///     Ok(())
/// })
/// .await?;
/// server.serve_forever().await
/// # }
/// ```
///
/// # Errors
/// As [`tls::create_server`]; outside a running loop: `Usage`.
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
pub async fn start_server<C, R, Kind>(
    at: impl Into<Bind>,
    tls: impl Into<ServerTls>,
    callback: C,
) -> Result<Server>
where
    C: Fn(StreamReader, StreamWriter) -> R + 'static,
    R: ConnectionOutcome<Kind>,
{
    start_server_with_limit(at, tls, DEFAULT_LIMIT, callback).await
}

/// [`start_server`] with a limit, in bytes, for the readers.
///
/// # Errors
/// As [`start_server`]; `InvalidArg` if the limit is 0.
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
pub async fn start_server_with_limit<C, R, Kind>(
    at: impl Into<Bind>,
    tls: impl Into<ServerTls>,
    limit: usize,
    callback: C,
) -> Result<Server>
where
    C: Fn(StreamReader, StreamWriter) -> R + 'static,
    R: ConnectionOutcome<Kind>,
{
    let lp = LoopRef::current()?;
    let factory = server_factory(&lp, limit, callback)?;
    tls::create_server(&lp, factory, at, tls).await
}

/// [`start_unix_server`](crate::start_unix_server) with TLS.
///
/// # Errors
/// As [`start_server`].
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
pub async fn start_unix_server<C, R, Kind>(
    at: impl Into<UnixBind>,
    tls: impl Into<ServerTls>,
    callback: C,
) -> Result<Server>
where
    C: Fn(StreamReader, StreamWriter) -> R + 'static,
    R: ConnectionOutcome<Kind>,
{
    start_unix_server_with_limit(at, tls, DEFAULT_LIMIT, callback).await
}

/// [`start_unix_server`] with a limit, in bytes, for the readers.
///
/// # Errors
/// As [`start_server`]; `InvalidArg` if the limit is 0.
///
/// # Cancel safety
/// Dropping it closes what was opened so far.
pub async fn start_unix_server_with_limit<C, R, Kind>(
    at: impl Into<UnixBind>,
    tls: impl Into<ServerTls>,
    limit: usize,
    callback: C,
) -> Result<Server>
where
    C: Fn(StreamReader, StreamWriter) -> R + 'static,
    R: ConnectionOutcome<Kind>,
{
    let lp = LoopRef::current()?;
    let factory = server_factory(&lp, limit, callback)?;
    tls::create_unix_server(&lp, factory, at, tls).await
}

impl StreamWriter {
    /// Goes on over TLS (feature `tls`): afterwards this writer and its reader carry plaintext, and what
    /// travels is encrypted. What was written before is sent as it is; what the reader holds and nobody
    /// has read counts as the peer's first words in the handshake.
    ///
    /// ```
    /// use anyloop::tls::ClientTls;
    /// # async fn example(tls: ClientTls) -> anyloop::Result<()> {
    /// let (reader, writer) = anyloop::open_connection("mail.example.com:587").await?;
    /// writer.write("STARTTLS\r\n");
    /// reader.read_line().await?;
    /// writer.start_tls(tls.server_hostname("mail.example.com")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`StreamWriter::drain`] and [`tls::start_tls`].
    ///
    /// # Cancel safety
    /// While it drains, dropping it changes nothing; afterwards the connection is closed.
    pub async fn start_tls(&self, tls: impl Into<Tls>) -> Result<()> {
        let lp = LoopRef::current()?;
        self.drain().await?;
        let (protocol, below) = (self.protocol(), self.transport());
        let incoming = &protocol.incoming;
        if incoming.ended() {
            let reset = io::ErrorKind::ConnectionReset.into();
            return Err(Error::os("start_tls: the peer will send nothing more", reset));
        }
        let (same, early) = (protocol.clone().into(), || incoming.hand_over());
        let transport = tls::start_tls_with(&lp, &below, same, tls.into(), early).await?;
        protocol.upgrade(transport.clone());
        protocol.outgoing.replace_transport(transport);
        Ok(())
    }
}
