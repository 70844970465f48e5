//! Sending a file over any transport: by what every transport can do.
//!
//! The transport is lent to us: nobody else writes, and the protocol is put aside, so that flow control
//! speaks to us. With both water marks at zero the transport pauses as soon as something is buffered, and
//! resumes when all of it is sent.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::{Rc, Weak};

use anyloop_api::{
    AnyProtocol, Borrower, BufferedProtocol, Error, Panic, Protocol, Report, Result, Transport,
    Waiter, WeakTransport,
};

use super::source::Source;
use crate::base::BaseLoop;

/// The protocol in between, of the same kind as the one aside. What is received goes there: reading is
/// paused, but anybody may resume it.
struct Between {
    this: Weak<Self>,
    transport: WeakTransport,
    aside: RefCell<AnyProtocol>,
    waiter: Rc<Waiter>,
    paused: Cell<bool>,
    lost: RefCell<Option<Option<Error>>>,
}

impl Between {
    /// As a protocol of the kind that is put aside.
    fn seat(&self) -> Option<AnyProtocol> {
        let this = self.this.upgrade()?;
        Some(match self.protocol() {
            AnyProtocol::Plain(_) => AnyProtocol::Plain(this),
            AnyProtocol::Buffered(_) => AnyProtocol::Buffered(this),
        })
    }

    fn lost(&self, error: Option<Error>) {
        *self.lost.borrow_mut() = Some(error.clone());
        self.waiter.notify();
        self.protocol().connection_lost(error);
    }

    fn resumed(&self) {
        self.paused.set(false);
        self.waiter.notify();
    }
}

impl Borrower for Between {
    fn protocol(&self) -> AnyProtocol {
        self.aside.borrow().clone()
    }

    /// The new one may be of the other kind.
    fn set_protocol(&self, protocol: AnyProtocol) {
        let old = self.aside.replace(protocol);
        if let Some((transport, seat)) = self.transport.upgrade().zip(self.seat()) {
            transport.raw().set_protocol(seat);
        }
        drop(old);
    }
}

impl Protocol for Between {
    fn data_received(&self, data: &[u8]) {
        if let AnyProtocol::Plain(aside) = self.protocol() {
            aside.data_received(data);
        }
    }

    fn readable(&self) -> bool {
        self.protocol().readable()
    }

    fn eof_received(&self) -> bool {
        self.protocol().eof_received()
    }

    fn connection_lost(&self, error: Option<Error>) {
        self.lost(error);
    }

    fn pause_writing(&self) {
        self.paused.set(true);
    }

    fn resume_writing(&self) {
        self.resumed();
    }
}

impl BufferedProtocol for Between {
    fn get_buffer(&self, size_hint: usize) -> Vec<u8> {
        match self.protocol() {
            AnyProtocol::Buffered(aside) => aside.get_buffer(size_hint),
            AnyProtocol::Plain(_) => Vec::new(),
        }
    }

    fn buffer_updated(&self, buffer: Vec<u8>, nbytes: usize) {
        if let AnyProtocol::Buffered(aside) = self.protocol() {
            aside.buffer_updated(buffer, nbytes);
        }
    }

    fn eof_received(&self) -> bool {
        self.protocol().eof_received()
    }

    fn connection_lost(&self, error: Option<Error>) {
        self.lost(error);
    }

    fn pause_writing(&self) {
        self.paused.set(true);
    }

    fn resume_writing(&self) {
        self.resumed();
    }
}

/// Puts everything back when dropped.
pub(super) struct Relay {
    base: Weak<BaseLoop>,
    transport: Transport,
    between: Rc<Between>,
    limits: (usize, usize),
    was_reading: bool,
    /// Whether the protocol believes that writing is paused.
    told_paused: bool,
}

impl Relay {
    pub(super) fn install(base: &Weak<BaseLoop>, transport: &Transport) -> Result<Self> {
        if transport.borrower().is_some() {
            return Err(Error::usage("sendfile: a file is being sent over this transport"));
        }
        let between = Rc::new_cyclic(|this: &Weak<Between>| Between {
            this: this.clone(),
            transport: transport.downgrade(),
            aside: RefCell::new(transport.get_protocol()),
            waiter: Waiter::new("sendfile"),
            paused: Cell::new(false),
            lost: RefCell::default(),
        });
        let was_reading = transport.is_reading();
        transport.pause_reading();
        if let Some(seat) = between.seat() {
            transport.raw().set_protocol(seat);
        }
        transport.lend(Some(between.clone()));
        let limits = transport.get_write_buffer_limits();
        let mut relay = Self {
            base: base.clone(),
            transport: transport.clone(),
            between,
            limits,
            was_reading,
            told_paused: false,
        };
        transport.set_write_buffer_limits(Some(0), Some(0))?;
        if transport.get_write_buffer_size() > 0 {
            // A transport that does not pause now is paused already.
            relay.told_paused = !relay.between.paused.replace(true);
        }
        Ok(relay)
    }

    pub(super) async fn send(self, base: &Weak<BaseLoop>, mut source: Source) -> Result<u64> {
        let mut piece = Vec::new();
        loop {
            self.until_sent().await?;
            piece = source.read(base, piece).await?;
            if piece.is_empty() {
                return Ok(source.sent());
            }
            self.check()?;
            self.transport.raw().write(&piece)?;
            source.advance(piece.len());
        }
    }

    fn check(&self) -> Result<()> {
        let error = match &*self.between.lost.borrow() {
            None if !self.transport.is_closing() => return Ok(()),
            None | Some(None) => None,
            Some(Some(error)) => Some(error.clone()),
        };
        Err(error.unwrap_or_else(|| {
            let aborted = io::ErrorKind::ConnectionAborted.into();
            Error::os("sendfile: the transport was closed", aborted)
        }))
    }

    async fn until_sent(&self) -> Result<()> {
        while self.between.paused.get() && self.between.lost.borrow().is_none() {
            poll_fn(|cx| self.between.waiter.poll(cx)).await;
        }
        self.check()
    }

    /// Tells the protocol what changed meanwhile.
    fn tell(&self, what: &'static str, f: impl FnOnce(&AnyProtocol)) {
        let Some(base) = self.base.upgrade() else { return };
        let report = |panic: Panic| {
            let mut report = Report::new(what).exception(panic).transport(self.transport.clone());
            report.protocol = Some(self.between.protocol());
            report
        };
        let _ = base.guard(|| f(&self.between.protocol()), report);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.between.waiter.reset();
        self.transport.lend(None);
        if self.between.lost.borrow().is_some() {
            return;
        }
        self.transport.set_protocol(self.between.protocol());
        let (low, high) = self.limits;
        // They were in force before.
        let _ = self.transport.set_write_buffer_limits(Some(high), Some(low));
        match (self.told_paused, self.between.paused.get()) {
            (true, false) => self.tell("resume_writing panicked", AnyProtocol::resume_writing),
            (false, true) => self.tell("pause_writing panicked", AnyProtocol::pause_writing),
            _ => {}
        }
        if self.was_reading {
            self.transport.resume_reading();
        }
    }
}
