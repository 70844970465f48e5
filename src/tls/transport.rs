//! The layer as the transport of the protocol above.

use std::any::Any;
use std::fmt;

use anyloop_api::{AnyProtocol, Error, ExtraInfo, Protocol, RawTransport, Result};

use super::layer::{Layer, State, object};
use super::session::Session;

impl RawTransport for Layer {
    fn close(&self) {
        self.start_shutdown();
    }

    fn abort(&self) {
        self.abort_with(None);
    }

    fn is_closing(&self) -> bool {
        self.is_over()
    }

    fn write(&self, data: &[u8]) -> Result<()> {
        self.put(data);
        Ok(())
    }

    fn write_eof(&self) -> Result<()> {
        Err(Error::usage("write_eof: a TLS connection cannot be half-closed"))
    }

    fn can_write_eof(&self) -> bool {
        false
    }

    fn pause_reading(&self) {
        self.set_reading(false);
    }

    fn resume_reading(&self) {
        self.set_reading(true);
    }

    fn is_reading(&self) -> bool {
        !self.reading_paused.get() && !self.is_over()
    }

    fn get_write_buffer_size(&self) -> usize {
        self.queued()
    }

    fn get_write_buffer_limits(&self) -> (usize, usize) {
        (self.low.get(), self.high.get())
    }

    fn set_write_buffer_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<()> {
        self.set_limits(high, low)
    }

    fn set_protocol(&self, protocol: AnyProtocol) {
        if self.protocol().is_some() {
            self.replace_protocol(Some(protocol));
        }
    }

    fn get_protocol(&self) -> AnyProtocol {
        self.protocol().unwrap_or_else(|| AnyProtocol::plain(Gone))
    }

    fn extra_info(&self, name: &str) -> Option<ExtraInfo> {
        let session = self.this.upgrade().map(Session::new)?;
        match name {
            "sslcontext" => Some(object(self.tls.clone())),
            "ssl_object" => session.is_ready().then(|| object(session)),
            "peercert" => session.peer_certificate().map(ExtraInfo::Bytes),
            "cipher" => session.cipher().map(ExtraInfo::Text),
            "compression" => None,
            _ => self.below.get()?.get_extra_info(name),
        }
    }

    fn handle_dropped(&self) {
        self.end_if_forgotten();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What `get_protocol` answers after the end.
struct Gone;

impl Protocol for Gone {}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state.get() {
            State::Handshake => "in the handshake",
            State::Wrapped if self.reading_paused.get() => "not reading",
            State::Wrapped => "reading",
            State::Flushing | State::Shutdown => "closing",
            State::Closed => "closed",
        };
        write!(f, "<TlsTransport {state}, {} bytes to write", self.queued())?;
        match self.below.get() {
            Some(below) => write!(f, ", over {below:?}>"),
            None => f.write_str(">"),
        }
    }
}
