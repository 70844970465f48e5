//! Buffers that the kernel chooses from when bytes arrive.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use io_uring::{Submitter, cqueue};

use crate::pages::Pages;

/// A ring of receive buffers: a few large ones that the kernel cuts slices from where it can
/// (6.12), otherwise many small ones that it uses up one per receive.
pub(crate) struct Buffers {
    /// Room for the entries that the kernel reads.
    entries: Pages,
    memory: Pages,
    count: u16,
    size: u32,
    tail: u16,
    /// Where the next slice of each buffer begins, if slices are cut.
    incremental: Option<Vec<u32>>,
}

/// Bytes that arrived, somewhere in the buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk {
    /// Where they begin.
    pub(crate) begin: usize,
    /// How many they are.
    pub(crate) length: usize,
    /// The buffer to recycle once these bytes are no longer needed, if they are its last.
    pub(crate) spent: Option<u16>,
}

impl Buffers {
    /// Registers buffers as group `group`: incremental ones, or plain ones where there are none.
    pub(crate) fn register(submitter: &Submitter<'_>, group: u16) -> io::Result<Self> {
        Self::try_register(submitter, group, 4, 256 << 10, true)
            .or_else(|_| Self::try_register(submitter, group, 64, 16 << 10, false))
    }

    fn try_register(
        submitter: &Submitter<'_>,
        group: u16,
        count: u16,
        size: u32,
        incremental: bool,
    ) -> io::Result<Self> {
        let mut buffers = Self {
            entries: Pages::new(usize::from(count) * size_of::<BufRingEntry>()),
            memory: Pages::new(usize::from(count) * size as usize),
            count,
            size,
            tail: 0,
            incremental: incremental.then(|| vec![0; usize::from(count)]),
        };
        let address = buffers.entries.as_mut_ptr() as u64;
        let flags = if incremental { PBUF_RING_INC } else { 0 };
        // SAFETY: the entries are page-aligned, large enough for `count` of them, and live as
        // long as the buffers, whose owner keeps them until the ring is gone.
        unsafe { submitter.register_buf_ring_with_flags(address, count, group, flags)? };
        (0..count).for_each(|id| buffers.recycle(id));
        buffers.publish();
        Ok(buffers)
    }

    /// The bytes that a completed receive put into a buffer; `None` if it used none.
    pub(crate) fn received(&mut self, completion: &cqueue::Entry) -> Option<Chunk> {
        let flags = completion.flags();
        let (id, length) = (cqueue::buffer_select(flags)?, completion.result().max(0) as usize);
        let start = usize::from(id) * self.size as usize;
        let Some(offsets) = &mut self.incremental else {
            return Some(Chunk { begin: start, length, spent: Some(id) });
        };
        let offset = &mut offsets[usize::from(id)];
        let begin = start + *offset as usize;
        *offset += length as u32;
        Some(Chunk { begin, length, spent: (!cqueue::buffer_more(flags)).then_some(id) })
    }

    /// The bytes themselves.
    pub(crate) fn bytes(&self, begin: usize, length: usize) -> &[u8] {
        &self.memory[begin..begin + length]
    }

    /// Offers a spent buffer again; the kernel sees it after [`publish`](Self::publish).
    pub(crate) fn recycle(&mut self, id: u16) {
        let start = usize::from(id) * self.size as usize;
        let address = self.memory[start..].as_mut_ptr() as u64;
        let slot = usize::from(self.tail & (self.count - 1));
        let base = self.entries.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: `slot` is below `count`, for which there is room; an entry at or after the
        // published tail is ours to write. The tail, in the first one, is not touched.
        unsafe {
            let entry = &mut *base.add(slot);
            entry.set_addr(address);
            entry.set_len(self.size);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
        if let Some(offsets) = &mut self.incremental {
            offsets[usize::from(id)] = 0;
        }
    }

    /// Lets the kernel see all recycled buffers.
    pub(crate) fn publish(&self) {
        let base = self.entries.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `base` is the start of a ring of entries, in which the tail has a place of its
        // own that is aligned, and that the kernel only reads.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

const PBUF_RING_INC: u16 = 2;
