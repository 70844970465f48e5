//! Descriptors that stand for processes; Linux alone has them. Elsewhere a thread waits for the child.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

/// The descriptor of a child that has not been waited for.
#[cfg(target_os = "linux")]
pub(super) fn open(pid: Pid) -> Result<OwnedFd, Errno> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
}

#[cfg(target_os = "linux")]
pub(super) fn send_signal(pidfd: &OwnedFd, signal: Signal) -> Result<(), Errno> {
    rustix::process::pidfd_send_signal(pidfd, signal)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn open(_: Pid) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn send_signal(_: &OwnedFd, _: Signal) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}
