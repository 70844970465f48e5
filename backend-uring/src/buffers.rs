//! The ring of receive buffers, and the lending of what was received.
//!
//! The kernel takes a buffer from the ring for each message (or, if incremental, goes on in the
//! one at the head until it is full), and names it in the completion. The bytes are lent as
//! [`Chunk`]s without a copy. A buffer returns to the ring when the kernel is done with it *and*
//! no chunk of it is left.
//!
//! Consumers may keep chunks as long as they like. So that they never starve the others, bytes are
//! copied out, and their buffer returns at once, as long as few buffers are in the ring when a
//! poll begins: what was lent in the one before has been looked at by then, so the rest is being
//! kept. If all of them are, the driver reads into other memory (see `recv.rs`).

use std::cell::Cell;
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use anyloop_core::driver::{Chunk, ChunkPool};
use io_uring::IoUring;

use crate::config::Config;
use crate::memory::{Memory, RingEntry};

/// The number of our group of buffers: the only one.
pub(crate) const GROUP: u16 = 0;

/// `IOU_PBUF_RING_INC`.
const INCREMENTAL: u16 = 2;

/// Where one buffer stands.
#[derive(Default)]
struct Lease {
    /// Bytes the kernel has filled since the buffer was put into the ring.
    filled: Cell<u32>,
    /// Chunks that point into it.
    lent: Cell<u32>,
    /// Whether it is in the ring.
    in_ring: Cell<bool>,
}

/// The buffers of one driver.
pub(crate) struct Buffers {
    memory: Memory,
    leases: Box<[Lease]>,
    size: u32,
    incremental: bool,
    tail: Cell<u16>,
    in_ring: Cell<u32>,
    /// Whether what arrives now is copied out.
    copying: Cell<bool>,
    copies: Cell<u64>,
}

/// The kernel named bytes that cannot be: going on could hand out somebody else's.
#[derive(Debug)]
pub(crate) struct Inconsistent;

impl Buffers {
    /// Makes the buffers and registers them with the ring. `None` if the kernel cannot (5.19).
    pub(crate) fn register(ring: &IoUring, config: &Config) -> io::Result<Option<Rc<Self>>> {
        // Incremental buffers depend on the order of completions across streams, which only multishot
        // receives keep on all kernels.
        if config.incremental_buffers && config.multishot_recv {
            let buffers = Self::new(config, true)?;
            if buffers.try_register(ring).is_ok() {
                return Ok(Some(Rc::new(buffers)));
            }
        }
        let buffers = Self::new(config, false)?;
        match buffers.try_register(ring) {
            Ok(()) => Ok(Some(Rc::new(buffers))),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn new(config: &Config, incremental: bool) -> io::Result<Self> {
        let (count, size) = if incremental { (4, 256 << 10) } else { (64, 16 << 10) };
        let count = config.buffer_count.unwrap_or(count).next_power_of_two();
        let size = config.buffer_size.unwrap_or(size);
        let buffers = Self {
            memory: Memory::new(count.into(), size as usize)?,
            leases: (0..count).map(|_| Lease::default()).collect(),
            size,
            incremental,
            tail: Cell::new(0),
            in_ring: Cell::new(0),
            copying: Cell::new(false),
            copies: Cell::new(0),
        };
        for buffer in 0..count {
            buffers.put(buffer);
        }
        Ok(buffers)
    }

    fn try_register(&self, ring: &IoUring) -> io::Result<()> {
        let flags = if self.incremental { INCREMENTAL } else { 0 };
        let count = self.leases.len() as u16;
        let address = self.memory.base.as_ptr() as u64;
        // SAFETY: `address` begins a page of our mapping with room for `count` entries, which stays
        // until the pool is dropped: after the ring was unregistered, or never.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, count, GROUP, flags) }
    }

    /// A poll begins.
    pub(crate) fn begin_poll(&self) {
        let scarce = (self.leases.len() / 4).max(1) as u32;
        self.copying.set(self.in_ring.get() <= scarce);
    }

    /// Lends bytes that were read without a buffer of the ring.
    pub(crate) fn lend_others(&self, bytes: &[u8]) -> Chunk {
        self.copies.set(self.copies.get() + 1);
        copied(bytes)
    }

    /// How many buffers the kernel can choose from, as far as completions told.
    pub(crate) fn in_ring(&self) -> u32 {
        self.in_ring.get()
    }

    pub(crate) fn is_incremental(&self) -> bool {
        self.incremental
    }

    /// Count and size.
    pub(crate) fn shape(&self) -> (usize, u32) {
        (self.leases.len(), self.size)
    }

    /// Messages that were copied for want of buffers.
    pub(crate) fn copies(&self) -> u64 {
        self.copies.get()
    }

    /// The address of a byte of a buffer.
    fn address(&self, buffer: u16, offset: u32) -> NonNull<u8> {
        let at = self.memory.buffers + usize::from(buffer) * self.size as usize + offset as usize;
        debug_assert!(at <= self.memory.length);
        // SAFETY: `buffer` is below the count and `offset` at most the size (both callers check), so
        // this stays within the mapping or at its end.
        unsafe { self.memory.base.add(at) }
    }

    /// Puts a buffer (back) into the ring.
    fn put(&self, buffer: u16) {
        let lease = &self.leases[usize::from(buffer)];
        lease.filled.set(0);
        lease.in_ring.set(true);
        self.in_ring.set(self.in_ring.get() + 1);
        let tail = self.tail.get();
        let index = usize::from(tail) & (self.leases.len() - 1);
        let first = self.memory.base.cast::<RingEntry>();
        // SAFETY: `index` is below the count of entries at the head of the mapping. The kernel reads
        // an entry only after the tail passed it, and only the loop's thread writes them. `tail` of
        // the first entry is written through the atomic alone.
        unsafe {
            let entry = first.add(index).as_ptr();
            (&raw mut (*entry).address).write(self.address(buffer, 0).as_ptr() as u64);
            (&raw mut (*entry).length).write(self.size);
            (&raw mut (*entry).buffer).write(buffer);
            let published: *const AtomicU16 = &raw const (*first.as_ptr()).tail;
            (*published).store(tail.wrapping_add(1), Ordering::Release);
        }
        self.tail.set(tail.wrapping_add(1));
    }

    /// Takes over `length` bytes that a completion says are in `buffer`; `more` if the kernel goes on
    /// filling it. `None` if there are no bytes.
    pub(crate) fn lend(
        self: &Rc<Self>,
        buffer: u16,
        length: u32,
        more: bool,
    ) -> Result<Option<Chunk>, Inconsistent> {
        let lease = self.leases.get(usize::from(buffer)).ok_or(Inconsistent)?;
        let begin = lease.filled.get();
        if !lease.in_ring.get() || length > self.size - begin {
            return Err(Inconsistent);
        }
        lease.filled.set(begin + length);
        if !(self.incremental && more) {
            lease.in_ring.set(false);
            self.in_ring.set(self.in_ring.get() - 1);
        }
        let bytes = NonNull::slice_from_raw_parts(self.address(buffer, begin), length as usize);
        let chunk = if length == 0 {
            None
        } else if self.copying.get() {
            // SAFETY: the kernel has filled these bytes, which lie within the buffer, and does not
            // touch them again until the buffer is put back.
            Some(self.lend_others(unsafe { bytes.as_ref() }))
        } else {
            lease.lent.set(lease.lent.get() + 1);
            // SAFETY: as above; the buffer is put back only when `lent` is zero, that is after
            // `release` was called for each chunk, and the mapping lives as long as the pool.
            Some(unsafe { Chunk::new(bytes, buffer.into(), Rc::clone(self) as _) })
        };
        self.put_if_done(buffer, lease);
        Ok(chunk)
    }

    fn put_if_done(&self, buffer: u16, lease: &Lease) {
        if lease.lent.get() == 0 && !lease.in_ring.get() {
            self.put(buffer);
        }
    }
}

impl ChunkPool for Buffers {
    fn release(&self, token: u32) {
        let buffer = token as u16;
        let lease = &self.leases[usize::from(buffer)];
        lease.lent.set(lease.lent.get() - 1);
        self.put_if_done(buffer, lease);
    }
}

/// A chunk that owns its bytes.
fn copied(bytes: &[u8]) -> Chunk {
    struct Copied(Box<[u8]>);
    impl ChunkPool for Copied {
        fn release(&self, _token: u32) {}
    }
    let pool = Rc::new(Copied(bytes.into()));
    let bytes = NonNull::from(&*pool.0);
    // SAFETY: the bytes are in a box of the pool's, which nobody writes, and which lives as long as
    // the pool does.
    unsafe { Chunk::new(bytes, 0, pool) }
}

/// Without a ring: these run under Miri.
#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 64;

    fn buffers(count: u32, incremental: bool) -> Rc<Buffers> {
        let config = Config::default().buffer_count(count).buffer_size(SIZE);
        Rc::new(Buffers::new(&config, incremental).expect("memory"))
    }

    impl Buffers {
        /// What the kernel does.
        fn fill(&self, buffer: u16, offset: u32, bytes: &[u8]) {
            assert!(offset as usize + bytes.len() <= SIZE as usize);
            let to = self.address(buffer, offset).as_ptr();
            // SAFETY: within the buffer, of which no chunk covers these bytes.
            unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        }

        /// The buffer, address and length of an entry of the ring.
        fn entry(&self, position: u16) -> (u16, u64, u32) {
            let index = usize::from(position) & (self.leases.len() - 1);
            let first = self.memory.base.cast::<RingEntry>();
            // SAFETY: below the count of entries; each was written by `put`.
            unsafe {
                let entry = first.add(index).as_ptr();
                ((*entry).buffer, (*entry).address, (*entry).length)
            }
        }

        fn published_tail(&self) -> u16 {
            // SAFETY: the first entry, whose tail is only used as an atomic.
            unsafe { self.memory.base.cast::<RingEntry>().as_ref() }.tail.load(Ordering::Acquire)
        }
    }

    fn lent(pool: &Rc<Buffers>, buffer: u16, length: u32, more: bool) -> Chunk {
        pool.lend(buffer, length, more).expect("it is consistent").expect("there are bytes")
    }

    #[test]
    fn every_buffer_is_in_the_ring_from_the_start() {
        let pool = buffers(4, false);
        assert_eq!((pool.in_ring(), pool.published_tail()), (4, 4));
        for buffer in 0..4 {
            let address = pool.address(buffer, 0).as_ptr() as u64;
            assert_eq!(pool.entry(buffer), (buffer, address, SIZE));
        }
        assert_eq!(pool.address(3, SIZE).as_ptr() as u64 - pool.entry(3).1, SIZE.into());
    }

    #[test]
    fn a_buffer_returns_with_its_last_byte() {
        let pool = buffers(4, false);
        pool.fill(2, 0, b"two");
        pool.fill(0, 0, b"nought");
        let (two, nought) = (lent(&pool, 2, 3, false), lent(&pool, 0, 6, false));
        assert_eq!((&*two, &*nought, pool.in_ring()), (&b"two"[..], &b"nought"[..], 2));
        drop(two);
        // To the end of the queue, not to where it was.
        assert_eq!((pool.in_ring(), pool.published_tail(), pool.entry(4).0), (3, 5, 2));
        assert_eq!(&*nought, b"nought");
        drop(nought);
        assert_eq!((pool.in_ring(), pool.published_tail(), pool.entry(5).0), (4, 6, 0));
        // Nothing came, but the kernel took the buffer.
        assert!(pool.lend(1, 0, false).expect("it is consistent").is_none());
        assert_eq!((pool.in_ring(), pool.entry(6).0), (4, 1));
    }

    #[test]
    fn the_kernel_goes_on_behind_what_is_lent() {
        let pool = buffers(2, true);
        pool.fill(0, 0, b"first");
        let first = lent(&pool, 0, 5, true);
        pool.fill(0, 5, b"second");
        let second = lent(&pool, 0, 6, true);
        assert_eq!((&*first, &*second, pool.in_ring()), (&b"first"[..], &b"second"[..], 2));
        drop(first);
        // It is still filled.
        assert_eq!((pool.in_ring(), pool.published_tail()), (2, 2));
        pool.fill(0, 11, b"last");
        let last = lent(&pool, 0, 4, false);
        drop(second);
        assert_eq!((&*last, pool.in_ring(), pool.published_tail()), (&b"last"[..], 1, 2));
        drop(last);
        assert_eq!((pool.in_ring(), pool.published_tail(), pool.entry(2).0), (2, 3, 0));
        // From its beginning again.
        pool.fill(0, 0, b"again");
        assert_eq!(&*lent(&pool, 0, 5, true), b"again");
    }

    #[test]
    fn without_increments_more_to_come_keeps_no_buffer() {
        let pool = buffers(2, false);
        pool.fill(1, 0, b"x");
        let chunk = lent(&pool, 1, 1, true);
        assert_eq!(pool.in_ring(), 1);
        drop(chunk);
        assert_eq!(pool.in_ring(), 2);
    }

    #[test]
    fn what_is_scarce_is_copied() {
        let pool = buffers(8, false);
        let keep: Vec<_> = (0..5).map(|buffer| lent(&pool, buffer, 1, false)).collect();
        pool.begin_poll();
        pool.fill(5, 0, b"lent");
        let sixth = lent(&pool, 5, 4, false);
        assert_eq!((pool.copies(), pool.in_ring()), (0, 2));
        // A quarter is left.
        pool.begin_poll();
        pool.fill(6, 0, b"copied");
        let copy = lent(&pool, 6, 6, false);
        assert_eq!((pool.copies(), pool.in_ring()), (1, 2));
        pool.fill(6, 0, b"!!!!!!");
        assert_eq!((&*copy, &*sixth), (&b"copied"[..], &b"lent"[..]));
        drop((keep, sixth));
        pool.begin_poll();
        assert_eq!(pool.in_ring(), 8);
        pool.fill(7, 0, b"z");
        let chunk = lent(&pool, 7, 1, false);
        assert_eq!((pool.copies(), pool.in_ring()), (1, 7));
        // The bytes outlive everything else.
        drop(pool);
        assert_eq!((&*chunk, &*copy), (&b"z"[..], &b"copied"[..]));
    }

    #[test]
    fn bytes_that_cannot_be_are_refused() {
        let pool = buffers(2, true);
        assert!(pool.lend(2, 1, false).is_err(), "there is no such buffer");
        assert!(pool.lend(0, SIZE + 1, false).is_err(), "longer than the buffer");
        let most = lent(&pool, 0, SIZE - 1, true);
        assert!(pool.lend(0, 2, true).is_err(), "longer than what is left of it");
        let rest = lent(&pool, 0, 1, false);
        assert!(pool.lend(0, 0, false).is_err(), "the kernel does not have it");
        drop((most, rest));
        assert_eq!(pool.in_ring(), 2);
    }
}
