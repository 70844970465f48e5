//! Whose descriptor it is, and how many there are at once.

#![allow(clippy::missing_panics_doc, reason = "panicking is how a case fails")]

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::NOW;
use super::tools::*;
use crate::driver::{Driver, Interest};

/// Regular files are always ready and are refused, as `epoll` does.
pub fn a_file_that_cannot_be_polled_is_refused<D: Driver>(make: impl Fn() -> D) {
    let mut harness = harness(&make);
    let path = std::env::current_exe().expect("a path");
    for interest in [Interest::READ, Interest::BOTH, Interest::NONE] {
        let file = File::open(&path).expect("this program");
        let error = harness.register(file, interest).expect_err("a regular file");
        assert_eq!(Errno::from_io_error(&error), Some(Errno::PERM));
    }
    assert_eq!(poll(&mut harness, NOW), []);
}

/// A second registration of the same descriptor is refused and changes nothing.
pub fn a_descriptor_is_registered_once<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::READ);
    let error = harness.register_again(key, Interest::BOTH).expect_err("registered already");
    assert_eq!(Errno::from_io_error(&error), Some(Errno::EXIST));
    write(&mut peer, b"x");
    until(&mut harness, key, |r| r.readable);
}

/// What was seen but not yet told is not told after `deregister`.
pub fn a_pending_event_does_not_outlive_deregistration<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::BOTH);
    write(&mut peer, b"x");
    let ours = harness.deregister(key).expect("deregister");
    assert_eq!(poll(&mut harness, NOW), []);
    // The descriptor is untouched, and can come back.
    let key = register(&mut harness, ours, Interest::READ);
    until(&mut harness, key, |r| r.readable);
}

/// A number that is closed and used again has the events of its new registration only.
pub fn a_reused_number_has_only_the_new_key<D: Driver>(make: impl Fn() -> D) {
    let mut harness = harness(&make);
    for round in 0..20 {
        let (ours, mut old_peer) = pair();
        let old = register(&mut harness, ours, Interest::BOTH);
        write(&mut old_peer, b"old");
        if round % 2 == 0 {
            until(&mut harness, old, |r| r.readable);
            drop(harness.deregister(old).expect("deregister"));
        } else {
            harness.close(old);
        }
        let (ours, mut peer) = pair();
        let new = register(&mut harness, ours, Interest::READ);
        assert_eq!(poll(&mut harness, NOW), []);
        write(&mut peer, b"new");
        assert_eq!(only_key(&wait(&mut harness)), new);
        harness.close(new);
    }
}

/// `close` closes: the peer sees the end at once.
pub fn closing_tells_the_peer<D: Driver>(make: impl Fn() -> D) {
    for interest in [Interest::NONE, Interest::READ, Interest::BOTH] {
        let (mut harness, key, mut peer) = watched(&make, interest);
        harness.close(key);
        assert_eq!(peer.read(&mut [0; 1]).expect("the end"), 0);
        assert_eq!(poll(&mut harness, NOW), []);

        // With no poll between a change of the interest and the end.
        let (mut harness, key, mut peer) = watched(&make, interest);
        poll(&mut harness, NOW);
        harness.modify(key, Interest::READ).expect("modify");
        harness.close(key);
        assert_eq!(peer.read(&mut [0; 1]).expect("the end"), 0);
    }
}

/// A file that is open elsewhere (a child has it) is not watched after `close`.
pub fn a_duplicate_does_not_keep_a_registration_alive<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::READ);
    let duplicate = harness.fd(key).try_clone_to_owned().expect("dup");
    harness.close(key);
    write(&mut peer, b"x");
    assert_eq!(poll(&mut harness, NOW), []);
    drop(duplicate);
}

/// A descriptor closed behind our back: taking it back is no error, and does not hit the descriptor that
/// has the number now.
pub fn a_number_replaced_behind_our_back_belongs_to_its_new_key<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, old, old_peer) = watched(&make, Interest::READ);
    let (ours, _peer) = pair();
    harness.replace(old, ours.as_fd()).expect("dup2");
    drop((ours, old_peer));
    harness.deregister(old).map(drop).expect("no error for what is gone");

    let (mut harness, old, old_peer) = watched(&make, Interest::READ);
    let (ours, mut peer) = pair();
    harness.replace(old, ours.as_fd()).expect("dup2");
    drop((ours, old_peer));
    match harness.register_again(old, Interest::READ) {
        Ok(new) => {
            harness.deregister_stale(new, old).expect("no error for what is gone");
            let error = harness.modify_stale(new, old, Interest::BOTH).expect_err("it is gone");
            assert_eq!(Errno::from_io_error(&error), Some(Errno::NOENT));
            write(&mut peer, b"x");
            until(&mut harness, new, |r| r.readable);
        }
        // A driver that only knows numbers cannot tell that it is another file.
        Err(e) => assert_eq!(Errno::from_io_error(&e), Some(Errno::EXIST)),
    }
}

/// A poll that fills its buffer leaves the rest to the next one: everything is told. (Perhaps twice: a
/// driver whose queue overflowed may have to arm again.)
pub fn a_small_buffer_loses_no_event<D: Driver>(make: impl Fn() -> D) {
    const COUNT: usize = 50;
    let mut harness = harness(&make);
    let mut peers = Vec::new();
    let mut keys = HashSet::new();
    for _ in 0..COUNT {
        let (ours, mut peer) = pair();
        keys.insert(register(&mut harness, ours, Interest::READ));
        write(&mut peer, b"x");
        peers.push(peer);
    }
    let mut told = HashSet::new();
    let mut polls = 0;
    while told.len() < COUNT {
        for (key, seen) in wait(&mut harness) {
            assert!(keys.contains(&key) && seen.readable);
            told.insert(key);
        }
        polls += 1;
        assert!(polls <= COUNT * COUNT, "a descriptor starves");
    }
}
