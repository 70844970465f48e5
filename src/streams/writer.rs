//! `StreamWriter`: writing to a connection, and waiting when it is slow.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use anyloop_api::{Error, ExtraInfo, LoopRef, Result, SendFile, Transport, yield_now};
use futures_io::AsyncWrite;

use super::buffer;
use super::outgoing::{Outgoing, Warns};
use super::protocol::StreamReaderProtocol;
use super::waiters::new_id;

/// How much one `poll_write` accepts: what one call may take past the high-water mark.
const POLL_WRITE_MAX: usize = 128 * 1024;

/// Writes to a connection. A cheap handle; clones name the same connection.
///
/// `write` never waits; `drain` waits while the peer is slow. When the last handle goes away the
/// connection is closed; other than in the callback of a server, where that is the usual end, this is
/// reported as a warning: close it yourself.
///
/// ```
/// # async fn example() -> anyloop::Result<()> {
/// let (reader, writer) = anyloop::open_connection("127.0.0.1:7").await?;
/// writer.write("hello\n");
/// writer.drain().await?;
/// assert_eq!(reader.read_line().await?, b"hello\n");
/// writer.close();
/// writer.wait_closed().await?;
/// # Ok(())
/// # }
/// ```
pub struct StreamWriter {
    stream: Rc<StreamReaderProtocol>,
    /// As which its poll functions wait: the contract of `AsyncWrite` is for each handle by itself.
    id: u64,
}

impl StreamWriter {
    /// Writes to `transport`, whose protocol is `protocol`. A protocol has one writer: another call names
    /// the same, over the transport that it is given.
    #[must_use]
    pub fn new(transport: Transport, protocol: Rc<StreamReaderProtocol>) -> Self {
        Self::build(transport, protocol, Warns::Always)
    }

    pub(super) fn of_server(transport: Transport, protocol: Rc<StreamReaderProtocol>) -> Self {
        Self::build(transport, protocol, Warns::InDebugMode)
    }

    fn build(transport: Transport, protocol: Rc<StreamReaderProtocol>, warns: Warns) -> Self {
        protocol.settle();
        protocol.outgoing.open(transport, warns);
        Self { stream: protocol, id: new_id() }
    }

    fn outgoing(&self) -> &Outgoing {
        &self.stream.outgoing
    }

    /// Queues bytes and sends what the operating system takes at once. Never waits and never fails:
    /// what is wrong (writing after [`StreamWriter::write_eof`]) is the next [`StreamWriter::drain`]'s
    /// error.
    pub fn write(&self, data: impl AsRef<[u8]>) {
        self.remember(self.transport().write(data));
    }

    /// The same with an owned buffer. The memory of a small one is used again for what arrives next; a
    /// big one is kept until it is sent, and not copied.
    pub fn write_vec(&self, data: Vec<u8>) {
        if buffer::recyclable(&data) {
            self.remember(self.transport().write(&data));
            buffer::recycle(data);
        } else {
            self.remember(self.transport().write_vec(data));
        }
    }

    /// As one write of the concatenation.
    pub fn writelines(&self, parts: &[&[u8]]) {
        self.remember(self.transport().writelines(parts));
    }

    /// Half-closes once everything queued is sent; reading goes on. Idempotent.
    ///
    /// # Errors
    /// `Usage` if the transport cannot.
    pub fn write_eof(&self) -> Result<()> {
        self.transport().write_eof()?;
        self.outgoing().finish();
        Ok(())
    }

    /// Whether [`StreamWriter::write_eof`] works.
    #[must_use]
    pub fn can_write_eof(&self) -> bool {
        self.transport().can_write_eof()
    }

    /// Waits while more than the high-water mark is queued, until it is down to the low-water mark.
    /// Returns at once otherwise.
    ///
    /// # Errors
    /// The connection's error; `Os` with the kind `ConnectionReset` if it was lost without one; the
    /// first misuse of a write before; what [`StreamReader::read`](super::StreamReader::read) says of loops, if it has
    /// to wait.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing: what is queued is sent all the same.
    pub async fn drain(&self) -> Result<()> {
        if let Some(error) = self.outgoing().take_misuse() {
            return Err(error);
        }
        self.stream.incoming.check()?;
        if self.outgoing().flows() && !self.is_closing() {
            return Ok(());
        }
        // Boxed: few wait, and what few have is not to be a part of every task.
        Box::pin(self.drain_slowly()).await
    }

    async fn drain_slowly(&self) -> Result<()> {
        self.stream.check_loop("drain")?;
        if self.is_closing() {
            // Lets `connection_lost` come, so that a loop around write and drain ends (STREAM-16).
            yield_now().await;
        }
        self.outgoing().drained().await?;
        self.stream.check_loop("drain")
    }

    /// Sends a file, by the kernel where it can, after what was written before. Waits until the operating
    /// system has all of it; returns the number of bytes.
    ///
    /// ```
    /// # async fn example(writer: anyloop::StreamWriter) -> anyloop::Result<()> {
    /// let file = anyloop::fs::File::open("index.html").await?;
    /// let whole = writer.sendfile(file.try_clone_fd().await?).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`EventLoop::sendfile`](crate::EventLoop::sendfile); outside a running loop: `Usage`.
    ///
    /// # Cancel safety
    /// The connection can be used further. The file's position says how much was sent.
    pub async fn sendfile(&self, file: impl Into<SendFile>) -> Result<u64> {
        let sending = LoopRef::current()?.sendfile(&self.transport(), file.into());
        sending.await
    }

    /// Sends what is queued, then closes. Reads see the end of the stream. Idempotent.
    pub fn close(&self) {
        self.transport().close();
    }

    /// Whether the connection is closing or closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.transport().is_closing()
    }

    /// Waits until the connection is closed; any number of tasks may, any number of times.
    ///
    /// # Errors
    /// The error that ended the connection, if one did; what [`StreamReader::read`](super::StreamReader::read) says of
    /// loops.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn wait_closed(&self) -> Result<()> {
        loop {
            if let Some(ending) = self.outgoing().ending() {
                return ending;
            }
            self.stream.check_loop("wait_closed")?;
            self.outgoing().closed.wait().await;
        }
    }

    /// See [`Transport::get_extra_info`].
    #[must_use]
    pub fn get_extra_info(&self, name: &str) -> Option<ExtraInfo> {
        self.transport().get_extra_info(name)
    }

    /// The peer's address, if it is an Internet address.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.transport().peer_addr()
    }

    /// Our address, if it is an Internet address.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.transport().local_addr()
    }

    /// The transport underneath.
    #[must_use]
    #[allow(clippy::missing_panics_doc, reason = "there is a handle: this one")]
    pub fn transport(&self) -> Transport {
        self.outgoing().transport().expect("kept until the last handle is dropped")
    }

    #[cfg(feature = "tls")]
    pub(super) fn protocol(&self) -> &Rc<StreamReaderProtocol> {
        &self.stream
    }

    /// From now on dropping it unclosed is in order: for types that own the connection.
    pub(super) fn silence(&self) {
        self.outgoing().warns.set(Warns::Never);
    }

    #[inline]
    fn remember(&self, written: Result<()>) {
        self.outgoing().remember(written);
    }

    fn poll_writable(&self, cx: &Context<'_>) -> Poll<Result<()>> {
        let outgoing = self.outgoing();
        if outgoing.finished() || (self.is_closing() && outgoing.ending().is_none()) {
            let broken = io::Error::from(io::ErrorKind::BrokenPipe);
            return Poll::Ready(Err(Error::os("write: the stream was closed for writing", broken)));
        }
        self.poll_drained("write", cx)
    }

    fn poll_drained(&self, operation: &'static str, cx: &Context<'_>) -> Poll<Result<()>> {
        let drained = self.outgoing().poll_drained(self.id, cx);
        if drained.is_pending() {
            self.stream.check_loop(operation)?;
        }
        drained
    }

    /// Sends everything, then half-closes; where that is impossible, closes.
    fn poll_finish(&self, cx: &Context<'_>) -> Poll<Result<()>> {
        let (transport, outgoing) = (self.transport(), self.outgoing());
        if let Some(ending) = outgoing.ending() {
            return Poll::Ready(ending);
        }
        if transport.is_closing() {
            self.stream.check_loop("close")?;
            outgoing.closed.register(self.id, cx);
            return Poll::Pending;
        }
        if transport.get_write_buffer_size() > 0 {
            outgoing.pause_until_sent(&transport)?;
            ready!(self.poll_drained("close", cx))?;
        }
        if transport.can_write_eof() {
            return Poll::Ready(self.write_eof());
        }
        transport.close();
        Poll::Ready(Ok(()))
    }
}

impl Clone for StreamWriter {
    fn clone(&self) -> Self {
        self.outgoing().add_handle();
        Self { stream: self.stream.clone(), id: new_id() }
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.outgoing().drop_handle(self.id, self.stream.home());
    }
}

/// `poll_flush` waits while the transport asks not to write (what is queued below that is sent by
/// itself); `poll_close` waits until everything is sent, and half-closes. Over TLS there is no half-close:
/// there `poll_close` closes the connection, and nothing more is read from it.
impl AsyncWrite for StreamWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_writable(cx))?;
        let count = buf.len().min(POLL_WRITE_MAX);
        self.transport().write(&buf[..count])?;
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_writable(cx))?;
        let mut count = 0;
        let mut parts = Vec::with_capacity(bufs.len());
        for buf in bufs {
            let part = &buf[..buf.len().min(POLL_WRITE_MAX - count)];
            parts.push(part);
            count += part.len();
        }
        self.transport().writelines(&parts)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_drained("flush", cx).map_err(io::Error::from)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_finish(cx).map_err(io::Error::from)
    }
}

impl fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<StreamWriter {:?}>", self.transport())
    }
}
