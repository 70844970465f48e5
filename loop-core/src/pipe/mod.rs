//! Transports over one end of a pipe, a FIFO, a socket or a character device.
//!
//! ```text
//!  read end    data ─▶ end of the pipe ─▶ eof_received ─▶ connection_lost(None)
//!  write end   the reader goes away ─▶ connection_lost(None, or broken pipe if something was buffered)
//!              close() = write_eof() ─▶ flush ─▶ connection_lost(None)
//! ```
//!
//! What cannot be watched, such as `/dev/null`, is always ready: it is tried again in each iteration in
//! which there is something to do.

mod end;
mod raw;
mod read;
mod write;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::{Rc, Weak};

use anyloop_api::{
    AnyProtocol, Error, Panic, ProtocolFactory, RawTransport, Rejected, Report, Result, Transport,
    WeakTransport,
};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::base::BaseLoop;
use crate::begin::{self, Begin};
use crate::descriptor::Descriptor;
use crate::driver::{Event, Interest};
use crate::flow::Flow;
use crate::sources::Source;
use crate::stream::WriteBuffer;
use crate::voice::Voice;

/// `connection_made` was called.
const MADE: u16 = 1;
/// The kernel had something to read when we last looked (edge-triggered readiness).
const READABLE: u16 = 1 << 1;
/// A hang-up was seen: a short read does not prove that the pipe is drained.
const HANGUP: u16 = 1 << 2;
const PAUSED: u16 = 1 << 3;
const CLOSING: u16 = 1 << 4;
/// `connection_lost` is scheduled or was called.
const LOST: u16 = 1 << 5;
/// It cannot be watched, and is always ready.
const UNPOLLABLE: u16 = 1 << 6;
/// A try in the next iteration is scheduled.
const TRYING: u16 = 1 << 7;
/// The peer of a write end sends something: its readability is no hang-up.
const DEAF: u16 = 1 << 8;
/// It leads to a child process: whoever has a handle of that can have one of this.
const CHILDS: u16 = 1 << 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Read,
    Write,
}

impl End {
    const fn operation(self) -> &'static str {
        match self {
            Self::Read => "connect_read_pipe",
            Self::Write => "connect_write_pipe",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fifo,
    Socket,
    Device,
}

pub(crate) struct Pipe {
    this: Weak<Self>,
    base: Weak<BaseLoop>,
    end: End,
    kind: Kind,
    fd: Descriptor<OwnedFd>,
    voice: Voice<AnyProtocol>,
    user: RefCell<WeakTransport>,
    flags: Cell<u16>,
    out: RefCell<WriteBuffer>,
    flow: Flow,
    dead_writes: Cell<u8>,
    /// Of a pipe to a child process: what the child has to know, whatever the protocol is by then.
    on_lost: Cell<Option<OnLost>>,
}

type OnLost = Box<dyn FnOnce(Option<Error>)>;

/// `connect_read_pipe` and `connect_write_pipe`.
pub(crate) async fn connect(
    base: Weak<BaseLoop>,
    factory: ProtocolFactory,
    fd: OwnedFd,
    end: End,
) -> Result<(Transport, AnyProtocol), Rejected> {
    let operation = end.operation();
    let accepted = crate::connect::open(&base, operation).and_then(|base| {
        let kind = kind(&fd, operation)?;
        set_nonblocking(&fd)
            .map_err(|error| Error::os(format!("{operation}: O_NONBLOCK"), error.into()))?;
        Ok((base, kind))
    });
    let (pipe, protocol) = match accepted {
        Ok((base, kind)) => {
            let protocol = begin::make(|| factory())?;
            (Pipe::open(&base, fd, kind, end, protocol.clone())?, protocol)
        }
        Err(error) => return Err(Rejected::new(error, fd)),
    };
    Ok((begin::begin(base, pipe, operation).await?, protocol))
}

/// PIPE-01.
fn kind(fd: &OwnedFd, operation: &str) -> Result<Kind> {
    let stat = rustix::fs::fstat(fd)
        .map_err(|error| Error::os(format!("{operation}: fstat"), error.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => Ok(Kind::Fifo),
        FileType::Socket => Ok(Kind::Socket),
        FileType::CharacterDevice => Ok(Kind::Device),
        other => Err(Error::invalid_arg(format!(
            "{operation}: a pipe, socket or character device was expected, not {other:?}"
        ))),
    }
}

fn set_nonblocking(fd: &OwnedFd) -> rustix::io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)
}

impl Pipe {
    /// One end of a pipe to a child process. If it ever begins, `on_lost` follows `connection_lost`.
    pub(crate) fn adopt(
        base: &Rc<BaseLoop>,
        fd: OwnedFd,
        end: End,
        protocol: AnyProtocol,
        on_lost: impl FnOnce(Option<Error>) + 'static,
    ) -> Result<Rc<Self>> {
        set_nonblocking(&fd).map_err(|error| Error::os("subprocess: O_NONBLOCK", error.into()))?;
        let pipe = Self::open(base, fd, Kind::Fifo, end, protocol)?;
        pipe.set(CHILDS);
        pipe.on_lost.set(Some(Box::new(on_lost)));
        Ok(pipe)
    }

    fn open(
        base: &Rc<BaseLoop>,
        fd: OwnedFd,
        kind: Kind,
        end: End,
        protocol: AnyProtocol,
    ) -> Result<Rc<Self>> {
        if end == End::Write {
            crate::signals::ignore_sigpipe();
        }
        let fd = Descriptor::own(base, fd, end.operation())?;
        let pipe = Rc::new_cyclic(|this: &Weak<Self>| Self {
            this: this.clone(),
            base: base.weak(),
            end,
            kind,
            fd,
            voice: Voice::new(base.weak(), protocol),
            user: RefCell::default(),
            flags: Cell::new(0),
            out: RefCell::default(),
            flow: Flow::default(),
            dead_writes: Cell::new(0),
            on_lost: Cell::new(None),
        });
        base.sources.fill(pipe.fd.key(), pipe.clone());
        Ok(pipe)
    }

    /// Its user has it before it begins, and is told of its end from now on.
    pub(crate) fn hand_out(&self) {
        self.set(MADE);
    }

    fn has(&self, flag: u16) -> bool {
        self.flags.get() & flag != 0
    }

    fn set(&self, flag: u16) {
        self.flags.set(self.flags.get() | flag);
    }

    fn clear(&self, flag: u16) {
        self.flags.set(self.flags.get() & !flag);
    }

    fn fd(&self) -> Option<Rc<OwnedFd>> {
        self.fd.get()
    }

    fn transport(&self) -> Transport {
        if let Some(transport) = self.user.borrow().upgrade() {
            return transport;
        }
        let this = self.this.upgrade().expect("a pipe is asked through its Rc");
        let transport = Transport::new(this);
        *self.user.borrow_mut() = transport.downgrade();
        transport
    }

    // --- watching ---

    fn watch(&self, base: &BaseLoop) {
        let edge = match self.end {
            End::Read => Interest::READ,
            End::Write => Interest { readable: self.kind != Kind::Device, writable: true },
        };
        match self.fd.register(base, edge, || self.wanted()) {
            Ok(()) => {}
            // A device that never makes anybody wait, such as /dev/null.
            Err(error)
                if self.kind == Kind::Device
                    && Errno::from_io_error(&error) == Some(Errno::PERM) =>
            {
                self.set(UNPOLLABLE | READABLE);
                self.try_again(base);
            }
            Err(error) => self.force(Some(Error::os(self.end.operation(), error))),
        }
    }

    fn wanted(&self) -> Interest {
        match self.end {
            End::Read => Interest { readable: self.wants_data(), writable: false },
            End::Write => Interest {
                readable: self.kind != Kind::Device && !self.has(DEAF | LOST),
                writable: self.pending() > 0,
            },
        }
    }

    fn update_interest(&self) {
        let Some(base) = self.base.upgrade() else { return };
        if let Err(error) = self.fd.update(&base, || self.wanted()) {
            self.force(Some(Error::os("watching a pipe", error)));
        }
    }

    /// Tries again in the next iteration, whatever the driver says.
    fn try_again(&self, base: &BaseLoop) {
        let Some(this) = self.this.upgrade() else { return };
        if !self.has(TRYING | LOST) {
            self.set(TRYING);
            base.soon(move || {
                this.clear(TRYING);
                let Some(base) = this.base.upgrade() else { return };
                match this.end {
                    End::Read => this.read(&base),
                    End::Write => this.flush(),
                }
            });
        }
    }

    // --- the protocol ---

    fn report(&self, what: &'static str, panic: Panic) -> Report {
        let mut report = Report::new(what).exception(panic).transport(self.transport());
        report.protocol = self.voice.protocol();
        report
    }

    /// A panic is reported and ends the pipe (TR-08). `None`: it did.
    fn call<R>(&self, what: &'static str, f: impl FnOnce(&AnyProtocol) -> R) -> Option<R> {
        match self.voice.call(f, |panic| self.report(what, panic))? {
            Ok(value) => Some(value),
            Err(panic) => {
                self.force(Some(Error::Panicked(panic)));
                None
            }
        }
    }

    /// A panic is reported and changes nothing.
    fn tell(&self, what: &'static str, f: impl FnOnce(&AnyProtocol)) {
        let _ = self.voice.call(f, |panic| self.report(what, panic));
    }

    // --- the end ---
}

impl Begin for Pipe {
    type Handle = Transport;

    fn handle(&self) -> Transport {
        self.transport()
    }

    fn begin(&self) {
        let Some(base) = self.base.upgrade() else { return };
        if self.has(LOST) {
            return;
        }
        let transport = self.transport();
        self.set(MADE);
        self.tell("connection_made panicked", |protocol| protocol.connection_made(transport));
        if !self.has(LOST) {
            self.watch(&base);
        }
    }

    fn abandon(&self) {
        self.force(None);
    }
}

impl Source for Pipe {
    fn on_event(self: Rc<Self>, event: Event) {
        let (Some(base), Event::Ready { readiness, .. }) = (self.base.upgrade(), event) else {
            return;
        };
        match self.end {
            End::Read => self.on_readable(&base, readiness),
            End::Write => self.on_writable(readiness),
        }
    }

    fn abandon(&self) {
        self.set(CLOSING | LOST);
        self.fd.close(&self.base);
        self.voice.end();
        drop(self.out.take());
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }

    fn is_open(&self) -> bool {
        !self.has(CLOSING | LOST)
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{:?}PipeTransport{}", self.end, self.fd)?;
        if self.has(CLOSING) && !self.has(LOST) {
            f.write_str(" closing")?;
        }
        match self.end {
            End::Read if self.is_reading() => f.write_str(" reading>"),
            End::Read => f.write_str(" not reading>"),
            End::Write => write!(f, " {} bytes to write>", self.pending()),
        }
    }
}

/// Whether nobody is at the other end any more.
fn hung_up(fd: &impl AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    #[cfg(target_os = "linux")]
    const HALF_CLOSED: PollFlags = PollFlags::RDHUP;
    #[cfg(not(target_os = "linux"))]
    const HALF_CLOSED: PollFlags = PollFlags::empty();
    let mut fds = [PollFd::new(fd, HALF_CLOSED)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let gone = HALF_CLOSED | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().intersects(gone)
}
