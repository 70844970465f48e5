//! An allocator that counts, for proofs that a path does not allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Neither allocates nor has a destructor, so that the allocator may use it at any time.
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static FREED: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting what each thread asks it for.
///
/// ```
/// use anyloop_core::testing::CountingAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: CountingAllocator = CountingAllocator;
///
/// let before = CountingAllocator::count();
/// let boxed = Box::new(1);
/// assert_eq!(CountingAllocator::count() - before, 1);
/// # drop(boxed);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator;

impl CountingAllocator {
    /// How often this thread has asked for memory, or for another size of it. Zero for ever unless the
    /// allocator is the program's.
    #[must_use]
    pub fn count() -> u64 {
        COUNT.get()
    }

    /// How often this thread has given memory back, its own or that of others.
    #[must_use]
    pub fn freed() -> u64 {
        FREED.get()
    }
}

fn count() {
    COUNT.set(COUNT.get() + 1);
}

// SAFETY: every call goes to `System` as it came; counting touches no memory of the allocator's.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the same promises to us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the same promises to us.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the same promises to us, and `memory` is from `System`.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        FREED.set(FREED.get() + 1);
        // SAFETY: the caller keeps the same promises to us, and `memory` is from `System`.
        unsafe { System.dealloc(memory, layout) }
    }
}
