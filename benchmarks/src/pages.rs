//! Memory that begins at a page boundary.
//!
//! Large allocations usually begin 16 bytes after one, right behind the allocator's header. On
//! some processors the kernel's copy into such a buffer runs at half its speed: what is copied
//! mostly begins at a boundary, and each load then seems to depend on the store just before it.

use std::ops::{Deref, DerefMut};

/// Bytes, all zero at first, that begin at a page boundary.
#[derive(Debug)]
pub(crate) struct Pages(Vec<Page>);

impl Pages {
    /// At least `length` bytes, rounded up to whole pages.
    pub(crate) fn new(length: usize) -> Self {
        Self(vec![Page { bytes: [0; SIZE] }; length.div_ceil(SIZE)])
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: a page is `SIZE` bytes without padding, and pages lie side by side.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * SIZE) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the exclusive borrow is passed on.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * SIZE) }
    }
}

#[derive(Clone, Copy, Debug)]
#[repr(C, align(4096))]
struct Page {
    bytes: [u8; SIZE],
}

const SIZE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_aligned_zero_and_writable() {
        let mut pages = Pages::new(5000);
        assert_eq!(pages.len(), 8192);
        assert!(pages.as_ptr().addr().is_multiple_of(SIZE));
        assert!(pages.iter().all(|&byte| byte == 0));
        pages[8191] = 1;
        assert_eq!(pages.last(), Some(&1));
    }
}
