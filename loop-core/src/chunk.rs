//! Received bytes lent by a driver's buffer ring. Unsafe lives here because a chunk is a pointer
//! into memory that the kernel fills and the pool recycles.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;

/// Takes back what was lent. Implemented by a driver's buffer ring.
pub trait ChunkPool {
    /// The lease `token` ended: its bytes are no longer read by anybody.
    fn release(&self, token: u32);
}

/// Bytes lent by a driver, given back when dropped.
///
/// Not `Send`: it is recycled on the loop's thread.
pub struct Chunk {
    bytes: NonNull<[u8]>,
    token: u32,
    pool: Rc<dyn ChunkPool>,
}

impl Chunk {
    /// Lends `bytes` until the chunk is dropped; then `pool.release(token)` is called, once.
    ///
    /// # Safety
    /// `bytes` must stay valid, initialised and unwritten until that call, for as long as `pool` is
    /// alive (the chunk holds it).
    #[must_use]
    pub unsafe fn new(bytes: NonNull<[u8]>, token: u32, pool: Rc<dyn ChunkPool>) -> Self {
        Self { bytes, token, pool }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `new` required the bytes to stay valid and unwritten until `release`, which only
        // `drop` calls.
        unsafe { self.bytes.as_ref() }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.pool.release(self.token);
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.len())
    }
}
