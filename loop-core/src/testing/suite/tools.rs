//! What the cases are made of.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::{NOW, PATIENCE};
use crate::driver::{Driver, Interest, Key, Readiness, Trigger};
use crate::testing::Harness;

pub(super) fn harness<D: Driver>(make: &impl Fn() -> D) -> Harness<D> {
    Harness::new(make()).expect("a driver")
}

pub(super) fn watched<D: Driver>(
    make: &impl Fn() -> D,
    interest: Interest,
) -> (Harness<D>, Key, UnixStream) {
    let mut harness = harness(make);
    let (ours, peer) = pair();
    let key = register(&mut harness, ours, interest);
    (harness, key, peer)
}

pub(super) fn register<D: Driver>(
    harness: &mut Harness<D>,
    fd: impl Into<OwnedFd>,
    interest: Interest,
) -> Key {
    harness.register(fd, interest).expect("register")
}

/// Our end does not block; the other does.
pub(super) fn pair() -> (OwnedFd, UnixStream) {
    let (ours, peer) = UnixStream::pair().expect("a socket pair");
    ours.set_nonblocking(true).expect("fcntl");
    peer.set_read_timeout(Some(PATIENCE)).expect("setsockopt");
    (ours.into(), peer)
}

pub(super) fn tcp_pair() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let ours = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
    let (peer, _) = listener.accept().expect("accept");
    ours.set_nonblocking(true).expect("fcntl");
    (ours.into(), peer)
}

pub(super) fn poll<D: Driver>(
    harness: &mut Harness<D>,
    timeout: Option<Duration>,
) -> Vec<(Key, Readiness)> {
    harness.ready(timeout).expect("poll")
}

/// Polls until there are events.
pub(super) fn wait<D: Driver>(harness: &mut Harness<D>) -> Vec<(Key, Readiness)> {
    let start = Instant::now();
    loop {
        let events = poll(harness, Some(PATIENCE));
        if !events.is_empty() {
            return events;
        }
        assert!(start.elapsed() < PATIENCE, "no event came");
    }
}

/// Polls until `key`, and no other, was seen with what is `wanted`, perhaps over several events.
pub(super) fn until<D: Driver>(
    harness: &mut Harness<D>,
    key: Key,
    wanted: impl Fn(Readiness) -> bool,
) -> Readiness {
    let start = Instant::now();
    let mut seen = Readiness::default();
    while !wanted(seen) {
        for (other, more) in wait(harness) {
            assert_eq!(other, key, "an event of another registration");
            seen.readable |= more.readable;
            seen.writable |= more.writable;
            seen.closed |= more.closed;
        }
        assert!(start.elapsed() < PATIENCE, "only {seen:?} came");
    }
    seen
}

/// Takes events that may still be on their way, edge-triggered.
pub(super) fn settle<D: Driver>(harness: &mut Harness<D>) {
    if !is_level(harness) {
        while !poll(harness, NOW).is_empty() {}
    }
}

pub(super) fn only_key(events: &[(Key, Readiness)]) -> Key {
    assert_eq!(events.len(), 1, "{events:?}");
    events[0].0
}

pub(super) fn is_level<D: Driver>(harness: &Harness<D>) -> bool {
    harness.driver().caps().trigger == Trigger::Level
}

pub(super) fn write(to: &mut impl Write, bytes: &[u8]) {
    to.write_all(bytes).expect("room");
}

pub(super) fn fill(fd: impl AsFd) -> usize {
    let mut sent = 0;
    loop {
        match rustix::io::write(&fd, &[0; 4096]) {
            Ok(count) => sent += count,
            Err(Errno::AGAIN) => return sent,
            Err(e) => panic!("write: {e}"),
        }
    }
}

pub(super) fn drain(fd: impl AsFd) {
    loop {
        match rustix::io::read(&fd, &mut [0; 4096]) {
            Ok(1..) => {}
            Ok(_) | Err(Errno::AGAIN) => return,
            Err(e) => panic!("read: {e}"),
        }
    }
}
