//! What the tests share: sockets, keys, a driver that collects events, and the configurations.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyloop_core::driver::{Driver, Event, Fd, Interest, Key, LazySend, Readiness, RecvEnd};
use anyloop_uring::{Config, UringDriver};
use libtest_mimic::{Completion, Trial};

/// Gives the tests of a file to `main`.
macro_rules! trials {
    ($($test:ident),* $(,)?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$(crate::common::trial(concat!(module_path!(), "::", stringify!($test)), $test)),*]
        }
    };
}

/// A test that is shown as ignored, with the reason, where there is no io_uring.
pub(crate) fn trial(path: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    // What stands before the first `::` is the name of the program.
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    Trial::ignorable_test(name, move || {
        if let Err(reason) = anyloop_uring::probe() {
            return Ok(Completion::ignored_with(format!("not available: {reason}")));
        }
        test();
        Ok(Completion::Completed)
    })
}

/// Longer than anything here takes; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Short, for proving that nothing comes.
pub(crate) const MOMENT: Duration = Duration::from_millis(10);

pub(crate) fn key(slot: u32) -> Key {
    Key { slot, generation: 1 }
}

/// Every switch thrown, and the tiny sizes.
pub(crate) fn configs() -> Vec<(&'static str, Config)> {
    let words = [
        "",
        "no-multishot-accept",
        "no-multishot-recv",
        "no-silent-send",
        "no-incremental",
        "no-single-issuer",
        "no-defer",
        "sqarray",
        "no-ext-arg",
        "no-registered-ring",
        "poll-before-accept",
        "buffers=2,buffer-size=16",
        "buffers=2,buffer-size=16,no-incremental",
        "buffers=2,buffer-size=16,no-multishot-recv",
        "buffers=1,buffer-size=1",
        "sq=2",
        "sq=1,cq=1",
        "sq=2,cq=4",
        "sq=2,cq=4,buffers=2,buffer-size=16",
        "sq=2,cq=4,no-defer",
        "sq=2,cq=4,no-single-issuer,buffers=2,buffer-size=16,no-incremental",
        "no-multishot-accept,no-multishot-recv,no-single-issuer,no-ext-arg,\
         no-registered-ring,no-incremental,sqarray,sq=2,cq=4",
    ];
    words.into_iter().map(|word| (word, Config::from_env_value(word).unwrap())).collect()
}

/// Runs a test under every configuration, with its name on the error stream should it fail.
pub(crate) fn each_config(test: impl Fn(&mut Rig)) {
    for (words, config) in configs() {
        eprintln!("config: {words:?}");
        let mut rig = Rig::new(&config);
        test(&mut rig);
        rig.driver.shutdown();
    }
}

/// A driver, and the events it brought that nobody asked for yet.
pub(crate) struct Rig {
    pub(crate) driver: UringDriver,
    pub(crate) events: VecDeque<Event>,
    /// The keys of lazy sends, in order; none if it was closed.
    lazy: VecDeque<Option<Key>>,
}

impl Rig {
    pub(crate) fn new(config: &Config) -> Self {
        let mut driver = UringDriver::new(config).expect("a ring");
        driver.attach().unwrap();
        Self::over(driver)
    }

    pub(crate) fn over(driver: UringDriver) -> Self {
        Self { driver, events: VecDeque::new(), lazy: VecDeque::new() }
    }

    pub(crate) fn words(words: &str) -> Self {
        Self::new(&Config::from_env_value(words).unwrap())
    }

    /// Polls once.
    pub(crate) fn poll(&mut self, timeout: Duration) -> usize {
        let mut events = Vec::new();
        self.driver.poll(Some(timeout), &mut events).unwrap();
        let mut sent = Vec::new();
        self.driver.lazily_sent(&mut sent);
        for LazySend { buffer, result } in sent {
            if let Some(key) = self.lazy.pop_front().expect("each is told once") {
                events.push(Event::Sent { key, buffer, result });
            }
        }
        let count = events.len();
        self.events.extend(events);
        count
    }

    /// The next event, waited for.
    pub(crate) fn next(&mut self) -> Event {
        let start = Instant::now();
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            assert!(start.elapsed() < PATIENCE, "no event; {}", self.driver.describe());
            self.poll(PATIENCE);
        }
    }

    /// Nothing more comes for a moment.
    pub(crate) fn silent(&mut self) {
        self.poll(MOMENT);
        assert!(self.events.is_empty(), "unexpected: {:?}", self.events);
    }

    /// Entries to the kernel so far.
    pub(crate) fn enters(&self) -> u64 {
        self.reported(" enters")
    }

    /// The number before some words in the driver's report.
    pub(crate) fn reported(&self, before: &str) -> u64 {
        let line = self.driver.describe();
        let (head, _) = line.split_once(before).unwrap_or_else(|| panic!("{before:?} in {line}"));
        head.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    }

    pub(crate) fn ready(&mut self, key: Key) -> Readiness {
        match self.next() {
            Event::Ready { key: got, readiness } if got == key => readiness,
            other => panic!("expected readiness of {key:?}, got {other:?}"),
        }
    }

    pub(crate) fn accepted(&mut self, key: Key) -> OwnedFd {
        match self.next() {
            Event::Accepted { key: got, fd } if got == key => fd,
            other => panic!("expected a connection on {key:?}, got {other:?}"),
        }
    }

    pub(crate) fn accept_ended(&mut self, key: Key) -> Option<io::Error> {
        match self.next() {
            Event::AcceptEnded { key: got, error } if got == key => error,
            other => panic!("expected the end of accepting on {key:?}, got {other:?}"),
        }
    }

    pub(crate) fn recv_ended(&mut self, key: Key) -> RecvEnd {
        match self.next() {
            Event::RecvEnded { key: got, reason } if got == key => reason,
            other => panic!("expected the end of receiving on {key:?}, got {other:?}"),
        }
    }

    /// Collects `count` bytes of a stream; other events are an error.
    pub(crate) fn bytes(&mut self, key: Key, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            match self.next() {
                Event::Data { key: got, chunk } if got == key => bytes.extend_from_slice(&chunk),
                other => panic!("expected data on {key:?}, got {other:?}"),
            }
        }
        bytes
    }

    pub(crate) fn sent(&mut self, key: Key) -> (Vec<u8>, io::Result<usize>) {
        match self.next() {
            Event::Sent { key: got, buffer, result } if got == key => (buffer, result),
            other => panic!("expected the end of a send on {key:?}, got {other:?}"),
        }
    }

    pub(crate) fn register(
        &mut self,
        fd: &impl AsFd,
        key: Key,
        interest: Interest,
    ) -> io::Result<()> {
        self.driver.register(borrow(fd), key, interest)
    }

    pub(crate) fn recv_start(&mut self, fd: &impl AsFd, key: Key) {
        self.driver.recv_start(borrow(fd), key).unwrap();
    }

    /// As the core does it: what the driver does not take lazily is sent all the same.
    pub(crate) fn send_lazily(
        &mut self,
        fd: &impl AsFd,
        key: Key,
        mut buffer: Vec<u8>,
        offset: usize,
    ) {
        if self.driver.send_lazily(borrow(fd), &mut buffer, offset) {
            self.lazy.push_back(Some(key));
        } else {
            self.driver.send(borrow(fd), key, buffer, offset).unwrap();
        }
    }

    pub(crate) fn close(&mut self, fd: impl Into<OwnedFd>, key: Key) {
        for lazy in self.lazy.iter_mut().filter(|lazy| **lazy == Some(key)) {
            *lazy = None;
        }
        self.driver.close(fd.into(), key);
    }
}

/// Lends a descriptor to a driver for as long as the test keeps it open, which it does.
pub(crate) fn borrow(fd: &impl AsFd) -> Fd {
    let fd = fd.as_fd();
    // SAFETY: each test keeps the descriptor open until it deregistered or closed it.
    Fd::new(unsafe { std::mem::transmute::<BorrowedFd<'_>, BorrowedFd<'static>>(fd) })
}

/// Two connected sockets: ours, non-blocking, and the peer's, blocking with a time limit.
pub(crate) fn pair() -> (UnixStream, UnixStream) {
    let (ours, peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    (ours, peer)
}

/// The same over TCP.
pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    (ours, peer)
}

pub(crate) fn listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Distinct bytes, so that a mix-up shows.
pub(crate) fn pattern(count: usize, seed: usize) -> Vec<u8> {
    (0..count).map(|index| ((index * 31 + index / 251 + seed * 7) % 256) as u8).collect()
}

/// The peer reads the end of the stream.
pub(crate) fn assert_eof(peer: &mut impl Read) {
    let mut rest = Vec::new();
    match peer.read_to_end(&mut rest) {
        Ok(0) => {}
        Err(error) if rest.is_empty() && error.kind() == io::ErrorKind::ConnectionReset => {}
        other => panic!("expected the end of the stream, got {other:?}"),
    }
}

pub(crate) fn say(peer: &mut impl Write, bytes: &[u8]) {
    peer.write_all(bytes).unwrap();
}

/// Descriptors this process has open.
pub(crate) fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
