//! The bytes that travel.

use crate::scenario::Scenario;

/// An endless stream of random-looking bytes, cut from one period.
#[derive(Debug)]
pub(crate) struct Pattern {
    bytes: Vec<u8>,
    period: usize,
}

impl Pattern {
    /// A pattern long enough for everything a connection of `scenario` may have under way.
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let window = scenario.size * scenario.in_flight;
        // Odd, so that messages begin at ever different places of it.
        let period = (window + 4096) | 1;
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let once = (0..period).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        });
        let mut bytes: Vec<u8> = once.collect();
        bytes.extend_from_within(..window);
        Self { bytes, period }
    }

    /// `length` bytes from `position`; at most what a connection may have under way.
    pub(crate) fn slice(&self, position: usize, length: usize) -> &[u8] {
        &self.bytes[position..position + length]
    }

    /// The place `length` bytes after `position`.
    pub(crate) fn advance(&self, position: usize, length: usize) -> usize {
        (position + length) % self.period
    }

    /// Where the stream of a connection begins.
    pub(crate) fn start(&self, connection: usize) -> usize {
        connection.wrapping_mul(0x9E37_79B1) % self.period
    }

    /// Whether `received` is the stream from `position` on.
    pub(crate) fn matches(&self, mut position: usize, mut received: &[u8]) -> bool {
        while !received.is_empty() {
            let length = received.len().min(self.bytes.len() - position);
            if self.bytes[position..position + length] != received[..length] {
                return false;
            }
            position = self.advance(position, length);
            received = &received[length..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_matches_and_nothing_else() {
        let pattern = Pattern::new(&crate::scenario::ECHO[6]);
        let mut sent = Vec::new();
        let mut position = pattern.start(7);
        for _ in 0..1000 {
            sent.extend_from_slice(pattern.slice(position, 1024));
            position = pattern.advance(position, 1024);
        }
        assert!(pattern.matches(pattern.start(7), &sent));
        assert!(!pattern.matches(pattern.start(8), &sent));
        sent[500_000] ^= 1;
        assert!(!pattern.matches(pattern.start(7), &sent));
    }
}
