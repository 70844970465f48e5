//! Whose the ring is: of one process, and once it runs of one thread.
//!
//! A forked child inherits the ring's descriptor, but not its memory (which would otherwise be shared, and the
//! child could write requests into the parent's queue). So in a child the driver must not touch the
//! ring at all. The kernel helps: it hands a page with `MADV_WIPEONFORK` to the child as zeroes,
//! which makes "am I the process that made this?" one read.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Names a process among those that descend from one another by `fork` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

/// The number of the current process; zero in a child that has not asked yet.
static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

/// The last number given. A child goes on from its parent's.
static LAST: AtomicU32 = AtomicU32::new(0);

impl Process {
    pub(crate) fn current() -> Self {
        let page = PAGE.load(Ordering::Acquire);
        // SAFETY: `page` is null or the mapping that `map` published, which is never unmapped.
        let Some(page) = (unsafe { page.as_ref() }) else { return Self::first() };
        match page.load(Ordering::Relaxed) {
            0 => Self::enter(page),
            number => Self(number),
        }
    }

    #[cold]
    fn first() -> Self {
        match map() {
            Some(page) => Self::enter(page),
            // SAFETY: `getpid` takes nothing and never fails.
            None => Self(unsafe { libc::getpid() } as u32),
        }
    }

    #[cold]
    fn enter(page: &AtomicU32) -> Self {
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        match page.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Self(number),
            Err(other) => Self(other),
        }
    }
}

/// Makes the page, once per process.
fn map() -> Option<&'static AtomicU32> {
    let length = size_of::<AtomicU32>();
    // SAFETY: a new private mapping at an address of the kernel's choice touches nothing of ours.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the page is ours; the advice does not change it in this process.
    let wiped = unsafe { libc::madvise(page, length, libc::MADV_WIPEONFORK) } == 0;
    let ours: *mut AtomicU32 = page.cast();
    let published = wiped
        && PAGE
            .compare_exchange(ptr::null_mut(), ours, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
    if !published {
        // SAFETY: nobody else has seen this page.
        unsafe { libc::munmap(page, length) };
    }
    // SAFETY: null, or a page that was published and is never unmapped; a page is aligned and zeroed,
    // which is a valid `AtomicU32`.
    unsafe { PAGE.load(Ordering::Acquire).as_ref() }
}

/// Tells threads apart, cheaply: the address of a thread-local.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadMark(usize);

impl ThreadMark {
    pub(crate) fn current() -> Self {
        thread_local!(static MARK: u8 = const { 0 });
        Self(MARK.with(|mark| ptr::from_ref(mark).addr()))
    }
}
