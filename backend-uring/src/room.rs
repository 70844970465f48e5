//! Room for sends: what follows when the kernel takes no more.
//!
//! A send never waits in the kernel. It could, but the kernel adds `POLLRDHUP` to whatever it waits for: on
//! a stream whose peer has shut down its side it tries again at once, over and over, and then gives the send
//! to a worker thread, which blocks. That is a thread per such stream; and the thread may be the last to let
//! go of the file, after we have closed the descriptor, which the peer then learns only when the loop enters
//! the kernel the next time, if it ever does.
//!
//! So a send takes what there is room for (`MSG_DONTWAIT`), and a multishot poll tells of more. That one
//! too sees the peer's end, but says so once. It has no slot: its number is its key. It is ended with the
//! send that needed it, for on a Unix socket each piece that the peer reads would make it speak.

use anyloop_core::driver::Key;
use io_uring::{cqueue, opcode, types};

use crate::driver::UringDriver;
use crate::kind::Kind;
use crate::poll::{OUT, seen};
use crate::slot::{OpId, State};

/// Where the poll of a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// The kernel has none.
    Unwatched,
    /// The kernel has it.
    Watched,
    /// Its cancellation is queued; its last completion is still to come.
    Stopping,
}

impl UringDriver {
    /// A send has found no room: has the kernel tell when there is some.
    pub(crate) fn room_watch(&mut self, id: OpId) {
        let Some(op) = self.ops.get(id) else { return };
        let (key, fd) = (op.key, op.fd);
        let Some(ops) = self.key_ops(key) else { return };
        // If it is being stopped, it is armed anew after its last completion.
        if ops.room != Room::Unwatched {
            return;
        }
        ops.room = Room::Watched;
        let entry = opcode::PollAdd::new(types::Fd(fd), OUT)
            .multi(true)
            .build()
            .user_data(Kind::Room.of_key(key));
        // SAFETY: the request points to no memory.
        unsafe { self.ring.push(entry) };
    }

    /// A send is over: nobody waits for room any more.
    pub(crate) fn room_unwatch(&mut self, key: Key) {
        let Some(ops) = self.key_ops(key) else { return };
        if ops.room == Room::Watched {
            ops.room = Room::Stopping;
            self.cancel(Kind::Room.of_key(key), Kind::Ignore.alone());
        }
    }

    pub(crate) fn on_room(&mut self, key: Key, result: i32, flags: u32) {
        let Some(ops) = self.key_ops(key) else { return };
        let ended = !cqueue::more(flags);
        if ended {
            ops.room = Room::Unwatched;
        }
        let send = ops.send;
        // One that is under way sees for itself.
        let Some((id, _)) = self.ops.at(send).filter(|(_, op)| op.state == State::Idle) else {
            return;
        };
        // There is room, or no hope of it: the next attempt will tell.
        if seen(result, OUT).is_some_and(|readiness| readiness.writable) {
            self.send_arm(id);
        } else if ended {
            self.room_watch(id);
        }
    }
}
