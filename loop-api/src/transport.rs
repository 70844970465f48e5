//! Transports: the loop's side of a connection.

use std::any::Any;
use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use crate::error::{Error, Result};
use crate::extra_info::ExtraInfo;
use crate::protocol::AnyProtocol;

/// What a transport implementation provides; users hold a [`Transport`].
pub trait RawTransport: fmt::Debug {
    /// See [`Transport::close`].
    fn close(&self);
    /// See [`Transport::abort`].
    fn abort(&self);
    /// See [`Transport::is_closing`].
    fn is_closing(&self) -> bool;
    /// See [`Transport::write`].
    ///
    /// # Errors
    /// `Usage` after `write_eof`.
    fn write(&self, data: &[u8]) -> Result<()>;
    /// See [`Transport::write_vec`].
    ///
    /// # Errors
    /// `Usage` after `write_eof`.
    fn write_vec(&self, data: Vec<u8>) -> Result<()> {
        self.write(&data)
    }
    /// See [`Transport::writelines`].
    ///
    /// # Errors
    /// `Usage` after `write_eof`.
    fn writelines(&self, parts: &[&[u8]]) -> Result<()> {
        self.write(&parts.concat())
    }
    /// See [`Transport::write_eof`].
    ///
    /// # Errors
    /// `Usage` if the transport cannot half-close.
    fn write_eof(&self) -> Result<()>;
    /// See [`Transport::can_write_eof`].
    fn can_write_eof(&self) -> bool;
    /// See [`Transport::pause_reading`].
    fn pause_reading(&self);
    /// See [`Transport::resume_reading`].
    fn resume_reading(&self);
    /// See [`Transport::is_reading`].
    fn is_reading(&self) -> bool;
    /// See [`Transport::await_readable`].
    fn await_readable(&self) -> bool {
        false
    }
    /// See [`Transport::try_read`].
    fn try_read(&self, buffer: &mut [u8]) -> Option<usize> {
        let _ = buffer;
        None
    }
    /// See [`Transport::try_read_vec`].
    fn try_read_vec(&self, buffer: &mut Vec<u8>) -> Option<usize> {
        let filled = buffer.len();
        buffer.resize(buffer.capacity(), 0);
        let count = self.try_read(&mut buffer[filled..]);
        buffer.truncate(filled + count.unwrap_or(0));
        count
    }
    /// See [`Transport::get_write_buffer_size`].
    fn get_write_buffer_size(&self) -> usize;
    /// See [`Transport::get_write_buffer_limits`].
    fn get_write_buffer_limits(&self) -> (usize, usize);
    /// See [`Transport::set_write_buffer_limits`].
    ///
    /// # Errors
    /// `InvalidArg` unless `high ≥ low`.
    fn set_write_buffer_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<()>;
    /// See [`Transport::set_protocol`].
    fn set_protocol(&self, protocol: AnyProtocol);
    /// See [`Transport::get_protocol`].
    fn get_protocol(&self) -> AnyProtocol;
    /// See [`Transport::get_extra_info`].
    fn extra_info(&self, name: &str) -> Option<ExtraInfo>;
    /// The last user handle went away.
    fn handle_dropped(&self) {}
    /// For downcasts by the loop that made it.
    fn as_any(&self) -> &dyn Any;
}

/// Who has a transport on loan: nobody else writes meanwhile, and the protocol is put aside.
pub trait Borrower {
    /// The protocol that is put aside.
    fn protocol(&self) -> AnyProtocol;
    /// Puts another one aside.
    fn set_protocol(&self, protocol: AnyProtocol);
}

/// A connection as its user sees it; a cheap handle, clones name the same connection.
///
/// Reading goes to the protocol; writing is buffered and never waits.
///
/// ```
/// use anyloop_api::{ExtraInfo, Transport};
///
/// fn say_goodbye(transport: &Transport) {
///     if let Some(ExtraInfo::Address(peer)) = transport.get_extra_info("peername") {
///         println!("{} bytes are still to go to {peer:?}", transport.get_write_buffer_size());
///     }
///     transport.write(b"goodbye\n");
///     // Flushes first; `abort` would not.
///     transport.close();
/// }
/// ```
#[derive(Clone)]
pub struct Transport(Rc<Inner>);

struct Inner {
    raw: Rc<dyn RawTransport>,
    /// Hardly any is ever lent.
    borrower: OnceCell<Box<Loan>>,
}

type Loan = RefCell<Option<Rc<dyn Borrower>>>;

impl Drop for Inner {
    fn drop(&mut self) {
        self.raw.handle_dropped();
    }
}

impl Transport {
    /// Wraps an implementation; called by loops.
    #[must_use]
    pub fn new(raw: Rc<dyn RawTransport>) -> Self {
        Self(Rc::new(Inner { raw, borrower: OnceCell::new() }))
    }

    /// A handle that does not count as one.
    #[must_use]
    pub fn downgrade(&self) -> WeakTransport {
        WeakTransport(Rc::downgrade(&self.0))
    }

    /// The implementation.
    #[must_use]
    pub fn raw(&self) -> &Rc<dyn RawTransport> {
        &self.0.raw
    }

    /// Lends it, or takes it back; called by loops. A borrower works with [`Transport::raw`], and keeps this
    /// handle.
    pub fn lend(&self, to: Option<Rc<dyn Borrower>>) {
        let last = self.0.borrower.get_or_init(Box::default).replace(to);
        drop(last);
    }

    /// Who has it on loan.
    #[must_use]
    pub fn borrower(&self) -> Option<Rc<dyn Borrower>> {
        self.0.borrower.get()?.borrow().clone()
    }

    /// What is written by others would go into the middle of what the borrower writes (TR-18).
    #[inline]
    fn check_not_lent(&self) -> Result<()> {
        match self.0.borrower.get() {
            Some(borrower) if borrower.borrow().is_some() && !self.is_closing() => {
                Err(Error::usage("write: a file is being sent over this transport"))
            }
            _ => Ok(()),
        }
    }

    /// Stops reading, sends what is buffered, then calls `connection_lost(None)`. Idempotent.
    pub fn close(&self) {
        self.raw().close();
    }

    /// Drops what is buffered and closes as soon as possible.
    ///
    /// What the peer sees is the system's matter: a reset if the kernel has bytes that nobody has read, else the
    /// end of the stream. Which of them a loop has read before they are wanted differs between backends. Ask for
    /// a reset if there is to be one:
    ///
    /// ```
    /// use anyloop_api::{Result, Transport};
    /// use std::time::Duration;
    ///
    /// fn reset(transport: &Transport) -> Result<()> {
    ///     if let Some(socket) = transport.get_extra_info("socket").and_then(|i| i.socket().cloned()) {
    ///         socket.dup()?.set_linger(Some(Duration::ZERO))?;
    ///     }
    ///     transport.abort();
    ///     Ok(())
    /// }
    /// ```
    pub fn abort(&self) {
        self.raw().abort();
    }

    /// Whether `close` or `abort` was called or the connection is lost.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.raw().is_closing()
    }

    /// Queues bytes and tries to send them at once. Never waits; discarded if the transport is closing.
    ///
    /// # Errors
    /// `Usage` after [`Transport::write_eof`] or while a file is being sent.
    pub fn write(&self, data: impl AsRef<[u8]>) -> Result<()> {
        self.check_not_lent()?;
        self.raw().write(data.as_ref())
    }

    /// The same with an owned buffer: what cannot be sent at once is not copied.
    ///
    /// # Errors
    /// As [`Transport::write`].
    pub fn write_vec(&self, data: Vec<u8>) -> Result<()> {
        self.check_not_lent()?;
        self.raw().write_vec(data)
    }

    /// As one write of the concatenation.
    ///
    /// # Errors
    /// As [`Transport::write`].
    pub fn writelines(&self, parts: &[&[u8]]) -> Result<()> {
        self.check_not_lent()?;
        self.raw().writelines(parts)
    }

    /// Half-closes once everything buffered is sent; reading goes on. Idempotent.
    ///
    /// # Errors
    /// `Usage` if the transport cannot.
    pub fn write_eof(&self) -> Result<()> {
        self.raw().write_eof()
    }

    /// Whether [`Transport::write_eof`] works.
    #[must_use]
    pub fn can_write_eof(&self) -> bool {
        self.raw().can_write_eof()
    }

    /// No data callbacks until [`Transport::resume_reading`]. Idempotent.
    pub fn pause_reading(&self) {
        self.raw().pause_reading();
    }

    /// Undoes [`Transport::pause_reading`]. Idempotent.
    pub fn resume_reading(&self) {
        self.raw().resume_reading();
    }

    /// Whether data is being delivered: neither paused nor closing, nor at the end of the stream.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.raw().is_reading()
    }

    /// Asks for the next bytes to be announced by [`Protocol::readable`](crate::Protocol::readable)
    /// instead of being delivered, so that they can be read into memory of the caller's choice without a
    /// copy. Holds for one announcement. False: this transport delivers only.
    #[must_use]
    pub fn await_readable(&self) -> bool {
        self.raw().await_readable()
    }

    /// After an announcement: reads what has arrived into `buffer`, without waiting. `None`: there is
    /// nothing (any more); what comes is delivered or announced. The end of the stream and errors are
    /// told to the protocol as ever.
    #[must_use]
    pub fn try_read(&self, buffer: &mut [u8]) -> Option<usize> {
        self.raw().try_read(buffer)
    }

    /// The same, behind what is in `buffer`, as far as it has room without growing.
    #[must_use]
    pub fn try_read_vec(&self, buffer: &mut Vec<u8>) -> Option<usize> {
        self.raw().try_read_vec(buffer)
    }

    /// Bytes accepted by `write` that the operating system has not taken yet.
    #[must_use]
    pub fn get_write_buffer_size(&self) -> usize {
        self.raw().get_write_buffer_size()
    }

    /// The water marks, `(low, high)`.
    #[must_use]
    pub fn get_write_buffer_limits(&self) -> (usize, usize) {
        self.raw().get_write_buffer_limits()
    }

    /// Sets the water marks. Without `low` it is `high / 4`; without `high` it is `4 × low`, or 64 KiB
    /// if neither is given.
    ///
    /// # Errors
    /// `InvalidArg` unless `high ≥ low`.
    pub fn set_write_buffer_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<()> {
        self.raw().set_write_buffer_limits(high, low)
    }

    /// Hands the connection to another protocol, from the next callback on.
    pub fn set_protocol(&self, protocol: impl Into<AnyProtocol>) {
        match self.borrower() {
            Some(borrower) => borrower.set_protocol(protocol.into()),
            None => self.raw().set_protocol(protocol.into()),
        }
    }

    /// The current protocol.
    #[must_use]
    pub fn get_protocol(&self) -> AnyProtocol {
        match self.borrower() {
            Some(borrower) => borrower.protocol(),
            None => self.raw().get_protocol(),
        }
    }

    /// Metadata by asyncio's names: `"socket"`, `"sockname"`, `"peername"`, `"peercred"`, `"pipe"`, …. `None` for
    /// names that this transport does not know. Names and addresses outlive the connection.
    #[must_use]
    pub fn get_extra_info(&self, name: &str) -> Option<ExtraInfo> {
        self.raw().extra_info(name)
    }

    /// The peer's address, if it is an Internet address.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.get_extra_info("peername")?.address()?.as_socket()
    }

    /// Our address, if it is an Internet address.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.get_extra_info("sockname")?.address()?.as_socket()
    }

    /// Whether both name the same connection.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        std::ptr::addr_eq(Rc::as_ptr(self.raw()), Rc::as_ptr(other.raw()))
    }
}

/// Names a transport without keeping its user's side alive; for loops.
#[derive(Clone, Default)]
pub struct WeakTransport(Weak<Inner>);

impl WeakTransport {
    /// The handle, if the user still has one.
    #[must_use]
    pub fn upgrade(&self) -> Option<Transport> {
        self.0.upgrade().map(Transport)
    }
}

impl fmt::Debug for WeakTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakTransport")
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw().fmt(f)
    }
}

/// The water marks that `set_write_buffer_limits(high, low)` means (FLOW-06): `(high, low)`.
///
/// # Errors
/// `InvalidArg` unless `high ≥ low`.
pub fn write_buffer_limits(high: Option<usize>, low: Option<usize>) -> Result<(usize, usize)> {
    let high = high.unwrap_or_else(|| low.map_or(64 * 1024, |low| low.saturating_mul(4)));
    let low = low.unwrap_or(high / 4);
    if high < low {
        return Err(Error::InvalidArg(
            format!("set_write_buffer_limits: high ({high}) must not be less than low ({low})")
                .into(),
        ));
    }
    Ok((high, low))
}
