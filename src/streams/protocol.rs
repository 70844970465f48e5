//! `StreamReaderProtocol`: the protocol under a reader and a writer.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::rc::{Rc, Weak};

use anyloop_api::{Cancellable, Cancelled, Error, LoopRef, Protocol, Result, Transport, WeakLoop};

use super::closing::Closing;
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::reader::StreamReader;
use super::writer::StreamWriter;

/// What a server does with a new connection.
pub(super) type Connected = Rc<dyn Fn(StreamReader, StreamWriter)>;

/// What is to be done when the connection stands.
struct Start {
    this: Weak<StreamReaderProtocol>,
    connected: Connected,
}

/// Feeds a [`StreamReader`] from a transport and tells a [`StreamWriter`] when to wait: what all of their
/// handles share.
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
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    /// The loop that brings what comes; none if it is fed by hand.
    home: OnceCell<WeakLoop>,
    /// Boxed, because a connection that stands has none.
    start: Cell<Option<Box<Start>>>,
}

impl StreamReaderProtocol {
    /// Feeds `reader`: a reader has one protocol, which is the same every time.
    #[must_use]
    pub fn new(reader: StreamReader) -> Rc<Self> {
        reader.0.clone()
    }

    /// Feeds `reader` and hands it, with a writer, to `connected` when the connection stands.
    #[must_use]
    pub fn with_callback(
        reader: StreamReader,
        connected: impl Fn(StreamReader, StreamWriter) + 'static,
    ) -> Rc<Self> {
        reader.0.clone().starting(Rc::new(connected))
    }

    /// With a limit that was checked before.
    pub(super) fn build(limit: usize) -> Rc<Self> {
        let (incoming, outgoing) = (Incoming::new(limit), Outgoing::default());
        Rc::new(Self { incoming, outgoing, home: OnceCell::new(), start: Cell::new(None) })
    }

    pub(super) fn starting(self: Rc<Self>, connected: Connected) -> Rc<Self> {
        self.start.set(Some(Box::new(Start { this: Rc::downgrade(&self), connected })));
        self
    }

    /// The reader it feeds.
    #[must_use]
    pub fn reader(self: &Rc<Self>) -> StreamReader {
        StreamReader(self.clone())
    }

    /// A child writes it: that goes on when nobody can read any more.
    pub(crate) fn mark_as_childs(&self) {
        self.incoming.mark_as_childs();
    }

    /// From now on the transport is closed when the last handle of the reader goes away, rather than kept by
    /// the loop.
    pub(crate) fn close_with_last_reader(&self) {
        self.incoming.own_transport();
    }

    /// The running loop is the stream's.
    pub(super) fn settle(&self) {
        if let Ok(lp) = LoopRef::current() {
            self.home.get_or_init(|| lp.downgrade());
        }
    }

    /// Has everybody who waits look again.
    pub(super) fn wake_all(&self) {
        self.incoming.wake();
        self.outgoing.wake_all();
    }

    pub(super) fn home(&self) -> Option<&WeakLoop> {
        self.home.get()
    }

    /// Somebody is about to wait for what only the stream's loop can bring.
    ///
    /// # Errors
    /// `Closed` if that loop is; `Usage` if another one is running on this thread.
    #[inline]
    pub(super) fn check_loop(self: &Rc<Self>, operation: &'static str) -> Result<()> {
        match self.home.get() {
            Some(home) if !home.is_current() => self.check_elsewhere(home, operation),
            _ => Ok(()),
        }
    }

    #[cold]
    fn check_elsewhere(self: &Rc<Self>, home: &WeakLoop, operation: &'static str) -> Result<()> {
        if home.is_closed() {
            return Err(Error::closed(format!("{operation}: the stream's event loop is closed")));
        }
        if LoopRef::current().is_ok() {
            let text = format!("{operation}: the stream belongs to another event loop");
            return Err(Error::usage(text));
        }
        // Somebody else's executor polls while ours is driven by hand: our close ends none of its tasks.
        self.outgoing.closing(|| Closing::of(self, home));
        Ok(())
    }

    /// The connection goes on over TLS.
    #[cfg(feature = "tls")]
    pub(super) fn upgrade(&self, transport: Transport) {
        self.outgoing.over_tls.set(true);
        self.incoming.set_transport(Some(transport));
    }
}

impl Protocol for StreamReaderProtocol {
    fn connection_made(&self, transport: Transport) {
        self.outgoing.over_tls.set(transport.get_extra_info("sslcontext").is_some());
        self.incoming.set_transport(Some(transport.clone()));
        self.settle();
        if let Some(start) = self.start.take()
            && let Some(this) = start.this.upgrade()
        {
            (start.connected)(this.reader(), StreamWriter::of_server(transport, this));
        }
    }

    fn data_received(&self, data: &[u8]) {
        if let Err(error) = self.incoming.feed(data) {
            self.incoming.fail(error);
        }
    }

    fn readable(&self) -> bool {
        self.incoming.offer()
    }

    /// The write side stays open: half-closed connections are in order, except over TLS (STREAM-21).
    fn eof_received(&self) -> bool {
        self.incoming.end();
        !self.outgoing.over_tls.get()
    }

    fn connection_lost(&self, error: Option<Error>) {
        match &error {
            None => self.incoming.end(),
            Some(error) => self.incoming.fail(error.clone()),
        }
        self.incoming.set_transport(None);
        self.outgoing.lose(error);
    }

    fn pause_writing(&self) {
        self.outgoing.pause();
    }

    fn resume_writing(&self) {
        self.outgoing.resume();
    }
}

/// For dumps of what a task is suspended on. A cancellation drops the read, which loses nothing.
impl Cancellable for StreamReaderProtocol {
    fn cancel(self: Rc<Self>, _: &Cancelled) -> bool {
        false
    }

    fn describe(&self) -> String {
        "a read from a stream".into()
    }
}

impl fmt::Debug for StreamReaderProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<StreamReaderProtocol")?;
        self.outgoing.fmt(f)?;
        f.write_str(">")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that an idle connection has for its reader, its protocol and its writer.
    #[test]
    fn a_stream_is_small() {
        let size = size_of::<StreamReaderProtocol>();
        assert!(size <= 168, "{size} bytes");
    }
}
