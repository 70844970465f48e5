//! Receiving: into what the caller gave, or into memory of the loop.

use std::os::fd::AsFd;
use std::rc::Weak;

use anyloop_api::{Datagrams, Direction, Received, Result, Sock, SockAddr};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::Operation;
use crate::base::BaseLoop;
use crate::scratch::READ_SIZE;
use crate::sockaddr;

/// The largest buffer that is made on the user's word.
const LARGEST: usize = 16 * 1024 * 1024;

pub(crate) async fn recv(base: Weak<BaseLoop>, sock: Sock, size: usize) -> Result<Vec<u8>> {
    let operation = Operation::begin(base, &sock, Direction::Receive, "sock_recv")?;
    if size == 0 {
        return Ok(Vec::new());
    }
    let mut room = Room::new(&operation, size);
    let count = operation.retry(|sock| room.fill(|buffer| recv_once(sock, buffer))).await?;
    Ok(room.take(count))
}

pub(crate) async fn recv_into(
    base: Weak<BaseLoop>,
    sock: Sock,
    mut buffer: Vec<u8>,
) -> (Result<usize>, Vec<u8>) {
    let received = async {
        let operation = Operation::begin(base, &sock, Direction::Receive, "sock_recv_into")?;
        if buffer.is_empty() {
            return Ok(0);
        }
        operation.retry(|sock| recv_once(sock, &mut buffer)).await
    };
    (received.await, buffer)
}

pub(crate) async fn recvfrom(
    base: Weak<BaseLoop>,
    sock: Sock,
    size: usize,
) -> Result<Received<Vec<u8>>> {
    let operation = Operation::begin(base, &sock, Direction::Receive, "sock_recvfrom")?;
    let mut room = Room::new(&operation, size);
    let mut from = None;
    let count = operation
        .retry(|sock| {
            room.fill(|buffer| {
                let (count, sender) = recvfrom_once(sock, buffer)?;
                from = sender;
                Ok(count)
            })
        })
        .await?;
    Ok((room.take(count), from))
}

pub(crate) async fn recvfrom_into(
    base: Weak<BaseLoop>,
    sock: Sock,
    mut buffer: Vec<u8>,
) -> (Result<Received<usize>>, Vec<u8>) {
    let received = async {
        let operation = Operation::begin(base, &sock, Direction::Receive, "sock_recvfrom_into")?;
        operation.retry(|sock| recvfrom_once(sock, &mut buffer)).await
    };
    (received.await, buffer)
}

pub(crate) async fn recvmmsg(
    base: Weak<BaseLoop>,
    sock: Sock,
    mut batch: Datagrams,
) -> (Result<usize>, Datagrams) {
    batch.clear();
    let received = async {
        let operation = Operation::begin(base, &sock, Direction::Receive, "sock_recvmmsg")?;
        operation
            .retry(|sock| {
                let base = operation.base.upgrade().ok_or(Errno::CANCELED)?;
                base.receiver.receive(sock, &mut batch, usize::MAX)
            })
            .await
    };
    let received = received.await.map(|_| batch.len());
    (received, batch)
}

fn recv_once(sock: &Sock, buffer: &mut [u8]) -> Result<usize, Errno> {
    rustix::net::recv(sock, buffer, RecvFlags::DONTWAIT).map(|(count, _)| count)
}

pub(crate) fn recvfrom_once(
    sock: &impl AsFd,
    buffer: &mut [u8],
) -> Result<(usize, Option<SockAddr>), Errno> {
    let (count, _, from) = rustix::net::recvfrom(sock, buffer, RecvFlags::DONTWAIT)?;
    Ok((count, from.and_then(sockaddr::from_kernel)))
}

/// Where to receive when the user gave a size: the buffer that all share, unless that is too small.
pub(super) struct Room {
    base: Weak<BaseLoop>,
    size: usize,
    own: Vec<u8>,
    received: Vec<u8>,
}

impl Room {
    pub(super) fn new(operation: &Operation, size: usize) -> Self {
        let own = if size > READ_SIZE { vec![0; size.min(LARGEST)] } else { Vec::new() };
        Self { base: operation.base.clone(), size, own, received: Vec::new() }
    }

    pub(super) fn fill(
        &mut self,
        call: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        if !self.own.is_empty() {
            return call(&mut self.own);
        }
        let base = self.base.upgrade().ok_or(Errno::CANCELED)?;
        let mut scratch = base.take_scratch();
        let count = call(&mut scratch.bytes()[..self.size]);
        if let Ok(count) = count {
            self.received = scratch.bytes()[..count].to_vec();
        }
        base.give_scratch(scratch);
        count
    }

    pub(super) fn take(mut self, count: usize) -> Vec<u8> {
        if !self.own.is_empty() {
            self.own.truncate(count);
            self.own.shrink_to_fit();
            return self.own;
        }
        self.received
    }
}
