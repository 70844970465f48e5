//! A place for files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

static NEXT: AtomicUsize = AtomicUsize::new(0);

fn numbered(number: usize) -> PathBuf {
    std::env::temp_dir().join(format!("al-{}-{number}", std::process::id()))
}

/// A directory of the case's own, removed with everything in it when dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new, empty one. Its path is short enough for a socket in it.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn new() -> io::Result<Self> {
        loop {
            let path = numbered(NEXT.fetch_add(1, Ordering::Relaxed));
            match std::fs::create_dir(&path) {
                // A process that had our number before us was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Self(path)),
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of something in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_in_nobodys_way() -> io::Result<()> {
        let next = NEXT.load(Ordering::Relaxed);
        let mut leftovers = Vec::new();
        for path in (next..next + 20).map(numbered) {
            if std::fs::create_dir(&path).is_ok() {
                leftovers.push(TempDir(path));
            }
        }
        let new = TempDir::new()?;
        assert!(leftovers.iter().all(|leftover| leftover.path() != new.path()));
        Ok(())
    }

    #[test]
    fn nothing_is_left() -> io::Result<()> {
        let (one, two) = (TempDir::new()?, TempDir::new()?);
        assert_ne!(one.path(), two.path());
        std::fs::write(one.join("file"), b"x")?;
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists() && two.path().exists());
        Ok(())
    }
}
