//! The mapping in which the ring of receive buffers is.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU16;

/// An entry of the ring, as in `struct io_uring_buf`. The last field of the *first* entry is the tail.
#[repr(C)]
pub(crate) struct RingEntry {
    pub(crate) address: u64,
    pub(crate) length: u32,
    pub(crate) buffer: u16,
    pub(crate) tail: AtomicU16,
}

/// The memory: one mapping, the ring in front (it must begin a page), the buffers behind it.
pub(crate) struct Memory {
    pub(crate) base: NonNull<u8>,
    pub(crate) length: usize,
    /// Where the buffers begin.
    pub(crate) buffers: usize,
}

impl Memory {
    /// How far into a page the buffers begin. A copy whose destination begins 1 to 31 bytes further into
    /// its page than its source is up to thirty times slower on some processors (`rep movsb` on AMD's
    /// Zen). What the kernel copies from begins a page, and large allocations, into which what was
    /// received is copied, begin 16 bytes into one: this place is far from both.
    const INTO_PAGE: usize = 128;

    pub(crate) fn new(count: usize, size: usize) -> io::Result<Self> {
        let buffers = (count * size_of::<RingEntry>()).next_multiple_of(4096) + Self::INTO_PAGE;
        let length = buffers + count * size;
        // SAFETY: a new private mapping at an address of the kernel's choice touches nothing of ours.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, length, buffers })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever had pointers into it is gone: the chunks hold the
        // pool, and the driver forgets the pool if the kernel may still write (see `close.rs`).
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}
