//! The operations on raw sockets: the system call first, and once more whenever the socket is ready.
//!
//! Nothing is lent to the kernel and nothing is received ahead, on no driver: a cancelled operation
//! has lost nothing because it has taken nothing (contract §3.3, the first way).

mod connect;
mod fds;
mod receive;
mod send;

use std::any::Any;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::{Rc, Weak};

use anyloop_api::{Claim, Direction, Error, EventLoop, Result, Sock, Waiter};
use rustix::fs::OFlags;
use rustix::io::Errno;

pub(crate) use self::connect::{accept, connect};
pub(crate) use self::fds::{recv_fds, send_fds};
pub(crate) use self::receive::{recv, recv_into, recvfrom, recvfrom_into, recvfrom_once, recvmmsg};
pub(crate) use self::send::{sendall, sendto, sendto_once};
use crate::base::BaseLoop;
use crate::returns::retry_on_intr;
use crate::watcher::Watcher;

/// One operation in progress.
pub(crate) struct Operation {
    base: Weak<BaseLoop>,
    claim: Claim,
    name: &'static str,
}

impl Operation {
    pub(crate) fn begin(
        base: Weak<BaseLoop>,
        sock: &Sock,
        direction: Direction,
        name: &'static str,
    ) -> Result<Self> {
        {
            let base = open(&base, name)?;
            base.sources.check_free(sock.as_raw_fd(), name)?;
            if base.state().debug() {
                check_nonblocking(sock, name)?;
            }
        }
        let claim = sock.claim(direction, name)?;
        Ok(Self { base, claim, name })
    }

    fn base(&self) -> Result<Rc<BaseLoop>> {
        open(&self.base, self.name)
    }

    pub(crate) fn waiter(&self) -> &Rc<Waiter> {
        self.claim.waiter()
    }

    pub(crate) fn sock(&self) -> &Sock {
        self.claim.sock()
    }

    pub(crate) fn fail(&self, error: impl Into<io::Error>) -> Error {
        Error::os(format!("{} on socket {}", self.name, self.sock().as_raw_fd()), error.into())
    }

    /// Makes the call until it does not have to wait.
    pub(crate) async fn retry<T>(
        &self,
        mut call: impl FnMut(&Sock) -> Result<T, Errno>,
    ) -> Result<T> {
        loop {
            match retry_on_intr(|| call(self.sock())) {
                Ok(value) => return Ok(value),
                Err(Errno::AGAIN) => self.ready().await?,
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    /// Waits until the socket is, or may be, ready.
    pub(crate) async fn ready(&self) -> Result<()> {
        {
            let base = self.base()?;
            let watcher = watcher(&base, self.sock(), self.name)?;
            watcher
                .wait(&base, self.claim.direction(), self.claim.waiter())
                .map_err(|error| self.fail(error))?;
        }
        poll_fn(|cx| self.claim.waiter().poll(cx)).await;
        self.claim.renew()?;
        self.base().map(drop)
    }
}

fn open(base: &Weak<BaseLoop>, operation: &'static str) -> Result<Rc<BaseLoop>> {
    let base = base
        .upgrade()
        .ok_or_else(|| Error::closed(format!("{operation}: the event loop is gone")))?;
    base.state().check_open(operation)?;
    Ok(base)
}

/// The registration of a socket; made when it has to wait for the first time.
fn watcher(base: &BaseLoop, sock: &Sock, operation: &str) -> Result<Rc<Watcher>> {
    if let Some(attachment) = sock.attachment() {
        let attachment: Rc<dyn Any> = attachment;
        if let Ok(watcher) = attachment.downcast::<Watcher>()
            && watcher.is_of(base)
        {
            return Ok(watcher);
        }
    }
    let watcher = Watcher::hold(base, sock.as_raw_fd(), operation)?;
    sock.attach(watcher.clone());
    Ok(watcher)
}

/// SOCK-04.
fn check_nonblocking(sock: &Sock, operation: &str) -> Result<()> {
    match rustix::fs::fcntl_getfl(sock) {
        Ok(flags) if flags.contains(OFlags::NONBLOCK) => Ok(()),
        Ok(_) => Err(Error::invalid_arg(format!(
            "{operation}: socket {} was made blocking",
            sock.as_raw_fd()
        ))),
        Err(error) => Err(Error::os(format!("{operation}: fcntl"), error.into())),
    }
}
