//! Which file a descriptor is of.

use std::os::fd::BorrowedFd;

/// Device and inode: numbers that are used again mean another file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

impl FileId {
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Option<Self> {
        let stat = rustix::fs::fstat(fd).ok()?;
        #[allow(clippy::unnecessary_cast, reason = "the types differ between platforms")]
        Some(Self(stat.st_dev as u64, stat.st_ino as u64))
    }
}
