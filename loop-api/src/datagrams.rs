//! [`Datagrams`]: room for several datagrams.

use std::fmt;

use socket2::SockAddr;

/// Room for several datagrams and their senders, for
/// [`EventLoop::sock_recvmmsg`](crate::EventLoop::sock_recvmmsg). Made once and used again and again: it
/// allocates nothing later.
///
/// ```
/// use anyloop_api::Datagrams;
///
/// // Sixteen datagrams of at most 1500 bytes.
/// let mut batch = Datagrams::new(16, 1500);
/// // What a loop does with it:
/// let room = batch.room().next().expect("it is empty");
/// room[..5].copy_from_slice(b"hello");
/// batch.push(5, None);
///
/// for (data, from) in batch.iter() {
///     assert_eq!((data, from), (&b"hello"[..], None));
/// }
/// ```
pub struct Datagrams {
    memory: Vec<u8>,
    begin: usize,
    size: usize,
    capacity: usize,
    /// Lengths and senders.
    received: Vec<(usize, Option<SockAddr>)>,
}

impl Datagrams {
    /// Between one datagram's place and the next. Places of a power of two would share the few lines of the
    /// cache that belong to one address in each page.
    const GAP: usize = 192;
    /// The kernel's copy into memory that begins 1 to 31 bytes into a page is slow on some processors, and
    /// large allocations begin 16 bytes into one.
    const ALIGN: usize = 64;

    /// Room for `capacity` datagrams, at least one, of `size` bytes each; what is longer is cut.
    ///
    /// # Panics
    /// As `Vec::with_capacity`, if that is more than there can be.
    #[must_use]
    pub fn new(capacity: usize, size: usize) -> Self {
        let capacity = capacity.max(1);
        let stride = Self::stride(size);
        let memory = vec![0; stride.saturating_mul(capacity).saturating_add(2 * Self::ALIGN)];
        let begin = memory.as_ptr().align_offset(Self::ALIGN).min(Self::ALIGN) + Self::ALIGN;
        Self { memory, begin, size, capacity, received: Vec::with_capacity(capacity) }
    }

    fn stride(size: usize) -> usize {
        size.checked_next_multiple_of(Self::ALIGN).unwrap_or(usize::MAX).saturating_add(Self::GAP)
    }

    /// How many datagrams there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How long each may be, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many were received.
    #[must_use]
    pub fn len(&self) -> usize {
        self.received.len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// The datagram at `index`, in the order of arrival, and its sender; nobody if that has no address.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<(&[u8], Option<&SockAddr>)> {
        let (length, from) = self.received.get(index)?;
        let begin = self.begin + index * Self::stride(self.size);
        Some((&self.memory[begin..begin + length], from.as_ref()))
    }

    /// All of them, in the order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&SockAddr>)> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Forgets what was received.
    pub fn clear(&mut self) {
        self.received.clear();
    }

    /// The places that are still empty, in order, each of [`Datagrams::size`] bytes; called by loops.
    pub fn room(&mut self) -> impl ExactSizeIterator<Item = &mut [u8]> {
        let (stride, size) = (Self::stride(self.size), self.size);
        let end = self.begin + self.capacity * stride;
        let places = self.memory[self.begin..end].chunks_exact_mut(stride);
        places.map(move |place| &mut place[..size]).skip(self.received.len())
    }

    /// The first empty place holds a datagram of `length` bytes now; called by loops. Without an empty
    /// place nothing happens.
    pub fn push(&mut self, length: usize, from: Option<SockAddr>) {
        if self.received.len() < self.capacity {
            self.received.push((length.min(self.size), from));
        }
    }
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagrams")
            .field("len", &self.len())
            .field("capacity", &self.capacity)
            .field("size", &self.size)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_place() {
        let mut batch = Datagrams::new(3, 5);
        for text in ["one", "", "three"] {
            let room = batch.room().next().expect("there is room");
            assert_eq!(room.len(), 5);
            room[..text.len()].copy_from_slice(text.as_bytes());
            batch.push(text.len(), None);
        }
        assert_eq!(batch.room().len(), 0);
        batch.push(1, None);
        let found: Vec<_> = batch.iter().map(|(data, _)| data).collect();
        assert_eq!(found, [&b"one"[..], b"", b"three"]);
        batch.clear();
        assert!(batch.is_empty());
        assert_eq!(batch.room().len(), 3);
    }

    #[test]
    fn odd_sizes() {
        let mut none = Datagrams::new(0, 0);
        assert_eq!((none.capacity(), none.room().map(|room| room.len()).sum::<usize>()), (1, 0));
        none.push(7, None);
        assert_eq!(none.get(0), Some((&[][..], None)), "no longer than there is room");
        assert_eq!(none.get(1), None);
    }

    #[test]
    #[should_panic(expected = "capacity overflow")]
    fn more_than_there_can_be() {
        let _ = Datagrams::new(1, usize::MAX);
    }
}
