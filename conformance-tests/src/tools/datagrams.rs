//! Datagram protocols that remember what happened to them.

use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use anyloop_api::{
    DatagramEndpoint, DatagramFactory, DatagramProtocol, DatagramTransport, Error, EventLoopExt,
    LoopRef, Result, SockAddr,
};

use super::changes::Changes;
use crate::case::Failure;

type Hook = Box<dyn Fn(&Post)>;

/// What an endpoint's protocol got: a clone looks at the same one.
#[derive(Clone, Default)]
pub struct Post(Rc<Inner>);

#[derive(Default)]
struct Inner {
    transport: RefCell<Option<DatagramTransport>>,
    events: RefCell<Vec<String>>,
    datagrams: RefCell<Vec<(Vec<u8>, Option<SockAddr>)>>,
    errors: RefCell<Vec<Error>>,
    lost: RefCell<Option<Option<Error>>>,
    on_made: RefCell<Option<Hook>>,
    on_datagram: RefCell<Option<Hook>>,
    on_error: RefCell<Option<Hook>>,
    changes: Changes,
}

impl Post {
    /// Only remembers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Also does this in `connection_made`.
    #[must_use]
    pub fn made(self, hook: impl Fn(&Self) + 'static) -> Self {
        *self.0.on_made.borrow_mut() = Some(Box::new(hook));
        self
    }

    /// Also does this in `datagram_received`.
    #[must_use]
    pub fn datagram(self, hook: impl Fn(&Self) + 'static) -> Self {
        *self.0.on_datagram.borrow_mut() = Some(Box::new(hook));
        self
    }

    /// Also does this in `error_received`.
    #[must_use]
    pub fn error(self, hook: impl Fn(&Self) + 'static) -> Self {
        *self.0.on_error.borrow_mut() = Some(Box::new(hook));
        self
    }

    /// A factory that gives out this protocol.
    #[must_use]
    pub fn factory(&self) -> DatagramFactory {
        let this = self.clone();
        Rc::new(move || Rc::new(Recorder(this.clone())))
    }

    /// Makes an endpoint with this as its protocol.
    ///
    /// # Errors
    /// Those of `create_datagram_endpoint`.
    pub fn open(&self, lp: &LoopRef, endpoint: DatagramEndpoint) -> Result<DatagramTransport> {
        let opening = lp.create_datagram_endpoint(self.factory(), endpoint);
        Ok(lp.run_until_complete(opening)??.0)
    }

    /// The transport, from `connection_made` on.
    ///
    /// # Panics
    /// Before.
    #[must_use]
    pub fn transport(&self) -> DatagramTransport {
        self.0.transport.borrow().clone().expect("connection_made was called")
    }

    /// The callbacks so far: `made`, `datagram`, `error`, `pause`, `resume`, `lost`, `lost: error`.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        self.0.events.borrow().clone()
    }

    /// How often a callback of this name came.
    #[must_use]
    pub fn count(&self, event: &str) -> usize {
        self.0.events.borrow().iter().filter(|found| *found == event).count()
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

    /// The datagrams so far.
    #[must_use]
    pub fn datagrams(&self) -> Vec<Vec<u8>> {
        self.0.datagrams.borrow().iter().map(|(data, _)| data.clone()).collect()
    }

    /// Where they came from.
    #[must_use]
    pub fn senders(&self) -> Vec<Option<SockAddr>> {
        self.0.datagrams.borrow().iter().map(|(_, from)| from.clone()).collect()
    }

    /// Where the last one came from, on the Internet.
    #[must_use]
    pub fn last_sender(&self) -> Option<SocketAddr> {
        self.0.datagrams.borrow().last()?.1.as_ref()?.as_socket()
    }

    /// The errors so far.
    #[must_use]
    pub fn errors(&self) -> Vec<Error> {
        self.0.errors.borrow().clone()
    }

    /// Whether `connection_lost` was called.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.lost.borrow().is_some()
    }

    /// The error with which it was called.
    #[must_use]
    pub fn lost_with(&self) -> Option<Error> {
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

    /// Runs `lp` until so many datagrams have come.
    ///
    /// # Errors
    /// Those of the run.
    pub fn until_received(&self, lp: &LoopRef, count: usize) -> Result<()> {
        self.until(lp, move |post| post.count("datagram") >= count)
    }

    /// Runs `lp` until `connection_lost`.
    ///
    /// # Errors
    /// Those of the run.
    pub fn until_lost(&self, lp: &LoopRef) -> Result<()> {
        self.until(lp, Self::is_lost)
    }

    /// Remembers, runs the hook, and wakes whoever waits; also if the hook panics.
    fn note(&self, event: impl Into<String>, hook: &RefCell<Option<Hook>>) {
        self.0.events.borrow_mut().push(event.into());
        self.0.changes.after(|| {
            if let Some(hook) = &*hook.borrow() {
                hook(self);
            }
        });
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Post({:?})", self.0.events.borrow())
    }
}

struct Recorder(Post);

impl DatagramProtocol for Recorder {
    fn connection_made(&self, transport: DatagramTransport) {
        *self.0.0.transport.borrow_mut() = Some(transport);
        self.0.note("made", &self.0.0.on_made);
    }

    fn datagram_received(&self, data: &[u8], from: Option<&SockAddr>) {
        self.0.0.datagrams.borrow_mut().push((data.to_vec(), from.cloned()));
        self.0.note("datagram", &self.0.0.on_datagram);
    }

    fn error_received(&self, error: Error) {
        self.0.0.errors.borrow_mut().push(error);
        self.0.note("error", &self.0.0.on_error);
    }

    fn connection_lost(&self, error: Option<Error>) {
        let event = error.as_ref().map_or_else(|| "lost".into(), |error| format!("lost: {error}"));
        *self.0.0.lost.borrow_mut() = Some(error);
        drop(self.0.0.transport.take());
        self.0.note(event, &RefCell::new(None));
    }

    fn pause_writing(&self) {
        self.0.note("pause", &RefCell::new(None));
    }

    fn resume_writing(&self) {
        self.0.note("resume", &RefCell::new(None));
    }
}
