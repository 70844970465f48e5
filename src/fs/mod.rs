//! Files and directories, off the loop's thread.
//!
//! The kernel's calls on files block, so they are made in the loop's pool of threads
//! ([`EventLoop::set_default_executor`](crate::EventLoop::set_default_executor) replaces it). Reads of up to
//! 64 KiB of an open [`File`] are spared the way there and back: what is in memory is read at once (on Linux,
//! where the file system tells), and the rest by [`EventLoop::pread`](crate::EventLoop::pread), which is the
//! kernel's own business on io_uring. `ANYLOOP_FILES_FALLBACK` forces the pool.
//!
//! All functions need a running loop and fail with `Usage` without one. For anything that is not here:
//! [`to_thread`] with `std::fs`. A call that the pool drops without making it is an error `Os`, too.
//!
//! ```
//! use anyloop::fs::{self, File};
//! # let path = std::env::temp_dir().join(format!("anyloop-fs-doc-{}", std::process::id()));
//! anyloop::run(async move {
//!     let file = File::create(&path).await?;
//!     file.write_all("one\ntwo\n").await?;
//!     file.close().await?;
//!
//!     let file = File::open(&path).await?;
//!     assert_eq!(file.read_line().await?, b"one\n");
//!     assert_eq!(file.read_to_end().await?, b"two\n");
//!     fs::remove_file(&path).await
//! })??;
//! # Ok::<(), anyloop::Error>(())
//! ```
//!
//! # Cancel safety
//! A cancelled call whose turn in the pool has not come does nothing. One that has begun goes on to
//! its end, unobserved: bytes may be written, and the position of a file may have moved. What comes
//! after it on the same [`File`] waits for it. Dropping a future, rather than cancelling the task
//! that awaits it, lets the call run in either case. A read that is cancelled or dropped and was not made in
//! the pool has read nothing, and the position has not moved.

mod content;
mod dir;
mod file;
mod options;
mod reading;
mod serial;

use std::fs::{Metadata, Permissions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyloop_api::{Error, Result};

pub use dir::{DirEntry, ReadDir, read_dir};
pub use file::File;
pub use options::OpenOptions;

use crate::threads::to_thread;

/// Makes the call in the pool; an error names the operation and the path.
async fn call<T: Send + 'static>(
    operation: &'static str,
    path: impl AsRef<Path>,
    function: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let path: Arc<Path> = path.as_ref().into();
    let theirs = path.clone();
    let done = to_thread(move || function(&theirs)).await;
    outcome(done, || format!("{operation} {path:?}"))
}

/// The same for a call on two paths; an error names both.
async fn call_on_two<T: Send + 'static>(
    operation: &'static str,
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    function: impl FnOnce(&Path, &Path) -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let paths: Arc<(PathBuf, PathBuf)> = Arc::new((from.as_ref().into(), to.as_ref().into()));
    let theirs = paths.clone();
    let done = to_thread(move || function(&theirs.0, &theirs.1)).await;
    outcome(done, || format!("{operation} {:?} to {:?}", paths.0, paths.1))
}

/// A panic inside leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What came of a call in the pool; `what` names the operation and its object.
fn outcome<T>(done: Result<io::Result<T>>, what: impl Fn() -> String) -> Result<T> {
    ran(done, &what)?.map_err(|error| Error::os(what(), error))
}

/// Names the call that an executor dropped: nobody else can cancel what only we await.
fn ran<T>(done: Result<T>, what: impl Fn() -> String) -> Result<T> {
    done.map_err(|error| match error {
        Error::Cancelled(cancelled) => {
            let reason = cancelled.message().unwrap_or("the call was not made").to_owned();
            Error::os(what(), io::Error::other(reason))
        }
        error => error,
    })
}

/// The whole contents of a file.
///
/// # Errors
/// `Os`, naming the path.
///
/// # Cancel safety
/// Nothing is changed in any case.
pub async fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    call("read", path, |path| std::fs::read(path)).await
}

/// The whole contents of a file as text.
///
/// # Errors
/// `Os`, naming the path; kind `InvalidData` if it is not UTF-8.
///
/// # Cancel safety
/// Nothing is changed in any case.
pub async fn read_to_string(path: impl AsRef<Path>) -> Result<String> {
    call("read", path, |path| std::fs::read_to_string(path)).await
}

/// Writes a file as a whole: makes it, or replaces its contents.
///
/// # Errors
/// `Os`, naming the path.
///
/// # Cancel safety
/// What has begun goes on to its end: see [`fs`](self#cancel-safety).
pub async fn write(path: impl AsRef<Path>, contents: impl Into<Vec<u8>>) -> Result<()> {
    let contents = contents.into();
    call("write", path, move |path| std::fs::write(path, contents)).await
}

/// Copies a file's contents and permissions; returns how many bytes.
///
/// # Errors
/// `Os`, naming both paths.
///
/// # Cancel safety
/// As [`write()`].
pub async fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<u64> {
    call_on_two("copy", from, to, |from, to| std::fs::copy(from, to)).await
}

/// Gives a file or directory another name, replacing what had it.
///
/// # Errors
/// `Os`, naming both paths.
///
/// # Cancel safety
/// As [`write()`].
pub async fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    call_on_two("rename", from, to, |from, to| std::fs::rename(from, to)).await
}

/// Makes `link` a second name of the file `original`.
///
/// # Errors
/// `Os`, naming both paths.
///
/// # Cancel safety
/// As [`write()`].
pub async fn hard_link(original: impl AsRef<Path>, link: impl AsRef<Path>) -> Result<()> {
    call_on_two("link", original, link, |original, link| std::fs::hard_link(original, link)).await
}

/// What is known about the file that `path` leads to.
///
/// # Errors
/// `Os`, naming the path.
///
/// # Cancel safety
/// Nothing is changed in any case.
pub async fn metadata(path: impl AsRef<Path>) -> Result<Metadata> {
    call("stat", path, |path| std::fs::metadata(path)).await
}

/// The same without following a symbolic link.
///
/// # Errors
/// `Os`, naming the path.
///
/// # Cancel safety
/// Nothing is changed in any case.
pub async fn symlink_metadata(path: impl AsRef<Path>) -> Result<Metadata> {
    call("lstat", path, |path| std::fs::symlink_metadata(path)).await
}

/// Whether something is there. A path that may not be looked at is an error, not an answer.
///
/// # Errors
/// `Os`, naming the path.
///
/// # Cancel safety
/// Nothing is changed in any case.
pub async fn try_exists(path: impl AsRef<Path>) -> Result<bool> {
    call("stat", path, |path| path.try_exists()).await
}

/// Where a symbolic link points.
///
/// # Errors
/// `Os`, naming the path.
///
/// # Cancel safety
/// Nothing is changed in any case.
pub async fn read_link(path: impl AsRef<Path>) -> Result<PathBuf> {
    call("readlink", path, |path| std::fs::read_link(path)).await
}

/// The path without links and dots.
///
/// # Errors
/// `Os`, naming the path.
///
/// # Cancel safety
/// Nothing is changed in any case.
pub async fn canonicalize(path: impl AsRef<Path>) -> Result<PathBuf> {
    call("realpath", path, |path| std::fs::canonicalize(path)).await
}

/// Changes who may do what.
///
/// # Errors
/// `Os`, naming the path.
///
/// # Cancel safety
/// As [`write()`].
pub async fn set_permissions(path: impl AsRef<Path>, permissions: Permissions) -> Result<()> {
    call("chmod", path, move |path| std::fs::set_permissions(path, permissions)).await
}

/// Removes a file.
///
/// # Errors
/// `Os`, naming the path.
///
/// # Cancel safety
/// As [`write()`].
pub async fn remove_file(path: impl AsRef<Path>) -> Result<()> {
    call("unlink", path, |path| std::fs::remove_file(path)).await
}

/// Makes a directory.
///
/// # Errors
/// `Os`, naming the path.
///
/// # Cancel safety
/// As [`write()`].
pub async fn create_dir(path: impl AsRef<Path>) -> Result<()> {
    call("mkdir", path, |path| std::fs::create_dir(path)).await
}

/// Makes a directory and those above it that are missing.
///
/// # Errors
/// `Os`, naming the path.
///
/// # Cancel safety
/// As [`write()`].
pub async fn create_dir_all(path: impl AsRef<Path>) -> Result<()> {
    call("mkdir", path, |path| std::fs::create_dir_all(path)).await
}

/// Removes an empty directory.
///
/// # Errors
/// `Os`, naming the path.
///
/// # Cancel safety
/// As [`write()`].
pub async fn remove_dir(path: impl AsRef<Path>) -> Result<()> {
    call("rmdir", path, |path| std::fs::remove_dir(path)).await
}

/// Removes a directory with everything in it; symbolic links are removed, not followed.
///
/// # Errors
/// `Os`, naming the path.
///
/// # Cancel safety
/// As [`write()`].
pub async fn remove_dir_all(path: impl AsRef<Path>) -> Result<()> {
    call("rmdir", path, |path| std::fs::remove_dir_all(path)).await
}
