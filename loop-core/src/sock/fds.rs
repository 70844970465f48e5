//! Descriptors that travel beside the bytes of a local socket (`SCM_RIGHTS`).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Weak;

use anyloop_api::{Direction, Error, Result, Sock};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, SendAncillaryBuffer, SendAncillaryMessage,
};

use super::Operation;
use super::receive::Room;
use crate::base::BaseLoop;
use crate::sockets::{self, RECV_FDS_FLAGS, SEND_FLAGS};

/// Descriptors in one message (`SCM_MAX_FD`).
const MOST_FDS: usize = 253;

pub(crate) async fn send_fds(
    base: Weak<BaseLoop>,
    sock: Sock,
    data: Vec<u8>,
    fds: Vec<OwnedFd>,
) -> (Result<usize>, Vec<u8>) {
    let sent = async {
        let operation = Operation::begin(base, &sock, Direction::Send, "sock_send_fds")?;
        if data.is_empty() || fds.len() > MOST_FDS {
            return Err(Error::invalid_arg(format!(
                "sock_send_fds: {} bytes and {} descriptors; at least one byte and at most \
                 {MOST_FDS} descriptors can be sent",
                data.len(),
                fds.len()
            )));
        }
        let lent: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        operation
            .retry(|sock| {
                let mut space =
                    vec![MaybeUninit::uninit(); SendAncillaryMessage::ScmRights(&lent).size()];
                let mut control = SendAncillaryBuffer::new(&mut space);
                let fits = lent.is_empty() || control.push(SendAncillaryMessage::ScmRights(&lent));
                debug_assert!(fits, "the space was made for this message");
                rustix::net::sendmsg(sock, &[IoSlice::new(&data)], &mut control, SEND_FLAGS)
            })
            .await
    };
    (sent.await, data)
}

pub(crate) async fn recv_fds(
    base: Weak<BaseLoop>,
    sock: Sock,
    size: usize,
    most: usize,
) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    let operation = Operation::begin(base, &sock, Direction::Receive, "sock_recv_fds")?;
    if size == 0 {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut room = Room::new(&operation, size);
    let mut fds = Vec::new();
    // Room for all that the kernel can send at once: what does not fit it would close unseen.
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let count = operation
        .retry(|sock| {
            room.fill(|buffer| {
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let parts = &mut [IoSliceMut::new(buffer)];
                let received = rustix::net::recvmsg(sock, parts, &mut control, RECV_FDS_FLAGS)?;
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(rights) = message {
                        fds.extend(rights.map(sockets::received));
                    }
                }
                Ok(received.bytes)
            })
        })
        .await?;
    fds.truncate(most);
    Ok((room.take(count), fds))
}
