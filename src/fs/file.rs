//! An open file.

use std::fmt;
use std::fs::{Metadata, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyloop_api::{Error, EventLoopExt, LoopRef, Result};

use super::content::{Content, Way};
use super::reading::Reading;
use super::serial::{Serial, Turn};
use super::{OpenOptions, lock};

/// An open file; a cheap handle, clones name the same file with the same position.
///
/// Calls on one file are carried out one after the other in the order in which they were made, also
/// those that nobody waits for any more. Reads are cheap while the contents are in memory and no other call
/// on the file is in progress: see [`fs`](super). Written bytes go to the operating system at once; there is
/// nothing to flush, but see [`File::sync_all`].
#[derive(Clone)]
pub struct File {
    path: Arc<Path>,
    /// For the texts of errors, where there is no path.
    descriptor: RawFd,
    turns: Arc<Serial>,
    content: Arc<Mutex<Option<Content>>>,
    /// A regular file: with positions, and no calls that wait for somebody.
    regular: bool,
}

impl File {
    pub(super) fn new(file: std::fs::File, path: &Path, regular: bool) -> Self {
        Self {
            path: path.into(),
            descriptor: file.as_raw_fd(),
            turns: Arc::default(),
            content: Arc::new(Mutex::new(Some(Content::new(file)))),
            regular,
        }
    }

    /// Wraps a file that was opened elsewhere.
    #[must_use]
    pub fn from_std(file: std::fs::File) -> Self {
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        Self::new(file, &PathBuf::new(), regular)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// `Os`, naming the path.
    ///
    /// # Cancel safety
    /// Nothing is left open.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        OpenOptions::new().read(true).open(path).await
    }

    /// Opens a file for writing: makes it, or throws its contents away.
    ///
    /// # Errors
    /// `Os`, naming the path.
    ///
    /// # Cancel safety
    /// As [`fs::write`](super::write()); nothing is left open.
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
    ///
    /// # Cancel safety
    /// The position may have moved over bytes that nobody got: see [`fs`](super#cancel-safety).
    pub async fn read(&self, most: usize) -> Result<Vec<u8>> {
        self.reading(move |content, way| content.read(most, way)).await
    }

    /// Everything from the current position to the end.
    ///
    /// # Errors
    /// As [`File::read`].
    ///
    /// # Cancel safety
    /// As [`File::read`].
    pub async fn read_to_end(&self) -> Result<Vec<u8>> {
        self.call("read", Content::read_to_end).await
    }

    /// The bytes up to and including the next newline; without one at the end of the file; none after
    /// that.
    ///
    /// # Errors
    /// As [`File::read`].
    ///
    /// # Cancel safety
    /// As [`File::read`].
    pub async fn read_line(&self) -> Result<Vec<u8>> {
        self.reading(Content::read_line).await
    }

    /// Bytes from `offset` on, at most `most` (and 1 MiB); the position stays where it is.
    ///
    /// # Errors
    /// As [`File::read`].
    ///
    /// # Cancel safety
    /// Nothing is changed in any case.
    pub async fn read_at(&self, offset: u64, most: usize) -> Result<Vec<u8>> {
        self.reading(move |content, way| content.read_at(offset, most, way)).await
    }

    /// Writes everything at the current position; at the end of the file if it was opened for
    /// appending.
    ///
    /// # Errors
    /// `Os`, and then part of it may be written; `Closed` after [`File::close`].
    ///
    /// # Cancel safety
    /// Some or all of it may be written, and the position has moved accordingly: see [`fs`](super#cancel-safety).
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
    ///
    /// # Cancel safety
    /// Some or all of it may be written.
    pub async fn write_all_at(&self, offset: u64, bytes: impl Into<Vec<u8>>) -> Result<()> {
        let bytes = bytes.into();
        self.call("write", move |content| {
            // What was read ahead may be what is written now.
            content.forget_ahead()?;
            content.file.write_all_at(&bytes, offset)
        })
        .await
    }

    /// Moves the position; returns where it is, from the beginning.
    ///
    /// # Errors
    /// `Os`, also for a position before the beginning; `Closed` after [`File::close`].
    ///
    /// # Cancel safety
    /// The position may have moved.
    pub async fn seek(&self, to: SeekFrom) -> Result<u64> {
        let seek = move |content: &mut Content| {
            content.forget_ahead()?;
            content.file.seek(to)
        };
        // The end of a file may have to be asked for.
        if !matches!(to, SeekFrom::End(_))
            && let Some(_turn) = self.turn(&LoopRef::current()?)
        {
            let done = lock(&self.content).as_mut().map(seek);
            return self.finish("seek", done);
        }
        self.call("seek", seek).await
    }

    /// The position, from the beginning.
    ///
    /// # Errors
    /// As [`File::seek`].
    ///
    /// # Cancel safety
    /// Nothing is changed in any case.
    pub async fn tell(&self) -> Result<u64> {
        self.seek(SeekFrom::Current(0)).await
    }

    /// Cuts the file or extends it with zeroes.
    ///
    /// # Errors
    /// `Os`; `Closed` after [`File::close`].
    ///
    /// # Cancel safety
    /// As [`fs::write`](super::write()).
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
    ///
    /// # Cancel safety
    /// As [`fs::write`](super::write()).
    pub async fn sync_all(&self) -> Result<()> {
        self.call("sync", |content| content.file.sync_all()).await
    }

    /// Waits until the contents are on the disk.
    ///
    /// # Errors
    /// `Os`; `Closed` after [`File::close`].
    ///
    /// # Cancel safety
    /// As [`fs::write`](super::write()).
    pub async fn sync_data(&self) -> Result<()> {
        self.call("sync", |content| content.file.sync_data()).await
    }

    /// What is known about the file.
    ///
    /// # Errors
    /// `Os`; `Closed` after [`File::close`].
    ///
    /// # Cancel safety
    /// Nothing is changed in any case.
    pub async fn metadata(&self) -> Result<Metadata> {
        self.call("stat", |content| content.file.metadata()).await
    }

    /// Changes who may do what.
    ///
    /// # Errors
    /// `Os`; `Closed` after [`File::close`].
    ///
    /// # Cancel safety
    /// As [`fs::write`](super::write()).
    pub async fn set_permissions(&self, permissions: Permissions) -> Result<()> {
        self.call("chmod", move |content| content.file.set_permissions(permissions)).await
    }

    /// A second descriptor of the same file, with the same position: for what takes one, such as
    /// sending a file.
    ///
    /// # Errors
    /// `Os`; `Closed` after [`File::close`].
    ///
    /// # Cancel safety
    /// Nothing is left open.
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
    /// `Closed` if it is closed already; `Os` if the pool dropped the call, and then it is open.
    ///
    /// # Cancel safety
    /// The file may be closed, or not.
    pub async fn close(&self) -> Result<()> {
        let content = self.content.clone();
        let open = self.in_turn("close", move || lock(&content).take().map(drop)).await?;
        open.ok_or_else(|| self.closed())
    }

    fn closed(&self) -> Error {
        Error::closed(format!("the file {} is closed", self.name()))
    }

    /// For texts.
    fn name(&self) -> String {
        if self.path.as_os_str().is_empty() {
            return format!("descriptor {}", self.descriptor);
        }
        format!("{:?}", self.path)
    }

    /// An operation and its object, for the texts of errors.
    fn what(&self, operation: &str) -> String {
        format!("{operation} {}", self.name())
    }

    /// Does something with the file in the pool, when its turn comes.
    async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        function: impl FnOnce(&mut Content) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let content = self.content.clone();
        let done = self.in_turn(operation, move || lock(&content).as_mut().map(function)).await?;
        self.finish(operation, done)
    }

    fn finish<T>(&self, operation: &'static str, done: Option<io::Result<T>>) -> Result<T> {
        match done {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(Error::os(self.what(operation), error)),
            None => Err(self.closed()),
        }
    }

    /// Reads: at once what is in memory, and else what the loop brings. What is no regular file is read in
    /// the pool, as is one at which the pool is busy.
    async fn reading<T: Send + 'static>(
        &self,
        mut read: impl FnMut(&mut Content, &mut Way<'_>) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let lp = LoopRef::current()?;
        let Some(turn) = self.turn(&lp) else {
            return self.call("read", move |content| read(content, &mut Way::Waiting)).await;
        };
        let (done, missing) = match lock(&self.content).as_mut() {
            None => (None, None),
            Some(content) => {
                let done = read(content, &mut Way::AtOnce(&mut None));
                (Some(done), content.missing())
            }
        };
        let done = match missing {
            None => done,
            Some(missing) => {
                let done = Reading::run(lp, self.content.clone(), read, turn, missing).await;
                super::ran(done, || self.what("read"))?
            }
        };
        self.finish("read", done)
    }

    /// The turn to use the file on this thread, if it does not wait for anybody.
    fn turn(&self, lp: &LoopRef) -> Option<Turn> {
        let here = self.regular && !lp.state().files_fallback();
        here.then(|| self.turns.turn()).flatten()
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        operation: &str,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let turns = Some(self.turns.clone() as _);
        let done = LoopRef::current()?.run_in_executor(turns, function)?.await;
        super::ran(done, || self.what(operation))
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<File {}", self.name())?;
        match self.content.try_lock() {
            Ok(content) if content.is_none() => f.write_str(" closed>"),
            Ok(_) => f.write_str(">"),
            Err(_) => f.write_str(" busy>"),
        }
    }
}
