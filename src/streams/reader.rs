//! `StreamReader`: the bytes of a connection, with `await`.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use anyloop_api::{Error, Result, Transport};
use futures_io::AsyncRead;

use super::incoming::Incoming;

/// The limit of a reader that was not given one: 64 KiB.
pub const DEFAULT_LIMIT: usize = 64 * 1024;

/// Reads a stream of bytes. A cheap handle; clones name the same stream.
///
/// Only one task may wait for data at a time. Between twice the *limit* buffered and the limit the
/// transport is paused, so a peer that sends faster than we read is slowed down; the limit also is the
/// longest line, and the longest stretch without a separator.
///
/// An error of the connection fails every read, also while bytes are buffered; after a clean end of the
/// stream the buffered bytes are read first.
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
pub struct StreamReader(Rc<Incoming>);

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
        Self(Incoming::new(limit))
    }

    /// At most `n` bytes, as soon as there is one; empty at the end of the stream (or if `n` is 0).
    ///
    /// The memory is reserved when there is something to put into it: a connection that waits holds none.
    /// Give it back with [`StreamWriter::write_vec`](crate::StreamWriter::write_vec) if that is where it
    /// goes.
    ///
    /// # Errors
    /// The connection's error; `Usage` if another task is waiting for data.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn read(&self, n: usize) -> Result<Vec<u8>> {
        if n == 0 {
            self.0.check()?;
            return Ok(Vec::new());
        }
        loop {
            self.0.wait_to_take("read", n).await?;
            if let Some(bytes) = self.0.take_some(n) {
                return Ok(bytes);
            }
        }
    }

    /// Reads into `buf` as soon as there is a byte; 0 at the end of the stream (or if `buf` is empty).
    /// Allocates nothing.
    ///
    /// # Errors
    /// As [`StreamReader::read`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn read_into(&self, buf: &mut [u8]) -> Result<usize> {
        if buf.is_empty() {
            self.0.check()?;
            return Ok(0);
        }
        loop {
            self.0.wait_to_fill("read_into", buf.len()).await?;
            if let Some(count) = self.0.fill(buf) {
                return Ok(count);
            }
        }
    }

    /// Everything up to the end of the stream, whatever the limit (asyncio's `read(-1)`).
    ///
    /// # Errors
    /// As [`StreamReader::read`].
    ///
    /// # Cancel safety
    /// Nothing is lost: what has arrived stays buffered.
    pub async fn read_to_end(&self) -> Result<Vec<u8>> {
        self.0.check()?;
        self.0.wait("read_to_end", usize::MAX).await?;
        Ok(self.0.take(usize::MAX))
    }

    /// Exactly `n` bytes (asyncio's `readexactly`); `n` may exceed the limit.
    ///
    /// # Errors
    /// As [`StreamReader::read`]; `IncompleteRead` with what there was if the stream ends before.
    ///
    /// # Cancel safety
    /// Nothing is lost: what has arrived stays buffered.
    pub async fn read_exact(&self, n: usize) -> Result<Vec<u8>> {
        self.0.check()?;
        self.0.wait("read_exact", n).await?;
        let bytes = self.0.take(n);
        if bytes.len() < n {
            return Err(Error::IncompleteRead { partial: bytes, expected: Some(n) });
        }
        Ok(bytes)
    }

    /// Everything through the first separator; of several, the one that ends earliest.
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
        let count = self.0.find(separators, "read_until").await?;
        Ok(self.0.take(count))
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
        match self.0.find(&[b"\n"], "read_line").await {
            Ok(count) => Ok(self.0.take(count)),
            Err(Error::IncompleteRead { partial, .. }) => Ok(partial),
            Err(Error::LimitOverrun { message, consumed }) => {
                self.0.drop_line(consumed);
                Err(Error::InvalidArg(message))
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
        self.0.check()?;
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            ready!(self.0.poll_to_fill("poll_read_into", buf.len(), cx))?;
            if let Some(count) = self.0.fill(buf) {
                return Poll::Ready(Ok(count));
            }
        }
    }

    /// Whether the end of the stream was seen and everything before it was read.
    #[must_use]
    pub fn at_eof(&self) -> bool {
        self.0.ended() && self.0.len() == 0
    }

    /// Fails with the error of the connection, if it had one.
    #[inline]
    pub(super) fn check(&self) -> Result<()> {
        self.0.check()
    }

    /// The error of the connection, if it had one.
    #[must_use]
    pub fn exception(&self) -> Option<Error> {
        self.0.error()
    }

    /// The limit, in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit()
    }

    /// Bytes that can be read without waiting.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.0.len()
    }

    // --- feeding; for protocols ---

    /// Appends bytes; pauses the transport if that makes more than twice the limit.
    ///
    /// # Errors
    /// `Usage` after [`StreamReader::feed_eof`].
    pub fn feed_data(&self, data: &[u8]) -> Result<()> {
        if self.0.ended() {
            return Err(Error::usage("feed_data: the stream has ended already"));
        }
        self.0.feed(data);
        Ok(())
    }

    /// The transport has something to read: whether it is going to be taken.
    pub(super) fn offer(&self) -> bool {
        !self.0.ended() && self.0.offer()
    }

    #[cfg(feature = "tls")]
    pub(super) fn ended(&self) -> bool {
        self.0.ended()
    }

    #[cfg(feature = "tls")]
    pub(super) fn hand_over(&self) -> Vec<u8> {
        self.0.hand_over()
    }

    /// Says that no more bytes will come.
    pub fn feed_eof(&self) {
        self.0.end();
    }

    /// Says that the connection failed: from now on every read fails with `error`.
    pub fn set_exception(&self, error: impl Into<Error>) {
        self.0.fail(error.into());
    }

    /// Gives or takes the transport to be paused while too much is buffered.
    pub fn set_transport(&self, transport: Option<Transport>) {
        self.0.set_transport(transport);
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
        if self.0.ended() {
            f.write_str(", eof")?;
        }
        if let Some(error) = self.0.error() {
            write!(f, ", error: {error}")?;
        }
        if self.0.paused() {
            f.write_str(", paused")?;
        }
        f.write_str(">")
    }
}
