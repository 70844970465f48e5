//! Receiving datagrams: many by one system call where the kernel offers that.
//!
//! `recvmmsg` costs more than `recvfrom` if one datagram waits, as much for two, and less from three on. So
//! who expects one asks for one. Unsafe lives here because no safe wrapper of the call can be had.
//!
//! # Some facts about `recvmmsg`
//!
//! * Fewer datagrams than were asked for mean that nothing waits any more. An error after the first is kept
//!   by the kernel for the next call.
//! * It is told the room for names anew for each call, and writes their lengths to the same place.
//! * Old kernels and some sandboxes do not have it; once is enough to learn that.

use std::cell::Cell;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use anyloop_api::Datagrams;
use rustix::io::Errno;

use crate::returns::retry_on_intr;
use crate::sock::recvfrom_once;

/// The most that one call can bring.
const MOST: usize = 64;

/// How a loop receives datagrams, and the memory that it keeps for that.
pub(crate) struct Receiver {
    /// The kernel has `recvmmsg`, as far as is known.
    many: Cell<bool>,
    calls: Cell<u64>,
    received: Cell<u64>,
    /// For Internet sockets, and for others.
    spare: [Cell<Option<Datagrams>>; 2],
}

impl Receiver {
    /// With `one_by_one` the fallback is forced.
    pub(crate) fn new(one_by_one: bool) -> Self {
        Self {
            many: Cell::new(!one_by_one),
            calls: Cell::new(0),
            received: Cell::new(0),
            spare: Default::default(),
        }
    }

    /// Room for what an endpoint receives at once, empty; give it back. No datagram of the Internet is longer
    /// than 64 KiB. Others can be; their queues are short.
    pub(crate) fn take(&self, internet: bool) -> Datagrams {
        let mut batch =
            self.spare[usize::from(internet)].take().unwrap_or_else(|| match internet {
                true => Datagrams::new(16, 64 * 1024),
                false => Datagrams::new(4, 256 * 1024),
            });
        batch.clear();
        batch
    }

    pub(crate) fn give(&self, internet: bool, batch: Datagrams) {
        self.spare[usize::from(internet)].set(Some(batch));
    }

    /// Adds what waits to `batch`, at most `most` datagrams. Returns whether more may wait.
    pub(crate) fn receive(
        &self,
        socket: &impl AsFd,
        batch: &mut Datagrams,
        most: usize,
    ) -> Result<bool, Errno> {
        let most = most.min(batch.capacity() - batch.len()).min(MOST);
        self.calls.set(self.calls.get() + 1);
        if most > 1 && self.many.get() {
            match recvmmsg(socket.as_fd(), batch, most) {
                Err(Errno::NOSYS | Errno::PERM) => self.many.set(false),
                count => {
                    let count = count?;
                    self.received.set(self.received.get() + count as u64);
                    return Ok(count == most);
                }
            }
        }
        let Some(room) = batch.room().next() else { return Ok(true) };
        let (length, from) = retry_on_intr(|| recvfrom_once(socket, room))?;
        batch.push(length, from);
        self.received.set(self.received.get() + 1);
        Ok(true)
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = if self.many.get() { "calls" } else { "calls, one by one" };
        write!(f, "{} received in {} {calls}", self.received.get(), self.calls.get())
    }
}

#[cfg(not(target_os = "linux"))]
fn recvmmsg(_: BorrowedFd<'_>, _: &mut Datagrams, _: usize) -> Result<usize, Errno> {
    Err(Errno::NOSYS)
}

/// At most `most` datagrams, and at most [`MOST`], into `batch`.
#[cfg(target_os = "linux")]
fn recvmmsg(socket: BorrowedFd<'_>, batch: &mut Datagrams, most: usize) -> Result<usize, Errno> {
    use std::mem::MaybeUninit;
    use std::os::fd::AsRawFd;

    use rustix::net::SocketAddrAny;
    use rustix::net::addr::SocketAddrStorage;

    use crate::returns;

    const NAME: libc::socklen_t = size_of::<SocketAddrStorage>() as libc::socklen_t;
    let mut names = [const { MaybeUninit::<SocketAddrStorage>::uninit() }; MOST];
    let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; MOST];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MOST];
    let mut count = 0;
    let places = batch.room().zip(&mut names).zip(&mut parts).zip(&mut headers);
    for (((place, name), part), header) in places.take(most) {
        let (base, length) = (place.as_mut_ptr().cast(), place.len());
        let part = part.write(libc::iovec { iov_base: base, iov_len: length });
        // SAFETY: all of its fields are numbers and pointers, for which zero is a value.
        let header = header.write(unsafe { MaybeUninit::zeroed().assume_init() });
        header.msg_hdr.msg_name = name.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = NAME;
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: the kernel reads and writes the first `count` of `headers`, all of which were written above.
    // Each leads to one of `parts` and through it to a place of `batch`, with that place's length, and to
    // one of `names`, with its size. No two share anything, all of it is ours alone, and outlives the
    // call. There is no timeout.
    let received = unsafe {
        returns::system_call(
            libc::SYS_recvmmsg,
            [
                socket.as_raw_fd() as usize,
                headers.as_mut_ptr().expose_provenance(),
                count,
                libc::MSG_DONTWAIT as usize,
                0,
                0,
            ],
        )
    };
    let received = received.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    for (header, name) in headers.iter().zip(&names).take(received) {
        // SAFETY: `received` is at most `count`, and so many headers were written.
        let header = unsafe { header.assume_init_ref() };
        let length = header.msg_hdr.msg_namelen;
        // No length: the sender has no name.
        let from = (length > 0).then(|| {
            // SAFETY: the kernel wrote the sender's address to `name`, `length` bytes, and it writes no more
            // than it was told that there is room.
            unsafe { SocketAddrAny::read(name.as_ptr(), length.min(NAME)) }
        });
        batch.push(header.msg_len as usize, from.and_then(crate::sockaddr::from_kernel));
    }
    Ok(received)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn receive(receiver: &Receiver, socket: &UnixDatagram, most: usize) -> (Vec<Vec<u8>>, bool) {
        let mut batch = Datagrams::new(70, 4);
        let more = receiver.receive(socket, &mut batch, most).expect("something waits");
        (batch.iter().map(|(data, _)| data.to_vec()).collect(), more)
    }

    #[test]
    fn as_many_as_wait_in_one_call_or_one_by_one() -> std::io::Result<()> {
        for one_by_one in [false, true] {
            let receiver = Receiver::new(one_by_one);
            let (near, far) = UnixDatagram::pair()?;
            for text in ["one", "", "three"] {
                far.send(text.as_bytes())?;
            }
            let mut found = Vec::new();
            loop {
                let (mut some, more) = receive(&receiver, &near, usize::MAX);
                assert_eq!((some.len(), more), if one_by_one { (1, true) } else { (3, false) });
                found.append(&mut some);
                if found.len() == 3 {
                    break;
                }
            }
            // Cut at the size.
            assert_eq!(found, [&b"one"[..], b"", b"thre"]);
            let mut batch = Datagrams::new(2, 4);
            let nothing = receiver.receive(&near, &mut batch, usize::MAX);
            assert_eq!(nothing, Err(Errno::AGAIN));
            assert!(batch.is_empty());
        }
        Ok(())
    }

    #[test]
    fn no_more_than_asked_for_or_than_there_is_room() -> std::io::Result<()> {
        let receiver = Receiver::new(false);
        let (near, far) = UnixDatagram::pair()?;
        for number in 0..5_u8 {
            far.send(&[number])?;
        }
        assert_eq!(receive(&receiver, &near, 2), (vec![vec![0], vec![1]], true));
        assert_eq!(receive(&receiver, &near, 1), (vec![vec![2]], true));
        let mut batch = Datagrams::new(1, 1);
        assert_eq!(receiver.receive(&near, &mut batch, 9), Ok(true));
        assert_eq!(batch.get(0), Some((&[3][..], None)));
        assert_eq!(receiver.receive(&near, &mut batch, 9), Ok(true), "there is no room");
        assert_eq!((batch.len(), receive(&receiver, &near, 9)), (1, (vec![vec![4]], false)));
        Ok(())
    }
}
