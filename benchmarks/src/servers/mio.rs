//! A bare mio server: what the readiness backends can hope for.

use std::io::{self, Read, Write};
use std::net::TcpListener;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::pages::Pages;

/// Serves the listener.
pub(crate) fn serve(listener: TcpListener, buffer: usize) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = mio::net::TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;

    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut buffer = Pages::new(buffer);
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Some((mut stream, _)) = would_block(listener.accept())? {
                    stream.set_nodelay(true)?;
                    let slot = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(slot), interest)?;
                    connections[slot] = Some(Connection { stream, unsent: Vec::new() });
                }
                continue;
            }
            let closing = event.is_read_closed() || event.is_error();
            let slot = &mut connections[event.token().0];
            if let Some(connection) = slot
                && connection.ready(&mut buffer, closing).is_err()
            {
                *slot = None;
                free.push(event.token().0);
            }
        }
    }
}

/// The socket, and bytes its peer is too slow to take.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    unsent: Vec<u8>,
}

impl Connection {
    /// Echoes what there is; an error or the end of the stream means: close it.
    fn ready(&mut self, buffer: &mut [u8], closing: bool) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let Some(sent) = would_block(self.stream.write(&self.unsent))? else { return Ok(()) };
            self.unsent.drain(..sent);
        }
        loop {
            let Some(received) = would_block(self.stream.read(buffer))? else { return Ok(()) };
            if received == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut rest = &buffer[..received];
            while !rest.is_empty() {
                match would_block(self.stream.write(rest))? {
                    Some(sent) => rest = &rest[sent..],
                    None => {
                        self.unsent.extend_from_slice(rest);
                        return Ok(());
                    }
                }
            }
            // The edge comes again for what arrives after a short read, but not for an end of the
            // stream that has been announced already.
            if received < buffer.len() && !closing {
                return Ok(());
            }
        }
    }
}

/// Turns "not now" into `None`.
fn would_block<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

const LISTENER: Token = Token(usize::MAX);
