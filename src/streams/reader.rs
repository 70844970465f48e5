//! `StreamReader`: the bytes of a connection, with `await`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use anyloop_api::{Cancellable, Cancelled, Error, Result, Transport, clear_waiter, set_waiter};
use futures_io::AsyncRead;

use super::buffer::{Buffer, find};

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
pub struct StreamReader(Rc<Shared>);

struct Shared {
    limit: usize,
    buffer: RefCell<Buffer>,
    eof: Cell<bool>,
    error: RefCell<Option<Error>>,
    transport: RefCell<Option<Transport>>,
    paused: Cell<bool>,
    waiter: RefCell<Option<Waiter>>,
    last_id: Cell<u32>,
}

struct Waiter {
    waker: Waker,
    /// Woken when this much is buffered, not before.
    need: usize,
    /// Who: an awaiting method that removes itself when dropped; 0 for a poll function, which cannot.
    id: u32,
}

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
        Self(Rc::new(Shared {
            limit,
            buffer: RefCell::default(),
            eof: Cell::new(false),
            error: RefCell::default(),
            transport: RefCell::default(),
            paused: Cell::new(false),
            waiter: RefCell::default(),
            last_id: Cell::new(0),
        }))
    }

    /// At most `n` bytes, as soon as there is one; empty at the end of the stream (or if `n` is 0).
    ///
    /// # Errors
    /// The connection's error; `Usage` if another task is waiting for data.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn read(&self, n: usize) -> Result<Vec<u8>> {
        self.0.check()?;
        if n == 0 {
            return Ok(Vec::new());
        }
        self.0.wait("read", 1).await?;
        Ok(self.0.take(n))
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
        self.0.check()?;
        if buf.is_empty() {
            return Ok(0);
        }
        self.0.wait("read_into", 1).await?;
        Ok(self.0.copy(buf))
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
        ready!(self.0.poll_ready("poll_read_into", 1, 0, cx))?;
        Poll::Ready(Ok(self.0.copy(buf)))
    }

    /// Whether the end of the stream was seen and everything before it was read.
    #[must_use]
    pub fn at_eof(&self) -> bool {
        self.0.eof.get() && self.0.buffer.borrow().is_empty()
    }

    /// The error of the connection, if it had one.
    #[must_use]
    pub fn exception(&self) -> Option<Error> {
        self.0.error.borrow().clone()
    }

    /// The limit, in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Bytes that can be read without waiting.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.0.buffer.borrow().len()
    }

    // --- feeding; for protocols ---

    /// Appends bytes; pauses the transport if that makes more than twice the limit.
    ///
    /// # Errors
    /// `Usage` after [`StreamReader::feed_eof`].
    pub fn feed_data(&self, data: &[u8]) -> Result<()> {
        let shared = &*self.0;
        if shared.eof.get() {
            return Err(Error::usage("feed_data: the stream has ended already"));
        }
        if data.is_empty() {
            return Ok(());
        }
        let len = {
            let mut buffer = shared.buffer.borrow_mut();
            buffer.push(data);
            buffer.len()
        };
        let hungry = shared.wake_if(|waiter| len >= waiter.need);
        if len > shared.limit.saturating_mul(2) && !hungry && !shared.paused.get() {
            shared.pause();
        }
        Ok(())
    }

    /// Says that no more bytes will come.
    pub fn feed_eof(&self) {
        self.0.eof.set(true);
        self.0.wake_if(|_| true);
    }

    /// Says that the connection failed: from now on every read fails with `error`.
    pub fn set_exception(&self, error: impl Into<Error>) {
        *self.0.error.borrow_mut() = Some(error.into());
        self.0.wake_if(|_| true);
    }

    /// Gives or takes the transport to be paused while too much is buffered.
    pub fn set_transport(&self, transport: Option<Transport>) {
        let old = self.0.transport.replace(transport);
        drop(old);
    }
}

impl Shared {
    fn check(&self) -> Result<()> {
        match &*self.error.borrow() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Waits until `need` bytes are buffered, or the stream ends.
    fn wait<'a>(self: &'a Rc<Self>, operation: &'static str, need: usize) -> Wait<'a> {
        Wait { shared: self, operation, need, id: 0 }
    }

    fn poll_ready(
        &self,
        operation: &'static str,
        need: usize,
        id: u32,
        cx: &Context<'_>,
    ) -> Poll<Result<()>> {
        self.check()?;
        if self.buffer.borrow().len() >= need || self.eof.get() {
            return Poll::Ready(Ok(()));
        }
        let mut slot = self.waiter.borrow_mut();
        match &mut *slot {
            Some(waiter) if waiter.id != 0 && waiter.id != id => {
                return Poll::Ready(Err(Error::usage(format!(
                    "{operation}: another task is waiting for data of this stream"
                ))));
            }
            Some(waiter) if waiter.id == id => waiter.waker.clone_from(cx.waker()),
            slot => *slot = Some(Waiter { waker: cx.waker().clone(), need, id }),
        }
        if let Some(waiter) = &mut *slot {
            waiter.need = need;
        }
        drop(slot);
        self.resume();
        Poll::Pending
    }

    /// Takes and wakes the waiter if it is due. Says whether one goes on waiting.
    fn wake_if(&self, due: impl FnOnce(&Waiter) -> bool) -> bool {
        let mut slot = self.waiter.borrow_mut();
        if !slot.as_ref().is_some_and(due) {
            return slot.is_some();
        }
        let waiter = slot.take();
        drop(slot);
        if let Some(waiter) = waiter {
            waiter.waker.wake();
        }
        false
    }

    /// How many bytes there are through the first separator.
    async fn find<S: AsRef<[u8]>>(
        self: &Rc<Self>,
        separators: &[S],
        operation: &'static str,
    ) -> Result<usize> {
        let lengths = separators.iter().map(|separator| separator.as_ref().len());
        let (Some(shortest), Some(longest)) = (lengths.clone().min(), lengths.max()) else {
            return Err(Error::invalid_arg(format!("{operation}: want at least one separator")));
        };
        if shortest == 0 {
            return Err(Error::invalid_arg(format!("{operation}: a separator must not be empty")));
        }
        self.check()?;
        // Before this no separator begins.
        let mut searched = 0;
        loop {
            let len = {
                let buffer = self.buffer.borrow();
                let data = buffer.as_slice();
                let ends = separators.iter().filter_map(|separator| {
                    let separator = separator.as_ref();
                    let start = find(data, separator, searched)?;
                    Some((start + separator.len(), start))
                });
                if let Some((end, start)) = ends.min() {
                    if start > self.limit {
                        return Err(overrun("the separator is found, but too far away", start));
                    }
                    return Ok(end);
                }
                data.len()
            };
            searched = searched.max((len + 1).saturating_sub(longest));
            if searched > self.limit {
                return Err(overrun("the separator is not found within the limit", searched));
            }
            if self.eof.get() {
                let partial = self.take(len);
                return Err(Error::IncompleteRead { partial, expected: None });
            }
            self.wait(operation, len + 1).await?;
        }
    }

    /// Removes an overlong line whose newline is `at` bytes away, or all of it that is buffered.
    fn drop_line(&self, at: usize) {
        let mut buffer = self.buffer.borrow_mut();
        let whole = buffer.as_slice().get(at) == Some(&b'\n');
        let count = if whole { at + 1 } else { buffer.len() };
        buffer.skip(count);
        drop(buffer);
        self.maybe_resume();
    }

    fn take(&self, at_most: usize) -> Vec<u8> {
        let mut buffer = self.buffer.borrow_mut();
        let count = at_most.min(buffer.len());
        let bytes = if count == 0 { Vec::new() } else { buffer.take(count) };
        drop(buffer);
        self.maybe_resume();
        bytes
    }

    fn copy(&self, into: &mut [u8]) -> usize {
        let count = self.buffer.borrow_mut().copy(into);
        self.maybe_resume();
        count
    }

    fn pause(&self) {
        let transport = self.transport.borrow().clone();
        if let Some(transport) = transport {
            self.paused.set(true);
            transport.pause_reading();
        }
    }

    fn resume(&self) {
        if self.paused.replace(false) {
            let transport = self.transport.borrow().clone();
            if let Some(transport) = transport {
                transport.resume_reading();
            }
        }
    }

    fn maybe_resume(&self) {
        if self.paused.get() && self.buffer.borrow().len() <= self.limit {
            self.resume();
        }
    }
}

fn overrun(message: &'static str, consumed: usize) -> Error {
    Error::LimitOverrun { message: message.into(), consumed }
}

/// One awaiting method.
struct Wait<'a> {
    shared: &'a Rc<Shared>,
    operation: &'static str,
    need: usize,
    id: u32,
}

impl Future for Wait<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.id == 0 {
            // Zero is nobody's.
            let id = self.shared.last_id.get().wrapping_add(1).max(1);
            self.shared.last_id.set(id);
            self.id = id;
        }
        let this = &mut *self;
        let polled = this.shared.poll_ready(this.operation, this.need, this.id, cx);
        if polled.is_pending() {
            set_waiter(|| this.shared.clone());
        }
        polled
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        clear_waiter(self.shared);
        let mut slot = self.shared.waiter.borrow_mut();
        if self.id != 0 && slot.as_ref().is_some_and(|waiter| waiter.id == self.id) {
            let mine = slot.take();
            drop(slot);
            drop(mine);
        }
    }
}

/// For dumps of what a task is suspended on. A cancellation drops the read, which loses nothing.
impl Cancellable for Shared {
    fn cancel(self: Rc<Self>, _: &Cancelled) -> bool {
        false
    }

    fn describe(&self) -> String {
        "a read from a stream".into()
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
        write!(f, "<StreamReader {} bytes, limit {}", self.buffered(), self.0.limit)?;
        if self.0.eof.get() {
            f.write_str(", eof")?;
        }
        if let Some(error) = &*self.0.error.borrow() {
            write!(f, ", error: {error}")?;
        }
        if self.0.paused.get() {
            f.write_str(", paused")?;
        }
        f.write_str(">")
    }
}
