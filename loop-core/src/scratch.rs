//! The read buffer that all streams of a loop share.

/// Size of the read buffer that all streams share: the largest chunk a protocol is handed.
pub(crate) const READ_SIZE: usize = 256 * 1024;

/// The shared read buffer.
///
/// It begins [`Scratch::INTO_PAGE`] bytes into a page. A copy whose destination begins 1 to 31 bytes
/// further into its page than its source is up to thirty times slower on some processors (`rep movsb`
/// on AMD's Zen). What the kernel copies from begins a page, and large allocations, into which readers
/// copy from here, begin 16 bytes into one: this place is far from both.
pub(crate) struct Scratch {
    memory: Vec<u8>,
    begin: usize,
}

impl Scratch {
    pub(crate) const PAGE: usize = 4096;
    const INTO_PAGE: usize = 128;

    pub(crate) fn new() -> Self {
        let memory = vec![0; READ_SIZE + Self::PAGE + Self::INTO_PAGE];
        let page = memory.as_ptr().align_offset(Self::PAGE).min(Self::PAGE);
        Self { memory, begin: page + Self::INTO_PAGE }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.begin..self.begin + READ_SIZE]
    }
}
