//! What is announced, and when.

#![allow(clippy::missing_panics_doc, reason = "panicking is how a case fails")]

use std::collections::HashSet;
use std::io::Read;
use std::net::TcpListener;

use rustix::io::Errno;
use rustix::pipe::pipe;

use super::NOW;
use super::tools::*;
use crate::driver::{Driver, Interest, Trigger};

/// Bytes that arrive make the descriptor readable.
pub fn data_is_announced<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::READ);
    assert_eq!(poll(&mut harness, NOW), []);
    write(&mut peer, b"x");
    assert!(until(&mut harness, key, |r| r.readable).readable);
}

/// Bytes that came before the registration are announced, too.
pub fn data_that_was_there_is_announced<D: Driver>(make: impl Fn() -> D) {
    let mut harness = harness(&make);
    let (ours, mut peer) = pair();
    write(&mut peer, b"x");
    let key = register(&mut harness, ours, Interest::READ);
    until(&mut harness, key, |r| r.readable);
}

/// A socket with room is writable from the start.
pub fn a_new_socket_is_writable<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, _peer) = watched(&make, Interest::BOTH);
    let seen = until(&mut harness, key, |r| r.writable);
    assert!(!seen.closed);
}

/// A full socket is silent; room made by the peer is announced.
pub fn a_full_socket_is_writable_again_when_drained<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::WRITE);
    until(&mut harness, key, |r| r.writable);
    let sent = fill(harness.fd(key));
    settle(&mut harness);
    assert_eq!(poll(&mut harness, NOW), []);
    peer.read_exact(&mut vec![0; sent]).expect("what was sent");
    until(&mut harness, key, |r| r.writable);
}

/// The end of a stream is readable, and marked.
pub fn a_closed_peer_is_readable_and_closed<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, peer) = watched(&make, Interest::READ);
    drop(peer);
    until(&mut harness, key, |r| r.readable && r.closed);
}

/// Last bytes and end of stream in one event: the event must say that a short read is not the last one.
/// (Edge-triggered; else the next poll tells again.)
pub fn data_with_the_end_behind_it_is_marked<D: Driver>(make: impl Fn() -> D) {
    let mut harness = harness(&make);
    let (ours, mut peer) = tcp_pair();
    let key = register(&mut harness, ours, Interest::BOTH);
    write(&mut peer, b"bye");
    peer.shutdown(std::net::Shutdown::Write).expect("half-close");
    // Only now is the event taken, so it is one event, if the driver makes one of it.
    let level = is_level(&harness);
    until(&mut harness, key, |r| r.readable && (r.closed || level));
    let mut buffer = [0; 16];
    assert_eq!(rustix::io::read(harness.fd(key), &mut buffer), Ok(3));
    assert_eq!(rustix::io::read(harness.fd(key), &mut buffer), Ok(0));
}

/// A connection that was reset is ready for both sides, and marked.
pub fn a_reset_connection_is_closed<D: Driver>(make: impl Fn() -> D) {
    let mut harness = harness(&make);
    let (ours, peer) = tcp_pair();
    rustix::io::write(&ours, b"never read").expect("room");
    let key = register(&mut harness, ours, Interest::BOTH);
    // Closing with bytes unread resets. They are there when the peer can see them.
    peer.set_nonblocking(false).expect("fcntl");
    assert_eq!(peer.peek(&mut [0; 1]).expect("a byte"), 1);
    drop(peer);
    let seen = until(&mut harness, key, |r| r.readable && r.writable && r.closed);
    assert!(seen.closed);
    let error = rustix::io::read(harness.fd(key), &mut [0; 1]).expect_err("a reset");
    assert_eq!(error, Errno::CONNRESET);
}

/// A connection makes the listener readable and the connecting socket writable.
pub fn a_listener_and_its_connection_become_ready<D: Driver>(make: impl Fn() -> D) {
    let mut harness = harness(&make);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("fcntl");
    let accepting = register(&mut harness, listener, Interest::READ);
    assert_eq!(poll(&mut harness, NOW), []);

    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket =
        socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).expect("a socket");
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(e) => panic!("connect: {e}"),
    }
    let connecting = register(&mut harness, socket, Interest::BOTH);
    let mut waiting = HashSet::from([accepting, connecting]);
    while !waiting.is_empty() {
        for (key, seen) in wait(&mut harness) {
            if (key == accepting && seen.readable) || (key == connecting && seen.writable) {
                waiting.remove(&key);
            }
        }
    }
    rustix::net::accept(harness.fd(accepting)).expect("the connection");
    assert_eq!(rustix::net::sockopt::socket_error(harness.fd(connecting)), Ok(Ok(())));
}

/// A writer learns that nobody reads its pipe any more.
pub fn a_closed_reader_ends_a_pipe_for_its_writer<D: Driver>(make: impl Fn() -> D) {
    let mut harness = harness(&make);
    let (reader, writer) = pipe().expect("a pipe");
    let key = register(&mut harness, writer, Interest::WRITE);
    until(&mut harness, key, |r| r.writable);
    drop(reader);
    until(&mut harness, key, |r| r.writable && r.closed);
}

/// An eventfd (what wakers and children are watched with) becomes readable.
pub fn an_eventfd_announces_each_write<D: Driver>(make: impl Fn() -> D) {
    use rustix::event::{EventfdFlags, eventfd};
    let mut harness = harness(&make);
    let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("an eventfd");
    let ours = fd.try_clone().expect("dup");
    let key = register(&mut harness, ours, Interest::READ);
    for _ in 0..3 {
        assert_eq!(poll(&mut harness, NOW), []);
        rustix::io::write(&fd, &1_u64.to_ne_bytes()).expect("eventfd");
        until(&mut harness, key, |r| r.readable);
        rustix::io::read(&fd, &mut [0; 8]).expect("eventfd");
    }
}

/// What a driver repeats is what its [`Caps`](crate::driver::Caps) say: nothing until something new
/// happens, or everything that holds.
pub fn a_registration_repeats_as_the_driver_says<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::READ);
    write(&mut peer, b"x");
    until(&mut harness, key, |r| r.readable);
    for _ in 0..3 {
        let again = poll(&mut harness, NOW);
        match harness.driver().caps().trigger {
            Trigger::Edge => assert_eq!(again, []),
            Trigger::Level => assert!(again.iter().any(|(k, r)| *k == key && r.readable)),
        }
    }
    drain(harness.fd(key));
    assert_eq!(poll(&mut harness, NOW), []);
    write(&mut peer, b"y");
    until(&mut harness, key, |r| r.readable);
}

/// `modify` tells again what holds, whether or not it changes the interest.
pub fn modifying_announces_what_holds<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::BOTH);
    write(&mut peer, b"x");
    until(&mut harness, key, |r| r.readable);
    settle(&mut harness);
    for interest in [Interest::BOTH, Interest::READ, Interest::READ, Interest::BOTH] {
        harness.modify(key, interest).expect("modify");
        until(&mut harness, key, |r| r.readable);
        settle(&mut harness);
    }
    harness.modify(key, Interest::WRITE).expect("modify");
    until(&mut harness, key, |r| r.writable);
}

/// Nothing but what is wanted (and the end of everything) ends a sleep.
pub fn only_what_is_wanted_ends_a_sleep<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::READ);
    assert_eq!(poll(&mut harness, NOW), [], "writable, but nobody asked");
    harness.modify(key, Interest::WRITE).expect("modify");
    fill(harness.fd(key));
    settle(&mut harness);
    write(&mut peer, b"x");
    assert_eq!(poll(&mut harness, NOW), [], "readable, but nobody asked");
    harness.modify(key, Interest::READ).expect("modify");
    until(&mut harness, key, |r| r.readable);
}

/// [`Interest::NONE`] is silent whatever happens; an interest afterwards tells what holds.
pub fn no_interest_is_silent<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::BOTH);
    harness.modify(key, Interest::NONE).expect("modify");
    harness.modify(key, Interest::NONE).expect("modify, again");
    write(&mut peer, b"x");
    assert_eq!(poll(&mut harness, NOW), []);
    harness.modify(key, Interest::READ).expect("modify");
    until(&mut harness, key, |r| r.readable);

    harness.modify(key, Interest::NONE).expect("modify");
    drop(peer);
    assert_eq!(poll(&mut harness, NOW), [], "not even the end of the stream");
    harness.modify(key, Interest::READ).expect("modify");
    until(&mut harness, key, |r| r.readable && r.closed);
    harness.deregister(key).expect("deregister");

    // Silent from the start, and given up while silent.
    let (ours, mut peer) = pair();
    let key = register(&mut harness, ours, Interest::NONE);
    write(&mut peer, b"x");
    assert_eq!(poll(&mut harness, NOW), []);
    harness.deregister(key).expect("deregister");
}

/// An event that merely brings data says that a short read is the last one.
pub fn plain_data_is_not_marked<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::BOTH);
    write(&mut peer, b"x");
    assert!(!until(&mut harness, key, |r| r.readable).closed);
}
