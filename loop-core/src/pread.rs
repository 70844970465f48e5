//! Reading a file: by the driver where it can, in the pool elsewhere.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use anyloop_api::{Dump, EventLoopExt, LoopFuture, Result, pread_in_executor};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::base::BaseLoop;
use crate::driver::{Event, Key};
use crate::sources::Source;

/// The driver copies what is in memory on the loop's thread: that is to take microseconds.
const MOST: usize = 64 * 1024;

type Outcome = io::Result<Vec<u8>>;

/// One read that the driver has.
struct Reading {
    base: Weak<BaseLoop>,
    key: Key,
    file: Arc<File>,
    size: usize,
    offset: u64,
    future: Cell<Option<LoopFuture<Outcome>>>,
}

pub(crate) fn pread(
    base: &BaseLoop,
    file: Arc<File>,
    size: usize,
    offset: u64,
) -> Result<LoopFuture<Outcome>> {
    // What is no regular file is not a matter of the disk: the pool's call says so.
    let engine = base.caps().pread
        && (1..=MOST).contains(&size)
        && !base.config().files_fallback
        && is_regular(&file);
    if !engine {
        return pread_in_executor(base, file, size, offset);
    }
    let key = base.sources.reserve();
    let future = base.create_future();
    let reading = Reading {
        base: base.weak(),
        key,
        file: file.clone(),
        size,
        offset,
        future: Cell::new(Some(future.clone())),
    };
    base.sources.fill(key, Rc::new(reading));
    if base.with_driver(|driver| driver.pread(file.clone(), key, vec![0; size], offset)).is_err() {
        base.sources.remove(key);
        return pread_in_executor(base, file, size, offset);
    }
    Ok(future)
}

/// Descriptors without positions may let one seek all the same (eventfd, epoll), and a read of them waits.
fn is_regular(file: &File) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file())
}

impl Reading {
    /// The kernel refuses to read this file by itself, or did for a moment.
    fn read_in_pool(&self, base: &BaseLoop, future: LoopFuture<Outcome>) {
        match pread_in_executor(base, self.file.clone(), self.size, self.offset) {
            Ok(read) => {
                read.add_done_callback(move |read| {
                    future.set_unless_done(read.take_result());
                });
            }
            Err(error) => {
                future.set_unless_done(Err(error));
            }
        }
    }
}

impl Source for Reading {
    fn on_event(self: Rc<Self>, event: Event) {
        let (Some(base), Event::Read { mut buffer, result, .. }) = (self.base.upgrade(), event)
        else {
            return;
        };
        base.sources.remove(self.key);
        let Some(future) = self.future.take() else { return };
        if let Err(error) = &result
            && is_refusal(error)
            && !future.done()
        {
            return self.read_in_pool(&base, future);
        }
        let bytes = result.map(|count| {
            buffer.truncate(count);
            buffer
        });
        future.set_unless_done(Ok(bytes));
    }

    fn abandon(&self) {
        drop(self.future.take());
        if let Some(base) = self.base.upgrade() {
            base.sources.remove(self.key);
        }
    }

    fn describe(&self) -> String {
        format!("reading {} bytes at {} of {:?}", self.size, self.offset, self.file)
    }

    fn list(&self, dump: &mut Dump) {
        dump.operations.push(self.describe());
    }
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AGAIN | Errno::INTR | Errno::INVAL | Errno::OPNOTSUPP | Errno::CANCELED)
    )
}
