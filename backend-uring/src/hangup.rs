//! Ends of streams that a multishot receive does not see.
//!
//! When bytes and the end of a stream (or a reset) come together, one wake-up tells of both. The kernel
//! then receives the bytes, is told by the protocol that there are no more, and goes back to waiting for
//! a wake-up that never comes. (TCP makes an exception for the end, but not for a reset; Unix sockets
//! make none.)
//!
//! So each multishot receive that has brought bytes gets a companion: a poll for nothing but the
//! hang-up, which looks at the stream when it is armed. It costs a request per connection and nothing per
//! message. When it fires, and the end does not come by itself in the same breath, the receive is
//! *kicked*: cancelled and armed again, for arming looks at the stream too; and so again after each piece
//! that it brings, until it brings the end.
//!
//! The companion stays when receiving is stopped, for it may be started again. Closing the key ends it.

use anyloop_core::driver::Key;
use io_uring::{opcode, types};

use crate::driver::UringDriver;
use crate::slot::{Kind, OpId, State};

const MASK: u32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as u32;

impl UringDriver {
    /// A multishot receive has brought bytes and goes on.
    pub(crate) fn hangup_watch(&mut self, id: OpId) {
        let Some(op) = self.ops.get(id) else { return };
        if op.hung_up {
            self.doubtful.push(id);
            return;
        }
        op.watched = true;
        let (key, fd) = (op.key, op.fd);
        let Some(ops) = self.key_ops(key) else { return };
        if std::mem::replace(&mut ops.hangup, true) {
            return;
        }
        let entry =
            opcode::PollAdd::new(types::Fd(fd), MASK).build().user_data(Kind::Hangup.of_key(key));
        // SAFETY: the request points to no memory.
        unsafe { self.ring.push(entry) };
    }

    pub(crate) fn on_hangup(&mut self, key: Key) {
        let Some(ops) = self.key_ops(key) else { return };
        if !std::mem::take(&mut ops.hangup) {
            // Its key was closed.
            return;
        }
        let inward = ops.inward;
        if let Some((id, op)) = self.ops.at(inward) {
            op.hung_up = true;
            self.doubtful.push(id);
        }
    }

    /// Kicks the receives that should have brought the end by now. To be called when all completions
    /// were taken.
    pub(crate) fn hangup_kick(&mut self) {
        while let Some(id) = self.doubtful.pop() {
            if let Some(op) = self.ops.get(id)
                && op.state == State::Armed
                && !op.kicked
            {
                op.kicked = true;
                self.cancel(id.user_data(Kind::Recv), id.user_data(Kind::Kick));
            }
        }
    }

    /// A kick missed: its receive was busy. One that was missed because there is no receive any more finds
    /// none here either.
    pub(crate) fn on_kick_missed(&mut self, id: OpId) {
        if let Some(op) = self.ops.get(id)
            && op.kicked
        {
            op.kicked = false;
            self.doubtful.push(id);
        }
    }
}
