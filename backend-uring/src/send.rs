//! Sending: the kernel gets the buffer, and gives it back when all of it is sent.
//!
//! A *silent* send, for bytes whose end nobody waits for, is one that never waits (`MSG_DONTWAIT`) and
//! makes no completion if it sends everything. It is over when the submission returns: with a completion if
//! something is left, without one if all is sent. That spares a loop with little to do its second entry,
//! and a busy one a completion per message.

use std::io;
use std::os::fd::AsRawFd;

use anyloop_core::driver::{Event, Fd, Key};
use io_uring::{opcode, squeue, types};

use crate::driver::UringDriver;
use crate::slot::{Kind, Lent, Op, OpId, OpRef, State};

/// The most that one call sends, as for `send(2)`.
const MOST: usize = 0x7fff_f000;

impl UringDriver {
    pub(crate) fn send_begin(
        &mut self,
        fd: Fd,
        key: Key,
        buffer: Vec<u8>,
        offset: usize,
        silent: bool,
    ) -> Result<(), Vec<u8>> {
        if !self.is_ours() || !self.caps.send {
            return Err(buffer);
        }
        let busy = self.key_ops(key).is_some_and(|ops| !ops.send.is_none());
        if busy || offset > buffer.len() {
            debug_assert!(!busy, "one send at a time");
            return Err(buffer);
        }
        let silent = silent && self.features.silent_send && buffer.len() - offset <= MOST;
        let lent = Lent { buffer, begin: offset, _file: None };
        let id = self.ops.insert_lent(Kind::Send, key, fd.as_raw_fd(), lent);
        self.key_entry(key).send = id.into();
        if let Some(op) = self.ops.get(id) {
            op.silent = silent;
        }
        self.send_arm(id);
        if silent {
            self.silent.push_back((id, self.ring.queued()));
        }
        Ok(())
    }

    fn send_arm(&mut self, id: OpId) {
        let Some(&mut Op { fd, word, silent, .. }) = self.ops.get(id) else { return };
        let Some(lent) = self.ops.lent(word) else { return };
        let bytes = &lent.buffer[lent.begin..];
        let length = bytes.len().min(MOST) as u32;
        let send = opcode::Send::new(types::Fd(fd), bytes.as_ptr(), length);
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let entry = if silent {
            let send = send.flags(flags | libc::MSG_DONTWAIT).build();
            send.flags(squeue::Flags::SKIP_SUCCESS)
        } else {
            send.flags(flags).build()
        };
        // SAFETY: the bytes are the heap memory of `lent.buffer`, which nobody touches until the
        // operation is over and they are taken out of the slot; slots that are never over are leaked.
        unsafe { self.ring.push(entry.user_data(id.user_data(Kind::Send))) };
        self.ops.departed(id);
    }

    /// Ends the silent sends that were submitted and not heard of. To be called when all completions
    /// were taken.
    pub(crate) fn send_confirm(&mut self, events: &mut Vec<Event>) {
        if self.silent.is_empty() {
            return;
        }
        let Some(submitted) = self.ring.submitted() else { return };
        while let Some(&(id, number)) = self.silent.front()
            && number <= submitted
        {
            self.silent.pop_front();
            if let Some(op) = self.ops.get(id) {
                let word = op.word;
                let sent = self.ops.lent(word).map_or(0, |lent| lent.buffer.len() - lent.begin);
                let state = self.ops.landed(id);
                self.send_end(id, state, Ok(sent), events);
            }
        }
    }

    pub(crate) fn on_send(&mut self, id: OpId, result: i32, events: &mut Vec<Event>) {
        let Some(op) = self.ops.get(id) else { return };
        let silent = op.silent;
        let state = self.ops.landed(id);
        let result = match usize::try_from(result) {
            Ok(sent) => Ok(sent),
            Err(_) if matches!(-result, libc::EINTR | libc::EAGAIN) => {
                if !silent && state != State::Orphan {
                    return self.send_arm(id);
                }
                Ok(0)
            }
            Err(_) => Err(io::Error::from_raw_os_error(-result)),
        };
        self.send_end(id, state, result, events);
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
