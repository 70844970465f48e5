//! The operations on raw sockets: the system call first, and once more whenever the socket is ready.
//!
//! Nothing is lent to the kernel and nothing is received ahead, on no driver: a cancelled operation
//! has lost nothing because it has taken nothing (contract §3.3, the first way).

use std::any::Any;
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::time::Duration;

use anyloop_api::{
    Claim, Datagrams, Direction, Domain, Endpoint, Error, EventLoop, EventLoopExt, Family,
    Received, Result, Sock, SockAddr, Type, Waiter, sleep,
};
use dns_lookup::SockType;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags,
};
use socket2::Socket;

use crate::base::BaseLoop;
use crate::resolve::resolve;
use crate::scratch::READ_SIZE;
use crate::sockaddr;
use crate::watcher::Watcher;

/// The largest buffer that is made on the user's word.
const LARGEST: usize = 16 * 1024 * 1024;

/// How long to wait for a local socket that has no room, before the next attempt.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(32);

/// Descriptors in one message (`SCM_MAX_FD`).
const MOST_FDS: usize = 253;

pub(crate) const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

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
            match call(self.sock()) {
                Ok(value) => return Ok(value),
                Err(Errno::INTR) => {}
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
struct Room {
    base: Weak<BaseLoop>,
    size: usize,
    own: Vec<u8>,
    received: Vec<u8>,
}

impl Room {
    fn new(operation: &Operation, size: usize) -> Self {
        let own = if size > READ_SIZE { vec![0; size.min(LARGEST)] } else { Vec::new() };
        Self { base: operation.base.clone(), size, own, received: Vec::new() }
    }

    fn fill(
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

    fn take(mut self, count: usize) -> Vec<u8> {
        if !self.own.is_empty() {
            self.own.truncate(count);
            self.own.shrink_to_fit();
            return self.own;
        }
        self.received
    }
}

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

pub(crate) async fn accept(base: Weak<BaseLoop>, sock: Sock) -> Result<(Sock, SockAddr)> {
    let operation = Operation::begin(base, &sock, Direction::Receive, "sock_accept")?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (fd, peer) = operation.retry(|sock| rustix::net::acceptfrom_with(sock, flags)).await?;
    let peer = peer.and_then(sockaddr::from_kernel).unwrap_or_else(sockaddr::unnamed);
    Ok((Sock::from_nonblocking(Socket::from(fd)), peer))
}

pub(crate) async fn connect(base: Weak<BaseLoop>, sock: Sock, to: Endpoint) -> Result<()> {
    const NAME: &str = "sock_connect";
    let operation = Operation::begin(base, &sock, Direction::Send, NAME)?;
    let to = address(&operation, to).await?;
    let fail = |error| Error::os(format!("{NAME}: connecting to {}", sockaddr::text(&to)), error);
    let socket = operation.sock().socket();
    match socket.connect(&to) {
        Ok(()) => return Ok(()),
        // It takes its time, also when it was begun by a call that was cancelled or interrupted.
        Err(error)
            if [Errno::INPROGRESS, Errno::ALREADY, Errno::INTR].iter().any(|e| is(&error, *e)) => {}
        Err(error) => return Err(fail(error)),
    }
    loop {
        operation.ready().await?;
        if let Some(error) = socket.take_error().map_err(fail)? {
            return Err(fail(error));
        }
        match socket.peer_addr() {
            Ok(_) => return Ok(()),
            // Neither connected nor failed: woken too early.
            Err(error) if is(&error, Errno::NOTCONN) => {}
            Err(error) => return Err(fail(error)),
        }
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    Errno::from_io_error(error) == Some(errno)
}

/// Resolves a name with the family and type of the socket (SOCK-08).
async fn address(operation: &Operation, to: Endpoint) -> Result<SockAddr> {
    let (host, port) = match to {
        Endpoint::Address(address) => return Ok(address),
        Endpoint::Name { host, port } => (host, port),
        Endpoint::Malformed(error) => return Err(error),
        _ => return Err(Error::invalid_arg("sock_connect: an endpoint of an unknown kind")),
    };
    let socket = operation.sock().socket();
    let family = match socket.domain().map_err(|error| operation.fail(error))? {
        Domain::IPV4 => Family::Inet,
        Domain::IPV6 => Family::Inet6,
        _ => {
            return Err(Error::invalid_arg(
                "sock_connect: a host and port for a socket that is no Internet socket",
            ));
        }
    };
    let kind = match socket.r#type().map_err(|error| operation.fail(error))? {
        Type::DGRAM => SockType::DGram,
        _ => SockType::Stream,
    };
    let lp = operation.base()?.handle();
    // Without a host Python means this one.
    let host = if host.is_empty() { "localhost".into() } else { host };
    let found = resolve(lp, Some(host.clone()), Some(port.clone()), family, kind).await?;
    let first = found.first().ok_or_else(|| {
        let what = format!("sock_connect: no address for {host}:{port}");
        Error::os(what, io::ErrorKind::AddrNotAvailable.into())
    })?;
    Ok((*first).into())
}

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
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let count = operation
        .retry(|sock| {
            room.fill(|buffer| {
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let parts = &mut [IoSliceMut::new(buffer)];
                let received = rustix::net::recvmsg(sock, parts, &mut control, flags)?;
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(rights) = message {
                        fds.extend(rights);
                    }
                }
                Ok(received.bytes)
            })
        })
        .await?;
    fds.truncate(most);
    Ok((room.take(count), fds))
}
