//! `add_reader` and `add_writer`: level-triggered callbacks on any pollable descriptor.
//!
//! Edge-triggered drivers are re-armed after each dispatch: `modify` makes a condition that still
//! holds show again in the next poll.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};

use anyloop_api::{Error, Report, Result, Snapshot};

use crate::base::BaseLoop;
use crate::driver::{Event, Interest, Key, Readiness, Trigger};
use crate::lend::lend_raw;
use crate::sources::Source;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Direction {
    const fn operation(self) -> &'static str {
        match self {
            Self::Read => "add_reader",
            Self::Write => "add_writer",
        }
    }
}

/// A callback that is out of its slot while it runs; `turn` tells whether it was replaced meanwhile.
struct Callback {
    function: RefCell<Option<Box<dyn FnMut()>>>,
    context: Snapshot,
}

pub(crate) struct Watcher {
    base: Weak<BaseLoop>,
    fd: RawFd,
    key: Key,
    reader: RefCell<Option<Rc<Callback>>>,
    writer: RefCell<Option<Rc<Callback>>>,
    gone: Cell<bool>,
}

impl Watcher {
    pub(crate) fn add(
        base: &BaseLoop,
        fd: RawFd,
        direction: Direction,
        callback: Box<dyn FnMut()>,
    ) -> Result<()> {
        let operation = direction.operation();
        if fd < 0 {
            return Err(Error::invalid_arg(format!("{operation}: {fd} is not a descriptor")));
        }
        if base.sources.owns(fd) {
            return Err(Error::usage(format!(
                "{operation}: descriptor {fd} is used by a transport of this loop"
            )));
        }
        let callback = Rc::new(Callback {
            function: RefCell::new(Some(callback)),
            context: Snapshot::current(),
        });
        let known = base.watchers.borrow().get(&fd).cloned();
        if let Some(watcher) = known {
            let old = watcher.slot(direction).replace(Some(callback.clone()));
            let modified = base
                .with_driver(|driver| driver.modify(lend_raw(fd), watcher.key, watcher.interest()));
            drop(old);
            if modified.is_ok() {
                return Ok(());
            }
            // The descriptor was closed behind our back and its number used again (FD-13).
            watcher.forget(base);
        }
        let key = base.sources.reserve();
        let watcher = Rc::new(Self {
            base: base.weak(),
            fd,
            key,
            reader: RefCell::new(None),
            writer: RefCell::new(None),
            gone: Cell::new(false),
        });
        *watcher.slot(direction).borrow_mut() = Some(callback);
        base.sources.fill(key, watcher.clone());
        let interest = watcher.interest();
        let registered = base.with_driver(|driver| driver.register(lend_raw(fd), key, interest));
        if let Err(error) = registered {
            base.sources.remove(key);
            return Err(Error::os(format!("{operation}: descriptor {fd}"), error));
        }
        base.watchers.borrow_mut().insert(fd, watcher);
        Ok(())
    }

    pub(crate) fn remove(base: &BaseLoop, fd: RawFd, direction: Direction) -> Result<bool> {
        if base.sources.owns(fd) {
            return Err(Error::usage(format!(
                "remove: descriptor {fd} is used by a transport of this loop"
            )));
        }
        let Some(watcher) = base.watchers.borrow().get(&fd).cloned() else { return Ok(false) };
        let removed = watcher.slot(direction).borrow_mut().take();
        if removed.is_none() {
            return Ok(false);
        }
        let interest = watcher.interest();
        if interest == Interest::NONE {
            watcher.forget(base);
        } else {
            let key = watcher.key;
            let _ = base.with_driver(|driver| driver.modify(lend_raw(fd), key, interest));
        }
        Ok(true)
    }

    fn slot(&self, direction: Direction) -> &RefCell<Option<Rc<Callback>>> {
        match direction {
            Direction::Read => &self.reader,
            Direction::Write => &self.writer,
        }
    }

    fn interest(&self) -> Interest {
        Interest {
            readable: self.reader.borrow().is_some(),
            writable: self.writer.borrow().is_some(),
        }
    }

    fn forget(&self, base: &BaseLoop) {
        self.gone.set(true);
        let mine = base.watchers.borrow_mut().remove(&self.fd);
        let _ = base.with_driver(|driver| driver.deregister(lend_raw(self.fd), self.key));
        base.sources.remove(self.key);
        drop(mine);
    }

    fn call(&self, base: &BaseLoop, direction: Direction) {
        let Some(callback) = self.slot(direction).borrow().clone() else { return };
        let Some(mut function) = callback.function.borrow_mut().take() else { return };
        let run = || callback.context.clone().run(&mut *function);
        let _ = base.guard(run, |panic| {
            Report::new(format!("the callback of a descriptor panicked (fd {})", self.fd))
                .exception(panic)
        });
        // Replaced or removed while it ran: `callback` is not in the slot any more, and dies here.
        *callback.function.borrow_mut() = Some(function);
    }

    fn on_ready(&self, base: &BaseLoop, readiness: Readiness) {
        // The reader comes first (FD-10); hang-ups wake both (FD-09).
        if readiness.readable || readiness.closed {
            self.call(base, Direction::Read);
        }
        if readiness.writable || readiness.closed {
            self.call(base, Direction::Write);
        }
        if self.gone.get() || base.caps().trigger == Trigger::Level {
            return;
        }
        let (fd, key, interest) = (self.fd, self.key, self.interest());
        if base.with_driver(|driver| driver.modify(lend_raw(fd), key, interest)).is_err() {
            self.forget(base);
        }
    }
}

impl Source for Watcher {
    fn on_event(self: Rc<Self>, event: Event) {
        let Some(base) = self.base.upgrade() else { return };
        if let Event::Ready { readiness, .. } = event {
            self.on_ready(&base, readiness);
        }
    }

    fn abandon(&self) {
        if let Some(base) = self.base.upgrade() {
            self.forget(&base);
        }
        let callbacks = (self.reader.borrow_mut().take(), self.writer.borrow_mut().take());
        drop(callbacks);
    }

    fn describe(&self) -> String {
        format!("watcher of descriptor {} for {:?}", self.fd, self.interest())
    }
}
