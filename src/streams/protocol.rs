//! `StreamReaderProtocol`: the protocol under a reader and a writer.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use anyloop_api::{Error, Protocol, Result, Transport};

use super::reader::StreamReader;
use super::waiters::Waiters;
use super::writer::StreamWriter;

/// What a server does with a new connection.
type Connected = Rc<dyn Fn(StreamReader, StreamWriter)>;

/// Feeds a [`StreamReader`] from a transport and tells a [`StreamWriter`] when to wait.
///
/// [`open_connection`](crate::open_connection) and [`start_server`](crate::start_server) make it; use it
/// yourself to read any other transport through a `StreamReader`.
///
/// ```
/// use anyloop::{AnyProtocol, LoopRef, StreamReader, StreamReaderProtocol, StreamWriter};
/// # async fn example(lp: LoopRef, to: anyloop::Connect) -> anyloop::Result<()> {
/// let reader = StreamReader::new(1024)?;
/// let protocol = StreamReaderProtocol::new(reader.clone());
/// let same = protocol.clone();
/// let made = lp.create_connection(std::rc::Rc::new(move || same.clone().into()), to).await?;
/// let writer = StreamWriter::new(made.0, protocol);
/// # Ok(())
/// # }
/// ```
pub struct StreamReaderProtocol {
    this: Weak<Self>,
    reader: StreamReader,
    connected: Cell<Option<Connected>>,
    writing_paused: Cell<bool>,
    /// There is no half-close.
    over_tls: Cell<bool>,
    /// Set once: how the connection ended.
    lost: RefCell<Option<Option<Box<Error>>>>,
    pub(super) resumed: Waiters,
    pub(super) closed: Waiters,
}

impl StreamReaderProtocol {
    /// Feeds `reader`.
    #[must_use]
    pub fn new(reader: StreamReader) -> Rc<Self> {
        Self::build(reader, None)
    }

    /// Feeds `reader` and hands it, with a writer, to `connected` when the connection stands.
    #[must_use]
    pub fn with_callback(
        reader: StreamReader,
        connected: impl Fn(StreamReader, StreamWriter) + 'static,
    ) -> Rc<Self> {
        Self::build(reader, Some(Rc::new(connected)))
    }

    pub(super) fn build(reader: StreamReader, connected: Option<Connected>) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            this: this.clone(),
            reader,
            connected: Cell::new(connected),
            writing_paused: Cell::new(false),
            over_tls: Cell::new(false),
            lost: RefCell::default(),
            resumed: Waiters::default(),
            closed: Waiters::default(),
        })
    }

    /// The reader it feeds.
    #[must_use]
    pub fn reader(&self) -> &StreamReader {
        &self.reader
    }

    /// Waits while the transport asks not to write; for [`StreamWriter::drain`].
    pub(super) async fn drained(&self) -> Result<()> {
        self.check_connected("drain")?;
        if self.writing_paused.get() {
            self.resumed.wait().await;
            self.check_connected("drain")?;
        }
        Ok(())
    }

    /// The same for poll functions.
    pub(super) fn poll_drained(&self, cx: &Context<'_>) -> Poll<Result<()>> {
        self.check_connected("drain")?;
        if self.writing_paused.get() {
            self.resumed.register(cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for `connection_lost`; for [`StreamWriter::wait_closed`].
    pub(super) async fn lost(&self) -> Result<()> {
        loop {
            if let Some(ending) = self.ending() {
                return ending;
            }
            self.closed.wait().await;
        }
    }

    /// The connection goes on over TLS.
    #[cfg(feature = "tls")]
    pub(super) fn upgrade(&self, transport: Transport) {
        self.over_tls.set(true);
        self.reader.set_transport(Some(transport));
    }

    /// How the connection ended, if it did.
    pub(super) fn ending(&self) -> Option<Result<()>> {
        self.lost.borrow().as_ref().map(|error| match error {
            None => Ok(()),
            Some(error) => Err((**error).clone()),
        })
    }

    pub(super) fn check_connected(&self, operation: &'static str) -> Result<()> {
        match &*self.lost.borrow() {
            None => Ok(()),
            Some(Some(error)) => Err((**error).clone()),
            Some(None) => {
                let operation = format!("{operation}: the connection is lost");
                Err(Error::os(operation, io::ErrorKind::ConnectionReset.into()))
            }
        }
    }
}

impl Protocol for StreamReaderProtocol {
    fn connection_made(&self, transport: Transport) {
        self.over_tls.set(transport.get_extra_info("sslcontext").is_some());
        self.reader.set_transport(Some(transport.clone()));
        if let (Some(connected), Some(this)) = (self.connected.take(), self.this.upgrade()) {
            connected(self.reader.clone(), StreamWriter::of_server(transport, this));
        }
    }

    fn data_received(&self, data: &[u8]) {
        if let Err(error) = self.reader.feed_data(data) {
            self.reader.set_exception(error);
        }
    }

    fn readable(&self) -> bool {
        self.reader.offer()
    }

    /// The write side stays open: half-closed connections are in order, except over TLS (STREAM-21).
    fn eof_received(&self) -> bool {
        self.reader.feed_eof();
        !self.over_tls.get()
    }

    fn connection_lost(&self, error: Option<Error>) {
        match &error {
            None => self.reader.feed_eof(),
            Some(error) => self.reader.set_exception(error.clone()),
        }
        self.reader.set_transport(None);
        *self.lost.borrow_mut() = Some(error.map(Box::new));
        self.writing_paused.set(false);
        self.closed.release();
        self.resumed.release();
    }

    fn pause_writing(&self) {
        self.writing_paused.set(true);
    }

    fn resume_writing(&self) {
        self.writing_paused.set(false);
        self.resumed.release();
    }
}

impl fmt::Debug for StreamReaderProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<StreamReaderProtocol")?;
        if self.writing_paused.get() {
            f.write_str(" writing paused")?;
        }
        match &*self.lost.borrow() {
            None => {}
            Some(None) => f.write_str(" closed")?,
            Some(Some(error)) => write!(f, " lost: {error}")?,
        }
        f.write_str(">")
    }
}
