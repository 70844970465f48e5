//! Watched descriptors: level-triggered callbacks over tokio's edge-triggered `AsyncFd`.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::panic::Location;
use std::rc::Rc;
use std::task::{Context, Poll};

use anyloop_api::{Direction, Handle, Panic, Snapshot};
use nix::sys::stat::fstat;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One callback, out of its slot while it runs.
pub(super) struct Side {
    callback: RefCell<Option<Box<dyn FnMut()>>>,
    context: Snapshot,
    removed: Cell<bool>,
}

impl Side {
    pub(super) fn new(callback: Box<dyn FnMut()>) -> Self {
        let context = Snapshot::current();
        Self { callback: RefCell::new(Some(callback)), context, removed: Cell::new(false) }
    }

    pub(super) fn remove(&self) {
        self.removed.set(true);
    }

    /// What stands for it in reports.
    pub(super) fn stand_in(&self) -> Handle {
        Handle::stand_in(self.context.clone(), Location::caller())
    }

    pub(super) fn call(&self) -> Result<(), Panic> {
        if self.removed.get() {
            return Ok(());
        }
        let Some(mut callback) = self.callback.borrow_mut().take() else { return Ok(()) };
        let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.context.clone().run(&mut *callback);
        }));
        *self.callback.borrow_mut() = Some(callback);
        called.map_err(Panic::new)
    }
}

/// One descriptor. `AsyncFd` tells of changes only; registering anew asks the kernel how things are, so
/// that is done after each call.
pub(super) struct Watched {
    number: RawFd,
    fd: RefCell<Option<AsyncFd<RawFd>>>,
    /// Device and inode: a number that is used again means another file.
    file: (u64, u64),
    reading: RefCell<Option<Rc<Side>>>,
    writing: RefCell<Option<Rc<Side>>>,
}

#[allow(deprecated, reason = "the trait speaks of numbers, as asyncio does")]
fn register(fd: RawFd) -> io::Result<AsyncFd<RawFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE | Interest::WRITABLE)
}

fn identity(fd: RawFd) -> io::Result<(u64, u64)> {
    let stat = fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

impl Watched {
    /// In the context of the runtime.
    pub(super) fn new(number: RawFd) -> io::Result<Self> {
        let file = identity(number)?;
        let fd = RefCell::new(Some(register(number)?));
        Ok(Self { number, fd, file, reading: RefCell::default(), writing: RefCell::default() })
    }

    /// Whether the number still means the same file.
    pub(super) fn is_current(&self) -> bool {
        self.is_same_file() && self.fd.borrow().is_some()
    }

    pub(super) fn side(&self, direction: Direction) -> &RefCell<Option<Rc<Side>>> {
        match direction {
            Direction::Receive => &self.reading,
            Direction::Send => &self.writing,
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.reading.borrow().is_none() && self.writing.borrow().is_none()
    }

    /// What is ready, the reader first (FD-10).
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> [Option<Rc<Side>>; 2] {
        let fd = self.fd.borrow();
        let Some(fd) = &*fd else { return [None, None] };
        let reader = self.reading.borrow().clone();
        let writer = self.writing.borrow().clone();
        [
            reader.filter(|_| matches!(fd.poll_read_ready(cx), Poll::Ready(Ok(_)))),
            writer.filter(|_| matches!(fd.poll_write_ready(cx), Poll::Ready(Ok(_)))),
        ]
    }

    /// A callback was called: what holds now shows in the next iteration. In the context of the runtime.
    pub(super) fn refresh(&self) {
        if !self.forget() {
            return;
        }
        // Closed behind our back, it stays silent (FD-13).
        *self.fd.borrow_mut() = if self.is_same_file() { register(self.number).ok() } else { None };
    }

    /// Ends the registration; says whether there was one. Not later, when the number may be another's.
    pub(super) fn forget(&self) -> bool {
        self.fd.take().is_some()
    }

    fn is_same_file(&self) -> bool {
        identity(self.number).is_ok_and(|file| file == self.file)
    }
}
