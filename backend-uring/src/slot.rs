//! The table of operations, and the number by which the kernel names one of them.
//!
//! ```text
//!  user_data:  63      56 55                32 31                        0
//!             ┌──────────┬────────────────────┬──────────────────────────┐
//!             │   kind   │     generation     │           slot           │
//!             └──────────┴────────────────────┴──────────────────────────┘
//! ```
//!
//! A slot is freed by the terminal completion of its request and by nothing else, so whatever the
//! request points to (the bytes of a send, the room of a read) stays where it is for as long as the kernel may look at
//! it. The generation grows with each use of a slot: a completion that does not fit is never
//! mistaken for another operation's.

use std::fs::File;
use std::os::fd::RawFd;
use std::sync::Arc;

use anyloop_core::driver::Key;
use slab::Slab;

use crate::kind::Kind;

const GENERATION: u32 = 0x00ff_ffff;
const NO_SLOT: u32 = u32::MAX;
/// Sends at a time for which there is room; memory for more is given back.
const KEPT: usize = 1024;

/// Names one use of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpId {
    slot: u32,
    generation: u32,
}

impl OpId {
    pub(crate) fn of(user_data: u64) -> Self {
        Self { slot: user_data as u32, generation: (user_data >> 32) as u32 & GENERATION }
    }

    pub(crate) fn user_data(self, kind: Kind) -> u64 {
        kind.alone() | u64::from(self.generation) << 32 | u64::from(self.slot)
    }
}

/// Where an operation stands.
///
/// ```text
///            arm                stop              start again
///   Idle ──────────▶ Armed ──────────▶ Stopping ──────────▶ Restarting
///     ▲  ◀──────────   │                  │                     │
///     │   completion   └──────────────────┴── key closed ──────┘
///     │                                   ▼
///   (freed) ◀── terminal completion ─── Orphan
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The kernel has no request: a poll for nothing, a receive that waits for buffers, a send that waits
    /// for room.
    Idle,
    /// The kernel has the request, or will at the next submission.
    Armed,
    /// As `Armed`, but its cancellation is queued; the terminal event is still owed.
    Stopping,
    /// As `Stopping`, and to be started again once that event was delivered.
    Restarting,
    /// As `Armed`, but the key is closed: what still comes is thrown away.
    Orphan,
}

impl State {
    /// Whether a terminal completion is still to come.
    pub(crate) fn in_kernel(self) -> bool {
        self != Self::Idle
    }
}

/// How the hang-up of a stream is watched for (see `hangup.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// It has brought nothing.
    None,
    /// It has brought something once, and was looked at.
    Once,
    /// It has a companion.
    Always,
    /// That has fired.
    HungUp,
}

/// One operation.
#[derive(Debug)]
pub(crate) struct Op {
    generation: u32,
    pub(crate) kind: Kind,
    pub(crate) state: State,
    /// Receive: how the hang-up is watched for.
    pub(crate) watch: Watch,
    /// Receive: whether its cancellation is under way, to be armed again.
    pub(crate) kicked: bool,
    pub(crate) key: Key,
    pub(crate) fd: RawFd,
    /// Poll: the mask that is waited for. Accept: connections that failed in a row.
    /// Send, read: where in [`Slots`] its memory is.
    pub(crate) word: u32,
}

/// The memory of a request.
#[derive(Debug)]
pub(crate) struct Lent {
    /// Send: the bytes the kernel reads. Read: where it writes.
    pub(crate) buffer: Vec<u8>,
    /// Send: where in `buffer` it starts.
    pub(crate) begin: usize,
    /// Send: how much of it is sent.
    pub(crate) sent: usize,
    /// Read: keeps the descriptor open.
    pub(crate) _file: Option<Arc<File>>,
}

impl Lent {
    /// Send: what is not sent yet.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.buffer[self.begin + self.sent..]
    }
}

/// All operations of one driver.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    entries: Vec<Entry>,
    /// Apart, for most operations are receives that wait, and are to be small.
    lent: Slab<Lent>,
    free: Option<u32>,
    live: usize,
    in_kernel: usize,
}

#[derive(Debug)]
enum Entry {
    Used(Op),
    Free { generation: u32, next: Option<u32> },
}

impl Slots {
    /// Takes a slot for an operation the kernel does not know yet.
    pub(crate) fn insert(&mut self, kind: Kind, key: Key, fd: RawFd, word: u32) -> OpId {
        self.live += 1;
        let op = |generation| {
            Entry::Used(Op {
                generation,
                kind,
                state: State::Idle,
                watch: Watch::None,
                kicked: false,
                key,
                fd,
                word,
            })
        };
        if let Some(slot) = self.free {
            let entry = &mut self.entries[slot as usize];
            let Entry::Free { generation, next } = *entry else {
                unreachable!("the free list holds free slots only")
            };
            self.free = next;
            *entry = op(generation);
            return OpId { slot, generation };
        }
        let slot = self.entries.len() as u32;
        self.entries.push(op(0));
        OpId { slot, generation: 0 }
    }

    /// The same with memory: for a send or a read.
    pub(crate) fn insert_lent(&mut self, kind: Kind, key: Key, fd: RawFd, lent: Lent) -> OpId {
        let place = self.lent.insert(lent);
        self.insert(kind, key, fd, place as u32)
    }

    /// The memory of a send or a read.
    pub(crate) fn lent(&mut self, place: u32) -> Option<&mut Lent> {
        self.lent.get_mut(place as usize)
    }

    /// The operation, if `id` still names one.
    pub(crate) fn get(&mut self, id: OpId) -> Option<&mut Op> {
        match self.entries.get_mut(id.slot as usize) {
            Some(Entry::Used(op)) if op.generation == id.generation => Some(op),
            _ => None,
        }
    }

    /// The operation in a slot that a key refers to.
    pub(crate) fn at(&mut self, slot: OpRef) -> Option<(OpId, &mut Op)> {
        match self.entries.get_mut(slot.0 as usize) {
            Some(Entry::Used(op)) => Some((OpId { slot: slot.0, generation: op.generation }, op)),
            _ => None,
        }
    }

    /// Notes that the kernel got the request.
    pub(crate) fn departed(&mut self, id: OpId) {
        if let Some(op) = self.get(id) {
            debug_assert_eq!(op.state, State::Idle, "one request per operation");
            op.state = State::Armed;
            self.in_kernel += 1;
        }
    }

    /// Notes that the terminal completion came. The state is what it was before.
    pub(crate) fn landed(&mut self, id: OpId) -> State {
        let Some(op) = self.get(id) else { return State::Orphan };
        let before = std::mem::replace(&mut op.state, State::Idle);
        debug_assert!(before.in_kernel(), "a terminal completion comes once");
        self.in_kernel -= 1;
        before
    }

    /// Frees the slot of an operation that the kernel does not have, and its memory.
    pub(crate) fn remove(&mut self, id: OpId) -> Option<Op> {
        let op = self.take(id)?;
        if matches!(op.kind, Kind::Send | Kind::Read) {
            self.lent.try_remove(op.word as usize);
        }
        Some(op)
    }

    /// The same for a send or a read, with its memory.
    pub(crate) fn remove_lent(&mut self, id: OpId) -> Option<(Op, Lent)> {
        let op = self.take(id)?;
        let lent = self.lent.try_remove(op.word as usize)?;
        if self.lent.is_empty() && self.lent.capacity() > KEPT {
            self.lent = Slab::new();
        }
        Some((op, lent))
    }

    fn take(&mut self, id: OpId) -> Option<Op> {
        let entry = self.entries.get_mut(id.slot as usize)?;
        match entry {
            Entry::Used(op) if op.generation == id.generation => {
                debug_assert!(!op.state.in_kernel(), "the kernel still has the request");
            }
            _ => return None,
        }
        let generation = id.generation.wrapping_add(1) & GENERATION;
        let freed = std::mem::replace(entry, Entry::Free { generation, next: self.free });
        self.free = Some(id.slot);
        self.live -= 1;
        match freed {
            Entry::Used(op) => Some(op),
            Entry::Free { .. } => None,
        }
    }

    /// Operations the kernel has.
    pub(crate) fn in_kernel(&self) -> usize {
        self.in_kernel
    }

    /// Operations, those that wait for something else than the kernel included.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// How many operations of a kind the kernel has.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        let of_kind = |entry: &&Entry| match entry {
            Entry::Used(op) => op.kind == kind && op.state.in_kernel(),
            Entry::Free { .. } => false,
        };
        self.entries.iter().filter(of_kind).count()
    }

    /// Makes every operation an orphan and frees those the kernel does not have.
    pub(crate) fn orphan_all(&mut self) {
        for slot in 0..self.entries.len() as u32 {
            let Some((id, op)) = self.at(OpRef(slot)) else { continue };
            if op.state.in_kernel() {
                op.state = State::Orphan;
            } else {
                self.remove(id);
            }
        }
    }
}

/// The slot of an operation as a key remembers it: 4 bytes, and `None` without a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpRef(u32);

impl OpRef {
    pub(crate) const NONE: Self = Self(NO_SLOT);

    pub(crate) fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl From<OpId> for OpRef {
    fn from(id: OpId) -> Self {
        Self(id.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key { slot: 3, generation: 7 };

    #[test]
    fn user_data_carries_kind_generation_and_slot() {
        let id = OpId { slot: 0xdead_beef, generation: 0x00ab_cdef };
        let bits = id.user_data(Kind::Send);
        assert_eq!(Kind::of(bits), Kind::Send);
        assert_eq!(OpId::of(bits), id);
        assert_eq!(Kind::of(Kind::Wake.alone()), Kind::Wake);
    }

    #[test]
    fn a_freed_slot_is_reused_under_another_generation() {
        let mut slots = Slots::default();
        let first = slots.insert(Kind::Recv, KEY, 5, 0);
        slots.departed(first);
        assert_eq!(slots.in_kernel(), 1);
        assert_eq!(slots.landed(first), State::Armed);
        assert!(slots.remove(first).is_some());
        let second = slots.insert(Kind::Recv, KEY, 5, 0);
        assert_eq!(second.slot, first.slot);
        assert!(slots.get(first).is_none());
        assert!(slots.get(second).is_some());
        assert!(slots.remove(first).is_none());
        assert_eq!((slots.live(), slots.in_kernel()), (1, 0));
    }

    /// Every idle connection has one.
    #[test]
    fn an_operation_is_small() {
        assert_eq!(size_of::<Entry>(), 24);
    }

    #[test]
    fn the_generation_wraps_within_its_bits() {
        let mut slots = Slots::default();
        let id = slots.insert(Kind::Poll, KEY, 5, 0);
        slots.remove(id);
        let Entry::Free { generation, .. } = &mut slots.entries[0] else { unreachable!() };
        *generation = GENERATION;
        let last = slots.insert(Kind::Poll, KEY, 5, 0);
        assert_eq!(OpId::of(last.user_data(Kind::Poll)), last);
        slots.remove(last);
        assert_eq!(slots.insert(Kind::Poll, KEY, 5, 0).generation, 0);
    }
}
