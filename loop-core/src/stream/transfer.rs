//! A stream while a file is sent over it: it does not read, and nobody else writes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::{Rc, Weak};

use anyloop_api::{Error, EventLoop, Result, Sock, Transport, Waiter};
use socket2::Socket;

use super::{CLOSING, EOF_WANTED, LOST, PAUSED, Stream, TRANSFER};
use crate::base::BaseLoop;
use crate::sock::Operation;

const NAME: &str = "sendfile";

/// What the stream tells the transfer.
pub(super) struct Wait {
    /// What the transfer waits on now.
    waiter: RefCell<Rc<Waiter>>,
    /// The connection ended, and with which error.
    ended: Cell<bool>,
    error: RefCell<Option<Error>>,
}

impl Wait {
    /// A waker that polls at once finds nothing borrowed.
    fn notify(&self) {
        let waiter = self.waiter.borrow().clone();
        waiter.notify();
    }
}

/// The right to send a file; gives the stream back when dropped.
pub(crate) struct Transfer {
    stream: Rc<Stream>,
    /// Keeps the transport from being forgotten.
    _transport: Transport,
    wait: Rc<Wait>,
    was_reading: bool,
}

impl Transfer {
    /// Of a transport that is a stream of this loop; `None` for other kinds of transport.
    ///
    /// # Errors
    /// `InvalidArg` if it belongs to another loop; `Usage` if it is half-closed or sends a file already.
    pub(crate) fn begin(base: &Weak<BaseLoop>, transport: &Transport) -> Result<Option<Self>> {
        let stream = transport.raw().as_any().downcast_ref::<Stream>();
        let Some(stream) = stream.and_then(|stream| stream.this.upgrade()) else { return Ok(None) };
        if !stream.voice.base().ptr_eq(base) {
            return Err(Error::invalid_arg(
                "sendfile: the transport belongs to another event loop",
            ));
        }
        if stream.has(EOF_WANTED) {
            return Err(Error::usage("sendfile: write_eof was called on this transport"));
        }
        if stream.has(TRANSFER) {
            return Err(Error::usage("sendfile: a file is being sent over this transport"));
        }
        let wait = Rc::new(Wait {
            waiter: RefCell::new(Waiter::new(NAME)),
            ended: Cell::new(false),
            error: RefCell::default(),
        });
        stream.set(TRANSFER);
        stream.rare(|rare| rare.transfer = Some(wait.clone()));
        let was_reading = !stream.has(PAUSED | CLOSING);
        stream.pause();
        Ok(Some(Self { stream, _transport: transport.clone(), wait, was_reading }))
    }

    /// Fails once the connection has ended.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.wait.ended.get() {
            return Ok(());
        }
        Err(self.wait.error.borrow().clone().unwrap_or_else(|| {
            let aborted = io::ErrorKind::ConnectionAborted.into();
            Error::os("sendfile: the transport was closed", aborted)
        }))
    }

    /// Waits until the operating system has everything that was written.
    pub(crate) async fn until_sent(&self) -> Result<()> {
        loop {
            self.check()?;
            if self.stream.pending() == 0 {
                return Ok(());
            }
            let waiter = self.wait.waiter.borrow().clone();
            poll_fn(|cx| waiter.poll(cx)).await;
        }
    }

    /// The socket once more, for an operation of its own: the stream's descriptor stays as it is
    /// registered.
    pub(crate) fn duplicate(&self) -> Result<Sock> {
        self.check()?;
        let Some(duplicate) = self.stream.socket.with(Socket::try_clone) else {
            return Err(Error::closed("sendfile: the transport is closed"));
        };
        let duplicate = duplicate.map_err(|error| Error::os("sendfile: dup", error))?;
        Ok(Sock::from_nonblocking(duplicate))
    }

    /// From now on the end of the connection wakes `operation`.
    pub(crate) fn watch(&self, operation: &Operation) {
        *self.wait.waiter.borrow_mut() = operation.waiter().clone();
    }

    /// And now again this.
    pub(crate) fn unwatch(&self) {
        *self.wait.waiter.borrow_mut() = Waiter::new(NAME);
    }

    /// Writes a piece of the file.
    pub(crate) fn write(&self, data: &[u8]) -> Result<()> {
        self.check()?;
        self.stream.put(data);
        Ok(())
    }

    /// The connection failed under an operation on the duplicate.
    pub(crate) fn fail(&self, error: &Error) {
        self.stream.force(Some(error.clone()));
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let stream = &self.stream;
        stream.clear(TRANSFER);
        drop(stream.rare(|rare| rare.transfer.take()));
        self.wait.waiter.borrow().reset();
        if stream.has(CLOSING | LOST) {
            return;
        }
        if self.was_reading {
            stream.resume();
        }
        // The protocol and the half-close waited. No user code is called from here.
        if let Some(base) = stream.voice.base().upgrade()
            && !base.is_closed()
        {
            let stream = stream.clone();
            base.soon(move || {
                stream.maybe_pause();
                stream.after_progress();
            });
        }
    }
}

impl Stream {
    /// Nothing is buffered any more.
    pub(super) fn wake_transfer(&self) {
        if let Some(wait) = self.transfer() {
            wait.notify();
        }
    }

    /// The connection is closing, with an error perhaps.
    pub(super) fn end_transfer(&self, error: Option<&Error>) {
        let wait = self.transfer();
        if let Some(wait) = wait {
            wait.ended.set(true);
            *wait.error.borrow_mut() = error.cloned();
            wait.notify();
        }
    }
}
