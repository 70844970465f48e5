//! A file with what was read ahead, and the ways to get more of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// How much is read ahead for lines, at first.
const READ_AHEAD: usize = 8192;
/// The largest piece that one read gives.
const READ_MOST: usize = 1024 * 1024;
/// The most that is copied on the loop's thread: that is to take microseconds.
const COPY_MOST: usize = 64 * 1024;

/// The file with what was read ahead.
pub(super) struct Content {
    pub(super) file: Arc<File>,
    ahead: Vec<u8>,
    taken: usize,
    /// What `WouldBlock` stands for.
    missing: Option<Missing>,
    /// Whether the file system tells what is in memory.
    tells: bool,
}

/// A part of the file that is not in memory.
#[derive(Clone, Copy)]
pub(super) struct Missing {
    pub(super) offset: u64,
    pub(super) size: usize,
}

/// Where a call takes bytes from.
pub(super) enum Way<'a> {
    /// From the file; it waits for the disk.
    Waiting,
    /// From memory, or what was missing and has been brought. If it is neither: `WouldBlock`, nothing has
    /// changed, and [`Content::missing`] says what to bring for the same call to be made again.
    AtOnce(&'a mut Option<io::Result<Vec<u8>>>),
}

impl Content {
    pub(super) fn new(file: File) -> Self {
        let tells = cfg!(target_os = "linux");
        Self { file: Arc::new(file), ahead: Vec::new(), taken: 0, missing: None, tells }
    }

    /// What the call lacked that failed with `WouldBlock`.
    pub(super) fn missing(&mut self) -> Option<Missing> {
        self.missing.take()
    }

    /// Moves the file's position back to the caller's.
    pub(super) fn forget_ahead(&mut self) -> io::Result<()> {
        let left = self.ahead.len() - self.taken;
        if left > 0 {
            self.file.seek(SeekFrom::Current(-(left as i64)))?;
        }
        self.ahead.clear();
        self.taken = 0;
        Ok(())
    }

    pub(super) fn read(&mut self, most: usize, way: &mut Way<'_>) -> io::Result<Vec<u8>> {
        let ahead = self.take_ahead(most);
        if !ahead.is_empty() || most == 0 {
            return Ok(ahead);
        }
        self.next(most.min(READ_MOST), way)
    }

    pub(super) fn read_at(
        &mut self,
        offset: u64,
        most: usize,
        way: &mut Way<'_>,
    ) -> io::Result<Vec<u8>> {
        let most = most.min(READ_MOST);
        if most == 0 {
            return Ok(Vec::new());
        }
        match way {
            Way::Waiting => fill(most, |bytes| self.file.read_at(bytes, offset)),
            Way::AtOnce(arrived) => match arrived.take() {
                Some(arrived) => arrived,
                None => self.try_read(most, Some(offset)),
            },
        }
    }

    pub(super) fn read_line(&mut self, way: &mut Way<'_>) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            let left = &self.ahead[self.taken..];
            let end = left[searched..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                return Ok(self.take_ahead(searched + end + 1));
            }
            searched = left.len();
            // Doubling keeps the effort for a long line in proportion, also if it is begun anew.
            let more = self.next(searched.clamp(READ_AHEAD, READ_MOST), way)?;
            if more.is_empty() {
                return Ok(self.take_ahead(usize::MAX));
            }
            self.ahead.drain(..self.taken);
            self.taken = 0;
            self.ahead.extend(more);
        }
    }

    pub(super) fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = self.take_ahead(usize::MAX);
        (&*self.file).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// At most `most` of what was read ahead.
    fn take_ahead(&mut self, most: usize) -> Vec<u8> {
        let left = &self.ahead[self.taken..];
        let part = left[..left.len().min(most)].to_vec();
        self.taken += part.len();
        part
    }

    /// Reads at the position and moves it.
    fn next(&mut self, most: usize, way: &mut Way<'_>) -> io::Result<Vec<u8>> {
        let Way::AtOnce(arrived) = way else {
            return fill(most, |bytes| (&*self.file).read(bytes));
        };
        let Some(arrived) = arrived.take() else { return self.try_read(most, None) };
        let bytes = arrived?;
        self.file.seek(SeekFrom::Current(bytes.len() as i64))?;
        Ok(bytes)
    }

    /// Reads without waiting, at the position (and moves it) if no offset is given.
    fn try_read(&mut self, most: usize, offset: Option<u64>) -> io::Result<Vec<u8>> {
        let mut begin = offset;
        if self.tells && most <= COPY_MOST {
            match fill(most, |bytes| read_nowait(&self.file, bytes, offset)) {
                Ok(bytes) if bytes.len() == most => return Ok(bytes),
                // The end of the file, or of what is in memory. (Some kernels say nothing at all for a page
                // that is missing.)
                Ok(bytes) => {
                    let count = bytes.len() as u64;
                    let start = match offset {
                        Some(offset) => offset,
                        None => self.file.stream_position()?.saturating_sub(count),
                    };
                    if start.saturating_add(count) >= self.file.metadata()?.len() {
                        return Ok(bytes);
                    }
                    if offset.is_none() {
                        self.file.seek(SeekFrom::Start(start))?;
                    }
                    begin = Some(start);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {}
                    // A sandbox forbids calls that it does not know.
                    io::ErrorKind::Unsupported
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::PermissionDenied => self.tells = false,
                    _ => return Err(error),
                },
            }
        }
        let offset = begin.map_or_else(|| self.file.stream_position(), Ok)?;
        self.missing = Some(Missing { offset, size: most });
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// One read of at most `most` bytes.
fn fill(most: usize, mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; most];
    let count = loop {
        match read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    bytes.truncate(count);
    Ok(bytes)
}

#[cfg(target_os = "linux")]
fn read_nowait(file: &File, bytes: &mut [u8], offset: Option<u64>) -> io::Result<usize> {
    use rustix::io::{ReadWriteFlags, preadv2};

    // The largest offset stands for the file's position; others beyond what is signed are refused.
    let offset = match offset {
        Some(u64::MAX) => return Err(io::ErrorKind::InvalidInput.into()),
        offset => offset.unwrap_or(u64::MAX),
    };
    let parts = &mut [io::IoSliceMut::new(bytes)];
    Ok(preadv2(file, parts, offset, ReadWriteFlags::NOWAIT)?)
}

/// Other systems do not tell.
#[cfg(not(target_os = "linux"))]
fn read_nowait(_: &File, _: &mut [u8], _: Option<u64>) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}
