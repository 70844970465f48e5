//! `TcpStream`: a reader and a writer in one, for libraries that want `AsyncRead + AsyncWrite`.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyloop_api::{Connect, Result};
use futures_io::{AsyncRead, AsyncWrite};

use super::open::open_connection;
use super::reader::StreamReader;
use super::writer::StreamWriter;

/// A connection as one value, with the traits of `futures-io`.
///
/// Dropping it sends what is queued and closes the connection. `poll_close` half-closes it, and reading goes
/// on; over TLS, where there is no half-close, it closes it.
///
/// # Cancel safety
/// Dropping a future between polls loses nothing: a byte is consumed when `poll_read` returns it, and
/// accepted when `poll_write` returns.
///
/// ```
/// use anyloop::TcpStream;
/// # async fn example() -> anyloop::Result<()> {
/// let stream = TcpStream::connect("127.0.0.1:7").await?;
/// let (reader, writer) = stream.into_split();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TcpStream {
    reader: StreamReader,
    writer: StreamWriter,
}

impl TcpStream {
    /// Connects.
    ///
    /// # Errors
    /// As [`open_connection`].
    ///
    /// # Cancel safety
    /// Dropping it closes what was opened so far.
    pub async fn connect(to: impl Into<Connect>) -> Result<Self> {
        let (reader, writer) = open_connection(to).await?;
        Ok(Self::from_split(reader, writer))
    }

    /// Joins the two halves of one connection.
    #[must_use]
    pub fn from_split(reader: StreamReader, writer: StreamWriter) -> Self {
        writer.silence();
        Self { reader, writer }
    }

    /// The two halves. Dropping the writer closes the connection.
    #[must_use]
    pub fn into_split(self) -> (StreamReader, StreamWriter) {
        (self.reader, self.writer)
    }

    /// The reading half.
    #[must_use]
    pub fn reader(&self) -> &StreamReader {
        &self.reader
    }

    /// The writing half.
    #[must_use]
    pub fn writer(&self) -> &StreamWriter {
        &self.writer
    }

    /// The peer's address.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.writer.peer_addr()
    }

    /// Our address.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.writer.local_addr()
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().writer).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().writer).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().writer).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().writer).poll_close(cx)
    }
}
