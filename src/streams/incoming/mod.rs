//! What a [`StreamReader`](super::StreamReader) has received, and who waits for more.

mod waiting;

use std::cell::{Cell, RefCell};
use std::ptr;
use std::rc::Rc;
use std::task::Waker;

use anyloop_api::{AnyProtocol, Error, Result, Transport};

use super::buffer::Buffer;
use super::copy_of;
use super::protocol::StreamReaderProtocol;

/// The end of the stream was seen.
const EOF: u16 = 1;
/// The connection failed.
const FAILED: u16 = 1 << 1;
/// We have paused the transport.
const PAUSED: u16 = 1 << 2;
/// The transport has something that can be read without a detour over the buffer.
pub(super) const OFFERED: u16 = 1 << 3;
/// Somebody waits.
const WAITING: u16 = 1 << 4;
/// Who waits can read from the transport by itself.
const BY_ITSELF: u16 = 1 << 5;
/// Who reads owns the transport: it is closed when nobody can read any more.
const OWNER: u16 = 1 << 6;
/// Nobody can read any more: what comes is thrown away.
const UNREAD: u16 = 1 << 7;
/// A child writes it, which is not to be held up when nobody can read any more.
const CHILDS: u16 = 1 << 8;

/// The state that all handles of one reader share.
pub(super) struct Incoming {
    limit: usize,
    buffer: RefCell<Buffer>,
    error: Cell<Option<Box<Error>>>,
    transport: Cell<Option<Transport>>,
    /// Of who waits, or waited last: mostly the next one who waits is the same.
    waker: Cell<Option<Waker>>,
    /// Who waits is woken when this much is buffered, not before.
    need: Cell<usize>,
    /// Whose turn it is: the awaiting method that waits, or was woken and has not gone on yet. 0: nobody's, or a
    /// poll function's, which cannot say that it is gone.
    turn: Cell<u32>,
    last_id: Cell<u32>,
    /// How often bytes were taken: what was found out about those in front holds until the next time.
    takes: Cell<u32>,
    flags: Cell<u16>,
    /// The logarithm of the room to make for the next read: zero while little arrives at a time.
    pub(super) room: Cell<u8>,
}

impl Incoming {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: RefCell::default(),
            error: Cell::default(),
            transport: Cell::default(),
            waker: Cell::default(),
            need: Cell::new(0),
            turn: Cell::new(0),
            last_id: Cell::new(0),
            takes: Cell::new(0),
            flags: Cell::new(0),
            room: Cell::new(0),
        }
    }

    pub(super) fn has(&self, flag: u16) -> bool {
        self.flags.get() & flag != 0
    }

    fn set(&self, flag: u16) {
        self.flags.set(self.flags.get() | flag);
    }

    pub(super) fn clear(&self, flag: u16) {
        self.flags.set(self.flags.get() & !flag);
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn len(&self) -> usize {
        self.buffer.borrow().len()
    }

    /// Whether the end of the stream was seen.
    pub(super) fn ended(&self) -> bool {
        self.has(EOF)
    }

    pub(super) fn error(&self) -> Option<Error> {
        self.check().err()
    }

    pub(super) fn paused(&self) -> bool {
        self.has(PAUSED)
    }

    // --- feeding ---

    /// Appends bytes.
    ///
    /// # Errors
    /// `Usage` after the end of the stream.
    pub(super) fn feed(&self, data: &[u8]) -> Result<()> {
        if self.has(EOF) {
            return Err(after_the_end());
        }
        if data.is_empty() || self.has(UNREAD) {
            return Ok(());
        }
        let len = {
            let mut buffer = self.buffer.borrow_mut();
            buffer.push(data);
            buffer.len()
        };
        if self.has(WAITING) {
            if len < self.need.get() {
                // Not paused, however much it is: somebody waits for more.
                return Ok(());
            }
            self.wake();
        }
        if len > self.limit.saturating_mul(2) && !self.has(PAUSED) {
            self.pause();
        }
        Ok(())
    }

    /// The transport has something to read: whether somebody who can read it was woken for it.
    pub(super) fn offer(&self) -> bool {
        if self.flags.get() & (EOF | WAITING | BY_ITSELF) != WAITING | BY_ITSELF || self.len() > 0 {
            return false;
        }
        self.set(OFFERED);
        self.wake();
        true
    }

    pub(super) fn end(&self) {
        self.set(EOF);
        self.wake_last();
    }

    pub(super) fn fail(&self, error: Error) {
        self.error.set(Some(Box::new(error)));
        self.set(FAILED);
        if self.has(WAITING) {
            // Whoever waits is to see it, whatever comes after it.
            self.turn.set(0);
        }
        self.wake_last();
    }

    pub(super) fn set_transport(&self, transport: Option<Transport>) {
        let old = self.transport.replace(transport);
        drop(old);
    }

    /// A child writes it, and somebody who cannot read keeps it.
    pub(super) fn mark_as_childs(&self) {
        self.set(CHILDS);
    }

    /// From now on the transport is closed with the last handle.
    pub(super) fn own_transport(&self) {
        self.clear(CHILDS);
        self.set(OWNER);
    }

    /// What nobody has read, for a layer that is put below; afterwards there is nothing.
    #[cfg(feature = "tls")]
    pub(super) fn hand_over(&self) -> Vec<u8> {
        self.clear(PAUSED | OFFERED);
        let mut buffer = self.buffer.borrow_mut();
        let count = buffer.len();
        buffer.take(count)
    }

    /// A reader goes that shares the protocol with one other. If that is the transport, or who keeps the output of a
    /// child, nobody can read any more. A transport that is ours then ends if it is paused, and else goes on to its end
    /// without us; a child writes on.
    pub(super) fn let_go(&self, protocol: &Rc<StreamReaderProtocol>) {
        let Some(AnyProtocol::Plain(its)) = self.transport().map(|it| it.get_protocol()) else {
            return;
        };
        let ours = ptr::addr_eq(Rc::as_ptr(&its), Rc::as_ptr(protocol));
        if !ours && !self.has(CHILDS) {
            return;
        }
        self.set(UNREAD);
        drop(self.buffer.take());
        if ours {
            self.set_transport(None);
        } else {
            self.resume();
        }
    }

    // --- reading ---

    #[inline]
    pub(super) fn check(&self) -> Result<()> {
        if self.has(FAILED) { self.failure() } else { Ok(()) }
    }

    /// The same for the awaiting method with this number, which takes what has woken it before it looks at an error
    /// that came later.
    #[inline]
    pub(super) fn check_unless_woken(&self, id: u32) -> Result<()> {
        let woken = id != 0 && self.turn.get() == id;
        if self.has(FAILED) && !woken { self.failure() } else { Ok(()) }
    }

    #[cold]
    fn failure(&self) -> Result<()> {
        copy_of(&self.error).map_or(Ok(()), |error| Err(*error))
    }

    /// Removes an overlong line whose newline is `at` bytes away, or all of it that is buffered.
    pub(super) fn drop_line(&self, at: usize) {
        let mut buffer = self.buffer.borrow_mut();
        let whole = buffer.as_slice().get(at) == Some(&b'\n');
        let count = if whole { at + 1 } else { buffer.len() };
        buffer.skip(count);
        drop(buffer);
        self.took(count);
    }

    pub(super) fn take(&self, at_most: usize) -> Vec<u8> {
        let mut buffer = self.buffer.borrow_mut();
        let count = at_most.min(buffer.len());
        let bytes = if count == 0 { Vec::new() } else { buffer.take(count) };
        drop(buffer);
        self.took(count);
        bytes
    }

    /// Bytes have left the buffer.
    fn took(&self, count: usize) {
        if count > 0 {
            self.takes.set(self.takes.get().wrapping_add(1));
            // Another task may be waiting, that counted these: the next bytes wake it, however few.
            self.need.set(0);
        }
        self.maybe_resume();
    }

    pub(super) fn takes(&self) -> u32 {
        self.takes.get()
    }

    /// Fills `into` with what is there; 0 at the end of the stream. `None`: there is nothing.
    pub(super) fn fill(&self, into: &mut [u8]) -> Option<usize> {
        if self.len() > 0 {
            let count = self.buffer.borrow_mut().copy(into);
            self.took(count);
            return Some(count);
        }
        if self.has(OFFERED) && Self::fills_directly(into.len()) {
            if let Some(count) = self.read_directly(into) {
                return Some(count);
            }
            self.clear(OFFERED);
        }
        self.has(EOF).then_some(0)
    }

    /// At most so much of what is there; empty at the end of the stream. `None`: there is nothing.
    pub(super) fn take_some(&self, at_most: usize) -> Option<Vec<u8>> {
        if self.len() > 0 {
            let bytes = self.take(at_most);
            self.note(bytes.len());
            return Some(bytes);
        }
        if self.has(OFFERED) && self.reads_directly(at_most) {
            if let Some(bytes) = self.read_anew(at_most) {
                self.note(bytes.len());
                return Some(bytes);
            }
            self.clear(OFFERED);
        }
        self.has(EOF).then(Vec::new)
    }

    pub(super) fn transport(&self) -> Option<Transport> {
        copy_of(&self.transport)
    }

    fn pause(&self) {
        if let Some(transport) = self.transport() {
            self.set(PAUSED);
            transport.pause_reading();
        }
    }

    #[inline]
    fn resume(&self) {
        if self.has(PAUSED) {
            self.resume_paused();
        }
    }

    fn resume_paused(&self) {
        self.clear(PAUSED);
        if let Some(transport) = self.transport() {
            transport.resume_reading();
        }
    }

    fn maybe_resume(&self) {
        if self.has(PAUSED) && self.len() <= self.limit {
            self.resume();
        }
    }

    /// What is buffered. No user code runs inside `f`.
    pub(super) fn with_buffered<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(self.buffer.borrow().as_slice())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.has(OWNER)
            && let Some(transport) = self.transport.take()
        {
            transport.close();
        }
    }
}

#[cold]
fn after_the_end() -> Error {
    Error::usage("feed_data: the stream has ended already")
}
