//! The table of everything that gets events from the driver.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;

use anyloop_api::{Dump, Error, Result};

use crate::driver::{Event, Key, Readiness};

/// Something that the driver reports to.
pub(crate) trait Source {
    /// One event for this source. User code may run inside.
    fn on_event(self: Rc<Self>, event: Event);

    /// The same for readiness, which is most: two words, and nothing to drop.
    fn on_readiness(self: Rc<Self>, key: Key, readiness: Readiness) {
        self.on_event(Event::Ready { key, readiness });
    }

    /// The loop closes: free the descriptor, call nobody.
    fn abandon(&self);

    /// In words.
    fn describe(&self) -> String;

    /// Adds it to a dump.
    fn list(&self, dump: &mut Dump) {
        dump.transports.push(self.describe());
    }

    /// Whether its user should have closed it before the loop (DBG-05).
    fn is_open(&self) -> bool {
        false
    }
}

/// Who uses a descriptor number.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Owner {
    /// The user, or nobody.
    #[default]
    User,
    /// A transport, a listener, a connect in progress.
    Us,
    /// A transport that is closing: the user may watch the number again (FD-07).
    UsClosing,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    source: Option<Rc<dyn Source>>,
}

/// Slots with generations; a late event for a freed slot finds nobody.
#[derive(Default)]
pub(crate) struct Sources {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u32>>,
    /// Which descriptor numbers belong to a transport, a listener or a connect in progress.
    owned: RefCell<Vec<Owner>>,
    live: Cell<usize>,
}

impl Sources {
    /// Reserves a key; `fill` completes it.
    pub(crate) fn reserve(&self) -> Key {
        let slot = self.free.borrow_mut().pop();
        let mut slots = self.slots.borrow_mut();
        let slot = slot.unwrap_or_else(|| {
            slots.push(Slot::default());
            u32::try_from(slots.len() - 1).expect("fewer than 2^32 sources")
        });
        Key { slot, generation: slots[slot as usize].generation }
    }

    pub(crate) fn fill(&self, key: Key, source: Rc<dyn Source>) {
        self.slots.borrow_mut()[key.slot as usize].source = Some(source);
        self.live.set(self.live.get() + 1);
    }

    pub(crate) fn get(&self, key: Key) -> Option<Rc<dyn Source>> {
        let slots = self.slots.borrow();
        let slot = slots.get(key.slot as usize)?;
        if slot.generation == key.generation { slot.source.clone() } else { None }
    }

    /// Frees the key for good: it is never used again with this generation.
    pub(crate) fn remove(&self, key: Key) -> Option<Rc<dyn Source>> {
        let mut slots = self.slots.borrow_mut();
        let slot = &mut slots[key.slot as usize];
        if slot.generation != key.generation {
            return None;
        }
        slot.generation = (slot.generation + 1) & Key::GENERATION;
        // A slot that has used up its generations is left alone: a descriptor that somebody closed behind the loop's
        // back, and that is open elsewhere, may bring events of an old key for ever.
        let used_up = slot.generation == 0;
        let source = slot.source.take();
        drop(slots);
        if !used_up {
            self.free.borrow_mut().push(key.slot);
        }
        if source.is_some() {
            self.live.set(self.live.get() - 1);
        }
        source
    }

    pub(crate) fn len(&self) -> usize {
        self.live.get()
    }

    pub(crate) fn all(&self) -> Vec<Rc<dyn Source>> {
        self.slots.borrow().iter().filter_map(|slot| slot.source.clone()).collect()
    }

    // --- ownership of descriptor numbers (FD-07, SOCK-18, TR-43) ---

    fn owner(&self, fd: RawFd) -> Owner {
        let index = usize::try_from(fd).unwrap_or(usize::MAX);
        self.owned.borrow().get(index).copied().unwrap_or_default()
    }

    pub(crate) fn owns(&self, fd: RawFd) -> bool {
        self.owner(fd) != Owner::User
    }

    /// Refuses a number that a live transport uses.
    pub(crate) fn check_free(&self, fd: RawFd, operation: &str) -> Result<()> {
        if self.owner(fd) == Owner::Us { Err(in_use(fd, operation)) } else { Ok(()) }
    }

    pub(crate) fn own(&self, fd: RawFd, operation: &str) -> Result<()> {
        let index = usize::try_from(fd)
            .map_err(|_| Error::invalid_arg(format!("{operation}: {fd} is not a descriptor")))?;
        let mut owned = self.owned.borrow_mut();
        if owned.len() <= index {
            owned.resize(index + 1, Owner::User);
        }
        if owned[index] != Owner::User {
            return Err(in_use(fd, operation));
        }
        owned[index] = Owner::Us;
        Ok(())
    }

    /// The owner of the number will close it soon.
    pub(crate) fn closing(&self, fd: RawFd) {
        if self.owns(fd) {
            self.owned.borrow_mut()[fd as usize] = Owner::UsClosing;
        }
    }

    pub(crate) fn disown(&self, fd: RawFd) {
        if self.owns(fd) {
            self.owned.borrow_mut()[fd as usize] = Owner::User;
        }
    }
}

fn in_use(fd: RawFd, operation: &str) -> Error {
    Error::usage(format!("{operation}: descriptor {fd} is used by a transport of this loop"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_used_twice() {
        let sources = Sources::default();
        let first = sources.reserve();
        sources.remove(first);
        assert_eq!(sources.reserve(), Key { generation: 1, ..first });
        // The last use of the slot.
        let last = Key { generation: Key::GENERATION, ..first };
        sources.slots.borrow_mut()[0].generation = last.generation;
        assert!(sources.remove(last).is_none() && sources.get(last).is_none());
        let next = sources.reserve();
        assert!(next.slot != first.slot && sources.get(first).is_none(), "{next:?}");
        assert_eq!(sources.reserve().slot, next.slot + 1);
    }
}
