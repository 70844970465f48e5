//! Reading files in the pool: what every loop can do.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::error::Result;
use crate::event_loop::EventLoop;
use crate::event_loop_ext::EventLoopExt;
use crate::future::LoopFuture;

/// The largest buffer that is made on the user's word.
const LARGEST: usize = 16 * 1024 * 1024;

/// [`EventLoop::pread`] by a thread of the loop's pool: for loops whose kernel interface reads some files by
/// itself, and others not.
///
/// # Errors
/// Those of [`EventLoop::pread`].
///
/// # Cancel safety
/// As there.
pub fn pread_in_executor<L: EventLoop + ?Sized>(
    lp: &L,
    file: Arc<File>,
    size: usize,
    offset: u64,
) -> Result<LoopFuture<io::Result<Vec<u8>>>> {
    lp.run_in_executor(None, move || {
        let mut bytes = vec![0; size.min(LARGEST)];
        let count = loop {
            match file.read_at(&mut bytes, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        bytes.truncate(count);
        Ok(bytes)
    })
}
