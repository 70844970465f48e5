//! [`SendFile`]: which part of which file to send.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A file to send with [`EventLoop::sendfile`](crate::EventLoop::sendfile) or
/// [`EventLoop::sock_sendfile`](crate::EventLoop::sock_sendfile).
///
/// Whoever keeps another handle to the file finds its position where the transfer ended, also after an
/// error or a cancellation.
///
/// ```
/// use anyloop_api::SendFile;
/// use std::fs::File;
/// use std::sync::Arc;
///
/// let file = Arc::new(File::open("/proc/self/exe")?);
/// let whole = SendFile::new(file.clone());
/// let part = SendFile::new(file).offset(4096).count(100).fallback(false);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SendFile {
    /// The file; need not be a regular one.
    pub file: Arc<File>,
    /// The first byte, counted from the beginning of the file, wherever its position is.
    pub offset: u64,
    /// How many bytes, at least one; `None`: up to the end of the file.
    pub count: Option<u64>,
    /// Read and write where the kernel cannot send by itself.
    pub fallback: bool,
}

impl SendFile {
    /// The whole file, by whatever means.
    #[must_use]
    pub fn new(file: impl Into<Arc<File>>) -> Self {
        Self { file: file.into(), offset: 0, count: None, fallback: true }
    }

    /// See [`SendFile::offset`](#structfield.offset).
    #[must_use]
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// See [`SendFile::count`](#structfield.count).
    #[must_use]
    pub fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// See [`SendFile::fallback`](#structfield.fallback).
    #[must_use]
    pub fn fallback(mut self, on: bool) -> Self {
        self.fallback = on;
        self
    }
}

impl From<OwnedFd> for SendFile {
    fn from(file: OwnedFd) -> Self {
        Self::new(File::from(file))
    }
}

impl From<File> for SendFile {
    fn from(file: File) -> Self {
        Self::new(file)
    }
}

impl From<Arc<File>> for SendFile {
    fn from(file: Arc<File>) -> Self {
        Self::new(file)
    }
}
