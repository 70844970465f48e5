//! The bare epoll server: a line to compare with.
//!
//! Edge-triggered, registered once per connection, one shared buffer, `recv` and `send` called
//! directly; a connection costs a slot and nothing else until the peer stops reading.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

use crate::pages::Pages;

/// Serves the listener.
pub(crate) fn serve(listener: TcpListener, buffer: usize) -> io::Result<()> {
    serve_by(listener, buffer, |socket| Ok(Plain { socket, unsent: Vec::new() }))
}

/// What is behind an accepted socket.
pub(crate) trait Connection {
    /// Echoes what there is; an error or the end of the stream means: close it.
    fn ready(&mut self, buffer: &mut [u8], closing: bool) -> io::Result<()>;
}

/// Serves the listener with connections that `make` makes.
pub(crate) fn serve_by<C: Connection>(
    listener: TcpListener,
    buffer: usize,
    mut make: impl FnMut(OwnedFd) -> io::Result<C>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let poller = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poller, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;

    let mut connections: Vec<Option<C>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut buffer = Pages::new(buffer);
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        match epoll::wait(&poller, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let token = event.data.u64();
            if token == LISTENER {
                accept_all(&listener, &poller, &mut connections, &mut free, &mut make)?;
                continue;
            }
            let flags = event.flags;
            let closing = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            let slot = &mut connections[token as usize];
            if let Some(connection) = slot
                && connection.ready(&mut buffer, closing).is_err()
            {
                *slot = None;
                free.push(token as usize);
            }
        }
    }
}

/// The socket, and bytes its peer is too slow to take.
#[derive(Debug)]
struct Plain {
    socket: OwnedFd,
    unsent: Vec<u8>,
}

impl Connection for Plain {
    fn ready(&mut self, buffer: &mut [u8], closing: bool) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let Some(sent) = would_block(send(&self.socket, &self.unsent, SEND))? else {
                return Ok(());
            };
            self.unsent.drain(..sent);
        }
        loop {
            let Some(received) = receive(&self.socket, buffer)? else { return Ok(()) };
            let mut rest = &buffer[..received];
            while !rest.is_empty() {
                match would_block(send(&self.socket, rest, SEND))? {
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

fn accept_all<C>(
    listener: &TcpListener,
    poller: &OwnedFd,
    connections: &mut Vec<Option<C>>,
    free: &mut Vec<usize>,
    make: &mut impl FnMut(OwnedFd) -> io::Result<C>,
) -> io::Result<()> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    while let Some(socket) = would_block(accept_with(listener, flags))? {
        set_tcp_nodelay(&socket, true)?;
        let slot = free.pop().unwrap_or_else(|| {
            connections.push(None);
            connections.len() - 1
        });
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(poller, socket.as_fd(), EventData::new_u64(slot as u64), interest)?;
        connections[slot] = Some(make(socket)?);
    }
    Ok(())
}

/// How much has come, if anything; the end of the stream is an error.
pub(crate) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match would_block(recv(socket, buffer, RecvFlags::DONTWAIT))? {
        Some((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
        received => Ok(received.map(|(received, _)| received)),
    }
}

/// Turns "not now" into `None`.
fn would_block<T>(result: rustix::io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

const LISTENER: u64 = u64::MAX;
pub(crate) const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
