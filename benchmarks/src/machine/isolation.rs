//! A network of our own: loopback only, default settings, nobody else's traffic.

use std::fs;
use std::io;

use rustix::fd::AsRawFd;
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves this process into a network namespace of its own, if it may, and says in words what the
/// network is now.
///
/// Must run before any other thread exists. Congestion control becomes reno, which does not pace:
/// a pacing one measures its own timers on loopback.
pub(crate) fn isolate() -> String {
    match enter_namespace().and_then(|()| raise_loopback()) {
        Ok(()) => {}
        Err(error) => return format!("the host's, shared ({error})"),
    }
    let pacing = fs::write("/proc/sys/net/ipv4/tcp_congestion_control", "reno");
    // More ports delay the moment when churn has to search for one; without them it still runs.
    let _ = fs::write("/proc/sys/net/ipv4/ip_local_port_range", "2048 65535");
    match pacing {
        Ok(()) => "namespace of our own, reno".to_owned(),
        Err(_) => "namespace of our own, the host's congestion control".to_owned(),
    }
}

fn enter_namespace() -> io::Result<()> {
    // SAFETY: the flag that makes this call dangerous (a private descriptor table) is not used.
    let alone = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
    // SAFETY: as above. A user namespace lends the right to have a network namespace.
    let lent = || unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNET) };
    Ok(alone.or_else(|_| lent())?)
}

/// Switches the loopback interface of a fresh namespace on.
fn raise_loopback() -> io::Result<()> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: an all-zero `ifreq` is valid: it holds integers, addresses and a null pointer.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the socket is open and `request` is an `ifreq` with name and flags set, which is
    // what SIOCSIFFLAGS reads.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
