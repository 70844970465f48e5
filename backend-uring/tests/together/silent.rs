//! Lazy sends, silent or not.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    MOMENT, Rig, assert_eof, borrow, each_config, key, pair, pattern, say, tcp_pair,
};
use anyloop_core::driver::{Driver, Event};

fn a_lazy_send_is_told_with_the_next_event() {
    each_config(|rig| {
        let (ours, mut peer) = pair();
        rig.recv_start(&ours, key(1));
        rig.poll(Duration::ZERO);
        for round in 0..20 {
            let text = pattern(100, round);
            rig.send_lazily(&ours, key(1), text.clone(), 3);
            // The peer answers what it gets, and that ends the wait.
            let answering = thread::spawn(move || {
                let mut read = vec![0; 97];
                peer.read_exact(&mut read).unwrap();
                say(&mut peer, b"!");
                (peer, read)
            });
            let (mut sent, mut answered) = (false, false);
            while !(sent && answered) {
                match rig.next() {
                    Event::Sent { buffer, result, .. } => {
                        assert_eq!((buffer, result.unwrap()), (text.clone(), 97));
                        sent = true;
                    }
                    Event::Data { chunk, .. } => answered = *chunk == *b"!",
                    other => panic!("{other:?}"),
                }
            }
            let (back, read) = answering.join().unwrap();
            assert!(read == text[3..]);
            peer = back;
        }
        rig.close(ours, key(1));
    });
}

fn a_lazy_send_costs_no_entry_of_its_own() {
    let mut rig = Rig::words("");
    let (ours, mut peer) = pair();
    rig.recv_start(&ours, key(1));
    rig.poll(Duration::ZERO);
    for _ in 0..10 {
        let before = rig.enters();
        rig.send_lazily(&ours, key(1), b"ping".to_vec(), 0);
        let start = Instant::now();
        assert_eq!(rig.poll(MOMENT), 1);
        assert!(start.elapsed() >= MOMENT, "it sleeps all the same");
        assert_eq!(rig.enters() - before, 1);
        assert_eq!(rig.sent(key(1)).1.unwrap(), 4);
        peer.read_exact(&mut [0; 4]).unwrap();
    }
    rig.close(ours, key(1));
}

fn a_lazy_send_that_finds_no_room_is_short() {
    each_config(|rig| {
        let (ours, mut peer) = pair();
        let text = pattern(1 << 20, 6);
        rig.send_lazily(&ours, key(1), text.clone(), 0);
        // With a completion for each send the kernel may as well wait for room, and the peer must read.
        rig.poll(MOMENT);
        let mut reader = peer.try_clone().unwrap();
        let expected = text.clone();
        let reader = thread::spawn(move || {
            let mut read = vec![0; expected.len()];
            reader.read_exact(&mut read).unwrap();
            assert!(read == expected);
        });
        let mut offset = 0;
        while offset < text.len() {
            let (buffer, result) = rig.sent(key(1));
            offset += result.unwrap();
            if offset < buffer.len() {
                rig.driver.send(borrow(&ours), key(1), buffer, offset).unwrap();
            }
        }
        reader.join().unwrap();
        rig.close(ours, key(1));
        assert_eof(&mut peer);
    });
}

fn a_lazy_send_before_a_close_arrives() {
    each_config(|rig| {
        for round in 0..10 {
            let (ours, mut peer) = tcp_pair();
            rig.send_lazily(&ours, key(round), b"bye".to_vec(), 0);
            rig.close(ours, key(round));
            let mut read = Vec::new();
            peer.read_to_end(&mut read).unwrap();
            assert_eq!(read, b"bye");
        }
        rig.silent();
        assert!(rig.driver.describe().contains("; 0 operations"), "{}", rig.driver.describe());
    });
}

fn a_lazy_send_to_nobody_fails_with_the_buffer() {
    each_config(|rig| {
        let (ours, peer) = pair();
        drop(peer);
        rig.send_lazily(&ours, key(1), b"x".to_vec(), 0);
        let (buffer, result) = rig.sent(key(1));
        assert_eq!(buffer, b"x");
        assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        rig.close(ours, key(1));
    });
}

/// Also where the submission queue is too short for all of them.
fn lazy_sends_of_many_streams_are_told_apart() {
    each_config(|rig| {
        let pairs: Vec<_> = (0..20).map(|_| pair()).collect();
        for round in 0..3 {
            for (slot, (ours, _)) in pairs.iter().enumerate() {
                rig.send_lazily(ours, key(slot as u32), pattern(10 + slot, round), round);
            }
            let mut told = Vec::new();
            while told.len() < pairs.len() {
                rig.poll(MOMENT);
                told.extend(rig.events.drain(..));
            }
            told.sort_by_key(|event| event.key().slot);
            for (slot, event) in told.into_iter().enumerate() {
                let Event::Sent { key: got, buffer, result } = event else { panic!("{event:?}") };
                assert_eq!((got, result.unwrap()), (key(slot as u32), 10 + slot - round));
                assert_eq!(buffer, pattern(10 + slot, round));
            }
            for (slot, (_, peer)) in pairs.iter().enumerate() {
                let mut read = vec![0; 10 + slot - round];
                (&*peer).read_exact(&mut read).unwrap();
                assert_eq!(read, pattern(10 + slot, round)[round..]);
            }
        }
        for (slot, (ours, _)) in pairs.into_iter().enumerate() {
            rig.close(ours, key(slot as u32));
        }
    });
}

trials! {
    a_lazy_send_is_told_with_the_next_event,
    a_lazy_send_costs_no_entry_of_its_own,
    a_lazy_send_that_finds_no_room_is_short,
    a_lazy_send_before_a_close_arrives,
    a_lazy_send_to_nobody_fails_with_the_buffer,
    lazy_sends_of_many_streams_are_told_apart,
}
