//! Sending: all of a stream's bytes, or one datagram.

use std::rc::Weak;
use std::time::Duration;

use anyloop_api::{Direction, Result, Sock, SockAddr, sleep};
use rustix::io::Errno;
use socket2::Socket;

use super::Operation;
use crate::base::BaseLoop;
use crate::sockets::SEND_FLAGS;

/// How long to wait for a local socket that has no room, before the next attempt.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(32);

pub(crate) async fn sendall(
    base: Weak<BaseLoop>,
    sock: Sock,
    data: Vec<u8>,
) -> (Result<()>, Vec<u8>) {
    let sent = async {
        let operation = Operation::begin(base, &sock, Direction::Send, "sock_sendall")?;
        let mut rest = &data[..];
        while !rest.is_empty() {
            let count = operation.retry(|sock| rustix::net::send(sock, rest, SEND_FLAGS)).await?;
            rest = &rest[count..];
        }
        Ok(())
    };
    (sent.await, data)
}

pub(crate) async fn sendto(
    base: Weak<BaseLoop>,
    sock: Sock,
    data: Vec<u8>,
    to: SockAddr,
) -> (Result<usize>, Vec<u8>) {
    let sent = async {
        let operation = Operation::begin(base, &sock, Direction::Send, "sock_sendto")?;
        let mut wait = FIRST_WAIT;
        loop {
            match sendto_once(sock.socket(), &data, &to) {
                Ok(count) => return Ok(count),
                Err(Errno::INTR) => {}
                // Nothing tells when another local socket has room again.
                Err(Errno::AGAIN) if to.is_unix() => {
                    sleep(wait).await;
                    operation.base()?;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Err(Errno::AGAIN) => operation.ready().await?,
                Err(error) => return Err(operation.fail(error)),
            }
        }
    };
    (sent.await, data)
}

pub(crate) fn sendto_once(socket: &Socket, data: &[u8], to: &SockAddr) -> Result<usize, Errno> {
    let sent = socket.send_to_with_flags(data, to, SEND_FLAGS.bits().cast_signed());
    sent.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
