//! Receiving: one request per stream into the shared buffers, or, as the fallback, one per message.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use anyloop_core::driver::{Event, Fd, Key, RecvEnd};
use io_uring::{cqueue, opcode, squeue, types};

use crate::buffers::{self, Buffers};
use crate::driver::UringDriver;
use crate::kind::Kind;
use crate::slot::{OpId, OpRef, State, Watch};

/// `IORING_RECVSEND_POLL_FIRST`: do not try at once. It spares an `ENOBUFS` when there is no buffer at the
/// moment but no data either, and a useless attempt when it has just been seen that there is nothing. New
/// connections often have their request with them.
const POLL_FIRST: u16 = 1;
/// `IORING_RECV_MULTISHOT`.
const MULTISHOT: u16 = 2;

/// What a receive's `word` says while the kernel has it as multishot.
const ARMED_MULTISHOT: u32 = 1;

/// The most that is read without a buffer of the ring.
const DIRECT: usize = 16 << 10;

impl UringDriver {
    pub(crate) fn recv_begin(&mut self, fd: Fd, key: Key) -> io::Result<()> {
        self.inward_begin(fd.as_raw_fd(), key, Kind::Recv)
    }

    /// Starts accepting or receiving.
    pub(crate) fn inward_begin(&mut self, fd: RawFd, key: Key, kind: Kind) -> io::Result<()> {
        let current = self.key_ops(key).map_or(OpRef::NONE, |ops| ops.inward);
        if let Some((_, op)) = self.ops.at(current) {
            if op.state != State::Stopping {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            op.state = State::Restarting;
            return Ok(());
        }
        let id = self.ops.insert(kind, key, fd, 0);
        self.key_entry(key).inward = id.into();
        self.inward_arm(id, kind);
        Ok(())
    }

    fn inward_arm(&mut self, id: OpId, kind: Kind) {
        if kind == Kind::Recv {
            let may = self.buffers.as_ref().is_some_and(|buffers| buffers.in_ring() > 0);
            self.recv_push(id, if may { 0 } else { POLL_FIRST });
        } else {
            self.accept_arm(id);
        }
    }

    /// Stops accepting or receiving.
    pub(crate) fn inward_stop(&mut self, key: Key) {
        let current = self.key_ops(key).map_or(OpRef::NONE, |ops| ops.inward);
        let Some((id, op)) = self.ops.at(current) else { return };
        let kind = op.kind;
        match op.state {
            State::Armed => {
                op.state = State::Stopping;
                if !self.cancel_op(id) {
                    self.inward_stopped(id);
                }
            }
            State::Restarting => {
                // Stopped, started, stopped: two ends are owed, and one is still to come.
                op.state = State::Stopping;
                let end = ended(kind, key);
                self.stash.push(end);
            }
            State::Idle => self.inward_stopped(id),
            State::Stopping | State::Orphan => {}
        }
    }

    /// Ends an operation the kernel does not have.
    fn inward_stopped(&mut self, id: OpId) {
        let Some(op) = self.ops.remove(id) else { return };
        if let Some(ops) = self.key_ops(op.key) {
            ops.inward = OpRef::NONE;
        }
        self.stash.push(ended(op.kind, op.key));
    }

    fn recv_arm(&mut self, id: OpId) {
        self.recv_push(id, POLL_FIRST);
    }

    fn recv_push(&mut self, id: OpId, mut mode: u16) {
        let Some(op) = self.ops.get(id) else { return };
        if self.features.multishot_recv {
            mode |= MULTISHOT;
            op.word = ARMED_MULTISHOT;
        }
        let entry = opcode::Recv::new(types::Fd(op.fd), ptr::null_mut(), 0)
            .ioprio(mode)
            .buf_group(buffers::GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT)
            .user_data(id.user_data(Kind::Recv));
        // SAFETY: the request points to no memory of its own: the kernel takes buffers from the ring,
        // whose memory outlives all requests (see `close.rs`).
        unsafe { self.ring.push(entry) };
        self.ops.departed(id);
    }

    /// Arms receives that found no buffer, longest waiting first, as far as there are buffers now. If
    /// there are none, all of them are being kept, perhaps for long: then reads without.
    pub(crate) fn recv_rearm_starved(&mut self, events: &mut Vec<Event>) {
        let Some(buffers) = self.buffers.clone() else { return };
        let none = buffers.in_ring() == 0;
        // A buffer is one message, or many if they share.
        let all = none || buffers.is_incremental();
        let room = if all { self.starved.len() } else { buffers.in_ring() as usize };
        for _ in 0..room {
            let Some(id) = self.starved.pop_front() else { return };
            let waiting = self.ops.get(id).is_some_and(|op| op.state == State::Idle);
            if waiting && (!none || self.recv_directly(id, &buffers, events)) {
                self.recv_arm(id);
            }
        }
    }

    /// Reads what is there into memory of its own; whether there may be more.
    fn recv_directly(&mut self, id: OpId, buffers: &Buffers, events: &mut Vec<Event>) -> bool {
        let Some(op) = self.ops.get(id) else { return false };
        let key = op.key;
        let mut bytes = vec![0_u8; DIRECT];
        // SAFETY: the descriptor is open until its key is closed; the kernel writes at most
        // `bytes.len()` bytes to `bytes`, during the call.
        let count = unsafe {
            libc::recv(op.fd, bytes.as_mut_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT)
        };
        let reason = match usize::try_from(count) {
            Ok(0) => RecvEnd::Eof,
            Ok(count) => {
                let chunk = buffers.lend_others(&bytes[..count]);
                events.push(Event::Data { key, chunk });
                return true;
            }
            Err(_) => {
                let error = io::Error::last_os_error();
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
                    return true;
                }
                RecvEnd::Error(error)
            }
        };
        self.recv_end(id, reason, events);
        false
    }

    pub(crate) fn on_recv(&mut self, id: OpId, result: i32, flags: u32, events: &mut Vec<Event>) {
        let chunk = match (&self.buffers, cqueue::buffer_select(flags)) {
            (Some(buffers), Some(buffer)) => {
                match buffers.lend(buffer, result.max(0) as u32, cqueue::buffer_more(flags)) {
                    Ok(chunk) => chunk,
                    Err(error) => return self.fail(&error),
                }
            }
            _ => None,
        };
        let Some(op) = self.ops.get(id) else { return };
        let key = op.key;
        if let Some(chunk) = chunk
            && op.state != State::Orphan
        {
            events.push(Event::Data { key, chunk });
        }
        if cqueue::more(flags) {
            if op.state == State::Armed && op.watch != Watch::Always {
                self.hangup_watch(id);
            }
            return;
        }
        let kicked = std::mem::take(&mut op.kicked);
        let multishot = std::mem::take(&mut op.word) == ARMED_MULTISHOT;
        // 5.19 has everything else, and nothing that tells it apart.
        let refused = result == -libc::EINVAL && multishot && !self.recv_proven;
        self.features.multishot_recv &= !refused;
        match self.ops.landed(id) {
            State::Orphan => drop(self.ops.remove(id)),
            State::Stopping => {
                self.recv_end(id, end(result).unwrap_or(RecvEnd::Stopped), events);
            }
            State::Restarting => {
                events.push(Event::RecvEnded { key, reason: RecvEnd::Stopped });
                match end(result) {
                    // An error is told once; the end of the stream will be told again.
                    Some(reason @ RecvEnd::Error(_)) if !refused => {
                        self.recv_end(id, reason, events);
                    }
                    _ => self.recv_arm(id),
                }
            }
            State::Idle | State::Armed => match -result {
                error if error < 0 => self.recv_arm(id),
                libc::ENOBUFS => self.starved.push_back(id),
                libc::EINTR | libc::EAGAIN => self.recv_arm(id),
                libc::ECANCELED if kicked => self.recv_arm(id),
                _ if refused => self.recv_arm(id),
                _ => self.recv_end(id, end(result).unwrap_or(RecvEnd::Exhausted), events),
            },
        }
        self.recv_proven |= result >= 0;
    }

    fn recv_end(&mut self, id: OpId, reason: RecvEnd, events: &mut Vec<Event>) {
        let Some(op) = self.ops.remove(id) else { return };
        if let Some(ops) = self.key_ops(op.key) {
            ops.inward = OpRef::NONE;
        }
        events.push(Event::RecvEnded { key: op.key, reason });
    }
}

/// The end of the stream that a result tells of, if it does.
fn end(result: i32) -> Option<RecvEnd> {
    match -result {
        0 => Some(RecvEnd::Eof),
        libc::ECANCELED | libc::ENOBUFS | libc::EINTR | libc::EAGAIN => None,
        error if error > 0 => Some(RecvEnd::Error(io::Error::from_raw_os_error(error))),
        _ => None,
    }
}

fn ended(kind: Kind, key: Key) -> Event {
    if kind == Kind::Recv {
        Event::RecvEnded { key, reason: RecvEnd::Stopped }
    } else {
        Event::AcceptEnded { key, error: None }
    }
}

#[cfg(test)]
mod tests {
    use anyloop_core::driver::Driver;

    use super::*;
    use crate::Config;

    /// What 5.19 answers to all receives of a batch.
    #[test]
    fn every_receive_survives_a_kernel_without_multishot() {
        let config = Config::new().single_issuer(false).incremental_buffers(false);
        let mut driver = match UringDriver::new(&config) {
            Ok(driver) => driver,
            Err(reason) => return eprintln!("not here: {reason}"),
        };
        let mut events = Vec::new();
        let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
        let keys = [0, 1].map(|slot| Key { slot, generation: 0 });
        for key in keys {
            driver.inward_begin(socket.as_raw_fd(), key, Kind::Recv).unwrap();
        }
        for key in keys {
            let inward = driver.key_ops(key).unwrap().inward;
            let id = driver.ops.at(inward).unwrap().0;
            driver.on_recv(id, -libc::EINVAL, 0, &mut events);
        }
        let errors =
            |event: &Event| matches!(event, Event::RecvEnded { reason: RecvEnd::Error(_), .. });
        assert!(!events.iter().any(errors), "{events:?}");
        assert!(!driver.features.multishot_recv);
        driver.shutdown();
    }
}
