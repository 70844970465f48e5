//! Pairs of connected sockets.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use anyloop_api::{EventLoopExt, LoopRef, Result};

use crate::case::Failure;

/// Two ends of a local stream, non-blocking.
///
/// # Errors
/// Those of the operating system.
pub fn socket_pair() -> io::Result<(UnixStream, UnixStream)> {
    let (left, right) = UnixStream::pair()?;
    left.set_nonblocking(true)?;
    right.set_nonblocking(true)?;
    Ok((left, right))
}

/// A pair whose first end has this number, which was given back just now.
///
/// # Errors
/// What `pair` says; the number is not used again.
pub fn pair_with_number<S: AsRawFd, E: Into<Failure>>(
    number: RawFd,
    pair: impl Fn() -> std::result::Result<(S, S), E>,
) -> std::result::Result<(S, S), Failure> {
    let mut others = Vec::new();
    loop {
        let (near, far) = pair().map_err(Into::into)?;
        if near.as_raw_fd() == number {
            return Ok((near, far));
        }
        if far.as_raw_fd() == number {
            return Ok((far, near));
        }
        ensure!(others.len() < 100, "descriptor {number} is not used again");
        others.push((near, far));
    }
}

/// Two ends of a TCP connection over loopback, non-blocking; the accepted end is the second.
///
/// # Errors
/// Those of the operating system.
pub fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, peer) = listener.accept()?;
    if peer != client.local_addr()? {
        return Err(io::Error::other("a stranger connected to the listener of a test"));
    }
    client.set_nonblocking(true)?;
    server.set_nonblocking(true)?;
    Ok((client, server))
}

/// A connection whose first direction is full: nothing more can be written to `full` until
/// somebody reads from `drain`.
#[derive(Debug)]
pub struct Clogged {
    /// The end that would block.
    pub full: UnixStream,
    /// The other end, with everything unread.
    pub drain: UnixStream,
    /// How many bytes wait there.
    pub unread: usize,
}

/// A [`socket_pair`] of which one direction is full.
///
/// # Errors
/// Those of the operating system.
pub fn clogged_pair() -> io::Result<Clogged> {
    let (mut full, drain) = socket_pair()?;
    let block = [b'.'; 4096];
    let mut unread = 0;
    loop {
        match full.write(&block) {
            Ok(n) => unread += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(Clogged { full, drain, unread })
}

/// What a call that does not wait has moved; nothing if it would have had to.
///
/// # Errors
/// Those of the call.
pub fn or_nothing(moved: io::Result<usize>) -> io::Result<usize> {
    match moved {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        moved => moved,
    }
}

/// Calls back once, when `fd` has become readable; the descriptor must stay open until then.
///
/// # Errors
/// Those of `add_reader`.
pub fn on_readable(
    lp: &LoopRef,
    fd: &impl AsRawFd,
    callback: impl FnOnce() + 'static,
) -> Result<()> {
    let (weak, fd, mut callback) = (lp.downgrade(), fd.as_raw_fd(), Some(callback));
    lp.add_reader(&fd, move || {
        if let Some(lp) = weak.upgrade() {
            let _ = lp.remove_reader(&fd);
        }
        if let Some(callback) = callback.take() {
            callback();
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn pairs_are_connected_and_clogged_ones_full() -> io::Result<()> {
        let (mut client, mut server) = tcp_pair()?;
        server.set_nonblocking(false)?;
        client.write_all(b"x")?;
        let mut byte = [0];
        server.read_exact(&mut byte)?;
        assert_eq!(byte, *b"x");

        let mut clogged = clogged_pair()?;
        let error = clogged.full.write(b"x").expect_err("the pair is full");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(clogged.unread > 0);
        Ok(())
    }
}
