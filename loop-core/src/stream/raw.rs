//! What users may do with a stream transport.

use anyloop_api::{AnyProtocol, ExtraInfo, RawTransport, Result, SocketView};

use super::recv::{recv_behind, recv_into};
use super::{ANNOUNCE, CLOSING, EOF, EOF_WANTED, LOST, PAUSED, Stream, TRANSFER};
use crate::sockaddr;

impl RawTransport for Stream {
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

    fn write_vec(&self, data: Vec<u8>) -> Result<()> {
        self.write_owned(data)
    }

    fn writelines(&self, parts: &[&[u8]]) -> Result<()> {
        self.write_owned(parts.concat())
    }

    fn write_eof(&self) -> Result<()> {
        if !self.has(CLOSING | EOF_WANTED) {
            self.set(EOF_WANTED);
            if self.pending() == 0 && !self.has(TRANSFER) {
                self.send_eof();
            }
        }
        Ok(())
    }

    fn can_write_eof(&self) -> bool {
        true
    }

    fn pause_reading(&self) {
        self.pause();
    }

    fn resume_reading(&self) {
        self.resume();
    }

    fn is_reading(&self) -> bool {
        !self.has(PAUSED | CLOSING | EOF)
    }

    fn await_readable(&self) -> bool {
        if self.socket.is_registered() {
            self.set(ANNOUNCE);
        }
        self.socket.is_registered()
    }

    fn try_read(&self, buffer: &mut [u8]) -> Option<usize> {
        self.read_offered(buffer.len(), |base, socket, room| {
            recv_into(base, socket, &mut buffer[..room])
        })
    }

    fn try_read_vec(&self, buffer: &mut Vec<u8>) -> Option<usize> {
        let room = buffer.capacity() - buffer.len();
        self.read_offered(room, |base, socket, room| recv_behind(base, socket, buffer, room))
    }

    fn get_write_buffer_size(&self) -> usize {
        self.pending()
    }

    fn get_write_buffer_limits(&self) -> (usize, usize) {
        self.limits()
    }

    fn set_write_buffer_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<()> {
        self.rare(|rare| rare.flow.set_limits(high, low))?;
        self.maybe_pause();
        Ok(())
    }

    fn set_protocol(&self, protocol: AnyProtocol) {
        if !self.has(LOST) {
            // An offer was made to the old one: it is withdrawn when it runs out.
            self.clear(ANNOUNCE);
            self.voice.replace(protocol);
        }
    }

    fn get_protocol(&self) -> AnyProtocol {
        self.voice.protocol().unwrap_or_else(|| AnyProtocol::plain(Gone))
    }

    fn extra_info(&self, name: &str) -> Option<ExtraInfo> {
        let address = match name {
            "sockname" => self.own_name(),
            "peername" => self.peer.get(),
            "peercred" => {
                return self.socket.with(sockaddr::credentials)?.map(ExtraInfo::Credentials);
            }
            "socket" => {
                let view =
                    self.socket.get().as_ref().map_or_else(SocketView::closed, SocketView::new);
                return Some(ExtraInfo::Socket(view));
            }
            _ => None,
        };
        address.map(ExtraInfo::Address)
    }

    fn handle_dropped(&self) {
        self.end_if_forgotten();
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// What `get_protocol` answers after the end.
struct Gone;

impl anyloop_api::Protocol for Gone {}
