//! Reading from the transport without a detour over the buffer, and how much room to make for that.

use super::buffer;
use super::incoming::{Incoming, OFFERED};

/// The smallest buffer into which bytes are read directly; for smaller ones they are read in bulk first.
const DIRECT: usize = 4096;
/// The most room that is made for a read of which nobody can tell how much it is going to bring: as much
/// as a transport reads at once.
const MOST_ROOM: usize = 256 * 1024;

impl Incoming {
    /// Whether a read of so much, by memory of its own, goes straight to the transport. Where little
    /// arrives at a time, it is read in bulk and copied once.
    pub(super) fn reads_directly(&self, at_most: usize) -> bool {
        self.room.get() != 0 && at_most >= DIRECT
    }

    /// The same for memory of the caller's.
    pub(super) fn fills_directly(room: usize) -> bool {
        room >= DIRECT
    }

    /// Room for twice as much as came is enough for the next time, and tells by a short read that there
    /// is no more. It grows at once and shrinks by halves, for messages have ends.
    pub(super) fn note(&self, count: usize) {
        if self.room.get() == 0 && count <= DIRECT / 4 {
            return;
        }
        let (room, wanted) = (self.room.get(), (count * 2).next_power_of_two());
        let room = match wanted.clamp(DIRECT / 2, MOST_ROOM).ilog2() as u8 {
            wanted if wanted > room => wanted,
            wanted => wanted.max(room.saturating_sub(1)),
        };
        self.room.set(if room < DIRECT.ilog2() as u8 { 0 } else { room });
    }

    pub(super) fn read_anew(&self, at_most: usize) -> Option<Vec<u8>> {
        let transport = self.transport()?;
        let room = (1 << self.room.get()).clamp(DIRECT, MOST_ROOM).min(at_most);
        let mut memory = buffer::fitting(room, at_most.min(room * 2));
        let Some(count) = transport.try_read_vec(&mut memory) else {
            buffer::recycle(memory);
            return None;
        };
        if count < memory.capacity() {
            self.clear(OFFERED);
        }
        if memory.capacity() <= count.saturating_mul(2) {
            return Some(memory);
        }
        let bytes = memory.clone();
        buffer::recycle(memory);
        Some(bytes)
    }

    pub(super) fn read_directly(&self, into: &mut [u8]) -> Option<usize> {
        let transport = self.transport()?;
        let count = transport.try_read(into)?;
        if count < into.len() {
            self.clear(OFFERED);
        }
        Some(count)
    }

    pub(super) fn await_readable(&self) -> bool {
        self.transport().is_some_and(|transport| transport.await_readable())
    }
}
