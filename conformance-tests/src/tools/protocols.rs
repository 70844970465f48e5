//! Protocols that remember what happened to them, and do in between what the case wants.

mod script;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use anyloop_api::{
    AnyProtocol, BufferedProtocol, Error, EventLoopExt, LoopRef, Protocol, ProtocolFactory, Result,
    Transport,
};

pub use self::script::Script;
use super::changes::Changes;
use crate::case::Failure;

type Hook<R = ()> = Box<dyn Fn(&Record) -> R>;
type DataHook = Box<dyn Fn(&Record, &[u8])>;

/// A protocol, plain or buffered, and what happened to it.
#[derive(Clone)]
pub struct Record(Rc<Inner>);

struct Inner {
    script: Script,
    transport: RefCell<Option<Transport>>,
    data: RefCell<Vec<u8>>,
    events: RefCell<Vec<String>>,
    largest: Cell<usize>,
    /// Buffers given away by `get_buffer` and not yet returned.
    out: Cell<usize>,
    lost: RefCell<Option<Option<Error>>>,
    changes: Changes,
}

impl Record {
    /// As a plain protocol.
    #[must_use]
    pub fn plain(&self) -> AnyProtocol {
        AnyProtocol::Plain(Rc::new(Plain(self.clone())))
    }

    /// As a buffered one.
    #[must_use]
    pub fn buffered(&self) -> AnyProtocol {
        AnyProtocol::Buffered(Rc::new(Buffered(self.clone())))
    }

    /// A factory that gives out this protocol, as a plain one.
    #[must_use]
    pub fn factory(&self) -> ProtocolFactory {
        let this = self.clone();
        Rc::new(move || this.plain())
    }

    /// Hands a connected socket to `lp` with this as its plain protocol.
    ///
    /// # Errors
    /// Those of `connect_accepted_socket`.
    pub fn attach(&self, lp: &LoopRef, socket: impl Into<OwnedFd>) -> Result<Transport> {
        self.attach_as(lp, socket, self.plain())
    }

    /// The same as a buffered one.
    ///
    /// # Errors
    /// Those of `connect_accepted_socket`.
    pub fn attach_buffered(&self, lp: &LoopRef, socket: impl Into<OwnedFd>) -> Result<Transport> {
        self.attach_as(lp, socket, self.buffered())
    }

    fn attach_as(
        &self,
        lp: &LoopRef,
        socket: impl Into<OwnedFd>,
        protocol: AnyProtocol,
    ) -> Result<Transport> {
        let factory = Rc::new(move || protocol.clone());
        let attaching = lp.connect_accepted_socket(factory, socket.into());
        Ok(lp.run_until_complete(attaching)??.0)
    }

    /// The transport, from `connection_made` on.
    ///
    /// # Panics
    /// Before.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.0.transport.borrow().clone().expect("connection_made was called")
    }

    /// Lets go of the transport.
    pub fn forget_transport(&self) {
        let transport = self.0.transport.take();
        drop(transport);
    }

    /// How often a callback of this name came. Data that comes in a row counts as one.
    #[must_use]
    pub fn count(&self, event: &str) -> usize {
        self.0.events.borrow().iter().filter(|found| *found == event).count()
    }

    /// The callbacks so far: `made`, `data`, `eof`, `pause`, `resume`, `lost`, `lost: error`.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        self.0.events.borrow().clone()
    }

    /// Succeeds if exactly these callbacks came.
    ///
    /// # Errors
    /// What came instead.
    #[track_caller]
    pub fn expect<const N: usize>(&self, expected: [&str; N]) -> Result<(), Failure> {
        let found = self.events();
        if found == expected {
            return Ok(());
        }
        Err(Failure::new(format!("expected the callbacks {expected:?}, found {found:?}")))
    }

    /// What was received.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.data.borrow().clone()
    }

    /// How much was received.
    #[must_use]
    pub fn received(&self) -> usize {
        self.0.data.borrow().len()
    }

    /// The longest piece.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.0.largest.get()
    }

    /// Buffers given away by `get_buffer` and not returned.
    #[must_use]
    pub fn buffers_out(&self) -> usize {
        self.0.out.get()
    }

    /// Whether `connection_lost` was called.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.lost.borrow().is_some()
    }

    /// The error with which it was called.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        self.0.lost.borrow().clone().flatten()
    }

    /// Runs `lp` until the condition holds; it is looked at after each callback.
    ///
    /// # Errors
    /// Those of the run.
    pub fn until(&self, lp: &LoopRef, condition: impl Fn(&Self) -> bool + 'static) -> Result<()> {
        let this = self.clone();
        self.0.changes.until(lp, move || condition(&this))
    }

    /// Runs `lp` until `connection_lost`.
    ///
    /// # Errors
    /// Those of the run.
    pub fn until_lost(&self, lp: &LoopRef) -> Result<()> {
        self.until(lp, Self::is_lost)
    }

    /// Runs `lp` until so many bytes have come.
    ///
    /// # Errors
    /// Those of the run.
    pub fn until_received(&self, lp: &LoopRef, count: usize) -> Result<()> {
        self.until(lp, move |record| record.received() >= count)
    }

    fn note(&self, event: impl Into<String>) {
        self.0.events.borrow_mut().push(event.into());
    }

    /// The hook runs, then whoever waits looks again; also if the hook panics.
    fn changed<R>(&self, hook: impl FnOnce(&Script) -> R) -> R {
        self.0.changes.after(|| hook(&self.0.script))
    }

    fn call(&self, hook: impl FnOnce(&Script) -> Option<&Hook>) {
        self.changed(|script| {
            if let Some(hook) = hook(script) {
                hook(self);
            }
        });
    }

    fn connection_made(&self, transport: Transport) {
        self.note("made");
        *self.0.transport.borrow_mut() = Some(transport);
        self.call(|script| script.made.as_ref());
    }

    fn data_received(&self, data: &[u8]) {
        if self.0.events.borrow().last().is_none_or(|last| last != "data") {
            self.note("data");
        }
        self.0.data.borrow_mut().extend_from_slice(data);
        self.0.largest.set(self.0.largest.get().max(data.len()));
        if data.is_empty() {
            self.note("no data");
        }
        self.changed(|script| {
            if let Some(hook) = &script.data {
                hook(self, data);
            }
        });
    }

    fn eof_received(&self) -> bool {
        self.note("eof");
        self.changed(|script| script.eof.as_ref().is_some_and(|hook| hook(self)))
    }

    fn connection_lost(&self, error: Option<Error>) {
        self.note(
            error.as_ref().map_or_else(|| "lost".to_owned(), |error| format!("lost: {error}")),
        );
        *self.0.lost.borrow_mut() = Some(error);
        self.call(|script| script.lost.as_ref());
    }

    fn pause_writing(&self) {
        self.note("pause");
        self.call(|script| script.pause.as_ref());
    }

    fn resume_writing(&self) {
        self.note("resume");
        self.call(|script| script.resume.as_ref());
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({:?}, {} bytes)", self.0.events.borrow(), self.received())
    }
}

struct Plain(Record);

impl Protocol for Plain {
    fn connection_made(&self, transport: Transport) {
        self.0.connection_made(transport);
    }

    fn data_received(&self, data: &[u8]) {
        self.0.data_received(data);
    }

    fn eof_received(&self) -> bool {
        self.0.eof_received()
    }

    fn connection_lost(&self, error: Option<Error>) {
        self.0.connection_lost(error);
    }

    fn pause_writing(&self) {
        self.0.pause_writing();
    }

    fn resume_writing(&self) {
        self.0.resume_writing();
    }
}

struct Buffered(Record);

impl BufferedProtocol for Buffered {
    fn connection_made(&self, transport: Transport) {
        self.0.connection_made(transport);
    }

    fn get_buffer(&self, _size_hint: usize) -> Vec<u8> {
        let size =
            self.0.changed(|script| script.buffer.as_ref().map_or(4096, |size| size(&self.0)));
        self.0.0.out.set(self.0.0.out.get() + 1);
        vec![0xee; size]
    }

    fn buffer_updated(&self, buffer: Vec<u8>, nbytes: usize) {
        self.0.0.out.set(self.0.0.out.get().saturating_sub(1));
        if nbytes > 0 {
            self.0.data_received(&buffer[..nbytes]);
        }
        self.0.call(|script| script.updated.as_ref());
    }

    fn eof_received(&self) -> bool {
        self.0.eof_received()
    }

    fn connection_lost(&self, error: Option<Error>) {
        self.0.connection_lost(error);
    }

    fn pause_writing(&self) {
        self.0.pause_writing();
    }

    fn resume_writing(&self) {
        self.0.resume_writing();
    }
}
