//! Bytes that a client can check one by one, without keeping what it sent.

/// An endless sequence, different for every seed.
#[derive(Clone)]
pub(crate) struct Bytes(u64);

impl Bytes {
    pub(crate) fn new(seed: usize) -> Self {
        Self((seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u8
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Whether these are the next bytes.
    pub(crate) fn check(&mut self, data: &[u8]) -> bool {
        data.iter().all(|byte| *byte == self.next())
    }
}

/// How much the client with this number sends: from one byte to some hundred kilobytes.
pub(crate) fn amount(client: usize) -> usize {
    [1, 4096, 65_536, 65_537, 300_000][client % 5] + client
}
