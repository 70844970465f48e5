//! The bytes that arrived and were not read yet.

use std::cell::RefCell;
use std::io::BufRead;

/// How much memory of emptied buffers a thread keeps: a connection that has nothing to read holds none,
/// and a busy one does not allocate.
const SPARE_TOTAL: usize = 2 * 1024 * 1024;
/// The biggest buffer that is kept.
const SPARE_MAX: usize = 256 * 1024;
/// Among how many of them one is looked for that fits.
const LOOKED_AT: usize = 8;

const PAGE: usize = 4096;

#[derive(Default)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    total: usize,
}

thread_local! {
    static SPARE: RefCell<Spare> = RefCell::default();
}

/// Nothing at the end of the thread, where a loop that a thread-local holds may still be closed.
fn spare<R>(f: impl FnOnce(&mut Spare) -> Option<R>) -> Option<R> {
    SPARE.try_with(|spare| f(&mut spare.borrow_mut())).ok().flatten()
}

/// An emptied buffer, or one with room for `wanted` bytes.
fn fresh(wanted: usize) -> Vec<u8> {
    let kept = spare(|spare| {
        let buffer = spare.buffers.pop()?;
        spare.total -= buffer.capacity();
        Some(buffer)
    });
    // Exact, so that the whole can be handed to the reader without wasting memory.
    kept.unwrap_or_else(|| Vec::with_capacity(wanted))
}

/// An empty buffer with room for at least `least` bytes and for at most `most`, `least` if it is new.
pub(super) fn fitting(least: usize, most: usize) -> Vec<u8> {
    let kept = spare(|spare| {
        // The last ones are the ones that are still in the cache.
        let fits = |buffer: &Vec<u8>| (least..=most).contains(&buffer.capacity());
        let back = spare.buffers.iter().rev().take(LOOKED_AT).position(fits)?;
        let buffer = spare.buffers.swap_remove(spare.buffers.len() - 1 - back);
        spare.total -= buffer.capacity();
        Some(buffer)
    });
    kept.unwrap_or_else(|| well_placed(least))
}

/// An empty buffer that does not begin 1 to 31 bytes into a page, if that can be had: the kernel's copy
/// to there is slow (see `Scratch` in loop-core). glibc gives large allocations a mapping, which begins
/// 16 bytes into one; having freed it, it takes the next one of that size from the heap.
fn well_placed(capacity: usize) -> Vec<u8> {
    let buffer: Vec<u8> = Vec::with_capacity(capacity);
    if capacity < PAGE || !(1..32).contains(&(buffer.as_ptr().addr() % PAGE)) {
        return buffer;
    }
    drop(buffer);
    Vec::with_capacity(capacity)
}

/// Whether [`recycle`] would keep a buffer of this size.
pub(super) fn recyclable(buffer: &Vec<u8>) -> bool {
    (1..=SPARE_MAX).contains(&buffer.capacity())
}

/// Keeps the memory of `buffer` for the next bytes that arrive anywhere on this thread.
pub(super) fn recycle(mut buffer: Vec<u8>) {
    if recyclable(&buffer) {
        spare(|spare| {
            if spare.total + buffer.capacity() <= SPARE_TOTAL {
                buffer.clear();
                spare.total += buffer.capacity();
                spare.buffers.push(buffer);
            }
            Some(())
        });
    }
}

/// A queue of bytes: in at the end, out at the front.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Bytes before this were read already.
    start: usize,
}

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn push(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        if self.bytes.capacity() == 0 {
            self.bytes = fresh(data.len());
        } else if self.start > self.bytes.len() / 2
            && self.bytes.len() + data.len() > self.bytes.capacity()
        {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(data);
    }

    /// The first `count` bytes, moved out; no copy if that is everything and the memory fits.
    pub(super) fn take(&mut self, count: usize) -> Vec<u8> {
        let whole = count == self.bytes.len();
        if whole && self.bytes.capacity() <= count.saturating_mul(2) {
            return std::mem::take(&mut self.bytes);
        }
        let taken = self.as_slice()[..count].to_vec();
        self.skip(count);
        taken
    }

    pub(crate) fn skip(&mut self, count: usize) {
        self.start += count;
        if self.start == self.bytes.len() {
            self.release();
        }
    }

    /// Copies as much as fits to the front of `into`.
    pub(super) fn copy(&mut self, into: &mut [u8]) -> usize {
        let count = self.len().min(into.len());
        into[..count].copy_from_slice(&self.as_slice()[..count]);
        self.skip(count);
        count
    }

    fn release(&mut self) {
        self.start = 0;
        recycle(std::mem::take(&mut self.bytes));
    }
}

/// Where `separator` begins in `data`, looking from `from` on.
pub(super) fn find(data: &[u8], separator: &[u8], from: usize) -> Option<usize> {
    let (&first, rest) = separator.split_first()?;
    let mut at = from;
    while at + separator.len() <= data.len() {
        at += find_byte(&data[at..data.len() - rest.len()], first)?;
        if data[at + 1..].starts_with(rest) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The standard library's fast search shows itself only here.
fn find_byte(mut data: &[u8], byte: u8) -> Option<usize> {
    let all = data;
    let seen = data.skip_until(byte).unwrap_or(0);
    (seen > 0 && all[seen - 1] == byte).then(|| seen - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_separators() {
        assert_eq!(find(b"ab\ncd", b"\n", 0), Some(2));
        assert_eq!(find(b"ab\ncd", b"\n", 3), None);
        assert_eq!(find(b"\n", b"\n", 0), Some(0));
        assert_eq!(find(b"", b"\n", 0), None);
        assert_eq!(find(b"a\r\r\nb", b"\r\n", 0), Some(2));
        assert_eq!(find(b"a\r", b"\r\n", 0), None);
        assert_eq!(find(b"aaab", b"aab", 0), Some(1));
        assert_eq!(find(b"abab", b"ab", 1), Some(2));
        assert_eq!(find(b"a", b"ab", 5), None);
    }

    #[test]
    fn keeps_order_across_partial_reads() {
        let mut buffer = Buffer::default();
        let mut read = Vec::new();
        for round in 0..1000_u32 {
            buffer.push(&round.to_be_bytes());
            if round % 3 == 0 {
                read.extend(buffer.take(5.min(buffer.len())));
            }
            if round % 7 == 0 {
                let mut into = [0; 9];
                let count = buffer.copy(&mut into);
                read.extend_from_slice(&into[..count]);
            }
        }
        read.extend(buffer.take(buffer.len()));
        let sent: Vec<u8> = (0..1000_u32).flat_map(u32::to_be_bytes).collect();
        assert!(read == sent && buffer.len() == 0);
    }

    #[test]
    fn an_empty_buffer_holds_no_memory() {
        let mut buffer = Buffer::default();
        buffer.push(&[1; 5000]);
        buffer.skip(5000);
        assert_eq!(buffer.bytes.capacity(), 0);
        buffer.push(b"again");
        assert!(buffer.bytes.capacity() >= 5000, "the spare was not used");
        assert_eq!(buffer.take(5), b"again");
        assert_eq!(buffer.bytes.capacity(), 0);
    }
}
