//! Child processes: the child, its pipes, its protocol.
//!
//! ```text
//!  spawn ─▶ connection_made ─▶ pipes begin, the exit is watched
//!              pipe ends ──────────────▶ pipe_connection_lost ──┐
//!              child ends ─▶ reaped ───▶ process_exited ────────┴─ all of them ─▶ connection_lost
//! ```

mod pidfd;
mod raw;
mod reap;
mod relay;
mod spawn;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::{Rc, Weak};

use anyloop_api::{
    AnyProtocol, Command, Error, EventLoop, Panic, RawSubprocess, Report, Result,
    SubprocessFactory, SubprocessProtocol, SubprocessTransport, fork_generation,
};
use rustix::io::Errno;
use rustix::process::{Pid, kill_process, test_kill_process};

use crate::base::BaseLoop;
use crate::begin::{self, Begin};
use crate::driver::{Event, Interest, Key};
use crate::lend::lend;
use crate::pipe::{End, Pipe};
use crate::sources::Source;
use crate::voice::Voice;
use reap::{Ended, Fate, Sentry};
use relay::PipeRelay;

/// `connection_made` was called.
const MADE: u8 = 1;
const CLOSING: u8 = 1 << 1;
/// `connection_lost` is scheduled or was called.
const LOST: u8 = 1 << 2;
/// `connection_lost` was called: there is no process any more.
const OVER: u8 = 1 << 3;

/// A child process.
pub(crate) struct Process {
    this: Weak<Self>,
    base: Weak<BaseLoop>,
    key: Key,
    pid: Pid,
    /// The process it is a child of.
    born: u64,
    voice: Voice<Rc<dyn SubprocessProtocol>>,
    flags: Cell<u8>,
    returncode: Cell<Option<i32>>,
    pipes: RefCell<[Option<Rc<Pipe>>; 3]>,
    /// How many of them have not ended.
    open_pipes: Cell<usize>,
    watch: RefCell<Watch>,
}

/// How the exit is noticed.
enum Watch {
    /// Not yet, or not any more.
    Nobody,
    Pidfd(Rc<OwnedFd>),
    Thread(Sentry),
}

/// [`EventLoop::subprocess`].
pub(crate) async fn start(
    base: Weak<BaseLoop>,
    factory: SubprocessFactory,
    command: Command,
) -> Result<(SubprocessTransport, Rc<dyn SubprocessProtocol>)> {
    const OPERATION: &str = "subprocess";
    let (process, protocol) = {
        let base = crate::connect::open(&base, OPERATION)?;
        let protocol = begin::make(factory)?;
        (Process::open(&base, spawn::spawn(command)?, protocol.clone())?, protocol)
    };
    Ok((begin::begin(base, process, OPERATION).await?, protocol))
}

/// The child must not outlive a failure to take care of it.
struct Orphan(Option<Pid>);

impl Drop for Orphan {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            reap::kill(pid);
            reap::bury(pid);
        }
    }
}

impl Process {
    fn open(
        base: &Rc<BaseLoop>,
        spawned: spawn::Spawned,
        protocol: Rc<dyn SubprocessProtocol>,
    ) -> Result<Rc<Self>> {
        let pid = spawned.pid;
        let mut orphan = Orphan(Some(pid));
        let key = base.sources.reserve();
        let process = Rc::new_cyclic(|this: &Weak<Self>| Self {
            this: this.clone(),
            base: base.weak(),
            key,
            pid,
            born: fork_generation(),
            voice: Voice::new(base.weak(), protocol),
            flags: Cell::new(0),
            returncode: Cell::new(None),
            pipes: RefCell::default(),
            open_pipes: Cell::new(0),
            watch: RefCell::new(Watch::Nobody),
        });
        base.sources.fill(key, process.clone());
        let readied = process.adopt(base, spawned.pipes).and_then(|()| process.ready_watch(base));
        if let Err(error) = readied {
            for pipe in process.pipes.take().into_iter().flatten() {
                Begin::abandon(&*pipe);
            }
            process.unwatch(base);
            base.sources.remove(key);
            return Err(error);
        }
        orphan.0 = None;
        Ok(process)
    }

    /// Takes our ends of the pipes.
    fn adopt(&self, base: &Rc<BaseLoop>, pipes: [Option<OwnedFd>; 3]) -> Result<()> {
        for (number, fd) in (0..).zip(pipes) {
            let Some(fd) = fd else { continue };
            let end = if number == 0 { End::Write } else { End::Read };
            let relay = PipeRelay { process: self.this.clone(), number };
            let this = self.this.clone();
            let on_lost = move |error| {
                if let Some(process) = this.upgrade() {
                    process.on_pipe_lost(number, error);
                }
            };
            let pipe = Pipe::adopt(base, fd, end, AnyProtocol::plain(relay), on_lost)?;
            self.pipes.borrow_mut()[number as usize] = Some(pipe);
            self.open_pipes.set(self.open_pipes.get() + 1);
        }
        Ok(())
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.get() & flag != 0
    }

    fn set(&self, flag: u8) {
        self.flags.set(self.flags.get() | flag);
    }

    // --- the protocol ---

    /// Panics are reported and change nothing.
    fn tell(&self, what: &'static str, f: impl FnOnce(&dyn SubprocessProtocol)) {
        let report =
            |panic: Panic| Report::new(format!("{what} panicked: {self:?}")).exception(panic);
        let _ = self.voice.call(|protocol| f(&**protocol), report);
    }

    fn on_pipe_lost(&self, number: i32, error: Option<Error>) {
        self.tell("pipe_connection_lost", |protocol| protocol.pipe_connection_lost(number, error));
        self.open_pipes.set(self.open_pipes.get() - 1);
        self.maybe_finish();
    }

    // --- the exit ---

    /// Gets hold of the means to notice the exit, while failing is still possible.
    fn ready_watch(&self, base: &Rc<BaseLoop>) -> Result<()> {
        if !base.config().child_threads
            && let Ok(pidfd) = pidfd::open(self.pid)
        {
            base.own(pidfd.as_raw_fd(), "subprocess")?;
            *self.watch.borrow_mut() = Watch::Pidfd(Rc::new(pidfd));
            return Ok(());
        }
        let this = self.this.clone();
        let ended = Ended(Box::new(move || {
            if let Some(process) = this.upgrade() {
                process.look();
            }
        }));
        let key = base.state().park(Rc::new(ended));
        let sentry = Sentry::post(self.pid, base.remote(), key).map_err(|error| {
            base.state().unpark(key);
            Error::os("subprocess: starting a thread that waits for the child", error)
        })?;
        *self.watch.borrow_mut() = Watch::Thread(sentry);
        Ok(())
    }

    fn begin_watch(&self, base: &Rc<BaseLoop>) {
        let watched = {
            let Watch::Pidfd(pidfd) = &*self.watch.borrow() else { return };
            base.with_driver(|driver| driver.register(lend(&**pidfd), self.key, Interest::READ))
        };
        if let Err(error) = watched {
            // The loop cannot be told, so it asks.
            let text = "watching a child process failed; the loop looks after it every 10 ms";
            base.call_exception_handler(
                Report::warning(text).exception(Error::os("subprocess: pidfd", error)),
            );
            self.look_later(base);
        }
    }

    fn look_later(&self, base: &Rc<BaseLoop>) {
        use anyloop_api::EventLoopExt;
        let this = self.this.clone();
        let _ = base.call_later(std::time::Duration::from_millis(10), move || {
            let Some(process) = this.upgrade() else { return };
            process.look();
            if let Some(base) = process.base.upgrade()
                && process.returncode.get().is_none()
            {
                process.look_later(&base);
            }
        });
    }

    /// Takes the status if there is one.
    fn look(&self) {
        if self.returncode.get().is_some() {
            return;
        }
        let (Some(base), Some(this)) = (self.base.upgrade(), self.this.upgrade()) else { return };
        let code = match reap::look(self.pid) {
            Fate::Running => return,
            Fate::Ended(code) => code,
            Fate::Stolen => {
                base.call_exception_handler(Report::warning(format!(
                    "somebody else took the status of the child process {}; {} is reported",
                    self.pid,
                    reap::STOLEN
                )));
                reap::STOLEN
            }
        };
        self.returncode.set(Some(code));
        self.unwatch(&base);
        base.soon(move || {
            this.tell("process_exited", |protocol| protocol.process_exited());
            this.maybe_finish();
        });
    }

    fn unwatch(&self, base: &Rc<BaseLoop>) {
        let watch = self.watch.replace(Watch::Nobody);
        if let Watch::Pidfd(pidfd) = watch {
            base.disown(pidfd.as_raw_fd());
            if let Ok(pidfd) = Rc::try_unwrap(pidfd) {
                base.with_driver(|driver| driver.close(pidfd, self.key));
            }
        }
    }

    // --- the end ---

    fn maybe_finish(&self) {
        let over = self.returncode.get().is_some() && self.open_pipes.get() == 0;
        let (Some(base), Some(this)) = (self.base.upgrade(), self.this.upgrade()) else { return };
        if over && !self.has(LOST) {
            self.set(CLOSING | LOST);
            base.soon(move || this.finish());
        }
    }

    fn finish(&self) {
        self.set(OVER);
        self.tell("connection_lost", |protocol| protocol.connection_lost(None));
        self.voice.end();
        drop(self.pipes.take());
        if let Some(base) = self.base.upgrade() {
            base.sources.remove(self.key);
        }
    }

    /// Whoever has the number now, until the status is taken it is the child.
    fn signal(&self, number: i32) -> Result<()> {
        let sent = match (spawn::signal(number)?, &*self.watch.borrow()) {
            (None, _) => test_kill_process(self.pid),
            (Some(signal), Watch::Pidfd(pidfd)) => match pidfd::send_signal(pidfd, signal) {
                // A sandbox that does not know the call.
                Err(Errno::NOSYS | Errno::PERM) => kill_process(self.pid, signal),
                sent => sent,
            },
            (Some(signal), Watch::Nobody | Watch::Thread(_)) => kill_process(self.pid, signal),
        };
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(Error::os(format!("send_signal: signal {number}"), error.into())),
        }
    }
}

impl Begin for Process {
    type Handle = SubprocessTransport;

    fn handle(&self) -> SubprocessTransport {
        SubprocessTransport::new(self.this.upgrade().expect("a process is asked through its Rc"))
    }

    fn begin(&self) {
        let (Some(base), pipes) = (self.base.upgrade(), self.pipes.borrow().clone()) else {
            return;
        };
        if !self.has(CLOSING) {
            self.set(MADE);
            pipes.iter().flatten().for_each(|pipe| pipe.hand_out());
            let transport = self.handle();
            self.tell("connection_made", |protocol| protocol.connection_made(transport));
        }
        for pipe in pipes.iter().flatten() {
            Begin::begin(&**pipe);
        }
        self.begin_watch(&base);
    }

    /// Nobody wants the child; what it does is nobody's business any more.
    fn abandon(&self) {
        if !self.has(MADE) {
            self.voice.end();
            // Pipes that never began do not tell of their end.
            self.open_pipes.set(0);
        }
        RawSubprocess::close(self);
    }
}

impl Source for Process {
    fn on_event(self: Rc<Self>, event: Event) {
        if let Event::Ready { .. } = event {
            self.look();
        }
    }

    /// The loop closes: the pipes are sources of their own.
    fn abandon(&self) {
        self.set(CLOSING | LOST | OVER);
        // In a forked child it is the parent's child, and the parent's business.
        if self.returncode.get().is_none() && self.born == fork_generation() {
            let _ = self.signal(9);
            let ours = match &*self.watch.borrow() {
                Watch::Thread(sentry) => sentry.dismiss(),
                Watch::Nobody | Watch::Pidfd(_) => true,
            };
            if ours {
                reap::bury(self.pid);
            }
        }
        self.voice.end();
        drop(self.pipes.take());
        if let Some(base) = self.base.upgrade() {
            self.unwatch(&base);
            base.sources.remove(self.key);
        }
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }

    fn is_open(&self) -> bool {
        !self.has(CLOSING)
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Subprocess pid={}", self.pid)?;
        match self.returncode.get() {
            None => f.write_str(" running")?,
            Some(code) => write!(f, " returncode={code}")?,
        }
        for (number, pipe) in self.pipes.borrow().iter().enumerate() {
            if let Some(pipe) = pipe {
                write!(f, " {number}={pipe:?}")?;
            }
        }
        f.write_str(">")
    }
}
