//! Sending: the kernel gets the buffer, and gives it back when all of it is sent.

use std::io;
use std::os::fd::AsRawFd;

use anyloop_core::driver::{Event, Fd, Key};
use io_uring::{opcode, types};

use crate::driver::UringDriver;
use crate::slot::{Kind, OpId, OpRef, State};

/// The most that one call sends, as for `send(2)`.
const MOST: usize = 0x7fff_f000;

impl UringDriver {
    pub(crate) fn send_begin(
        &mut self,
        fd: Fd,
        key: Key,
        buffer: Vec<u8>,
        offset: usize,
    ) -> Result<(), Vec<u8>> {
        let busy = self.key_ops(key).is_some_and(|ops| !ops.send.is_none());
        let fits = offset <= buffer.len() && u32::try_from(offset).is_ok();
        if busy || !fits || !self.features.send {
            debug_assert!(!busy, "one send at a time");
            return Err(buffer);
        }
        let id = self.ops.insert(Kind::Send, key, fd.as_raw_fd(), offset as u32);
        self.key_entry(key).send = id.into();
        let Some(op) = self.ops.get(id) else { return Err(buffer) };
        op.buffer = buffer;
        self.send_arm(id);
        Ok(())
    }

    fn send_arm(&mut self, id: OpId) {
        let Some(op) = self.ops.get(id) else { return };
        let bytes = &op.buffer[op.word as usize..];
        let length = bytes.len().min(MOST) as u32;
        let entry = opcode::Send::new(types::Fd(op.fd), bytes.as_ptr(), length)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .user_data(id.user_data(Kind::Send));
        // SAFETY: the bytes are the heap memory of `op.buffer`, which nobody touches until the
        // terminal completion takes it out of the slot; slots that never complete are leaked.
        unsafe { self.ring.push(entry) };
        self.ops.departed(id);
    }

    pub(crate) fn on_send(&mut self, id: OpId, result: i32, events: &mut Vec<Event>) {
        let state = self.ops.landed(id);
        if state != State::Orphan && matches!(-result, libc::EINTR | libc::EAGAIN) {
            return self.send_arm(id);
        }
        let Some(op) = self.ops.remove(id) else { return };
        if state == State::Orphan {
            return;
        }
        if let Some(ops) = self.key_ops(op.key) {
            ops.send = OpRef::NONE;
        }
        let result = match usize::try_from(result) {
            Ok(sent) => Ok(sent),
            Err(_) => Err(io::Error::from_raw_os_error(-result)),
        };
        events.push(Event::Sent { key: op.key, buffer: op.buffer, result });
    }
}
