//! The part of a file that is being sent, and how far it is.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::rc::Weak;
use std::sync::Arc;

use anyloop_api::{Error, EventLoopExt, Result, SendFile};
use rustix::fs::FileType;

use crate::base::BaseLoop;
use crate::connect::open;

/// One read of the fallback (asyncio's number).
const PIECE: usize = 256 * 1024;

/// When it goes, the file's position is where the transfer ended (SENDFILE-01).
pub(super) struct Source {
    file: Arc<File>,
    operation: &'static str,
    offset: u64,
    count: u64,
    sent: u64,
    regular: bool,
    /// It has positions.
    seekable: bool,
}

impl Source {
    /// SENDFILE-08.
    pub(super) fn open(file: SendFile, operation: &'static str) -> Result<Self> {
        let SendFile { file, offset, count, .. } = file;
        if count == Some(0) {
            return Err(Error::invalid_arg(format!("{operation}: a count of zero")));
        }
        if i64::try_from(offset).is_err() {
            return Err(Error::invalid_arg(format!("{operation}: an offset of {offset}")));
        }
        let fail =
            |error: rustix::io::Errno| Error::os(format!("{operation}: fstat"), error.into());
        let stat = rustix::fs::fstat(&file).map_err(fail)?;
        let seekable = (&*file).stream_position().is_ok();
        if offset > 0 && !seekable {
            return Err(Error::invalid_arg(format!(
                "{operation}: an offset into a file that has no positions"
            )));
        }
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let count = count.unwrap_or(u64::MAX);
        Ok(Self { file, operation, offset, count, sent: 0, regular, seekable })
    }

    #[cfg(target_os = "linux")]
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn is_regular(&self) -> bool {
        self.regular
    }

    /// Where the next byte is.
    pub(super) fn position(&self) -> u64 {
        self.offset.saturating_add(self.sent)
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// How much is wanted next, of `most`.
    pub(super) fn wanted(&self, most: usize) -> usize {
        usize::try_from(self.count - self.sent).map_or(most, |rest| rest.min(most))
    }

    /// So much was sent.
    pub(super) fn advance(&mut self, count: usize) {
        self.sent += count as u64;
    }

    /// Reads the next piece into `buffer` on the executor, and gives it back; empty at the end
    /// (SENDFILE-06).
    pub(super) async fn read(&self, base: &Weak<BaseLoop>, mut buffer: Vec<u8>) -> Result<Vec<u8>> {
        let wanted = self.wanted(PIECE);
        let (file, position, seekable) = (self.file.clone(), self.position(), self.seekable);
        let read = move || {
            buffer.resize(wanted, 0);
            let count = uninterrupted(|| {
                if seekable {
                    file.read_at(&mut buffer, position)
                } else {
                    (&*file).read(&mut buffer)
                }
            })?;
            buffer.truncate(count);
            Ok::<_, io::Error>(buffer)
        };
        let reading = open(base, self.operation)?.handle().run_in_executor(None, read)?;
        let read = reading.await?;
        read.map_err(|error| Error::os(format!("{}: reading the file", self.operation), error))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if self.seekable {
            // It worked before.
            let _ = (&*self.file).seek(SeekFrom::Start(self.position()));
        }
    }
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
