//! Sends that the kernel has no room for, beside a peer that has shut down its side. The kernel's worker
//! threads are counted here: they are the process's.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::OnceLock;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use crate::common::{Rig, borrow, each_config, key, pair, pattern, tcp_pair};
use anyloop_core::driver::Driver;
use socket2::Socket;

/// More than any socket here takes.
const MUCH: usize = 16 << 20;

/// That many distinct bytes.
fn much() -> Vec<u8> {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    MADE.get_or_init(|| pattern(MUCH, 1)).clone()
}

/// The worker threads that the kernel has for rings of this process.
fn workers() -> BTreeSet<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.flatten().filter_map(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        name.starts_with("iou-wrk").then(|| task.path().display().to_string())
    });
    names.collect()
}

fn sockets(tcp: bool) -> (Socket, Socket) {
    if tcp {
        let (ours, peer) = tcp_pair();
        (ours.into(), peer.into())
    } else {
        let (ours, peer) = pair();
        (ours.into(), peer.into())
    }
}

/// Begins a send that has to wait, at a peer that shuts down its side before or after.
fn stuck(rig: &mut Rig, ours: &Socket, peer: &Socket, before: bool) {
    if before {
        peer.shutdown(Shutdown::Write).unwrap();
    }
    rig.recv_start(ours, key(1));
    rig.driver.send(borrow(ours), key(1), much(), 0).unwrap();
    rig.poll(Duration::ZERO);
    if !before {
        peer.shutdown(Shutdown::Write).unwrap();
    }
    rig.recv_ended(key(1));
}

/// The peer reads until the end of the stream.
fn read_all(mut peer: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    spawn(move || {
        let mut read = Vec::new();
        peer.read_to_end(&mut read).unwrap();
        read
    })
}

/// What follows when the peer reads at last.
fn ends_well(rig: &mut Rig, ours: Socket, peer: Socket) {
    let reader = read_all(peer);
    let (buffer, result) = rig.sent(key(1));
    assert_eq!(result.unwrap(), MUCH);
    // Nobody enters the ring again: the peer is to see the end by the close alone.
    rig.close(ours, key(1));
    assert!(reader.join().unwrap() == buffer, "other bytes than were sent");
}

fn a_send_that_waits_takes_no_thread_and_does_not_spin() {
    each_config(|rig| {
        let there = workers();
        for before in [false, true] {
            for tcp in [false, true] {
                let (ours, peer) = sockets(tcp);
                stuck(rig, &ours, &peer, before);
                let enters = waits(rig);
                ends_well(rig, ours, peer);
                assert!(enters < 20, "{enters} entries for one wait");
                let new: Vec<_> = workers().difference(&there).cloned().collect();
                assert!(new.is_empty(), "the kernel made {new:?}");
            }
        }
    });
}

fn a_send_that_is_over_watches_for_room_no_more() {
    each_config(|rig| {
        for tcp in [false, true] {
            let (ours, peer) = sockets(tcp);
            stuck(rig, &ours, &peer, true);
            assert_eq!(rig.reported(" room)"), 1);
            let reader = read_all(peer);
            assert_eq!(rig.sent(key(1)).1.unwrap(), MUCH);
            rig.silent();
            assert_eq!(rig.reported(" room)"), 0);
            rig.close(ours, key(1));
            assert_eq!(reader.join().unwrap().len(), MUCH);
        }
    });
}

/// Entries to the kernel while nothing happens.
fn waits(rig: &mut Rig) -> u64 {
    let before = rig.enters();
    rig.silent();
    rig.enters() - before
}

fn a_send_that_waits_ends_with_its_key() {
    each_config(|rig| {
        for before in [false, true] {
            let (ours, peer) = sockets(true);
            stuck(rig, &ours, &peer, before);
            rig.close(ours, key(1));
            let read = read_all(peer).join().unwrap();
            assert!(much().starts_with(&read) && read.len() < MUCH);
            rig.silent();
            assert_eq!(rig.reported(" in the kernel"), 0);
        }
    });
}

fn a_send_that_waits_learns_of_a_reset() {
    each_config(|rig| {
        let (ours, mut peer) = tcp_pair();
        rig.driver.send(borrow(&ours), key(1), much(), 0).unwrap();
        rig.silent();
        peer.write_all(b"unread").unwrap();
        // It has not read what we have sent.
        drop(peer);
        let (_, result) = rig.sent(key(1));
        // The kernel tells it once: were the part told that was sent before, the next send would find a
        // broken pipe.
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECONNRESET));
        rig.close(ours, key(1));
    });
}

fn many_sends_that_wait_one_after_the_other() {
    each_config(|rig| {
        let (ours, peer) = pair();
        let reader = read_all(peer);
        for piece in much().chunks(300_000) {
            rig.driver.send(borrow(&ours), key(1), piece.to_vec(), 0).unwrap();
            assert_eq!(rig.sent(key(1)).1.unwrap(), piece.len());
        }
        rig.close(ours, key(1));
        assert!(reader.join().unwrap() == much(), "other bytes than were sent");
    });
}

trials! {
    a_send_that_is_over_watches_for_room_no_more,
    a_send_that_waits_takes_no_thread_and_does_not_spin,
    a_send_that_waits_ends_with_its_key,
    a_send_that_waits_learns_of_a_reset,
    many_sends_that_wait_one_after_the_other,
}
