//! Readiness: tier 1.
//!
//! A multishot poll reports each change, which makes us edge-triggered. There is no other way: it is as
//! old as 5.13, and a poll for one event, armed again and again, would spin on a stream whose peer has
//! shut down, because the kernel adds `POLLRDHUP` to whatever is asked for.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use anyloop_core::driver::{Event, Fd, Interest, Key, Readiness};
use io_uring::{cqueue, opcode, types};

use crate::driver::UringDriver;
use crate::kind::Kind;
use crate::slot::{OpId, OpRef, State};

const IN: u32 = libc::POLLIN as u32;
pub(crate) const OUT: u32 = libc::POLLOUT as u32;
const ERR: u32 = libc::POLLERR as u32;
const HUP: u32 = libc::POLLHUP as u32;
const RDHUP: u32 = libc::POLLRDHUP as u32;

impl UringDriver {
    pub(crate) fn poll_register(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
        if self.key_ops(key).is_some_and(|ops| !ops.poll.is_none()) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        let file = identify(fd.as_fd())?;
        let number = fd.as_raw_fd() as usize;
        if number >= self.watched.len() {
            self.watched.resize(number + 1, Watched { key, file: 0 });
        }
        if file != 0 && self.watched[number].file == file {
            let other = self.watched[number].key;
            let current = self.key_ops(other).map_or(OpRef::NONE, |ops| ops.poll);
            if self.ops.at(current).is_some_and(|(_, op)| op.fd == fd.as_raw_fd()) {
                return Err(io::Error::from_raw_os_error(libc::EEXIST));
            }
        }
        self.watched[number] = Watched { key, file };
        self.poll_begin(fd.as_raw_fd(), key, interest);
        Ok(())
    }

    fn poll_begin(&mut self, fd: RawFd, key: Key, interest: Interest) {
        let id = self.ops.insert(Kind::Poll, key, fd, mask(interest));
        self.key_entry(key).poll = id.into();
        self.poll_arm(id);
    }

    pub(crate) fn poll_modify(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
        let current = self.key_ops(key).map_or(OpRef::NONE, |ops| ops.poll);
        let Some((id, op)) = self.ops.at(current) else {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        };
        if op.state == State::Idle {
            op.word = mask(interest);
            self.poll_arm(id);
        } else {
            // A new request sees what holds now; the old one's last words are swallowed.
            self.replaced |= self.abandon(id);
            self.poll_begin(fd.as_raw_fd(), key, interest);
        }
        Ok(())
    }

    pub(crate) fn poll_deregister(&mut self, key: Key) {
        let Some(ops) = self.key_ops(key) else { return };
        let current = mem::replace(&mut ops.poll, OpRef::NONE);
        let Some((id, _)) = self.ops.at(current) else { return };
        self.stash.retain(|event| event.key() != key || !matches!(event, Event::Ready { .. }));
        if self.abandon(id) | mem::take(&mut self.replaced) {
            // Only now the kernel lets go of the file, which may be closed and opened anew at once.
            self.flush();
        }
    }

    /// Asks the kernel to watch, unless nothing is to be watched.
    fn poll_arm(&mut self, id: OpId) {
        let Some(op) = self.ops.get(id) else { return };
        if op.word == 0 {
            return;
        }
        let entry = opcode::PollAdd::new(types::Fd(op.fd), op.word)
            .multi(true)
            .build()
            .user_data(id.user_data(Kind::Poll));
        // SAFETY: the request points to no memory.
        unsafe { self.ring.push(entry) };
        self.ops.departed(id);
    }

    pub(crate) fn on_poll(&mut self, id: OpId, result: i32, flags: u32, events: &mut Vec<Event>) {
        let Some(op) = self.ops.get(id) else { return };
        if op.state == State::Armed {
            let (key, wanted) = (op.key, op.word);
            if let Some(readiness) = seen(result, wanted) {
                events.push(Event::Ready { key, readiness });
            }
        }
        if cqueue::more(flags) {
            return;
        }
        match self.ops.landed(id) {
            State::Orphan => drop(self.ops.remove(id)),
            // It lapsed for want of room, or for no reason.
            _ if result > 0 || is_transient(result) => self.poll_arm(id),
            // It failed. The owner of the descriptor learns why by using it.
            _ => {}
        }
    }
}

fn is_transient(result: i32) -> bool {
    matches!(-result, libc::EINTR | libc::EAGAIN | libc::ECANCELED)
}

fn mask(interest: Interest) -> u32 {
    let mut mask = 0;
    if interest.readable {
        // The half-close comes with the data or not at all.
        mask |= IN | RDHUP;
    }
    if interest.writable {
        mask |= OUT;
    }
    mask
}

/// What a completion says; an error counts as both, for both calls will tell it.
pub(crate) fn seen(result: i32, wanted: u32) -> Option<Readiness> {
    if result == 0 || is_transient(result) {
        return None;
    }
    let bits = if result > 0 { result as u32 } else { ERR | HUP | wanted };
    let seen = Readiness::default()
        .readable(bits & (IN | RDHUP | HUP | ERR) != 0)
        .writable(bits & (OUT | HUP | ERR) != 0)
        .closed(bits & (RDHUP | HUP | ERR) != 0);
    Some(seen)
}

/// Under which key a descriptor was registered last. The key may have been deregistered since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    key: Key,
    /// Tells the file from others that had the same number; 0 if it cannot be told.
    file: u64,
}

/// Identifies a file, and refuses what cannot be polled: io_uring would call a file on disk always
/// ready, where the other backends answer `EPERM`.
fn identify(fd: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: zeroes are a valid `stat`, which is plain data.
    let mut stat: libc::stat = unsafe { mem::zeroed() };
    // SAFETY: `fd` is open, and `stat` is ours to be written to.
    if unsafe { libc::fstat(fd.as_raw_fd(), &raw mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFSOCK => Ok(stat.st_ino),
        libc::S_IFIFO => Ok(0),
        libc::S_IFREG | libc::S_IFDIR => Err(io::Error::from_raw_os_error(libc::EPERM)),
        // Devices and anonymous inodes differ; epoll knows.
        _ => ask_epoll(fd).map(|()| 0),
    }
}

fn ask_epoll(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: `epoll_create1` takes no pointers.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if epoll < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made `epoll` for us, and nobody else knows it.
    let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: both descriptors are open; the kernel reads `event` during the call.
    let result = unsafe {
        libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
