//! Sockets for the `sock_*` operations: non-blocking, shared, and known to at most one loop.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::error::{Error, Result};
use crate::waiter::Waiter;

/// What was received, and from whom; nobody if the sender has no address.
pub type Received<T> = (T, Option<SockAddr>);

/// A socket for [`EventLoop::sock_recv`](crate::EventLoop::sock_recv) and its relatives.
///
/// A cheap handle: clones name the same socket, and the last one to go closes it. An operation holds
/// one while it is in flight, so a descriptor number is never used again under its feet; when an
/// operation was cancelled, it has let go.
///
/// The socket is made non-blocking. It belongs to one thread, and to one loop at a time: the one
/// that had to wait for it last.
///
/// ```
/// use anyloop_api::Sock;
/// use std::os::unix::net::UnixStream;
///
/// let (left, right) = UnixStream::pair()?;
/// let (left, right) = (Sock::new(left)?, Sock::new(right)?);
/// assert!(left.local_addr()?.is_unnamed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Sock(Rc<Inner>);

struct Inner {
    /// What the loop keeps with the socket.
    attachment: RefCell<Option<Rc<dyn SockAttachment>>>,
    /// The pending operation of each direction.
    receiving: Slot,
    sending: Slot,
    /// Present until [`Sock::into_fd`].
    socket: Option<Socket>,
}

/// The waiter of the pending operation, or of the last one.
#[derive(Default)]
struct Slot {
    waiter: RefCell<Option<Rc<Waiter>>>,
    claimed: Cell<bool>,
}

/// What a loop keeps with a socket while it may have to watch it.
pub trait SockAttachment: Any {
    /// The socket leaves the loop, and must not be watched when this returns. With `closing` its
    /// descriptor is closed next.
    fn detach(&self, closing: bool);
}

/// The two directions of a socket. One operation may be pending in each (SOCK-17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Receiving and accepting.
    Receive,
    /// Sending and connecting.
    Send,
}

impl Sock {
    /// Takes a socket into use, and makes it non-blocking.
    ///
    /// # Errors
    /// `InvalidArg` if it is no socket; `Os`.
    pub fn new(fd: impl Into<OwnedFd>) -> Result<Self> {
        let socket = Socket::from(fd.into());
        if let Err(error) = socket.r#type() {
            let fd = socket.as_raw_fd();
            return Err(Error::invalid_arg(format!("Sock: descriptor {fd} is no socket: {error}")));
        }
        socket.set_nonblocking(true).map_err(|error| Error::os("Sock: O_NONBLOCK", error))?;
        Ok(Self::from_nonblocking(socket))
    }

    /// Makes a socket that is neither bound nor connected.
    ///
    /// # Errors
    /// `Os`.
    pub fn open(domain: Domain, kind: Type) -> Result<Self> {
        #[cfg(not(target_vendor = "apple"))]
        let socket = Socket::new(domain, kind.nonblocking(), None);
        #[cfg(target_vendor = "apple")]
        let socket = Socket::new(domain, kind, None).and_then(nonblocking);
        Ok(Self::from_nonblocking(socket.map_err(|error| Error::os("Sock: socket", error))?))
    }

    /// Two sockets that are connected to each other.
    ///
    /// # Errors
    /// `Os`.
    pub fn pair(kind: Type) -> Result<(Self, Self)> {
        #[cfg(not(target_vendor = "apple"))]
        let pair = Socket::pair(Domain::UNIX, kind.nonblocking(), None);
        #[cfg(target_vendor = "apple")]
        let pair = Socket::pair(Domain::UNIX, kind, None)
            .and_then(|(left, right)| Ok((nonblocking(left)?, nonblocking(right)?)));
        let (left, right) = pair.map_err(|error| Error::os("Sock: socketpair", error))?;
        Ok((Self::from_nonblocking(left), Self::from_nonblocking(right)))
    }

    /// Takes a socket into use that was made non-blocking before; called by loops.
    #[must_use]
    pub fn from_nonblocking(socket: Socket) -> Self {
        Self(Rc::new(Inner {
            attachment: RefCell::new(None),
            receiving: Slot::default(),
            sending: Slot::default(),
            socket: Some(socket),
        }))
    }

    /// The socket itself, for its options and addresses.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        self.0.socket()
    }

    /// Our address.
    ///
    /// # Errors
    /// `Os`.
    pub fn local_addr(&self) -> Result<SockAddr> {
        self.socket().local_addr().map_err(|error| Error::os("getsockname", error))
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `Os`.
    pub fn peer_addr(&self) -> Result<SockAddr> {
        self.socket().peer_addr().map_err(|error| Error::os("getpeername", error))
    }

    /// Shuts one or both directions down; a pending receive ends.
    ///
    /// # Errors
    /// `Os`.
    pub fn shutdown(&self, how: std::net::Shutdown) -> Result<()> {
        self.socket().shutdown(how).map_err(|error| Error::os("shutdown", error))
    }

    /// Takes the descriptor back, for instance for a transport.
    ///
    /// # Errors
    /// The socket, if another handle or a pending operation has it too.
    pub fn into_fd(self) -> std::result::Result<OwnedFd, Self> {
        let mut inner = Rc::try_unwrap(self.0).map_err(Self)?;
        inner.detach(false);
        let Some(socket) = inner.socket.take() else {
            unreachable!("only this takes the socket out, and consumes the last handle");
        };
        Ok(socket.into())
    }

    /// Marks an operation in `direction` as pending, until the claim is dropped or its task is
    /// cancelled; called by loops.
    ///
    /// # Errors
    /// `Usage` if one is pending already.
    pub fn claim(&self, direction: Direction, operation: &'static str) -> Result<Claim> {
        self.check_unclaimed(direction, operation)?;
        let slot = self.0.slot(direction);
        let mut waiter = slot.waiter.borrow_mut();
        slot.claimed.set(true);
        // Nobody else has the last one, as a rule: its operation is gone.
        let last = waiter.take().filter(|waiter| {
            Rc::strong_count(waiter) == 1
                && waiter.operation() == operation
                && !waiter.is_cancelled()
        });
        let mine = last.unwrap_or_else(|| Waiter::new(operation));
        *waiter = Some(mine.clone());
        Ok(Claim { sock: self.clone(), direction, waiter: mine })
    }

    fn check_unclaimed(&self, direction: Direction, operation: &str) -> Result<()> {
        let slot = self.0.slot(direction);
        let waiter = slot.waiter.borrow();
        if slot.claimed.get() && !waiter.as_ref().is_some_and(|waiter| waiter.is_cancelled()) {
            let pending = waiter.as_ref().map_or("another operation", |waiter| waiter.operation());
            return Err(Error::usage(format!(
                "{operation}: {pending} is pending on socket {}",
                self.as_raw_fd()
            )));
        }
        Ok(())
    }

    /// What a loop keeps with this socket; called by loops.
    #[must_use]
    pub fn attachment(&self) -> Option<Rc<dyn SockAttachment>> {
        self.0.attachment.borrow().clone()
    }

    /// Replaces it; the old one is detached. Called by loops.
    pub fn attach(&self, attachment: Rc<dyn SockAttachment>) {
        self.0.detach(false);
        *self.0.attachment.borrow_mut() = Some(attachment);
    }
}

#[cfg(target_vendor = "apple")]
fn nonblocking(socket: Socket) -> std::io::Result<Socket> {
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Inner {
    fn socket(&self) -> &Socket {
        self.socket.as_ref().expect("only `into_fd` takes it out, and consumes the last handle")
    }

    fn slot(&self, direction: Direction) -> &Slot {
        match direction {
            Direction::Receive => &self.receiving,
            Direction::Send => &self.sending,
        }
    }

    fn detach(&self, closing: bool) {
        let attachment = self.attachment.borrow_mut().take();
        if let Some(attachment) = attachment {
            attachment.detach(closing);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.detach(self.socket.is_some());
    }
}

impl AsFd for Sock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl AsRawFd for Sock {
    fn as_raw_fd(&self) -> RawFd {
        self.socket().as_raw_fd()
    }
}

impl fmt::Debug for Sock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Sock fd={}", self.as_raw_fd())?;
        for slot in [&self.0.receiving, &self.0.sending] {
            if let (true, Some(waiter)) = (slot.claimed.get(), &*slot.waiter.borrow()) {
                write!(f, " {}", waiter.operation())?;
            }
        }
        f.write_str(">")
    }
}

/// One pending operation; from [`Sock::claim`].
#[derive(Debug)]
#[must_use = "the operation is pending while the claim lives"]
pub struct Claim {
    sock: Sock,
    direction: Direction,
    waiter: Rc<Waiter>,
}

impl Claim {
    /// The socket.
    #[must_use]
    pub fn sock(&self) -> &Sock {
        &self.sock
    }

    /// The direction.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// What the operation waits on.
    #[must_use]
    pub fn waiter(&self) -> &Rc<Waiter> {
        &self.waiter
    }

    /// After a wait: whether the operation is still the pending one. A cancellation ended the claim; who kept
    /// the operation and goes on with it claims the socket again.
    ///
    /// # Errors
    /// `Usage` if another operation is pending now.
    pub fn renew(&self) -> Result<()> {
        let slot = self.sock.0.slot(self.direction);
        if !self.is_latest() {
            self.sock.check_unclaimed(self.direction, self.waiter.operation())?;
            let last = slot.waiter.borrow_mut().replace(self.waiter.clone());
            drop(last);
        }
        slot.claimed.set(true);
        Ok(())
    }

    fn is_latest(&self) -> bool {
        let slot = self.sock.0.slot(self.direction);
        slot.waiter.borrow().as_ref().is_some_and(|waiter| Rc::ptr_eq(waiter, &self.waiter))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Another operation may have taken over after a cancellation.
        if self.is_latest() {
            self.sock.0.slot(self.direction).claimed.set(false);
        }
        self.waiter.reset();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io;

    use super::*;

    #[derive(Default)]
    struct Log(RefCell<Vec<bool>>);

    impl SockAttachment for Log {
        fn detach(&self, closing: bool) {
            self.0.borrow_mut().push(closing);
        }
    }

    #[test]
    fn only_sockets_are_taken() -> io::Result<()> {
        let refused = Sock::new(File::open("/dev/null")?);
        let Err(Error::InvalidArg(text)) = refused else { panic!("{refused:?}") };
        assert!(text.starts_with("Sock: descriptor ") && text.contains(" is no socket"), "{text}");
        Ok(())
    }

    #[test]
    fn one_operation_may_be_pending_in_each_direction() -> Result<()> {
        let (sock, _peer) = Sock::pair(Type::STREAM)?;
        let receive = sock.claim(Direction::Receive, "sock_accept")?;
        let _send = sock.claim(Direction::Send, "b")?;
        let refused = sock.claim(Direction::Receive, "sock_recv").map(drop);
        assert!(matches!(&refused, Err(Error::Usage(text)) if text.contains("sock_accept")));
        drop(receive);
        sock.claim(Direction::Receive, "c").map(drop)
    }

    #[test]
    fn a_cancelled_operation_makes_room_before_its_future_is_gone() -> Result<()> {
        use crate::cancellable::Cancellable;
        let (sock, _peer) = Sock::pair(Type::STREAM)?;
        let first = sock.claim(Direction::Receive, "a")?;
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(first.waiter().poll(&mut cx).is_pending());
        assert!(sock.claim(Direction::Receive, "b").is_err());
        assert!(first.waiter().clone().cancel(&crate::error::Cancelled::new()));
        let second = sock.claim(Direction::Receive, "b")?;
        drop(first);
        assert!(sock.claim(Direction::Receive, "c").is_err(), "the second is pending");
        drop(second);
        sock.claim(Direction::Receive, "c").map(drop)
    }

    #[test]
    fn the_loop_lets_go_before_the_descriptor_is_closed_or_given_away() -> Result<()> {
        let log = Rc::new(Log::default());
        let (sock, other) = Sock::pair(Type::STREAM)?;
        sock.attach(log.clone());
        sock.attach(log.clone());
        assert_eq!(log.0.take(), [false]);
        let clone = sock.clone();
        let sock = sock.into_fd().expect_err("there is a clone");
        drop(clone);
        drop(sock.into_fd().expect("the last handle"));
        assert_eq!(log.0.take(), [false]);
        other.attach(log.clone());
        drop(other);
        assert_eq!(log.0.take(), [true]);
        Ok(())
    }
}
