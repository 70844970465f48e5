//! Which key a descriptor number is registered under: the part of a readiness driver that does not
//! depend on the kernel interface.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::driver::{Interest, Key};

/// A table from descriptor numbers to keys, for drivers whose kernel interface works by number.
///
/// Somebody may close a descriptor behind the loop's back and open another one that gets the same
/// number. When the core then takes back the old registration, the kernel would hit the new one. So a
/// driver looks here first.
///
/// It also remembers registrations that are parked ([`Interest::NONE`]): mio has no empty
/// interest, and an empty interest of epoll or `poll` still reports `HUP`. Drivers take such a
/// descriptor out of the kernel's set and put it back when there is an interest again.
#[derive(Debug, Default)]
pub struct Registrations {
    /// By number. Descriptor numbers are small and dense.
    entries: Vec<Option<Entry>>,
    live: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    parked: bool,
}

/// What the table knows about a descriptor and a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Registration {
    /// Registered, and in the kernel's set.
    Active,
    /// Registered, but kept out of the kernel's set.
    Parked,
    /// The number is not registered under this key (any more).
    Absent,
}

impl Registrations {
    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new(), live: 0 }
    }

    /// What `fd` is under `key`.
    #[must_use]
    pub fn get(&self, fd: BorrowedFd<'_>, key: Key) -> Registration {
        match self.entries.get(index(fd)) {
            Some(Some(entry)) if entry.key == key && entry.parked => Registration::Parked,
            Some(Some(entry)) if entry.key == key => Registration::Active,
            _ => Registration::Absent,
        }
    }

    /// Notes that `fd` is now registered under `key` with `interest`. Replaces what was known about the
    /// number.
    pub fn set(&mut self, fd: BorrowedFd<'_>, key: Key, interest: Interest) {
        let index = index(fd);
        if index >= self.entries.len() {
            self.entries.resize(index + 1, None);
        }
        let entry = Entry { key, parked: interest == Interest::NONE };
        if self.entries[index].replace(entry).is_none() {
            self.live += 1;
        }
    }

    /// Forgets `fd`, if it is registered under `key`, and tells what it was.
    pub fn remove(&mut self, fd: BorrowedFd<'_>, key: Key) -> Registration {
        let was = self.get(fd, key);
        if was != Registration::Absent {
            self.entries[index(fd)] = None;
            self.live -= 1;
        }
        was
    }

    /// How many descriptors are registered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }
}

/// Turns the kernel's "not in the set" into success, for taking a descriptor out: it was closed behind our
/// back (and perhaps opened again), and with that the kernel has forgotten it.
///
/// # Errors
/// Every other one.
pub fn allow_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NOENT | Errno::BADF)) => Ok(()),
        other => other,
    }
}

fn index(fd: BorrowedFd<'_>) -> usize {
    usize::try_from(fd.as_raw_fd()).expect("a borrowed descriptor is never negative")
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_number_belongs_to_its_latest_key() {
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let (a, b) = (stdin.as_fd(), stdout.as_fd());
        let key = |slot| Key { slot, generation: 1 };
        let mut table = Registrations::new();
        assert_eq!(table.get(a, key(0)), Registration::Absent);
        table.set(b, key(1), Interest::NONE);
        table.set(a, key(0), Interest::READ);
        assert_eq!(table.len(), 2);
        assert_eq!(table.get(a, key(0)), Registration::Active);
        assert_eq!(table.get(b, key(1)), Registration::Parked);
        assert_eq!(table.get(a, key(1)), Registration::Absent);

        // Closed behind our back, opened and registered again.
        table.set(a, key(2), Interest::BOTH);
        assert_eq!(table.len(), 2);
        assert_eq!(table.remove(a, key(0)), Registration::Absent);
        assert_eq!(table.get(a, key(2)), Registration::Active);
        assert_eq!(table.remove(a, key(2)), Registration::Active);
        assert_eq!(table.remove(a, key(2)), Registration::Absent);
        assert_eq!(table.remove(b, key(1)), Registration::Parked);
        assert!(table.is_empty());
    }
}
