//! A backend of your own, as a tutorial: a whole event loop over `poll(2)`, the oldest of the kernel
//! interfaces that can watch many descriptors.
//!
//! You write a [`Driver`]: eight methods that say how to watch descriptors and how to sleep. Everything
//! else (callbacks, timers, tasks, calls from other threads, connections, streams) is
//! `BaseLoop<YourDriver>`. Where your kernel interface can do more, for example accept and receive by
//! itself, there are further methods with default bodies; this file needs none of them.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyloop_api::{
    AnyProtocol, BackendDescriptor, Bind, Connect, Error, EventLoopExt, LoopConfig, LoopFuture,
    LoopRef, Protocol, Result, Transport,
};
use anyloop_core::BaseLoop;
use anyloop_core::driver::{Caps, Driver, Event, Fd, Interest, Key, Readiness, Trigger, Waker};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

/// What we have to remember: who is watched, and how to be woken.
#[derive(Debug)]
pub struct PollDriver {
    /// By [`Key::slot`]. The core gives out small slots and uses freed ones again, so a vector does. The
    /// generation in the key tells two users of a slot apart.
    watched: Vec<Option<Watched>>,
    waker: Arc<PipeWaker>,
    wake_end: OwnedFd,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    key: Key,
    /// A borrowed descriptor. The core keeps it open until `deregister` or `close` returns, so we never
    /// deal with descriptors that are closed or, worse, belong to somebody else by now.
    fd: Fd,
    interest: Interest,
}

impl PollDriver {
    /// Makes a driver that watches nothing yet.
    ///
    /// # Errors
    /// If there is no descriptor left for the pipe.
    pub fn new() -> io::Result<Self> {
        let (wake_end, write_end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self { watched: Vec::new(), waker: Arc::new(PipeWaker(write_end)), wake_end })
    }

    /// The entry of `key`, unless the slot is empty or has another user by now.
    fn find(&mut self, key: Key) -> Option<&mut Option<Watched>> {
        let entry = self.watched.get_mut(key.slot as usize)?;
        entry.is_some_and(|watched| watched.key == key).then_some(entry)
    }
}

impl Driver for PollDriver {
    /// **1.** The name, for reports.
    fn name(&self) -> &'static str {
        "poll"
    }

    /// **2.** What the core can expect of us. `poll(2)` tells in each call what holds at that moment, so we
    /// are level-triggered: the core will withdraw its interest in what it does not want to hear again.
    /// (An edge-triggered driver tells changes only; the core then leaves the interest alone and
    /// remembers.) `Caps::readiness` says that the kernel does nothing for us beyond that.
    fn caps(&self) -> Caps {
        Caps::readiness(Trigger::Level)
    }

    /// **3.** A handle with which other threads end our sleep: here the write end of a pipe whose read end
    /// is polled with everything else.
    fn waker(&self) -> Arc<dyn Waker> {
        Arc::clone(&self.waker) as _
    }

    /// **4.** The heart: sleep until something happens or `timeout` is over, and report what happened. We
    /// append plain data and never call back into the core, so nobody can change `watched` under our
    /// feet.
    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        // Silent registrations stay out: `poll(2)` would report `HUP` for them in every call.
        let watched: Vec<&Watched> =
            self.watched.iter().flatten().filter(|w| w.interest != Interest::NONE).collect();
        let mut fds = vec![PollFd::new(&self.wake_end, PollFlags::IN)];
        fds.extend(watched.iter().map(|w| PollFd::new(&w.fd, wanted(w.interest))));

        // `None` sleeps for ever, and so does a timeout beyond the end of time.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            // A signal. Waking up for nothing is allowed; the core will ask again.
            Err(Errno::INTR) => return Ok(()),
            other => other?,
        };

        let seen = watched.iter().zip(&fds[1..]).filter(|(_, fd)| !fd.revents().is_empty());
        events.extend(seen.map(|(watched, fd)| Event::Ready {
            key: watched.key,
            readiness: readiness(fd.revents()),
        }));
        if !fds[0].revents().is_empty() {
            drain(&self.wake_end);
        }
        Ok(())
    }

    /// **5.** Watch a descriptor. The core never registers the same one twice at a time, but its users may
    /// try to, through `add_reader`; and they may try to watch regular files, which are always
    /// "ready" and have no place in an event loop. `epoll` refuses both, so we do.
    fn register(&mut self, fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
        let file = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
        if file.is_file() || file.is_dir() {
            return Err(Errno::PERM.into());
        }
        if self.watched.iter().flatten().any(|other| other.fd.as_raw_fd() == fd.as_raw_fd()) {
            return Err(Errno::EXIST.into());
        }
        let slot = key.slot as usize;
        if slot >= self.watched.len() {
            self.watched.resize(slot + 1, None);
        }
        self.watched[slot] = Some(Watched { key, fd, interest });
        Ok(())
    }

    /// **6.** Change what is wanted. It must also re-arm: what holds now is reported by the next poll. A
    /// level-triggered driver does that anyway.
    fn modify(&mut self, _fd: Fd, key: Key, interest: Interest) -> io::Result<()> {
        match self.find(key) {
            Some(Some(watched)) => {
                watched.interest = interest;
                Ok(())
            }
            _ => Err(Errno::NOENT.into()),
        }
    }

    /// **7.** Stop watching. When this returns, the descriptor may be closed and its number used for
    /// something else at once.
    fn deregister(&mut self, _fd: Fd, key: Key) -> io::Result<()> {
        if let Some(entry) = self.find(key) {
            *entry = None;
        }
        Ok(())
    }

    /// **8.** Stop watching, and close. This is a method of the driver because one with operations in
    /// flight (io_uring) has to end them first.
    fn close(&mut self, fd: OwnedFd, key: Key) {
        if let Some(entry) = self.find(key) {
            *entry = None;
        }
        drop(fd);
    }
}

/// Wakes by writing a byte.
#[derive(Debug)]
struct PipeWaker(OwnedFd);

impl Waker for PipeWaker {
    /// Must not block and cannot fail. A full pipe refuses the byte, but then it is readable already. A
    /// wake before the sleep is not lost, either: the byte waits in the pipe.
    fn wake(&self) {
        let _ = rustix::io::write(&self.0, b"!");
    }
}

fn wanted(interest: Interest) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, interest.readable);
    flags.set(PollFlags::OUT, interest.writable);
    flags
}

/// Errors and hang-ups are for whoever asks, reader or writer: their next call tells which. `NVAL` (the
/// descriptor was closed behind our back) is such an error, too.
fn readiness(seen: PollFlags) -> Readiness {
    let failed = seen.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
    Readiness::default()
        .readable(failed || seen.contains(PollFlags::IN))
        .writable(failed || seen.contains(PollFlags::OUT))
        .closed(failed)
}

/// Empties the pipe, so that it does not end the next sleep as well.
fn drain(pipe: impl AsFd) {
    let pipe: BorrowedFd<'_> = pipe.as_fd();
    while rustix::io::read(pipe, &mut [0; 64]).is_ok_and(|count| count > 0) {}
}

// --- from a driver to a backend ---

/// What the rest of the world sees: a name, whether it works here, and how to open a loop. With
/// `anyloop::register(&DESCRIPTOR)` it can be chosen by `ANYLOOP_BACKEND=poll` in any program.
pub static DESCRIPTOR: BackendDescriptor = BackendDescriptor::new(
    "poll",
    "the tutorial: poll(2), level-triggered",
    || match PollDriver::new() {
        Ok(_) => Ok("level-triggered".to_owned()),
        Err(e) => Err(format!("no pipe for the waker: {e}")),
    },
    open,
);

/// A loop over the driver.
///
/// # Errors
/// `Os` if the driver cannot be made.
pub fn open(config: &LoopConfig) -> Result<LoopRef> {
    let driver = PollDriver::new().map_err(|e| Error::os("poll: new_event_loop", e))?;
    BaseLoop::open(driver, config)
}

// --- and it runs ---

/// A server that sends back what it gets.
#[derive(Default)]
struct Echo(RefCell<Option<Transport>>);

impl Protocol for Echo {
    fn connection_made(&self, transport: Transport) {
        self.0.replace(Some(transport));
    }

    fn data_received(&self, data: &[u8]) {
        if let Some(transport) = &*self.0.borrow() {
            // Refused only when the connection is closing, and then nobody waits for it.
            let _ = transport.write(data);
        }
    }
}

/// A client that says something and collects the answer until the end of the connection.
struct Client {
    question: &'static str,
    answer: RefCell<Vec<u8>>,
    done: LoopFuture<Vec<u8>>,
}

impl Protocol for Client {
    fn connection_made(&self, transport: Transport) {
        let _ = transport.write(self.question);
        let _ = transport.write_eof();
    }

    fn data_received(&self, data: &[u8]) {
        self.answer.borrow_mut().extend_from_slice(data);
    }

    fn connection_lost(&self, _error: Option<Error>) {
        let _ = self.done.set_result(self.answer.take());
    }
}

/// One question, over a real TCP connection, with both ends in this loop.
async fn ask(lp: LoopRef, question: &'static str) -> Result<Vec<u8>> {
    let echo = Rc::new(|| AnyProtocol::plain(Echo::default()));
    let server = lp.create_server(echo, Bind::to("127.0.0.1", 0)).await?;
    let address = server.local_addr().expect("a server that listens");

    let done = lp.create_future();
    let client = {
        let done = done.clone();
        Rc::new(move || {
            let (answer, done) = (RefCell::default(), done.clone());
            AnyProtocol::plain(Client { question, answer, done })
        })
    };
    lp.create_connection(client, Connect::to(address.ip().to_string(), address.port())).await?;
    let answer = done.await?;
    server.close();
    Ok(answer)
}

#[allow(clippy::print_stdout, reason = "an example")]
fn main() -> Result<()> {
    let lp = open(&LoopConfig::default())?;
    let question = "is anybody there?";
    let answer = lp.run_until_complete(ask(lp.clone(), question))??;
    println!("asked: {question}");
    println!("heard: {}", String::from_utf8_lossy(&answer));
    println!("{}", lp.describe());
    lp.close()?;
    match answer == question.as_bytes() {
        true => Ok(()),
        false => Err(Error::failed("the echo was wrong")),
    }
}
