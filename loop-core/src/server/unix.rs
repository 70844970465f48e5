//! `create_unix_server`: the socket's file before and after.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Weak;

use anyloop_api::{Error, ProtocolFactory, Result, Server, SockAddr, UnixBind};
use socket2::{Domain, Socket, Type};

use super::create::{Plan, begin};
use crate::base::BaseLoop;
use crate::connect::open;
use crate::sockaddr;
use crate::sockets;

const NAME: &str = "create_unix_server";

/// `create_unix_server`.
pub(crate) async fn create_unix_server(
    base: Weak<BaseLoop>,
    factory: ProtocolFactory,
    mut at: UnixBind,
) -> Result<Server> {
    drop(open(&base, NAME)?);
    let socket = match (at.sock.take(), at.path.take()) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid_arg(
                "create_unix_server: a path and a socket can not be given at the same time",
            ));
        }
        (None, None) => {
            return Err(Error::invalid_arg(
                "create_unix_server: neither a path nor a socket given",
            ));
        }
        (Some(fd), None) => crate::connect::adopt_unix(fd, NAME)?,
        (None, Some(path)) => bind(&sockaddr::local(path, NAME)?)?,
    };
    let file = if at.cleanup_socket { SocketFile::of(&socket) } else { None };
    let sockets = vec![socket];
    let plan = Plan { sockets, backlog: at.backlog, start_serving: at.start_serving, file };
    begin(base, factory, plan, NAME).await
}

fn bind(address: &SockAddr) -> Result<Socket> {
    let fail = |error| Error::os(format!("{NAME}: binding {}", sockaddr::text(address)), error);
    if let Some(path) = address.as_pathname() {
        remove_stale(path).map_err(fail)?;
    }
    let socket = sockets::open(Domain::UNIX, Type::STREAM, None).map_err(fail)?;
    socket.bind(address).map_err(fail)?;
    Ok(socket)
}

/// Removes a socket that is in the way. Any other file is for `bind` to complain about (UNIX-02).
pub(crate) fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

/// The file of a bound socket, as it was then.
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// `None` if the socket has no name in the file system.
    fn of(socket: &Socket) -> Option<Self> {
        let address = socket.local_addr().ok()?;
        // The working directory may be another one by the time the server is closed.
        let path = std::path::absolute(address.as_pathname()?).ok()?;
        let found = std::fs::symlink_metadata(&path).ok()?;
        Some(Self { path, device: found.dev(), inode: found.ino() })
    }

    /// Removes it, unless it is gone or another one is in its place (UNIX-03).
    pub(super) fn remove(self) {
        if let Ok(found) = std::fs::symlink_metadata(&self.path)
            && (found.dev(), found.ino()) == (self.device, self.inode)
        {
            // Somebody else may have been faster.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
