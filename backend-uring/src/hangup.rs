//! Ends of streams that a multishot receive does not see.
//!
//! When bytes and the end of a stream (or a reset) come together, one wake-up tells of both. The kernel
//! then receives the bytes, is told by the protocol that there are no more, and goes back to waiting for
//! a wake-up that never comes. (TCP makes an exception for the end, but not for a reset; Unix sockets
//! make none.)
//!
//! So each multishot receive that has brought bytes for the second time gets a companion: a poll for nothing
//! but the hang-up, which looks at the stream when it is armed. It costs a request per connection and nothing
//! per message. When it fires, and the end does not come by itself in the same breath, the receive is
//! *kicked*: cancelled and armed again, for arming looks at the stream too; and so again after each piece
//! that it brings, until it brings the end.
//!
//! After the first bytes we look ourselves, by one system call for all such streams: many connections have
//! one request and end. An end that comes later has a wake-up of its own.
//!
//! The companion stays when receiving is stopped, for it may be started again. Closing the key ends it.

use std::mem;

use anyloop_core::driver::Key;
use io_uring::{opcode, types};

use crate::driver::UringDriver;
use crate::kind::Kind;
use crate::slot::{OpId, State, Watch};

/// Receives that have just brought their first bytes.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    ops: Vec<OpId>,
    polls: Vec<libc::pollfd>,
}

const MASK: u32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as u32;

impl UringDriver {
    /// A multishot receive has brought bytes and goes on.
    pub(crate) fn hangup_watch(&mut self, id: OpId) {
        let Some(op) = self.ops.get(id) else { return };
        match op.watch {
            Watch::HungUp => return self.doubtful.push(id),
            Watch::None => {
                op.watch = Watch::Once;
                let poll = libc::pollfd { fd: op.fd, events: MASK as i16, revents: 0 };
                self.fresh.ops.push(id);
                self.fresh.polls.push(poll);
                return;
            }
            Watch::Once | Watch::Always => op.watch = Watch::Always,
        }
        let (key, fd) = (op.key, op.fd);
        let Some(ops) = self.key_ops(key) else { return };
        if mem::replace(&mut ops.hangup, true) {
            return;
        }
        let entry =
            opcode::PollAdd::new(types::Fd(fd), MASK).build().user_data(Kind::Hangup.of_key(key));
        // SAFETY: the request points to no memory.
        unsafe { self.ring.push(entry) };
    }

    /// Looks at the streams that have brought their first bytes. To be called when all completions were taken.
    pub(crate) fn hangup_look(&mut self) {
        if self.fresh.ops.is_empty() {
            return;
        }
        let Fresh { mut ops, mut polls } = mem::take(&mut self.fresh);
        // SAFETY: `polls` is ours, and as long as the call is told. That a descriptor may have been closed
        // meanwhile does not matter: what is learned of another one only makes the receive look again.
        let looked = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, 0) };
        for (id, poll) in ops.drain(..).zip(polls.drain(..)) {
            let Some(op) = self.ops.get(id) else { continue };
            if looked < 0 {
                // Out of memory: have the kernel watch it.
                self.hangup_watch(id);
            } else if poll.revents != 0 {
                op.watch = Watch::HungUp;
                self.doubtful.push(id);
            }
        }
        self.fresh = Fresh { ops, polls };
    }

    pub(crate) fn on_hangup(&mut self, key: Key) {
        let Some(ops) = self.key_ops(key) else { return };
        if !mem::take(&mut ops.hangup) {
            // Its key was closed.
            return;
        }
        let inward = ops.inward;
        if let Some((id, op)) = self.ops.at(inward) {
            op.watch = Watch::HungUp;
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
