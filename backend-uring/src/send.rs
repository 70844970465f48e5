//! Sending: the kernel gets the buffer, and it is given back when all of it is sent. A send takes what there
//! is room for and is over with the submission; for the rest it waits as in `room.rs`.

use std::io;
use std::os::fd::AsRawFd;

use anyloop_core::driver::{Event, Fd, Key};
use io_uring::{opcode, types};

use crate::driver::UringDriver;
use crate::kind::Kind;
use crate::slot::{Lent, Op, OpId, OpRef, State};

/// The most that one call sends, as for `send(2)`.
pub(crate) const MOST: usize = 0x7fff_f000;

/// Never to wait, and no signal if there is nobody.
pub(crate) const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

impl UringDriver {
    pub(crate) fn send_begin(
        &mut self,
        fd: Fd,
        key: Key,
        buffer: Vec<u8>,
        offset: usize,
    ) -> Result<(), Vec<u8>> {
        if !self.is_usable() || !self.caps.send {
            return Err(buffer);
        }
        let busy = self.key_ops(key).is_some_and(|ops| !ops.send.is_none());
        if busy || offset > buffer.len() {
            debug_assert!(!busy, "one send at a time");
            return Err(buffer);
        }
        let lent = Lent { buffer, begin: offset, sent: 0, _file: None };
        let id = self.ops.insert_lent(Kind::Send, key, fd.as_raw_fd(), lent);
        self.key_entry(key).send = id.into();
        self.send_arm(id);
        Ok(())
    }

    /// Asks the kernel to take what is left, or the beginning of it.
    pub(crate) fn send_arm(&mut self, id: OpId) {
        let Some(&mut Op { fd, word, .. }) = self.ops.get(id) else { return };
        let Some(lent) = self.ops.lent(word) else { return };
        let bytes = lent.rest();
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
        if self.ops.landed(id) == State::Orphan {
            self.ops.remove(id);
            return;
        }
        let Some(&mut Op { word, .. }) = self.ops.get(id) else { return };
        let Some(lent) = self.ops.lent(word) else { return };
        lent.sent += usize::try_from(result).unwrap_or(0);
        let (sent, left) = (lent.sent, lent.rest().len());
        match -result {
            libc::EINTR => self.send_arm(id),
            libc::EAGAIN => self.room_watch(id),
            error @ 1.. => {
                self.send_end(id, Err(io::Error::from_raw_os_error(error)), events);
            }
            _ if left == 0 => self.send_end(id, Ok(sent), events),
            // There was more than one call may send.
            _ if result as usize == MOST => self.send_arm(id),
            _ => self.room_watch(id),
        }
    }

    fn send_end(&mut self, id: OpId, result: io::Result<usize>, events: &mut Vec<Event>) {
        let Some((op, lent)) = self.ops.remove_lent(id) else { return };
        if let Some(ops) = self.key_ops(op.key) {
            ops.send = OpRef::NONE;
        }
        self.room_unwatch(op.key);
        events.push(Event::Sent { key: op.key, buffer: lent.buffer, result });
    }
}
