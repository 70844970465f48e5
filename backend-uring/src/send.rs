//! Sending: the kernel gets the buffer, and gives it back when all of it is sent.

use std::io;
use std::os::fd::AsRawFd;

use anyloop_core::driver::{Event, Fd, Key};
use io_uring::{opcode, types};

use crate::driver::UringDriver;
use crate::slot::{Kind, Lent, Op, OpId, OpRef, State};

/// The most that one call sends, as for `send(2)`.
pub(crate) const MOST: usize = 0x7fff_f000;

/// All of it if possible, and no signal if not.
pub(crate) const FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// Whether it was not merely put off.
fn is_over(result: i32) -> bool {
    !matches!(-result, libc::EINTR | libc::EAGAIN)
}

/// How many bytes a send took.
pub(crate) fn sent(result: i32) -> io::Result<usize> {
    match usize::try_from(result) {
        Ok(sent) => Ok(sent),
        Err(_) if !is_over(result) => Ok(0),
        Err(_) => Err(io::Error::from_raw_os_error(-result)),
    }
}

impl UringDriver {
    pub(crate) fn send_begin(
        &mut self,
        fd: Fd,
        key: Key,
        buffer: Vec<u8>,
        offset: usize,
    ) -> Result<(), Vec<u8>> {
        if !self.is_ours() || !self.caps.send {
            return Err(buffer);
        }
        let busy = self.key_ops(key).is_some_and(|ops| !ops.send.is_none());
        if busy || offset > buffer.len() {
            debug_assert!(!busy, "one send at a time");
            return Err(buffer);
        }
        let lent = Lent { buffer, begin: offset, _file: None };
        let id = self.ops.insert_lent(Kind::Send, key, fd.as_raw_fd(), lent);
        self.key_entry(key).send = id.into();
        self.send_arm(id);
        Ok(())
    }

    fn send_arm(&mut self, id: OpId) {
        let Some(&mut Op { fd, word, .. }) = self.ops.get(id) else { return };
        let Some(lent) = self.ops.lent(word) else { return };
        let bytes = &lent.buffer[lent.begin..];
        let length = bytes.len().min(MOST) as u32;
        let entry = opcode::Send::new(types::Fd(fd), bytes.as_ptr(), length)
            .flags(FLAGS)
            .build()
            .user_data(id.user_data(Kind::Send));
        // SAFETY: the bytes are the heap memory of `lent.buffer`, which nobody touches until the
        // operation is over and they are taken out of the slot; slots that are never over are leaked.
        unsafe { self.ring.push(entry) };
        self.ops.departed(id);
    }

    pub(crate) fn on_send(&mut self, id: OpId, result: i32, events: &mut Vec<Event>) {
        let state = self.ops.landed(id);
        if is_over(result) || state == State::Orphan {
            self.send_end(id, state, sent(result), events);
        } else {
            self.send_arm(id);
        }
    }

    fn send_end(
        &mut self,
        id: OpId,
        state: State,
        result: io::Result<usize>,
        events: &mut Vec<Event>,
    ) {
        let Some((op, lent)) = self.ops.remove_lent(id) else { return };
        if state == State::Orphan {
            return;
        }
        if let Some(ops) = self.key_ops(op.key) {
            ops.send = OpRef::NONE;
        }
        events.push(Event::Sent { key: op.key, buffer: lent.buffer, result });
    }
}
