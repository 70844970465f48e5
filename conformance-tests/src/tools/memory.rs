//! How much memory the process uses.

use std::fs;

use crate::case::Failure;

/// Memory in use by this process, in bytes.
///
/// # Errors
/// The case is skipped where the system does not tell.
pub fn resident_memory() -> Result<usize, Failure> {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    let pages =
        pages.ok_or_else(|| Failure::skip("the system does not tell how much memory is used"))?;
    Ok(pages * rustix::param::page_size())
}
