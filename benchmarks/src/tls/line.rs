//! rustls on bare epoll: the line to compare with.

use std::io::{self, BufRead, IoSlice, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyloop::tls::rustls::{ServerConfig, ServerConnection};
use rustix::io::writev;
use rustix::net::send;

use crate::servers::epoll::{self, Connection, SEND, receive};

/// Serves the listener.
pub(super) fn serve(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    buffer: usize,
) -> io::Result<()> {
    epoll::serve_by(listener, buffer, move |socket| {
        let session = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
        Ok(Encrypted { socket, session, plain: Vec::new() })
    })
}

struct Encrypted {
    socket: OwnedFd,
    session: ServerConnection,
    /// What is under way from the session's reader to its writer.
    plain: Vec<u8>,
}

impl Connection for Encrypted {
    fn ready(&mut self, buffer: &mut [u8], closing: bool) -> io::Result<()> {
        self.flush()?;
        loop {
            let Some(received) = receive(&self.socket, buffer)? else { return Ok(()) };
            self.answer(&buffer[..received])?;
            if received < buffer.len() && !closing {
                return Ok(());
            }
        }
    }
}

impl Encrypted {
    /// Decrypts, encrypts, and sends what can be sent.
    fn answer(&mut self, mut cipher: &[u8]) -> io::Result<()> {
        while !cipher.is_empty() {
            self.session.read_tls(&mut cipher)?;
            self.session.process_new_packets().map_err(io::Error::other)?;
            let mut reader = self.session.reader();
            loop {
                let count = match reader.fill_buf() {
                    Ok([]) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(chunk) => {
                        self.plain.extend_from_slice(chunk);
                        chunk.len()
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                };
                reader.consume(count);
            }
        }
        self.session.writer().write_all(&self.plain)?;
        self.plain.clear();
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Socket(&self.socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What rustls writes to.
struct Socket<'a>(&'a OwnedFd);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.0, bytes, SEND)?)
    }

    fn write_vectored(&mut self, records: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(writev(self.0, records)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
