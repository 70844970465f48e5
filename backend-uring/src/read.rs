//! Reading files: the kernel gets the buffer and the file, and gives both back when it has read.
//!
//! What is in memory is read during the submission; for the rest the kernel waits for the disk by itself,
//! or has a thread of its own wait where the file system cannot. A read is never cancelled before the end of
//! the driver: the disk answers.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use anyloop_core::driver::{Event, Key};
use io_uring::{opcode, types};

use crate::driver::UringDriver;
use crate::kind::Kind;
use crate::slot::{Lent, OpId, State};

impl UringDriver {
    pub(crate) fn read_begin(
        &mut self,
        file: Arc<File>,
        key: Key,
        mut buffer: Vec<u8>,
        offset: u64,
    ) -> Result<(), Vec<u8>> {
        // Larger offsets mean something else.
        let fits = u32::try_from(buffer.len()).is_ok() && i64::try_from(offset).is_ok();
        if !fits || !self.is_usable() || !self.caps.pread {
            return Err(buffer);
        }
        let fd = file.as_raw_fd();
        let (room, length) = (buffer.as_mut_ptr(), buffer.len() as u32);
        let lent = Lent { buffer, begin: 0, sent: 0, _file: Some(file) };
        let id = self.ops.insert_lent(Kind::Read, key, fd, lent);
        let read = opcode::Read::new(types::Fd(fd), room, length).offset(offset);
        // SAFETY: the room is the heap memory of `lent.buffer`, and `fd` is kept open by `lent._file`. Nobody
        // touches either until the operation is over and they are taken out of the slot; slots that are
        // never over are leaked.
        unsafe { self.ring.push(read.build().user_data(id.user_data(Kind::Read))) };
        self.ops.departed(id);
        Ok(())
    }

    pub(crate) fn on_read(&mut self, id: OpId, result: i32, events: &mut Vec<Event>) {
        if self.ops.get(id).is_none() {
            return;
        }
        let state = self.ops.landed(id);
        let Some((op, lent)) = self.ops.remove_lent(id) else { return };
        if state == State::Orphan {
            return;
        }
        let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
        events.push(Event::Read { key: op.key, buffer: lent.buffer, result });
    }
}
