//! What a [`StreamReader`](super::StreamReader) has received, and who waits for more.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use anyloop_api::{Cancellable, Cancelled, Error, Result, Transport, clear_waiter, set_waiter};

use super::buffer::{self, Buffer, find};

/// The smallest buffer into which bytes are read directly; for smaller ones they are read in bulk first.
const DIRECT: usize = 4096;
/// The most room that is made for a read of which nobody can tell how much it is going to bring. From
/// 128 KiB on, what the C library allocates begins where the kernel's copy is slow.
const MOST_ROOM: usize = 120 * 1024;

/// The state that all handles of one reader share.
pub(super) struct Incoming {
    limit: usize,
    buffer: RefCell<Buffer>,
    eof: Cell<bool>,
    error: Cell<Option<Box<Error>>>,
    transport: RefCell<Option<Transport>>,
    paused: Cell<bool>,
    waiter: RefCell<Option<Waiter>>,
    /// The transport has something that can be read without a detour over `buffer`.
    offered: Cell<bool>,
    /// The logarithm of the room to make for the next read: zero while little arrives at a time.
    room: Cell<u8>,
    last_id: Cell<u32>,
}

struct Waiter {
    waker: Waker,
    /// Woken when this much is buffered, not before.
    need: usize,
    /// Whether it can read from the transport by itself.
    direct: bool,
    /// Who: an awaiting method that removes itself when dropped; 0 for a poll function, which cannot.
    id: u32,
}

impl Incoming {
    pub(super) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self {
            limit,
            buffer: RefCell::default(),
            eof: Cell::new(false),
            error: Cell::default(),
            transport: RefCell::default(),
            paused: Cell::new(false),
            waiter: RefCell::default(),
            offered: Cell::new(false),
            room: Cell::new(0),
            last_id: Cell::new(0),
        })
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn len(&self) -> usize {
        self.buffer.borrow().len()
    }

    /// Whether the end of the stream was seen.
    pub(super) fn ended(&self) -> bool {
        self.eof.get()
    }

    pub(super) fn error(&self) -> Option<Error> {
        self.check().err()
    }

    pub(super) fn paused(&self) -> bool {
        self.paused.get()
    }

    // --- feeding ---

    pub(super) fn feed(&self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let len = {
            let mut buffer = self.buffer.borrow_mut();
            buffer.push(data);
            buffer.len()
        };
        let hungry = self.wake_if(|waiter| len >= waiter.need);
        if len > self.limit.saturating_mul(2) && !hungry && !self.paused.get() {
            self.pause();
        }
    }

    /// The transport has something to read: whether somebody who can read it was woken for it.
    pub(super) fn offer(&self) -> bool {
        let mut slot = self.waiter.borrow_mut();
        let direct = slot.as_ref().is_some_and(|waiter| waiter.direct);
        if !direct || self.len() > 0 {
            return false;
        }
        let waiter = slot.take();
        drop(slot);
        self.offered.set(true);
        if let Some(waiter) = waiter {
            waiter.waker.wake();
        }
        true
    }

    pub(super) fn end(&self) {
        self.eof.set(true);
        self.wake_if(|_| true);
    }

    pub(super) fn fail(&self, error: Error) {
        self.error.set(Some(Box::new(error)));
        self.wake_if(|_| true);
    }

    pub(super) fn set_transport(&self, transport: Option<Transport>) {
        let old = self.transport.replace(transport);
        drop(old);
    }

    /// What nobody has read, for a layer that is put below; afterwards there is nothing.
    #[cfg(feature = "tls")]
    pub(super) fn hand_over(&self) -> Vec<u8> {
        self.paused.set(false);
        self.offered.set(false);
        let mut buffer = self.buffer.borrow_mut();
        let count = buffer.len();
        buffer.take(count)
    }

    // --- reading ---

    #[inline]
    pub(super) fn check(&self) -> Result<()> {
        let Some(error) = self.error.take() else { return Ok(()) };
        let copy = (*error).clone();
        self.error.set(Some(error));
        Err(copy)
    }

    /// Waits until `need` bytes are buffered, or the stream ends.
    pub(super) fn wait<'a>(self: &'a Rc<Self>, operation: &'static str, need: usize) -> Wait<'a> {
        Wait { incoming: self, operation, need, direct: false, id: 0 }
    }

    /// Waits until [`Incoming::fill`] is worth a try with a buffer of `room` bytes.
    pub(super) fn wait_to_fill<'a>(
        self: &'a Rc<Self>,
        operation: &'static str,
        room: usize,
    ) -> Wait<'a> {
        Wait { incoming: self, operation, need: 1, direct: room >= DIRECT, id: 0 }
    }

    /// Waits until [`Incoming::take_some`] is worth a try. Where little arrives at a time, it is read in
    /// bulk and copied once; where much does, it is read directly.
    pub(super) fn wait_to_take<'a>(
        self: &'a Rc<Self>,
        operation: &'static str,
        at_most: usize,
    ) -> Wait<'a> {
        self.wait_to_fill(operation, if self.room.get() == 0 { 0 } else { at_most })
    }

    /// [`Incoming::wait_to_fill`] for poll functions.
    pub(super) fn poll_to_fill(
        &self,
        operation: &'static str,
        room: usize,
        cx: &Context<'_>,
    ) -> Poll<Result<()>> {
        self.poll_ready(operation, 1, room >= DIRECT, 0, cx)
    }

    fn poll_ready(
        &self,
        operation: &'static str,
        need: usize,
        direct: bool,
        id: u32,
        cx: &Context<'_>,
    ) -> Poll<Result<()>> {
        self.check()?;
        let buffered = self.buffer.borrow().len();
        if buffered >= need || self.eof.get() || (direct && self.offered.get()) {
            return Poll::Ready(Ok(()));
        }
        let direct = direct && buffered == 0 && self.await_readable();
        let mut slot = self.waiter.borrow_mut();
        match &mut *slot {
            Some(waiter) if waiter.id != 0 && waiter.id != id => {
                return Poll::Ready(Err(Error::usage(format!(
                    "{operation}: another task is waiting for data of this stream"
                ))));
            }
            Some(waiter) if waiter.id == id => waiter.waker.clone_from(cx.waker()),
            slot => *slot = Some(Waiter { waker: cx.waker().clone(), need, direct, id }),
        }
        if let Some(waiter) = &mut *slot {
            waiter.need = need;
            waiter.direct = direct;
        }
        drop(slot);
        self.resume();
        Poll::Pending
    }

    /// Takes and wakes the waiter if it is due. Says whether one goes on waiting.
    fn wake_if(&self, due: impl FnOnce(&Waiter) -> bool) -> bool {
        let mut slot = self.waiter.borrow_mut();
        if !slot.as_ref().is_some_and(due) {
            return slot.is_some();
        }
        let waiter = slot.take();
        drop(slot);
        if let Some(waiter) = waiter {
            waiter.waker.wake();
        }
        false
    }

    /// How many bytes there are through the first separator.
    pub(super) async fn find<S: AsRef<[u8]>>(
        self: &Rc<Self>,
        separators: &[S],
        operation: &'static str,
    ) -> Result<usize> {
        let lengths = separators.iter().map(|separator| separator.as_ref().len());
        let (Some(shortest), Some(longest)) = (lengths.clone().min(), lengths.max()) else {
            return Err(Error::invalid_arg(format!("{operation}: want at least one separator")));
        };
        if shortest == 0 {
            return Err(Error::invalid_arg(format!("{operation}: a separator must not be empty")));
        }
        self.check()?;
        // Before this no separator begins.
        let mut searched = 0;
        loop {
            let len = {
                let buffer = self.buffer.borrow();
                let data = buffer.as_slice();
                let ends = separators.iter().filter_map(|separator| {
                    let separator = separator.as_ref();
                    let start = find(data, separator, searched)?;
                    Some((start + separator.len(), start))
                });
                if let Some((end, start)) = ends.min() {
                    if start > self.limit {
                        return Err(overrun("the separator is found, but too far away", start));
                    }
                    return Ok(end);
                }
                data.len()
            };
            searched = searched.max((len + 1).saturating_sub(longest));
            if searched > self.limit {
                return Err(overrun("the separator is not found within the limit", searched));
            }
            if self.eof.get() {
                let partial = self.take(len);
                return Err(Error::IncompleteRead { partial, expected: None });
            }
            self.wait(operation, len + 1).await?;
        }
    }

    /// Removes an overlong line whose newline is `at` bytes away, or all of it that is buffered.
    pub(super) fn drop_line(&self, at: usize) {
        let mut buffer = self.buffer.borrow_mut();
        let whole = buffer.as_slice().get(at) == Some(&b'\n');
        let count = if whole { at + 1 } else { buffer.len() };
        buffer.skip(count);
        drop(buffer);
        self.maybe_resume();
    }

    pub(super) fn take(&self, at_most: usize) -> Vec<u8> {
        let mut buffer = self.buffer.borrow_mut();
        let count = at_most.min(buffer.len());
        let bytes = if count == 0 { Vec::new() } else { buffer.take(count) };
        drop(buffer);
        self.maybe_resume();
        bytes
    }

    /// Fills `into` with what is there; 0 at the end of the stream. `None`: there is nothing after all.
    pub(super) fn fill(&self, into: &mut [u8]) -> Option<usize> {
        if self.len() > 0 {
            let count = self.buffer.borrow_mut().copy(into);
            self.maybe_resume();
            return Some(count);
        }
        if self.offered.get() {
            if let Some(count) = self.read_directly(into) {
                return Some(count);
            }
            self.offered.set(false);
        }
        self.eof.get().then_some(0)
    }

    /// At most so much of what is there; empty at the end of the stream. `None`: there is nothing after
    /// all.
    pub(super) fn take_some(&self, at_most: usize) -> Option<Vec<u8>> {
        let mut bytes = None;
        if self.len() > 0 {
            bytes = Some(self.take(at_most));
        } else if self.offered.get() {
            bytes = self.read_anew(at_most);
            if bytes.is_none() {
                self.offered.set(false);
            }
        }
        match &bytes {
            Some(bytes) => self.note(bytes.len()),
            None if self.eof.get() => bytes = Some(Vec::new()),
            None => {}
        }
        bytes
    }

    /// Room for twice as much as came is enough for the next time, and tells by a short read that there
    /// is no more. It grows at once and shrinks by halves, for messages have ends.
    fn note(&self, count: usize) {
        let (room, wanted) = (self.room.get(), (count * 2).next_power_of_two());
        let room = match wanted.clamp(DIRECT / 2, MOST_ROOM.next_power_of_two()).ilog2() as u8 {
            wanted if wanted > room => wanted,
            wanted => wanted.max(room - 1),
        };
        self.room.set(if room < DIRECT.ilog2() as u8 { 0 } else { room });
    }

    fn read_anew(&self, at_most: usize) -> Option<Vec<u8>> {
        let transport = self.transport.borrow().clone()?;
        let room = (1 << self.room.get()).clamp(DIRECT, MOST_ROOM).min(at_most);
        let mut memory = buffer::fitting(room, at_most.min(room * 2));
        let Some(count) = transport.try_read_vec(&mut memory) else {
            buffer::recycle(memory);
            return None;
        };
        if count < memory.capacity() {
            self.offered.set(false);
        }
        if memory.capacity() <= count.saturating_mul(2) {
            return Some(memory);
        }
        let bytes = memory.clone();
        buffer::recycle(memory);
        Some(bytes)
    }

    fn read_directly(&self, into: &mut [u8]) -> Option<usize> {
        let transport = self.transport.borrow().clone()?;
        let count = transport.try_read(into)?;
        if count < into.len() {
            self.offered.set(false);
        }
        Some(count)
    }

    fn await_readable(&self) -> bool {
        self.transport.borrow().as_ref().is_some_and(Transport::await_readable)
    }

    fn pause(&self) {
        let transport = self.transport.borrow().clone();
        if let Some(transport) = transport {
            self.paused.set(true);
            transport.pause_reading();
        }
    }

    fn resume(&self) {
        if self.paused.replace(false) {
            let transport = self.transport.borrow().clone();
            if let Some(transport) = transport {
                transport.resume_reading();
            }
        }
    }

    fn maybe_resume(&self) {
        if self.paused.get() && self.buffer.borrow().len() <= self.limit {
            self.resume();
        }
    }
}

fn overrun(message: &'static str, consumed: usize) -> Error {
    Error::LimitOverrun { message: message.into(), consumed }
}

/// One awaiting method.
pub(super) struct Wait<'a> {
    incoming: &'a Rc<Incoming>,
    operation: &'static str,
    need: usize,
    direct: bool,
    id: u32,
}

impl Future for Wait<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.id == 0 {
            // Zero is nobody's.
            let id = self.incoming.last_id.get().wrapping_add(1).max(1);
            self.incoming.last_id.set(id);
            self.id = id;
        }
        let this = &mut *self;
        let Self { incoming, operation, need, direct, id } = *this;
        let polled = incoming.poll_ready(operation, need, direct, id, cx);
        if polled.is_pending() {
            set_waiter(|| this.incoming.clone());
        }
        polled
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        clear_waiter(self.incoming);
        let mut slot = self.incoming.waiter.borrow_mut();
        if self.id != 0 && slot.as_ref().is_some_and(|waiter| waiter.id == self.id) {
            let mine = slot.take();
            drop(slot);
            drop(mine);
        }
    }
}

/// For dumps of what a task is suspended on. A cancellation drops the read, which loses nothing.
impl Cancellable for Incoming {
    fn cancel(self: Rc<Self>, _: &Cancelled) -> bool {
        false
    }

    fn describe(&self) -> String {
        "a read from a stream".into()
    }
}
