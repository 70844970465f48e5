//! Sockets that never block and do not outlive an exec: where the system can, from the beginning.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use anyloop_api::{Domain, Type};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny};
use socket2::{Protocol, Socket};

/// A write never waits, and to a peer that is gone it is an error, never a signal.
#[cfg(not(target_vendor = "apple"))]
pub(crate) const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);
/// Rust programs ignore the signal, unless they ask for it.
#[cfg(target_vendor = "apple")]
pub(crate) const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT;

/// For messages that may bring descriptors.
#[cfg(not(target_vendor = "apple"))]
pub(crate) const RECV_FDS_FLAGS: RecvFlags = RecvFlags::DONTWAIT.union(RecvFlags::CMSG_CLOEXEC);
/// See [`received`].
#[cfg(target_vendor = "apple")]
pub(crate) const RECV_FDS_FLAGS: RecvFlags = RecvFlags::DONTWAIT;

/// A descriptor that came with [`RECV_FDS_FLAGS`].
pub(crate) fn received(fd: OwnedFd) -> OwnedFd {
    #[cfg(target_vendor = "apple")]
    // Cannot fail for a descriptor that is open.
    let _ = rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC);
    fd
}

/// A socket that is neither bound nor connected.
pub(crate) fn open(domain: Domain, kind: Type, protocol: Option<Protocol>) -> io::Result<Socket> {
    #[cfg(not(target_vendor = "apple"))]
    return Socket::new(domain, kind.nonblocking(), protocol);
    #[cfg(target_vendor = "apple")]
    {
        let socket = Socket::new(domain, kind, protocol)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

/// The next connection and its peer.
#[inline]
pub(crate) fn accept(listener: BorrowedFd<'_>) -> Result<(OwnedFd, Option<SocketAddrAny>), Errno> {
    #[cfg(not(target_vendor = "apple"))]
    {
        use rustix::net::SocketFlags;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        rustix::net::acceptfrom_with(listener, flags)
    }
    #[cfg(target_vendor = "apple")]
    {
        let (fd, peer) = rustix::net::acceptfrom(listener)?;
        rustix::io::ioctl_fionbio(&fd, true)?;
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        Ok((fd, peer))
    }
}

/// The address family, which only some systems tell by an option.
pub(crate) fn domain(socket: &Socket) -> io::Result<Domain> {
    Ok(socket.local_addr()?.domain())
}
