//! What each key has in flight.

use anyloop_core::driver::Key;

use crate::room::Room;
use crate::slot::OpRef;

/// The operations of one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyOps {
    generation: u32,
    pub(crate) poll: OpRef,
    /// Accepting or receiving.
    pub(crate) inward: OpRef,
    pub(crate) send: OpRef,
    /// Whether the companion of the receive is in the kernel.
    pub(crate) hangup: bool,
    /// The poll by which the send waits for room.
    pub(crate) room: Room,
}

impl KeyOps {
    const fn new(generation: u32) -> Self {
        let none = OpRef::NONE;
        Self {
            generation,
            poll: none,
            inward: none,
            send: none,
            hangup: false,
            room: Room::Unwatched,
        }
    }

    /// Whose they are, if it is a key with this slot.
    pub(crate) fn key(self, slot: u32) -> Key {
        Key { slot, generation: self.generation }
    }

    /// All that have a slot.
    pub(crate) fn all(self) -> [OpRef; 3] {
        [self.poll, self.inward, self.send]
    }

    fn is_empty(self) -> bool {
        !self.hangup && self.room == Room::Unwatched && self.all().iter().all(|op| op.is_none())
    }
}

/// The operations of all keys, by the slot of the key.
#[derive(Debug, Default)]
pub(crate) struct Keys(Vec<KeyOps>);

impl Keys {
    /// What `key` has in flight, if anything was ever begun for it.
    pub(crate) fn get(&mut self, key: Key) -> Option<&mut KeyOps> {
        self.0.get_mut(key.slot as usize).filter(|ops| ops.generation == key.generation)
    }

    /// The entry of `key`, made if there is none. What an older key left in it is returned.
    pub(crate) fn entry(&mut self, key: Key) -> (&mut KeyOps, Option<KeyOps>) {
        let index = key.slot as usize;
        if index >= self.0.len() {
            self.0.resize(index + 1, KeyOps::new(0));
        }
        let ops = &mut self.0[index];
        let mut left = None;
        if ops.generation != key.generation {
            let old = std::mem::replace(ops, KeyOps::new(key.generation));
            left = (!old.is_empty()).then_some(old);
        }
        (ops, left)
    }

    /// How many companions of receives the kernel has.
    pub(crate) fn hangups(&self) -> usize {
        self.0.iter().filter(|ops| ops.hangup).count()
    }

    /// How many sends the kernel watches for room.
    pub(crate) fn rooms(&self) -> usize {
        self.0.iter().filter(|ops| ops.room != Room::Unwatched).count()
    }

    /// Forgets a key.
    pub(crate) fn take(&mut self, key: Key) -> Option<KeyOps> {
        let ops = self.get(key)?;
        Some(std::mem::replace(ops, KeyOps::new(key.generation)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;
    use crate::slot::Slots;

    const KEY: Key = Key { slot: 3, generation: 7 };

    #[test]
    fn keys_tell_what_an_older_key_left() {
        let send: OpRef = Slots::default().insert(Kind::Send, KEY, 5, 0).into();
        let mut keys = Keys::default();
        let (ops, left) = keys.entry(KEY);
        assert!(left.is_none());
        ops.send = send;
        assert!(keys.get(Key { generation: 8, ..KEY }).is_none());
        let (ops, left) = keys.entry(Key { generation: 8, ..KEY });
        assert!(ops.send.is_none());
        assert_eq!(left.map(|ops| ops.send), Some(send));
        assert!(keys.take(KEY).is_none());
    }
}
