//! What users may do with a pipe transport.

use std::any::Any;

use anyloop_api::{AnyProtocol, Error, ExtraInfo, PipeView, Protocol, RawTransport, Result};

use super::{CLOSING, End, PAUSED, Pipe};

impl RawTransport for Pipe {
    fn close(&self) {
        self.close_gracefully();
    }

    fn abort(&self) {
        self.force(None);
    }

    fn is_closing(&self) -> bool {
        self.has(CLOSING)
    }

    fn write(&self, data: &[u8]) -> Result<()> {
        self.write_bytes(data)
    }

    fn write_eof(&self) -> Result<()> {
        if self.end == End::Read {
            return Err(Error::usage("write_eof: this is the read end of a pipe"));
        }
        self.close_gracefully();
        Ok(())
    }

    fn can_write_eof(&self) -> bool {
        self.end == End::Write
    }

    fn pause_reading(&self) {
        self.pause();
    }

    fn resume_reading(&self) {
        self.resume();
    }

    fn is_reading(&self) -> bool {
        self.end == End::Read && !self.has(PAUSED | CLOSING)
    }

    fn get_write_buffer_size(&self) -> usize {
        self.pending()
    }

    fn get_write_buffer_limits(&self) -> (usize, usize) {
        self.flow.limits()
    }

    fn set_write_buffer_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<()> {
        self.flow.set_limits(high, low)?;
        self.maybe_pause();
        Ok(())
    }

    fn set_protocol(&self, protocol: AnyProtocol) {
        self.voice.replace(protocol);
    }

    fn get_protocol(&self) -> AnyProtocol {
        self.voice.protocol().unwrap_or_else(|| AnyProtocol::plain(Gone))
    }

    fn extra_info(&self, name: &str) -> Option<ExtraInfo> {
        (name == "pipe").then(|| {
            let fd = self.fd();
            ExtraInfo::Pipe(fd.as_ref().map_or_else(PipeView::closed, PipeView::new))
        })
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
