//! The other end of a connection: a plain socket that the case has in its own hands.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyloop_api::{LoopRef, Result, SocketView, Transport};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::running::run_times;
use super::sockets::{on_readable, socket_pair};
use crate::case::Failure;

/// Bytes in which each position can be told from its neighbours, near and far.
#[must_use]
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 7) ^ (at >> 15)) as u8).collect()
}

/// A port that nobody uses, and that the system gives to nobody who asks for any.
///
/// # Errors
/// None was found.
pub fn free_port() -> io::Result<u16> {
    // Below the range of ephemeral ports; cases that run at the same time are other processes.
    let first = 20_000 + (std::process::id() % 1_000) as u16 * 10;
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok();
    (first..first + 10).find(free).ok_or_else(|| ErrorKind::AddrNotAvailable.into())
}

/// Whatever the kernel knew before this call has reached the callbacks when it returns: runs `lp` until
/// something that happens now was noticed, and three iterations more.
///
/// # Errors
/// Those of the runs.
pub fn settle(lp: &LoopRef) -> Result<()> {
    let (near, mut far) = socket_pair()?;
    let weak = lp.downgrade();
    on_readable(lp, &near, move || {
        if let Some(lp) = weak.upgrade() {
            lp.stop();
        }
    })?;
    far.write_all(b"x")?;
    lp.run_forever()?;
    run_times(lp, 3)
}

/// The view of a transport's socket.
///
/// # Errors
/// If it shows none.
pub fn socket_view(transport: &Transport) -> Result<SocketView, Failure> {
    let info = transport.get_extra_info("socket");
    let view = info.as_ref().and_then(|info| info.socket()).cloned();
    view.ok_or_else(|| Failure::new("the transport shows no socket"))
}

/// A TCP connection whose first direction is full: nothing more can be written to `near` until somebody
/// reads from `far`.
#[derive(Debug)]
pub struct CloggedTcp {
    /// The end that would block.
    pub near: TcpStream,
    /// The other end, with everything unread.
    pub far: TcpStream,
    /// How many bytes (all `.`) wait there.
    pub unread: usize,
}

/// A TCP connection over loopback of which one direction is full; the buffers are small.
///
/// # Errors
/// Those of the operating system.
pub fn clogged_tcp_pair() -> io::Result<CloggedTcp> {
    const SMALL: usize = 16 * 1024;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    sockopt::set_socket_recv_buffer_size(&listener, SMALL)?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    sockopt::set_socket_send_buffer_size(&near, SMALL)?;
    let (far, peer) = listener.accept()?;
    if peer != near.local_addr()? {
        return Err(io::Error::other("a stranger connected to the listener of a test"));
    }
    near.set_nonblocking(true)?;
    let unread = fill(&mut near)?;
    Ok(CloggedTcp { near, far, unread })
}

/// Writes until nothing more goes in, and goes on not going in: the two kernels' ends still talk for a
/// while about acknowledgements and room.
fn fill(near: &mut TcpStream) -> io::Result<usize> {
    const QUIET: u32 = 8;
    let block = [b'.'; 4096];
    let (mut unread, mut refused) = (0, 0);
    while refused < QUIET {
        match near.write(&block) {
            Ok(count) => (unread, refused) = (unread + count, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                refused += 1;
                thread::sleep(Duration::from_millis(15));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(unread)
}

/// Reads to the end of the stream, or to an error, on a thread.
pub fn collect(mut far: TcpStream) -> JoinHandle<io::Result<Vec<u8>>> {
    thread::spawn(move || {
        far.set_nonblocking(false)?;
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes)?;
        Ok(bytes)
    })
}

/// What can be read now without waiting, and whether the end of the stream was reached.
///
/// # Errors
/// Those of `recv`.
pub fn available(far: &mut TcpStream) -> io::Result<(Vec<u8>, bool)> {
    far.set_nonblocking(true)?;
    let mut bytes = Vec::new();
    match far.read_to_end(&mut bytes) {
        Ok(_) => Ok((bytes, true)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok((bytes, false)),
        Err(error) => Err(error),
    }
}

/// Ends a connection with a reset.
///
/// # Errors
/// Those of the operating system.
pub fn reset(far: TcpStream) -> io::Result<()> {
    sockopt::set_socket_linger(&far, Some(Duration::ZERO))?;
    drop(far);
    Ok(())
}

/// A socket that has this address and does not listen: connections are refused, and nobody else can get
/// the address as long as it is open.
///
/// # Errors
/// Those of the operating system.
pub fn bound(address: SocketAddr) -> io::Result<(SocketAddr, OwnedFd)> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    rustix::net::bind(&socket, &address)?;
    Ok((SocketAddr::try_from(rustix::net::getsockname(&socket)?)?, socket))
}

/// A listener that answers nobody: its queue is full, and a further connect hangs until it accepts.
#[derive(Debug)]
pub struct Stalled {
    /// The listener.
    pub listener: TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
    queued: Vec<TcpStream>,
}

impl Stalled {
    /// Takes everybody out of the queue. Whoever hangs is answered when the kernel knocks again, within
    /// a second or so.
    ///
    /// # Errors
    /// Those of `accept`.
    pub fn make_room(&self) -> io::Result<()> {
        self.queued.iter().try_for_each(|_| self.listener.accept().map(drop))
    }
}

/// Makes a listener that lets connects hang.
///
/// # Errors
/// Those of the operating system.
pub fn stalled_listener() -> io::Result<Stalled> {
    stalled_listener_at((Ipv4Addr::LOCALHOST, 0).into())
}

/// The same at this address.
///
/// # Errors
/// Those of the operating system.
pub fn stalled_listener_at(address: SocketAddr) -> io::Result<Stalled> {
    let (address, socket) = bound(address)?;
    rustix::net::listen(&socket, 0)?;
    let listener = TcpListener::from(socket);
    let mut queued = Vec::new();
    // A connect that is not answered at once on loopback is not answered at all.
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        queued.push(stream);
    }
    Ok(Stalled { listener, address, queued })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clogged_pair_is_full_and_carries_what_it_says() -> io::Result<()> {
        let CloggedTcp { mut near, far, unread } = clogged_tcp_pair()?;
        assert_eq!(near.write(b"x").expect_err("full").kind(), ErrorKind::WouldBlock);
        assert!(unread > 0);
        let reader = collect(far);
        drop(near);
        assert_eq!(reader.join().expect("no panic")?, vec![b'.'; unread]);
        Ok(())
    }

    #[test]
    fn a_stalled_listener_answers_when_it_accepts() -> io::Result<()> {
        let stalled = stalled_listener()?;
        let patience = Duration::from_millis(100);
        let error = TcpStream::connect_timeout(&stalled.address, patience).expect_err("no answer");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        stalled.make_room()?;
        TcpStream::connect_timeout(&stalled.address, Duration::from_secs(10))?;
        Ok(())
    }

    #[test]
    fn a_pattern_shows_every_shift() {
        let pattern = pattern(1 << 17);
        for shift in [1, 2, 128, 256, 4096, 1 << 15, 1 << 16] {
            assert!(pattern.windows(64).zip(pattern[shift..].windows(64)).any(|(a, b)| a != b));
        }
    }
}
