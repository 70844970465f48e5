//! Descriptors are counted here, so the tests take turns: the count is the process's.

use std::io::Read;
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::common::{
    Rig, assert_eof, borrow, configs, each_config, key, listener, open_fds, pair, pattern, say,
    tcp_pair,
};
use anyloop_core::driver::{Driver, Interest, Key, RecvEnd};

fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn completions_of_a_closed_key_are_swallowed() {
    let _turn = alone();
    each_config(|rig| {
        let listener = listener();
        rig.driver.accept_start(borrow(&listener), key(1)).unwrap();
        rig.silent();
        let (ours, mut peer) = pair();
        rig.recv_start(&ours, key(2));
        let (watched, mut other) = pair();
        rig.register(&watched, key(3), Interest::BOTH).unwrap();
        rig.ready(key(3));
        rig.poll(Duration::ZERO);
        rig.events.clear();
        let fds = open_fds();
        // All of it happens before the close, and is told after it.
        let mut connecting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        connecting.set_read_timeout(Some(crate::common::PATIENCE)).unwrap();
        say(&mut peer, &pattern(1000, 1));
        say(&mut other, b"x");
        rig.driver.send(borrow(&ours), key(2), vec![1; 100], 0).unwrap();
        rig.close(listener, key(1));
        rig.close(ours, key(2));
        rig.close(watched, key(3));
        rig.silent();
        assert_eof(&mut connecting);
        drop(connecting);
        assert_eq!(open_fds(), fds - 3, "late connections are closed");
    });
}

fn a_thousand_connections_leave_nothing_behind() {
    let _turn = alone();
    for (words, config) in configs().into_iter().filter(|(words, _)| {
        ["", "no-defer", "no-multishot-recv", "sq=2,cq=4,buffers=2,buffer-size=16"].contains(words)
    }) {
        let mut rig = Rig::new(&config);
        let listener = listener();
        rig.driver.accept_start(borrow(&listener), key(0)).unwrap();
        rig.poll(Duration::ZERO);
        let fds = open_fds();
        for round in 0..1000 {
            let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let ours = rig.accepted(key(0));
            let key = Key { slot: 1 + round % 3, generation: round };
            rig.recv_start(&ours, key);
            say(&mut peer, b"ping");
            assert_eq!(rig.bytes(key, 4), b"ping");
            rig.driver.send(borrow(&ours), key, b"pong".to_vec(), 0).unwrap();
            rig.sent(key).1.unwrap();
            if round % 2 == 0 {
                peer.read_exact(&mut [0; 4]).unwrap();
                drop(peer);
                assert!(matches!(rig.recv_ended(key), RecvEnd::Eof));
            }
            rig.close(ours, key);
        }
        rig.silent();
        assert_eq!(open_fds(), fds, "{words}");
        let line = rig.driver.describe();
        assert!(line.contains("; 1 operations, 1 in the kernel "), "{words}: {line}");
        rig.close(listener, key(0));
    }
}

/// Everything there is, in flight at once.
fn crowd(rig: &mut Rig) -> Vec<Box<dyn std::any::Any>> {
    let mut kept: Vec<Box<dyn std::any::Any>> = Vec::new();
    let listener = listener();
    rig.driver.accept_start(borrow(&listener), key(1)).unwrap();
    let (ours, mut peer) = tcp_pair();
    rig.recv_start(&ours, key(2));
    rig.driver.send(borrow(&ours), key(2), vec![3; 64 << 20], 0).unwrap();
    let (watched, other) = pair();
    rig.register(&watched, key(3), Interest::READ).unwrap();
    rig.silent();
    say(&mut peer, b"unread");
    kept.push(Box::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap()));
    kept.push(Box::new((listener, ours, peer, watched, other)));
    kept
}

fn shutdown_ends_everything_in_flight() {
    let _turn = alone();
    for (words, config) in configs() {
        let before = open_fds();
        let mut rig = Rig::new(&config);
        let kept = crowd(&mut rig);
        let start = Instant::now();
        rig.driver.shutdown();
        assert!(start.elapsed() < Duration::from_secs(1), "{words}: {:?}", start.elapsed());
        let line = rig.driver.describe();
        assert!(line.contains("; 0 operations, 0 in the kernel "), "{words}: {line}");
        drop(rig);
        drop(kept);
        // The ring's own descriptors are gone at once, those in dying sockets with them.
        assert_eq!(open_fds(), before, "{words}");
    }
}

fn dropping_is_shutting_down() {
    let _turn = alone();
    let mut rig = Rig::words("");
    let kept = crowd(&mut rig);
    drop(rig);
    drop(kept);
}

trials! {
    completions_of_a_closed_key_are_swallowed,
    a_thousand_connections_leave_nothing_behind,
    shutdown_ends_everything_in_flight,
    dropping_is_shutting_down,
}
