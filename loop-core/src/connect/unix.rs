//! `create_unix_connection`.

use std::rc::Weak;
use std::time::Duration;

use anyloop_api::{
    AnyProtocol, Error, ProtocolFactory, Result, SockAddr, Transport, UnixConnect, sleep,
};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use super::{adopt_unix, attach, open};
use crate::base::BaseLoop;
use crate::sockaddr;
use crate::sockets;

const NAME: &str = "create_unix_connection";

/// How long to wait for a server whose queue is full, before the next attempt.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(64);

/// `create_unix_connection`.
pub(crate) async fn create_unix_connection(
    base: Weak<BaseLoop>,
    factory: ProtocolFactory,
    mut to: UnixConnect,
) -> Result<(Transport, AnyProtocol)> {
    drop(open(&base, NAME)?);
    let socket = match (to.sock.take(), to.path.take()) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid_arg(
                "create_unix_connection: a path and a socket can not be given at the same time",
            ));
        }
        (None, None) => {
            return Err(Error::invalid_arg(
                "create_unix_connection: neither a path nor a socket given",
            ));
        }
        (Some(fd), None) => adopt_unix(fd, NAME)?,
        (None, Some(path)) => connect(&sockaddr::local(path, NAME)?).await?,
    };
    attach(&base, factory, socket, NAME).await
}

/// A local connect succeeds or fails at once, unless the server's queue is full: then nothing tells
/// when there is room again.
async fn connect(address: &SockAddr) -> Result<Socket> {
    let fail =
        |error| Error::os(format!("{NAME}: connecting to {}", sockaddr::text(address)), error);
    let socket = sockets::open(Domain::UNIX, Type::STREAM, None).map_err(fail)?;
    let mut wait = FIRST_WAIT;
    loop {
        match socket.connect(address) {
            Ok(()) => return Ok(socket),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::INTR) => {}
                Some(Errno::AGAIN) => {
                    sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                _ => return Err(fail(error)),
            },
        }
    }
}
