//! Listing a directory.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{FileType, Metadata};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyloop_api::{Error, Result};

use super::lock;
use crate::threads::to_thread;

/// Entries that one trip to the pool brings.
const BATCH: usize = 64;

/// Begins to list a directory, in no particular order, without `.` and `..`.
///
/// # Errors
/// `Os`, naming the path.
///
/// # Cancel safety
/// Nothing is changed in any case.
///
/// # Examples
/// ```
/// anyloop::run(async {
///     let mut entries = anyloop::fs::read_dir(".").await?;
///     while let Some(entry) = entries.next().await? {
///         println!("{}", entry.path().display());
///     }
///     # Ok::<(), anyloop::Error>(())
/// })??;
/// # Ok::<(), anyloop::Error>(())
/// ```
pub async fn read_dir(path: impl AsRef<Path>) -> Result<ReadDir> {
    let path: Arc<Path> = path.as_ref().into();
    let entries = super::call("list", &path, |path| std::fs::read_dir(path)).await?;
    let listing = Listing { entries: Some(entries), batch: VecDeque::new(), failure: None };
    Ok(ReadDir { path, listing: Arc::new(Mutex::new(listing)) })
}

/// The entries of a directory, one after the other.
#[derive(Debug)]
pub struct ReadDir {
    path: Arc<Path>,
    listing: Arc<Mutex<Listing>>,
}

/// Shared with the thread that fills it, so that nothing is lost with a cancelled call.
#[derive(Debug)]
struct Listing {
    entries: Option<std::fs::ReadDir>,
    batch: VecDeque<DirEntry>,
    failure: Option<Error>,
}

impl ReadDir {
    /// The next entry; `None` after the last.
    ///
    /// # Errors
    /// `Os`, naming the directory; the entries after it may follow.
    ///
    /// # Cancel safety
    /// No entry is lost.
    pub async fn next(&mut self) -> Result<Option<DirEntry>> {
        if let Some(known) = lock(&self.listing).take() {
            return known;
        }
        let (listing, path) = (self.listing.clone(), self.path.clone());
        let next = to_thread(move || {
            let mut listing = lock(&listing);
            // A call that was cancelled may have filled it already.
            listing.take().unwrap_or_else(|| {
                listing.fill(&path);
                listing.take().unwrap_or(Ok(None))
            })
        });
        super::ran(next.await, || format!("list {:?}", self.path))?
    }
}

impl Listing {
    /// What is known already.
    fn take(&mut self) -> Option<Result<Option<DirEntry>>> {
        if let Some(entry) = self.batch.pop_front() {
            return Some(Ok(Some(entry)));
        }
        if let Some(failure) = self.failure.take() {
            return Some(Err(failure));
        }
        self.entries.is_none().then_some(Ok(None))
    }

    fn fill(&mut self, path: &Path) {
        let Some(entries) = &mut self.entries else { return };
        while self.batch.len() < BATCH {
            match entries.next() {
                None => {
                    self.entries = None;
                    return;
                }
                Some(Ok(entry)) => self.batch.push_back(DirEntry(Arc::new(entry))),
                Some(Err(error)) => {
                    self.failure = Some(Error::os(format!("list {path:?}"), error));
                    return;
                }
            }
        }
    }
}

/// One entry of a directory.
#[derive(Clone)]
pub struct DirEntry(Arc<std::fs::DirEntry>);

impl DirEntry {
    /// The name within the directory.
    #[must_use]
    pub fn file_name(&self) -> OsString {
        self.0.file_name()
    }

    /// The directory's path, as it was given, and the name.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.path()
    }

    /// What it is; symbolic links are not followed. The listing has said so already, where the file
    /// system tells.
    ///
    /// # Errors
    /// `Os`, naming the path.
    ///
    /// # Cancel safety
    /// Nothing is changed in any case.
    pub async fn file_type(&self) -> Result<FileType> {
        let entry = self.0.clone();
        super::call("lstat", self.path(), move |_| entry.file_type()).await
    }

    /// What is known about it; symbolic links are not followed.
    ///
    /// # Errors
    /// `Os`, naming the path.
    ///
    /// # Cancel safety
    /// Nothing is changed in any case.
    pub async fn metadata(&self) -> Result<Metadata> {
        let entry = self.0.clone();
        super::call("lstat", self.path(), move |_| entry.metadata()).await
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<DirEntry {:?}>", self.path())
    }
}
