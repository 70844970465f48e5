//! Reading on demand: what is readable is offered to a protocol that asked for it, which reads it into
//! memory of its own choice.

use std::io;

use anyloop_api::{AnyProtocol, Error};

use super::{ANNOUNCE, HANGUP, OFFERED, READABLE, Stream};
use crate::base::BaseLoop;
use crate::driver::Fd;
use crate::scratch::READ_SIZE;

/// A buffer of at least this size is worth another read by itself when it was filled.
const WORTH_A_READ: usize = 4 * 1024;
/// What may be taken of one offer, in units of that: about as much as is read of one event. A reader who finds
/// more each time never waits, and a loud peer would starve the others.
const MOST_TAKEN: u8 = u8::MAX;

impl Stream {
    /// Tells the protocol that there is something to read, if it asked for that. True: somebody is going
    /// to take it. An offer runs out, so that what nobody takes is read all the same (TR-10, TR-13).
    pub(super) fn offer(&self, base: &BaseLoop) -> bool {
        if self.has(OFFERED) {
            return true;
        }
        self.clear(ANNOUNCE);
        let wanted = self.call("readable panicked", AnyProtocol::readable) == Some(true);
        if wanted && let Some(this) = self.this.upgrade() {
            self.set(OFFERED);
            self.taken.set(0);
            self.offered_at.set(base.offered(this));
        }
        wanted
    }

    /// Takes what was offered: `recv` reads at most as many bytes as it is told.
    pub(super) fn read_offered(
        &self,
        room: usize,
        recv: impl FnOnce(&BaseLoop, Fd, usize) -> io::Result<usize>,
    ) -> Option<usize> {
        let base = self.voice.base().upgrade()?;
        let may = self.has(OFFERED) && self.wants_data() && self.has(READABLE);
        if !may || room == 0 {
            return None;
        }
        let socket = self.socket()?;
        let room = room.min(READ_SIZE);
        match recv(&base, socket, room) {
            Ok(0) => {
                // Told in its turn, not from inside of this call.
                self.clear(OFFERED);
                self.set(HANGUP);
                base.requeue_readable(self.socket.key());
                None
            }
            Ok(count) if count < room => {
                self.clear(OFFERED);
                if self.has(HANGUP) {
                    base.requeue_readable(self.socket.key());
                } else {
                    self.clear(READABLE);
                    self.note_size(&base, count);
                }
                Some(count)
            }
            Ok(count) => {
                // The rest may be taken likewise, as long as the offer stands.
                let units = u8::try_from(count / WORTH_A_READ).unwrap_or(MOST_TAKEN);
                let taken = self.taken.get().saturating_add(units);
                self.taken.set(taken);
                if units == 0 || taken == MOST_TAKEN {
                    // As above: what comes after these bytes must not overtake them (TR-06, TR-07).
                    self.clear(OFFERED);
                    base.requeue_readable(self.socket.key());
                }
                Some(count)
            }
            Err(error) => {
                self.clear(OFFERED | READABLE);
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.force(Some(Error::os("reading from a connection", error)));
                }
                None
            }
        }
    }

    /// The offer runs out if it was made before the last poll, which was number `poll`: what was not taken
    /// is read in this iteration.
    pub(crate) fn withdraw(&self, base: &BaseLoop, poll: Option<u16>) {
        if self.has(OFFERED) && poll != Some(self.offered_at.get()) {
            self.clear(OFFERED);
            base.requeue_readable(self.socket.key());
        }
    }
}
