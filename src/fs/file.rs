//! An open file.

use std::fmt;
use std::fs::{Metadata, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyloop_api::{Error, EventLoopExt, LoopRef, Result};

use super::OpenOptions;
use super::serial::Serial;

/// How much is read ahead for [`File::read_line`].
const READ_AHEAD: usize = 8192;
/// The largest piece that [`File::read`] gives.
const READ_MOST: usize = 1024 * 1024;

/// An open file; a cheap handle, clones name the same file with the same position.
///
/// Calls on one file are carried out one after the other in the order in which they were made, also
/// those that nobody waits for any more. Written bytes go to the operating system at once; there is
/// nothing to flush, but see [`File::sync_all`].
#[derive(Clone)]
pub struct File {
    path: Arc<Path>,
    turns: Arc<Serial>,
    content: Arc<Mutex<Option<Content>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file with what was read ahead.
struct Content {
    file: std::fs::File,
    ahead: Vec<u8>,
    taken: usize,
}

impl File {
    pub(super) fn new(file: std::fs::File, path: &Path) -> Self {
        let content = Content { file, ahead: Vec::new(), taken: 0 };
        Self {
            path: path.into(),
            turns: Arc::default(),
            content: Arc::new(Mutex::new(Some(content))),
        }
    }

    /// Wraps a file that was opened elsewhere.
    #[must_use]
    pub fn from_std(file: std::fs::File) -> Self {
        Self::new(file, &PathBuf::new())
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// `Os`, naming the path.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        OpenOptions::new().read(true).open(path).await
    }

    /// Opens a file for writing: makes it, or throws its contents away.
    ///
    /// # Errors
    /// `Os`, naming the path.
    pub async fn create(path: impl AsRef<Path>) -> Result<Self> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path).await
    }

    /// The path it was opened with; empty if it was opened elsewhere.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// At least one byte and at most `most` (and 1 MiB), from the current position; nothing at the
    /// end of the file.
    ///
    /// # Errors
    /// `Os`; `Closed` after [`File::close`].
    pub async fn read(&self, most: usize) -> Result<Vec<u8>> {
        self.call("read", move |content| content.read(most)).await
    }

    /// Everything from the current position to the end.
    ///
    /// # Errors
    /// As [`File::read`].
    pub async fn read_to_end(&self) -> Result<Vec<u8>> {
        self.call("read", |content| {
            let mut bytes = content.take_ahead(usize::MAX);
            content.file.read_to_end(&mut bytes)?;
            Ok(bytes)
        })
        .await
    }

    /// The bytes up to and including the next newline; without one at the end of the file; none after
    /// that.
    ///
    /// # Errors
    /// As [`File::read`].
    pub async fn read_line(&self) -> Result<Vec<u8>> {
        self.call("read", Content::read_line).await
    }

    /// Bytes from `offset` on, at most `most` (and 1 MiB); the position stays where it is.
    ///
    /// # Errors
    /// As [`File::read`].
    pub async fn read_at(&self, offset: u64, most: usize) -> Result<Vec<u8>> {
        self.call("read", move |content| {
            let mut bytes = vec![0; most.min(READ_MOST)];
            let count = std::os::unix::fs::FileExt::read_at(&content.file, &mut bytes, offset)?;
            bytes.truncate(count);
            Ok(bytes)
        })
        .await
    }

    /// Writes everything at the current position; at the end of the file if it was opened for
    /// appending.
    ///
    /// # Errors
    /// `Os`, and then part of it may be written; `Closed` after [`File::close`].
    pub async fn write_all(&self, bytes: impl Into<Vec<u8>>) -> Result<()> {
        let bytes = bytes.into();
        self.call("write", move |content| {
            content.forget_ahead()?;
            content.file.write_all(&bytes)
        })
        .await
    }

    /// Writes everything from `offset` on; the position stays where it is.
    ///
    /// # Errors
    /// As [`File::write_all`].
    pub async fn write_all_at(&self, offset: u64, bytes: impl Into<Vec<u8>>) -> Result<()> {
        let bytes = bytes.into();
        self.call("write", move |content| {
            // What was read ahead may be what is written now.
            content.forget_ahead()?;
            std::os::unix::fs::FileExt::write_all_at(&content.file, &bytes, offset)
        })
        .await
    }

    /// Moves the position; returns where it is, from the beginning.
    ///
    /// # Errors
    /// `Os`, also for a position before the beginning; `Closed` after [`File::close`].
    pub async fn seek(&self, to: SeekFrom) -> Result<u64> {
        self.call("seek", move |content| {
            content.forget_ahead()?;
            content.file.seek(to)
        })
        .await
    }

    /// The position, from the beginning.
    ///
    /// # Errors
    /// As [`File::seek`].
    pub async fn tell(&self) -> Result<u64> {
        self.seek(SeekFrom::Current(0)).await
    }

    /// Cuts the file or extends it with zeroes.
    ///
    /// # Errors
    /// `Os`; `Closed` after [`File::close`].
    pub async fn set_len(&self, len: u64) -> Result<()> {
        self.call("truncate", move |content| {
            content.forget_ahead()?;
            content.file.set_len(len)
        })
        .await
    }

    /// Waits until contents and metadata are on the disk.
    ///
    /// # Errors
    /// `Os`; `Closed` after [`File::close`].
    pub async fn sync_all(&self) -> Result<()> {
        self.call("sync", |content| content.file.sync_all()).await
    }

    /// Waits until the contents are on the disk.
    ///
    /// # Errors
    /// `Os`; `Closed` after [`File::close`].
    pub async fn sync_data(&self) -> Result<()> {
        self.call("sync", |content| content.file.sync_data()).await
    }

    /// What is known about the file.
    ///
    /// # Errors
    /// `Os`; `Closed` after [`File::close`].
    pub async fn metadata(&self) -> Result<Metadata> {
        self.call("stat", |content| content.file.metadata()).await
    }

    /// Changes who may do what.
    ///
    /// # Errors
    /// `Os`; `Closed` after [`File::close`].
    pub async fn set_permissions(&self, permissions: Permissions) -> Result<()> {
        self.call("chmod", move |content| content.file.set_permissions(permissions)).await
    }

    /// A second descriptor of the same file, with the same position: for what takes one, such as
    /// sending a file.
    ///
    /// # Errors
    /// `Os`; `Closed` after [`File::close`].
    pub async fn try_clone_fd(&self) -> Result<OwnedFd> {
        self.call("dup", |content| {
            content.forget_ahead()?;
            content.file.try_clone().map(OwnedFd::from)
        })
        .await
    }

    /// Closes the file once the calls before this one are done; for all clones. Without it the file
    /// is closed when the last handle is dropped.
    ///
    /// # Errors
    /// `Closed` if it is closed already.
    pub async fn close(&self) -> Result<()> {
        let content = self.content.clone();
        let open = self.in_turn(move || lock(&content).take().map(drop)).await?;
        open.ok_or_else(|| self.closed())
    }

    fn closed(&self) -> Error {
        Error::closed(format!("the file {:?} is closed", self.path))
    }

    /// Does something with the file in the pool, when its turn comes.
    async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        function: impl FnOnce(&mut Content) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let content = self.content.clone();
        let done = self.in_turn(move || lock(&content).as_mut().map(function)).await?;
        match done {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(Error::os(format!("{operation} {:?}", self.path), error)),
            None => Err(self.closed()),
        }
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        LoopRef::current()?.run_in_executor(Some(self.turns.clone()), function)?.await
    }
}

impl Content {
    /// At most `most` of what was read ahead.
    fn take_ahead(&mut self, most: usize) -> Vec<u8> {
        let left = &self.ahead[self.taken..];
        let part = left[..left.len().min(most)].to_vec();
        self.taken += part.len();
        part
    }

    /// Moves the file's position back to the caller's.
    fn forget_ahead(&mut self) -> io::Result<()> {
        let left = self.ahead.len() - self.taken;
        if left > 0 {
            self.file.seek(SeekFrom::Current(-(left as i64)))?;
        }
        self.ahead.clear();
        self.taken = 0;
        Ok(())
    }

    fn read(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let ahead = self.take_ahead(most);
        if !ahead.is_empty() || most == 0 {
            return Ok(ahead);
        }
        let mut bytes = Vec::new();
        read_once(&mut self.file, most.min(READ_MOST), &mut bytes)?;
        Ok(bytes)
    }

    fn read_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            let left = &self.ahead[self.taken..];
            let end = left.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let part = self.take_ahead(end.unwrap_or(usize::MAX));
            line.extend(part);
            if end.is_some() {
                return Ok(line);
            }
            self.taken = 0;
            read_once(&mut self.file, READ_AHEAD, &mut self.ahead)?;
            if self.ahead.is_empty() {
                return Ok(line);
            }
        }
    }
}

/// Replaces the contents of `into` by one read of at most `most` bytes.
fn read_once(from: &mut impl Read, most: usize, into: &mut Vec<u8>) -> io::Result<()> {
    into.resize(most, 0);
    let count = loop {
        match from.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    into.truncate(*count.as_ref().unwrap_or(&0));
    count.map(drop)
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<File {:?}", self.path)?;
        match self.content.try_lock() {
            Ok(content) if content.is_none() => f.write_str(" closed>"),
            Ok(_) => f.write_str(">"),
            Err(_) => f.write_str(" busy>"),
        }
    }
}
