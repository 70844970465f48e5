//! What a protocol of a case is to do.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use super::{Changes, DataHook, Hook, Inner, Record};

/// What a protocol is to do when it is called, beside remembering it.
#[derive(Default)]
pub struct Script {
    pub(super) made: Option<Hook>,
    pub(super) data: Option<DataHook>,
    pub(super) eof: Option<Hook<bool>>,
    pub(super) lost: Option<Hook>,
    pub(super) pause: Option<Hook>,
    pub(super) resume: Option<Hook>,
    pub(super) updated: Option<Hook>,
    pub(super) buffer: Option<Hook<usize>>,
}

impl Script {
    /// Nothing: remembers, and closes at the end of the stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// In `connection_made`.
    #[must_use]
    pub fn made(mut self, hook: impl Fn(&Record) + 'static) -> Self {
        self.made = Some(Box::new(hook));
        self
    }

    /// In `data_received`, or in `buffer_updated` with what is new.
    #[must_use]
    pub fn data(mut self, hook: impl Fn(&Record, &[u8]) + 'static) -> Self {
        self.data = Some(Box::new(hook));
        self
    }

    /// In `eof_received`, with its answer.
    #[must_use]
    pub fn eof(mut self, hook: impl Fn(&Record) -> bool + 'static) -> Self {
        self.eof = Some(Box::new(hook));
        self
    }

    /// In `connection_lost`.
    #[must_use]
    pub fn lost(mut self, hook: impl Fn(&Record) + 'static) -> Self {
        self.lost = Some(Box::new(hook));
        self
    }

    /// In `pause_writing`.
    #[must_use]
    pub fn pause(mut self, hook: impl Fn(&Record) + 'static) -> Self {
        self.pause = Some(Box::new(hook));
        self
    }

    /// In `resume_writing`.
    #[must_use]
    pub fn resume(mut self, hook: impl Fn(&Record) + 'static) -> Self {
        self.resume = Some(Box::new(hook));
        self
    }

    /// In `buffer_updated`, after [`Script::data`], also when no bytes came.
    #[must_use]
    pub fn updated(mut self, hook: impl Fn(&Record) + 'static) -> Self {
        self.updated = Some(Box::new(hook));
        self
    }

    /// How large a buffer `get_buffer` gives: 4096 bytes if nothing else is said.
    #[must_use]
    pub fn buffer(mut self, size: impl Fn(&Record) -> usize + 'static) -> Self {
        self.buffer = Some(Box::new(size));
        self
    }

    /// The protocol.
    #[must_use]
    pub fn record(self) -> Record {
        Record(Rc::new(Inner {
            script: self,
            transport: RefCell::default(),
            data: RefCell::default(),
            events: RefCell::default(),
            largest: Cell::new(0),
            out: Cell::new(0),
            lost: RefCell::default(),
            changes: Changes::default(),
        }))
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}
