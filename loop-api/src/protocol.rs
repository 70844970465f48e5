//! Protocols: what an application does with a connection.
//!
//! ```text
//! connection_made ─▶ data_received* ─▶ eof_received? ─▶ connection_lost
//!                    pause_writing / resume_writing in between, always paired
//! ```
//!
//! Methods take `&self`: keep state in `Cell`s, and call the transport freely, also from inside a
//! method. A panic in a method is reported and ends the connection where asyncio would.

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use crate::error::Error;
use crate::transport::Transport;

/// A protocol that is handed received bytes.
///
/// ```
/// use std::cell::OnceCell;
/// use anyloop_api::{Bind, EventLoopExt, LoopRef, Protocol, Result, Server, Transport};
///
/// #[derive(Default)]
/// struct Echo(OnceCell<Transport>);
///
/// impl Protocol for Echo {
///     fn connection_made(&self, transport: Transport) {
///         let _ = self.0.set(transport);
///     }
///
///     fn data_received(&self, data: &[u8]) {
///         if let Some(transport) = self.0.get() {
///             transport.write(data);
///         }
///     }
/// }
///
/// async fn start(lp: &LoopRef) -> Result<Server> {
///     lp.serve(Echo::default, Bind::to("127.0.0.1", 0)).await
/// }
/// ```
pub trait Protocol: Any {
    /// The connection stands; called once, first.
    fn connection_made(&self, transport: Transport) {
        let _ = transport;
    }

    /// Bytes arrived: never empty, at most 256 KiB, boundaries arbitrary.
    fn data_received(&self, data: &[u8]) {
        let _ = data;
    }

    /// After [`Transport::await_readable`]: there are bytes to be read. True: they are taken by
    /// [`Transport::try_read`], as soon as whoever wants them runs; if they are not, they are delivered
    /// all the same. False: they are to be delivered to `data_received` at once.
    fn readable(&self) -> bool {
        false
    }

    /// The peer will send no more. True keeps the write side open; false closes the transport.
    fn eof_received(&self) -> bool {
        false
    }

    /// The connection is gone, with the error that ended it, if one did. Called once, last.
    fn connection_lost(&self, error: Option<Error>) {
        let _ = error;
    }

    /// The write buffer rose above the high-water mark.
    fn pause_writing(&self) {}

    /// The write buffer fell to the low-water mark.
    fn resume_writing(&self) {}
}

/// A protocol that provides the memory into which bytes are received.
///
/// ```
/// use std::cell::{Cell, RefCell};
/// use anyloop_api::{AnyProtocol, BufferedProtocol};
///
/// /// Counts; one buffer for the life of the connection.
/// #[derive(Default)]
/// struct Count {
///     buffer: Cell<Vec<u8>>,
///     bytes: Cell<usize>,
/// }
///
/// impl BufferedProtocol for Count {
///     fn get_buffer(&self, size_hint: usize) -> Vec<u8> {
///         let mut buffer = self.buffer.take();
///         buffer.resize(size_hint.max(1), 0);
///         buffer
///     }
///
///     fn buffer_updated(&self, buffer: Vec<u8>, nbytes: usize) {
///         self.bytes.set(self.bytes.get() + nbytes);
///         self.buffer.set(buffer);
///     }
/// }
/// let protocol = AnyProtocol::buffered(Count::default());
/// # drop(protocol);
/// ```
pub trait BufferedProtocol: Any {
    /// As [`Protocol::connection_made`].
    fn connection_made(&self, transport: Transport) {
        let _ = transport;
    }

    /// A buffer to fill, at most its length; `size_hint` says how much would be convenient. Ownership
    /// passes to the loop until [`BufferedProtocol::buffer_updated`]. An empty buffer is an error.
    fn get_buffer(&self, size_hint: usize) -> Vec<u8>;

    /// The buffer comes back with `nbytes` ≥ 1 bytes at its start filled. Zero bytes: it was not used.
    fn buffer_updated(&self, buffer: Vec<u8>, nbytes: usize);

    /// As [`Protocol::eof_received`].
    fn eof_received(&self) -> bool {
        false
    }

    /// As [`Protocol::connection_lost`].
    fn connection_lost(&self, error: Option<Error>) {
        let _ = error;
    }

    /// As [`Protocol::pause_writing`].
    fn pause_writing(&self) {}

    /// As [`Protocol::resume_writing`].
    fn resume_writing(&self) {}
}

/// A stream protocol of either kind, as transports hold it.
#[derive(Clone)]
pub enum AnyProtocol {
    /// Is handed received bytes.
    Plain(Rc<dyn Protocol>),
    /// Provides the memory.
    Buffered(Rc<dyn BufferedProtocol>),
}

macro_rules! both {
    ($self:ident, $protocol:ident => $call:expr) => {
        match $self {
            Self::Plain($protocol) => $call,
            Self::Buffered($protocol) => $call,
        }
    };
}

impl AnyProtocol {
    /// See [`Protocol::connection_made`].
    pub fn connection_made(&self, transport: Transport) {
        both!(self, protocol => protocol.connection_made(transport));
    }

    /// See [`Protocol::eof_received`].
    #[must_use]
    pub fn eof_received(&self) -> bool {
        both!(self, protocol => protocol.eof_received())
    }

    /// See [`Protocol::connection_lost`].
    pub fn connection_lost(&self, error: Option<Error>) {
        both!(self, protocol => protocol.connection_lost(error));
    }

    /// See [`Protocol::pause_writing`].
    pub fn pause_writing(&self) {
        both!(self, protocol => protocol.pause_writing());
    }

    /// See [`Protocol::resume_writing`].
    pub fn resume_writing(&self) {
        both!(self, protocol => protocol.resume_writing());
    }

    /// See [`Protocol::readable`]. A buffered protocol is not asked: its own memory is filled anyway.
    #[must_use]
    pub fn readable(&self) -> bool {
        match self {
            Self::Plain(protocol) => protocol.readable(),
            Self::Buffered(_) => false,
        }
    }

    /// The protocol as the type that the factory made, if it is a `P`.
    #[must_use]
    pub fn downcast<P: Any>(&self) -> Option<Rc<P>> {
        let any: Rc<dyn Any> = match self {
            Self::Plain(protocol) => protocol.clone(),
            Self::Buffered(protocol) => protocol.clone(),
        };
        any.downcast().ok()
    }
}

impl<P: Protocol> From<Rc<P>> for AnyProtocol {
    fn from(protocol: Rc<P>) -> Self {
        Self::Plain(protocol)
    }
}

impl From<Rc<dyn Protocol>> for AnyProtocol {
    fn from(protocol: Rc<dyn Protocol>) -> Self {
        Self::Plain(protocol)
    }
}

impl From<Rc<dyn BufferedProtocol>> for AnyProtocol {
    fn from(protocol: Rc<dyn BufferedProtocol>) -> Self {
        Self::Buffered(protocol)
    }
}

impl AnyProtocol {
    /// Wraps a buffered protocol. (`From` cannot tell the two traits apart for a concrete type.)
    #[must_use]
    pub fn buffered<P: BufferedProtocol>(protocol: P) -> Self {
        Self::Buffered(Rc::new(protocol))
    }

    /// Wraps a plain protocol.
    #[must_use]
    pub fn plain<P: Protocol>(protocol: P) -> Self {
        Self::Plain(Rc::new(protocol))
    }
}

impl fmt::Debug for AnyProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(protocol) => write!(f, "Protocol({:p})", Rc::as_ptr(protocol)),
            Self::Buffered(protocol) => write!(f, "BufferedProtocol({:p})", Rc::as_ptr(protocol)),
        }
    }
}
