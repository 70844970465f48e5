//! Closing, shutting down, reusing numbers; nothing leaks and nothing comes back.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::common::{
    Rig, assert_eof, borrow, configs, each_config, key, pair, pattern, say, tcp_pair,
};
use anyloop_core::driver::{Driver, Event, Interest, Key, RecvEnd};
use anyloop_uring::{Config, UringDriver};

fn the_peer_of_a_closed_stream_sees_the_end_at_once() {
    each_config(|rig| {
        for round in 0..20 {
            let (ours, mut peer) = tcp_pair();
            rig.recv_start(&ours, key(round));
            if round % 2 == 0 {
                rig.poll(Duration::ZERO);
            }
            rig.close(ours, key(round));
            // No poll in between: the close alone must do.
            assert_eof(&mut peer);
        }
        rig.silent();
    });
}

fn the_number_of_a_closed_stream_can_be_used_at_once() {
    each_config(|rig| {
        let mut previous = None;
        let mut reused = 0;
        for generation in 0..50 {
            let (ours, mut peer) = pair();
            let (number, fd) = (ours.as_raw_fd(), OwnedFd::from(ours));
            reused += u32::from(previous == Some(number));
            previous = Some(number);
            // The same slot each time, as the core does it.
            let key = Key { slot: 7, generation };
            rig.recv_start(&fd, key);
            let text = pattern(10, generation as usize);
            say(&mut peer, &text);
            assert_eq!(rig.bytes(key, 10), text);
            say(&mut peer, b"late");
            drop(peer);
            rig.close(fd, key);
        }
        assert!(reused > 30, "the kernel gives the lowest number: {reused}");
        rig.silent();
    });
}

fn a_finished_send_survives_the_close() {
    each_config(|rig| {
        let (ours, mut peer) = tcp_pair();
        let text = pattern(20_000, 4);
        rig.recv_start(&ours, key(1));
        rig.driver.send(borrow(&ours), key(1), text.clone(), 0).unwrap();
        assert_eq!(rig.sent(key(1)).1.unwrap(), text.len());
        rig.close(ours, key(1));
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        assert!(got == text);
    });
}

fn a_stuck_send_does_not_keep_the_connection_open() {
    each_config(|rig| {
        let (ours, mut peer) = tcp_pair();
        let long = vec![5; 32 << 20];
        rig.driver.send(borrow(&ours), key(1), long, 0).unwrap();
        rig.silent();
        rig.close(ours, key(1));
        let mut got = vec![0; 1 << 20];
        while peer.read(&mut got).is_ok_and(|count| count > 0) {}
        rig.silent();
    });
}

fn closing_under_way_spares_a_duplicate() {
    each_config(|rig| {
        let (ours, mut peer) = pair();
        let twin = ours.try_clone().unwrap();
        rig.recv_start(&ours, key(1));
        rig.poll(Duration::ZERO);
        rig.close(ours, key(1));
        rig.recv_start(&twin, key(2));
        say(&mut peer, b"still here");
        assert_eq!(rig.bytes(key(2), 10), b"still here");
        rig.close(twin, key(2));
        assert_eof(&mut peer);
    });
}

fn a_driver_that_never_ran_gives_everything_back() {
    for (_, config) in configs() {
        let mut driver = UringDriver::new(&config).unwrap();
        let (ours, mut peer) = pair();
        let (sender, mut receiver) = pair();
        let (watched, mut other) = pair();
        driver.recv_start(borrow(&ours), key(1)).unwrap();
        driver.send(borrow(&sender), key(2), vec![1; 10], 0).unwrap();
        driver.register(borrow(&watched), key(3), Interest::BOTH).unwrap();
        driver.close(ours.into(), key(1));
        assert_eof(&mut peer);
        driver.deregister(borrow(&watched), key(3)).unwrap();
        drop(watched);
        assert_eof(&mut other);
        driver.shutdown();
        drop(sender);
        assert_eof(&mut receiver);
    }
}

/// The kernel would have memory that nobody keeps until it is done.
fn nothing_is_begun_after_the_end() {
    for (_, config) in configs() {
        let mut rig = Rig::new(&config);
        let driver = &mut rig.driver;
        let (ours, mut peer) = pair();
        let (reader, _writer) = std::io::pipe().unwrap();
        let reader = Arc::new(File::from(OwnedFd::from(reader)));
        let held = Arc::downgrade(&reader);
        driver.shutdown();
        assert_eq!(driver.pread(reader, key(1), vec![1; 9], 0), Err(vec![1; 9]));
        assert!(held.upgrade().is_none());
        assert_eq!(driver.send(borrow(&ours), key(2), vec![2; 9], 0), Err(vec![2; 9]));
        let mut kept = vec![3; 9];
        assert!(!driver.send_lazily(borrow(&ours), &mut kept, 0));
        assert_eq!(kept, [3; 9]);
        assert!(driver.recv_start(borrow(&ours), key(2)).is_err());
        assert!(driver.register(borrow(&ours), key(3), Interest::BOTH).is_err());
        let refused = driver.poll(Some(Duration::ZERO), &mut Vec::new()).unwrap_err();
        assert_eq!(refused.to_string(), "this io_uring was shut down");
        driver.close(ours.into(), key(2));
        assert_eof(&mut peer);
    }
}

fn what_is_begun_before_the_first_run_happens_in_it() {
    for (_, config) in configs() {
        let mut driver = UringDriver::new(&config).unwrap();
        let (ours, mut peer) = pair();
        driver.recv_start(borrow(&ours), key(1)).unwrap();
        say(&mut peer, b"early");
        let (stopped, _peer) = pair();
        driver.recv_start(borrow(&stopped), key(2)).unwrap();
        driver.recv_stop(borrow(&stopped), key(2));
        driver.attach().unwrap();
        let mut rig = Rig::over(driver);
        assert!(matches!(rig.recv_ended(key(2)), RecvEnd::Stopped));
        assert_eq!(rig.bytes(key(1), 5), b"early");
        rig.close(ours, key(1));
        rig.close(stopped, key(2));
    }
}

fn stopping_a_starved_stream_ends_it() {
    // One buffer of one byte, and many streams: some wait for buffers at any moment.
    let mut rig = Rig::words("buffers=1,buffer-size=1,no-incremental");
    let mut streams = Vec::new();
    for slot in 0..20 {
        let (ours, mut peer) = pair();
        rig.recv_start(&ours, key(slot));
        streams.push((ours, {
            say(&mut peer, b"abc");
            peer
        }));
    }
    let mut got = [0; 20];
    for (slot, (ours, _)) in streams.iter().enumerate() {
        rig.poll(Duration::ZERO);
        rig.driver.recv_stop(borrow(ours), key(slot as u32));
    }
    let mut ended = 0;
    while ended < 20 {
        match rig.next() {
            Event::Data { key, chunk } => got[key.slot as usize] += chunk.len(),
            Event::RecvEnded { reason: RecvEnd::Stopped, .. } => ended += 1,
            other => panic!("{other:?}"),
        }
    }
    for (slot, (ours, _)) in streams.iter().enumerate() {
        let left = 3 - got[slot];
        let mut rest = [0; 8];
        if left > 0 {
            assert_eq!((&*ours).read(&mut rest).unwrap(), left, "no byte is lost");
        }
    }
}

fn two_drivers_on_one_thread_do_not_meet() {
    let mut first = Rig::new(&Config::new());
    let mut second = Rig::new(&Config::new());
    let (ours, mut peer) = pair();
    first.recv_start(&ours, key(1));
    let (mine, mut other) = pair();
    second.recv_start(&mine, key(1));
    say(&mut peer, b"first");
    say(&mut other, b"other");
    assert_eq!(second.bytes(key(1), 5), b"other");
    assert_eq!(first.bytes(key(1), 5), b"first");
    first.close(ours, key(1));
    second.close(mine, key(1));
}

trials! {
    the_peer_of_a_closed_stream_sees_the_end_at_once,
    the_number_of_a_closed_stream_can_be_used_at_once,
    a_finished_send_survives_the_close,
    a_stuck_send_does_not_keep_the_connection_open,
    closing_under_way_spares_a_duplicate,
    a_driver_that_never_ran_gives_everything_back,
    nothing_is_begun_after_the_end,
    what_is_begun_before_the_first_run_happens_in_it,
    stopping_a_starved_stream_ends_it,
    two_drivers_on_one_thread_do_not_meet,
}
