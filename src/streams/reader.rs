//! `StreamReader`: the bytes of a connection, with `await`.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use anyloop_api::{Error, IncompleteRead, Result, Transport};
use futures_io::AsyncRead;

use super::incoming::Incoming;
use super::protocol::StreamReaderProtocol;
use super::reading::{self, Read, ReadInto};

/// The limit of a reader that was not given one: 64 KiB.
pub const DEFAULT_LIMIT: usize = 64 * 1024;

/// Reads a stream of bytes. A cheap handle; clones name the same stream.
///
/// Only one task may wait for data at a time; one that was woken keeps its turn until it has gone on. Between
/// twice the *limit* buffered and the limit the transport is paused, so a peer that sends faster than we read is
/// slowed down; the limit also is the longest line, and the longest stretch without a separator.
///
/// An error of the connection fails every read, also while bytes are buffered, but for one that these had woken
/// already; after a clean end of the stream the buffered bytes are read first.
///
/// # Cancel safety
/// Every method is cancel-safe: a read that is dropped while it waits has consumed nothing.
///
/// # Examples
/// A reader can be fed by hand:
/// ```
/// use anyloop::StreamReader;
/// let reader = StreamReader::new(16)?;
/// reader.feed_data(b"one\ntwo")?;
/// reader.feed_eof();
/// anyloop::run(async move {
///     assert_eq!(reader.next_line().await?, Some(b"one\n".to_vec()));
///     assert_eq!(reader.next_line().await?, Some(b"two".to_vec()));
///     assert_eq!(reader.next_line().await?, None);
///     # Ok::<(), anyloop::Error>(())
/// })??;
/// # Ok::<(), anyloop::Error>(())
/// ```
#[derive(Clone)]
pub struct StreamReader(pub(super) Rc<StreamReaderProtocol>);

impl StreamReader {
    /// A reader that nothing feeds yet.
    ///
    /// # Errors
    /// `InvalidArg` if `limit` is 0.
    pub fn new(limit: usize) -> Result<Self> {
        if limit == 0 {
            return Err(Error::invalid_arg("StreamReader: the limit must be positive"));
        }
        Ok(Self::build(limit))
    }

    /// With a limit that was checked before.
    pub(super) fn build(limit: usize) -> Self {
        Self(StreamReaderProtocol::build(limit))
    }

    fn incoming(&self) -> &Incoming {
        &self.0.incoming
    }

    /// At most `n` bytes, as soon as there is one; empty at the end of the stream (or if `n` is 0).
    ///
    /// The memory is reserved when there is something to put into it: a connection that waits holds none.
    /// Give it back with [`StreamWriter::write_vec`](crate::StreamWriter::write_vec) if that is where it
    /// goes.
    ///
    /// # Errors
    /// The connection's error; `Usage` if another task is waiting for data. If it has to wait: `Closed` if the loop
    /// of the connection is closed, `Usage` on another loop.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub fn read(&self, n: usize) -> impl Future<Output = Result<Vec<u8>>> {
        Read::new(&self.0, n)
    }

    /// Reads into `buf` as soon as there is a byte; 0 at the end of the stream (or if `buf` is empty).
    /// Allocates nothing.
    ///
    /// # Errors
    /// As [`StreamReader::read`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub fn read_into(&self, buf: &mut [u8]) -> impl Future<Output = Result<usize>> {
        ReadInto::new(&self.0, buf)
    }

    /// Everything up to the end of the stream, whatever the limit (asyncio's `read(-1)`).
    ///
    /// # Errors
    /// As [`StreamReader::read`].
    ///
    /// # Cancel safety
    /// Nothing is lost: what has arrived stays buffered.
    pub async fn read_to_end(&self) -> Result<Vec<u8>> {
        reading::wait(&self.0, "read_to_end", usize::MAX).await?;
        Ok(self.incoming().take(usize::MAX))
    }

    /// Exactly `n` bytes (asyncio's `readexactly`); `n` may exceed the limit.
    ///
    /// # Errors
    /// As [`StreamReader::read`]; `IncompleteRead` with what there was if the stream ends before.
    ///
    /// # Cancel safety
    /// Nothing is lost: what has arrived stays buffered.
    pub async fn read_exact(&self, n: usize) -> Result<Vec<u8>> {
        reading::wait(&self.0, "read_exact", n).await?;
        let bytes = self.incoming().take(n);
        if bytes.len() < n {
            return Err(IncompleteRead::new("read_exact", bytes, Some(n)).into());
        }
        Ok(bytes)
    }

    /// Everything through the first separator; of several, the one that ends earliest. Of two that end
    /// together the limit counts from the shorter.
    ///
    /// # Errors
    /// As [`StreamReader::read`]; `IncompleteRead` with the rest if the stream ends before a separator;
    /// `LimitOverrun` if none begins within the limit (the bytes stay buffered); `InvalidArg` for no
    /// separator or an empty one.
    ///
    /// # Cancel safety
    /// Nothing is lost: what has arrived stays buffered.
    ///
    /// # Examples
    /// ```
    /// # async fn example(reader: anyloop::StreamReader) -> anyloop::Result<()> {
    /// let header = reader.read_until(&["\r\n\r\n", "\n\n"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_until<S: AsRef<[u8]>>(&self, separators: &[S]) -> Result<Vec<u8>> {
        let count = reading::find_separator(&self.0, separators, "read_until").await?;
        Ok(self.incoming().take(count))
    }

    /// One line with its `\n`; at the end of the stream the rest without, then empty (asyncio's
    /// `readline`).
    ///
    /// # Errors
    /// As [`StreamReader::read`]; `InvalidArg` if the line is longer than the limit: what is buffered of
    /// it is dropped, and the stream can be read on.
    ///
    /// # Cancel safety
    /// Nothing is lost: what has arrived stays buffered.
    pub async fn read_line(&self) -> Result<Vec<u8>> {
        match reading::find_separator(&self.0, &[b"\n"], "read_line").await {
            Ok(count) => Ok(self.incoming().take(count)),
            Err(Error::IncompleteRead(read)) => Ok(read.partial),
            Err(Error::LimitOverrun(overrun)) => {
                self.incoming().drop_line(overrun.consumed);
                Err(Error::InvalidArg(overrun.message))
            }
            Err(error) => Err(error),
        }
    }

    /// The next line, `None` at the end of the stream: asyncio's `async for line in reader`.
    ///
    /// # Errors
    /// As [`StreamReader::read_line`].
    ///
    /// # Cancel safety
    /// Nothing is lost: what has arrived stays buffered.
    pub async fn next_line(&self) -> Result<Option<Vec<u8>>> {
        let line = self.read_line().await?;
        Ok((!line.is_empty()).then_some(line))
    }

    /// [`StreamReader::read_into`] for hand-written futures; the last one who polled is woken.
    ///
    /// # Errors
    /// As [`StreamReader::read`].
    pub fn poll_read_into(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<usize>> {
        let incoming = self.incoming();
        incoming.check()?;
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if let Some(count) = incoming.fill(buf) {
            return Poll::Ready(Ok(count));
        }
        self.0.check_loop("poll_read_into")?;
        incoming.wait("poll_read_into", 1, Incoming::fills_directly(buf.len()), 0, cx)?;
        Poll::Pending
    }

    /// Whether the end of the stream was seen and everything before it was read.
    #[must_use]
    pub fn at_eof(&self) -> bool {
        self.incoming().ended() && self.incoming().len() == 0
    }

    /// The error of the connection, if it had one.
    #[must_use]
    pub fn exception(&self) -> Option<Error> {
        self.incoming().error()
    }

    /// The limit, in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.incoming().limit()
    }

    /// Bytes that can be read without waiting.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.incoming().len()
    }

    // --- feeding; for protocols ---

    /// Appends bytes; pauses the transport if that makes more than twice the limit.
    ///
    /// # Errors
    /// `Usage` after [`StreamReader::feed_eof`].
    pub fn feed_data(&self, data: &[u8]) -> Result<()> {
        self.incoming().feed(data)
    }

    /// Says that no more bytes will come.
    pub fn feed_eof(&self) {
        self.incoming().end();
    }

    /// Says that the connection failed: from now on every read fails with `error`, but for one that bytes have woken.
    pub fn set_exception(&self, error: impl Into<Error>) {
        self.incoming().fail(error.into());
    }

    /// Gives or takes the transport to be paused while too much is buffered.
    pub fn set_transport(&self, transport: Option<Transport>) {
        self.incoming().set_transport(transport);
    }
}

impl Drop for StreamReader {
    /// A transport that is paused for want of a reader, now or later, would be kept, by its protocol alone, until the
    /// loop closes.
    fn drop(&mut self) {
        if Rc::strong_count(&self.0) == 2 {
            self.incoming().let_go(&self.0);
        }
    }
}

impl AsyncRead for StreamReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_read_into(cx, buf).map_err(io::Error::from)
    }
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<StreamReader {} bytes, limit {}", self.buffered(), self.limit())?;
        if self.incoming().ended() {
            f.write_str(", eof")?;
        }
        if let Some(error) = self.incoming().error() {
            write!(f, ", error: {error}")?;
        }
        if self.incoming().paused() {
            f.write_str(", paused")?;
        }
        f.write_str(">")
    }
}
