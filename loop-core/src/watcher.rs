//! One watched descriptor: the callbacks of `add_reader` and `add_writer`, and the operations that
//! wait for a [`Sock`](anyloop_api::Sock) to become ready.
//!
//! A descriptor number has one registration with the driver, whoever is interested in it.
//!
//! ```text
//!              callbacks                          operations
//!   until      removed                            the next readiness: they try again themselves
//!   edge       after each dispatch `modify`       nothing: an operation waits only after `EAGAIN`, and
//!              re-arms                            what comes later is a new edge
//!   level      the interest is withdrawn when     the interest stays, and is withdrawn when it shows
//!              they are removed                   that nobody waits any more
//! ```

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::rc::{Rc, Weak};

use anyloop_api::{Direction, Dump, Error, EventLoop, Result, Snapshot, SockAttachment, Waiter};
use rustix::io::Errno;

use crate::base::{BaseLoop, callback_report};
use crate::driver::{Event, Interest, Key, Readiness, Trigger};
use crate::file_id::FileId;
use crate::lend::{lend, lend_raw};
use crate::sources::Source;

/// A callback that is out of its slot while it runs.
struct Callback {
    function: RefCell<Option<Box<dyn FnMut()>>>,
    context: Snapshot,
}

/// What is interested in one direction.
#[derive(Default)]
struct Side {
    callback: RefCell<Option<Rc<Callback>>>,
    /// The iteration of the last call, or of the registration: a batch may bring several events for one
    /// change, and a callback is called once per iteration (FD-01); what was seen before it was there is
    /// not for it (FD-02).
    called: Cell<u64>,
    operation: RefCell<Option<Rc<Waiter>>>,
}

impl Side {
    fn wanted(&self) -> bool {
        self.callback.borrow().is_some()
            || self.operation.borrow().as_ref().is_some_and(|waiter| waiter.is_waiting())
    }
}

pub(crate) struct Watcher {
    base: Weak<BaseLoop>,
    fd: RawFd,
    /// Watched instead of `fd` while a closing transport still has that registered (FD-07).
    duplicate: Option<OwnedFd>,
    /// Which file `fd` was when it was registered.
    file: Option<FileId>,
    key: Key,
    reading: Side,
    writing: Side,
    /// What the driver was told.
    armed: Cell<Interest>,
    registered: Cell<bool>,
    /// A `Sock` keeps the registration for its next operation.
    held: Cell<bool>,
}

const fn operation(direction: Direction) -> &'static str {
    match direction {
        Direction::Receive => "add_reader",
        Direction::Send => "add_writer",
    }
}

const fn only(direction: Direction) -> Interest {
    match direction {
        Direction::Receive => Interest::READ,
        Direction::Send => Interest::WRITE,
    }
}

impl Watcher {
    // --- add_reader, add_writer ---

    pub(crate) fn add(
        base: &BaseLoop,
        fd: RawFd,
        direction: Direction,
        callback: Box<dyn FnMut()>,
    ) -> Result<()> {
        let operation = operation(direction);
        if fd < 0 {
            return Err(Error::invalid_arg(format!("{operation}: {fd} is not a descriptor")));
        }
        base.sources.check_free(fd, operation)?;
        let callback = Rc::new(Callback {
            function: RefCell::new(Some(callback)),
            context: Snapshot::current(),
        });
        // Twice: the kernel may have forgotten the registration, because the descriptor was closed and
        // its number used again for a file that looks the same (FD-13).
        loop {
            let watcher = Self::of(base, fd, operation)?;
            let known = watcher.registered.get();
            let side = watcher.side(direction);
            side.called.set(base.iteration());
            let old = side.callback.replace(Some(callback.clone()));
            let armed = watcher.arm(base, watcher.wanted());
            let Err(error) = armed else { return Ok(()) };
            let short = known && is_shortage(&error);
            if short {
                // What was watched still is.
                drop(side.callback.replace(old));
            } else {
                drop(old);
                watcher.forget(base);
            }
            if short || !known {
                return Err(Error::os(format!("{operation}: descriptor {fd}"), error));
            }
        }
    }

    pub(crate) fn remove(base: &BaseLoop, fd: RawFd, direction: Direction) -> Result<bool> {
        base.sources.check_free(fd, "remove_reader or remove_writer")?;
        let Some(watcher) = base.watchers.borrow().get(&fd).cloned() else { return Ok(false) };
        let removed = watcher.side(direction).callback.take();
        if removed.is_none() {
            return Ok(false);
        }
        watcher.relax(base);
        Ok(true)
    }

    /// The number's owner closes it: nobody watches it any more.
    pub(crate) fn drop_number(base: &BaseLoop, fd: RawFd) {
        let watcher = base.watchers.borrow().get(&fd).cloned();
        if let Some(watcher) = watcher {
            watcher.forget(base);
        }
    }

    // --- operations ---

    /// The watcher of a socket that the caller keeps open until [`SockAttachment::detach`].
    pub(crate) fn hold(base: &BaseLoop, fd: RawFd, operation: &str) -> Result<Rc<Self>> {
        let watcher = Self::of(base, fd, operation)?;
        watcher.held.set(true);
        Ok(watcher)
    }

    /// Notifies `waiter` at the next readiness in `direction`.
    pub(crate) fn wait(
        &self,
        base: &BaseLoop,
        direction: Direction,
        waiter: &Rc<Waiter>,
    ) -> io::Result<()> {
        *self.side(direction).operation.borrow_mut() = Some(waiter.clone());
        let (armed, wanted) = (self.armed.get(), only(direction));
        let covered = self.registered.get()
            && (armed.readable || !wanted.readable)
            && (armed.writable || !wanted.writable);
        if covered {
            return Ok(());
        }
        let all = Interest {
            readable: armed.readable || wanted.readable,
            writable: armed.writable || wanted.writable,
        };
        let known = self.registered.get();
        let armed = self.arm(base, all);
        match &armed {
            Ok(()) => {}
            Err(error) if known && is_shortage(error) => {
                drop(self.side(direction).operation.take());
            }
            Err(_) => self.forget(base),
        }
        armed
    }

    /// Whether it is still the registration of its number, in this loop.
    pub(crate) fn is_of(&self, base: &BaseLoop) -> bool {
        self.registered.get() && std::ptr::eq(self.base.as_ptr(), base)
    }

    // --- the registration ---

    /// The watcher of `fd`; made, but not yet registered, if there is none.
    fn of(base: &BaseLoop, fd: RawFd, operation: &str) -> Result<Rc<Self>> {
        let lent = lend_raw(fd);
        let file = FileId::of(lent.as_fd());
        let known = base.watchers.borrow().get(&fd).cloned();
        if let Some(watcher) = known {
            if watcher.file == file {
                return Ok(watcher);
            }
            // Closed behind our back, and its number used again (FD-12, FD-13).
            watcher.forget(base);
        }
        let duplicate = if base.sources.owns(fd) {
            let duplicate = rustix::io::fcntl_dupfd_cloexec(lent, 0);
            Some(duplicate.map_err(|error| {
                Error::os(format!("{operation}: descriptor {fd}: dup"), error.into())
            })?)
        } else {
            None
        };
        let watcher = Rc::new(Self {
            base: base.weak(),
            fd,
            duplicate,
            file,
            key: base.sources.reserve(),
            reading: Side::default(),
            writing: Side::default(),
            armed: Cell::new(Interest::NONE),
            registered: Cell::new(false),
            held: Cell::new(false),
        });
        base.sources.fill(watcher.key, watcher.clone());
        base.watchers.borrow_mut().insert(fd, watcher.clone());
        Ok(watcher)
    }

    /// Tells the driver what to watch for; what holds already shows in the next poll.
    fn arm(&self, base: &BaseLoop, interest: Interest) -> io::Result<()> {
        let fd = self.lent();
        let known = self.registered.get();
        base.with_driver(|driver| match known {
            true => driver.modify(fd, self.key, interest),
            false => driver.register(fd, self.key, interest),
        })?;
        self.registered.set(true);
        self.armed.set(interest);
        Ok(())
    }

    fn lent(&self) -> crate::driver::Fd {
        match &self.duplicate {
            Some(duplicate) => lend(duplicate),
            None => lend_raw(self.fd),
        }
    }

    /// Less is wanted than before.
    fn relax(&self, base: &BaseLoop) {
        let wanted = self.wanted();
        let unused = wanted == Interest::NONE && !self.held.get();
        // Being told more than is wanted does no harm.
        let failed = || self.arm(base, wanted).is_err_and(|error| !is_shortage(&error));
        if unused || (self.registered.get() && failed()) {
            self.forget(base);
        }
    }

    fn forget(&self, base: &BaseLoop) {
        let mine = {
            let mut watchers = base.watchers.borrow_mut();
            let mine = watchers.get(&self.fd).is_some_and(|known| std::ptr::eq(&**known, self));
            if mine { watchers.remove(&self.fd) } else { None }
        };
        if self.registered.replace(false) {
            let _ = base.with_driver(|driver| driver.deregister(self.lent(), self.key));
        }
        base.sources.remove(self.key);
        // Operations look again, and find that the loop does not watch for them any more.
        for side in [&self.reading, &self.writing] {
            let operation = side.operation.take();
            if let Some(operation) = operation {
                operation.notify();
            }
            drop(side.callback.take());
        }
        drop(mine);
    }

    fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Receive => &self.reading,
            Direction::Send => &self.writing,
        }
    }

    fn wanted(&self) -> Interest {
        Interest { readable: self.reading.wanted(), writable: self.writing.wanted() }
    }

    // --- events ---

    fn tell(&self, base: &BaseLoop, direction: Direction) {
        let side = self.side(direction);
        let operation = side.operation.take();
        if let Some(operation) = operation {
            operation.notify();
        }
        let Some(callback) = side.callback.borrow().clone() else { return };
        if base.state().interrupted() {
            // The reader did that; the writer is called in the next run (LIFE-18).
            return;
        }
        if side.called.replace(base.iteration()) == base.iteration() {
            return;
        }
        let Some(mut function) = callback.function.borrow_mut().take() else { return };
        let run = || callback.context.clone().run(&mut *function);
        let _ = base.guard(run, |panic| {
            let what = format!("the callback of a descriptor panicked (fd {})", self.fd);
            callback_report(what, panic, &callback.context)
        });
        // Replaced or removed while it ran: `callback` is not in the slot any more, and dies here.
        *callback.function.borrow_mut() = Some(function);
    }

    fn on_ready(&self, base: &BaseLoop, readiness: Readiness) {
        let before = self.wanted();
        // The reader comes first (FD-10). Errors and hang-ups are both (FD-09), as drivers tell them.
        if readiness.readable {
            self.tell(base, Direction::Receive);
        }
        if readiness.writable {
            self.tell(base, Direction::Send);
        }
        if !self.registered.get() {
            return;
        }
        if readiness.closed && rustix::io::fcntl_getfd(self.lent()).is_err() {
            // Closed behind our back (FD-13).
            self.forget(base);
            return;
        }
        let callbacks =
            [&self.reading, &self.writing].iter().any(|side| side.callback.borrow().is_some());
        let again = match base.caps().trigger {
            Trigger::Edge => callbacks,
            Trigger::Level => {
                (readiness.readable && !before.readable) || (readiness.writable && !before.writable)
            }
        };
        if !again {
            return;
        }
        match self.arm(base, self.wanted()) {
            Ok(()) => {}
            // Nothing would tell of what is there: it is looked at once more, and armed once more.
            Err(error) if is_shortage(&error) => base.requeue(self.key, readiness),
            Err(_) => self.forget(base),
        }
    }
}

/// Whether a change failed for want of memory or of watches: then all is as it was. Else the driver does not
/// have the registration any more.
fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOMEM | Errno::NOSPC))
}

impl SockAttachment for Watcher {
    /// The opposite of [`Watcher::hold`]. Callbacks stay, unless the descriptor is closed next.
    fn detach(&self, closing: bool) {
        self.held.set(false);
        if let Some(base) = self.base.upgrade() {
            if closing { self.forget(&base) } else { self.relax(&base) }
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
    }

    fn describe(&self) -> String {
        let mut text = format!("watcher of descriptor {} for {:?}", self.fd, self.armed.get());
        for side in [&self.reading, &self.writing] {
            if let Some(waiter) = &*side.operation.borrow() {
                text.push_str(&format!(", {}", waiter.operation()));
            }
        }
        text
    }

    fn list(&self, dump: &mut Dump) {
        let sides = [(Direction::Receive, &self.reading), (Direction::Send, &self.writing)];
        for (direction, side) in sides {
            if side.callback.borrow().is_some() {
                let watched = format!("{} of descriptor {}", operation(direction), self.fd);
                dump.watchers.push(watched);
            }
            if let Some(waiter) = side.operation.borrow().as_ref().filter(|w| w.is_waiting()) {
                dump.operations.push(format!("{} on descriptor {}", waiter.operation(), self.fd));
            }
        }
    }
}
