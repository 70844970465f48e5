//! `recv` into the memory of others, without the places where the kernel's copy is slow.

use std::io;

use rustix::buffer::spare_capacity;
use rustix::net::RecvFlags;

use crate::base::BaseLoop;
use crate::driver::Fd;
use crate::returns::retry_on_intr;
use crate::scratch::Scratch;

/// Reads into memory that is not ours. Where the kernel's copy would be slow (see [`Scratch`]) the detour
/// over the shared buffer is several times faster. Large allocations are such memory.
pub(super) fn recv_into(base: &BaseLoop, socket: Fd, buffer: &mut [u8]) -> io::Result<usize> {
    if !is_slow(buffer.as_ptr(), buffer.len()) {
        return recv(socket, buffer);
    }
    let room = buffer.len();
    recv_by_way(base, socket, room, |bytes| buffer[..bytes.len()].copy_from_slice(bytes))
}

/// The same, behind what is in `buffer`, where there is room for `room` bytes.
pub(super) fn recv_behind(
    base: &BaseLoop,
    socket: Fd,
    buffer: &mut Vec<u8>,
    room: usize,
) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    if spare.len() > room || is_slow(spare.as_ptr().cast(), room) {
        return recv_by_way(base, socket, room, |bytes| buffer.extend_from_slice(bytes));
    }
    let (count, _) =
        retry_on_intr(|| rustix::net::recv(socket, spare_capacity(buffer), RecvFlags::DONTWAIT))?;
    Ok(count)
}

/// Whether the kernel's copy to there would be slow.
fn is_slow(begin: *const u8, room: usize) -> bool {
    room >= Scratch::PAGE && (1..32).contains(&(begin.addr() % Scratch::PAGE))
}

/// Reads into the shared buffer, and has `copy` fetch it from there.
fn recv_by_way(
    base: &BaseLoop,
    socket: Fd,
    room: usize,
    copy: impl FnOnce(&[u8]),
) -> io::Result<usize> {
    let mut scratch = base.take_scratch();
    let count = recv(socket, &mut scratch.bytes()[..room]);
    if let Ok(count) = count {
        copy(&scratch.bytes()[..count]);
    }
    base.give_scratch(scratch);
    count
}

pub(super) fn recv(socket: Fd, buffer: &mut [u8]) -> io::Result<usize> {
    let received = retry_on_intr(|| rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT));
    let (count, _) = received?;
    Ok(count)
}
