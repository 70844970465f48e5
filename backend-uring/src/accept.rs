//! Accepting: one request for all connections, or, as the fallback, one per connection.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use anyloop_core::driver::{Event, Fd, Key};
use io_uring::{cqueue, opcode, types};

use crate::driver::UringDriver;
use crate::kind::Kind;
use crate::slot::{OpId, OpRef, State};

const FLAGS: i32 = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;

/// Connections that may fail in a row before it is the listener that failed.
const PATIENCE: u32 = 128;

impl UringDriver {
    pub(crate) fn accept_begin(&mut self, fd: Fd, key: Key) -> io::Result<()> {
        self.inward_begin(fd.as_raw_fd(), key, Kind::Accept)
    }

    pub(crate) fn accept_arm(&mut self, id: OpId) {
        if self.features.poll_before_accept {
            return self.accept_arm_ready(id);
        }
        let Some(op) = self.ops.get(id) else { return };
        let fd = types::Fd(op.fd);
        let entry = if self.features.multishot_accept {
            opcode::AcceptMulti::new(fd).flags(FLAGS).build()
        } else {
            accept_one(fd)
        };
        // SAFETY: the request points to no memory: nobody asks for the address.
        unsafe { self.ring.push(entry.user_data(id.user_data(Kind::Accept))) };
        self.ops.departed(id);
    }

    /// Waits until there is a connection to accept.
    fn accept_arm_ready(&mut self, id: OpId) {
        let Some(op) = self.ops.get(id) else { return };
        let entry = opcode::PollAdd::new(types::Fd(op.fd), libc::POLLIN as u32)
            .build()
            .user_data(id.user_data(Kind::AcceptReady));
        // SAFETY: the request points to no memory.
        unsafe { self.ring.push(entry) };
        self.ops.departed(id);
    }

    /// The listener has a connection, or an error to fetch.
    pub(crate) fn on_accept_ready(&mut self, id: OpId, result: i32, events: &mut Vec<Event>) {
        if result < 0 {
            return self.on_accept(id, result, 0, events);
        }
        if self.ops.get(id).is_none_or(|op| op.state != State::Armed) {
            return self.on_accept(id, -libc::ECANCELED, 0, events);
        }
        self.ops.landed(id);
        let Some(op) = self.ops.get(id) else { return };
        let entry = accept_one(types::Fd(op.fd)).user_data(id.user_data(Kind::Accept));
        // SAFETY: the request points to no memory.
        unsafe { self.ring.push(entry) };
        self.ops.departed(id);
    }

    pub(crate) fn on_accept(&mut self, id: OpId, result: i32, flags: u32, events: &mut Vec<Event>) {
        let taken = (result >= 0).then(|| {
            // SAFETY: the kernel has just made this descriptor for us; this completion is the only
            // one that names it.
            unsafe { OwnedFd::from_raw_fd(result) }
        });
        // From here on, a connection that nobody wants is closed by being dropped.
        let Some(op) = self.ops.get(id) else { return };
        let key = op.key;
        if let Some(fd) = taken {
            op.word = 0;
            if op.state != State::Orphan {
                events.push(Event::Accepted { key, fd });
            }
        } else {
            op.word += 1;
        }
        let failures = op.word;
        if cqueue::more(flags) {
            return;
        }
        match self.ops.landed(id) {
            State::Orphan => drop(self.ops.remove(id)),
            State::Stopping => self.accept_end(id, None, events),
            State::Restarting => {
                events.push(Event::AcceptEnded { key, error: None });
                self.accept_arm(id);
            }
            State::Idle | State::Armed => match -result {
                error if error <= 0 => self.accept_arm(id),
                libc::EAGAIN => {
                    // A kernel that does not wait on non-blocking listeners.
                    self.features.poll_before_accept = true;
                    self.accept_arm(id);
                }
                libc::ECANCELED => self.accept_end(id, None, events),
                error if is_the_connections(error) && failures < PATIENCE => self.accept_arm(id),
                error => {
                    self.accept_end(id, Some(io::Error::from_raw_os_error(error)), events);
                }
            },
        }
    }

    fn accept_end(&mut self, id: OpId, error: Option<io::Error>, events: &mut Vec<Event>) {
        let Some(op) = self.ops.remove(id) else { return };
        if let Some(ops) = self.key_ops(op.key) {
            ops.inward = OpRef::NONE;
        }
        events.push(Event::AcceptEnded { key: op.key, error });
    }
}

fn accept_one(fd: types::Fd) -> io_uring::squeue::Entry {
    opcode::Accept::new(fd, ptr::null_mut(), ptr::null_mut()).flags(FLAGS).build()
}

/// Errors of the connection that was to be accepted, not of the listener: `accept(2)` says to go on.
fn is_the_connections(error: i32) -> bool {
    matches!(
        error,
        libc::ECONNABORTED
            | libc::EPROTO
            | libc::EPERM
            | libc::EINTR
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::ETIMEDOUT
    )
}
