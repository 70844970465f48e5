//! Receiving and sending, under every configuration.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use crate::common::{Rig, assert_eof, borrow, each_config, key, pair, pattern, say, tcp_pair};
use anyloop_core::driver::{Driver, Event, RecvEnd};

fn bytes_arrive_in_order_until_the_end() {
    each_config(|rig| {
        let (ours, mut peer) = pair();
        rig.recv_start(&ours, key(1));
        say(&mut peer, b"hello");
        assert_eq!(rig.bytes(key(1), 5), b"hello");
        let long = pattern(50_000, 1);
        let expected = long.clone();
        let writer = thread::spawn(move || {
            say(&mut peer, &long);
            peer
        });
        assert_eq!(rig.bytes(key(1), expected.len()), expected);
        drop(writer.join().unwrap());
        assert!(matches!(rig.recv_ended(key(1)), RecvEnd::Eof));
        rig.silent();
        rig.close(ours, key(1));
    });
}

fn data_and_the_end_at_once_are_both_told() {
    each_config(|rig| {
        let (ours, mut peer) = tcp_pair();
        say(&mut peer, b"last words");
        drop(peer);
        rig.recv_start(&ours, key(1));
        assert_eq!(rig.bytes(key(1), 10), b"last words");
        assert!(matches!(rig.recv_ended(key(1)), RecvEnd::Eof));
        rig.close(ours, key(1));
    });
}

fn a_send_gives_its_buffer_back() {
    each_config(|rig| {
        let (ours, mut peer) = pair();
        let buffer = b"..payload".to_vec();
        let address = buffer.as_ptr();
        rig.driver.send(borrow(&ours), key(1), buffer, 2).unwrap();
        let (buffer, result) = rig.sent(key(1));
        assert_eq!(result.unwrap(), 7);
        assert_eq!((buffer.as_ptr(), buffer.as_slice()), (address, &b"..payload"[..]));
        let mut read = [0; 7];
        peer.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"payload");
        rig.close(ours, key(1));
        assert_eof(&mut peer);
    });
}

fn a_long_send_completes_once_and_whole() {
    each_config(|rig| {
        let (ours, mut peer) = tcp_pair();
        let long = pattern(4 << 20, 2);
        let expected = long.clone();
        rig.driver.send(borrow(&ours), key(1), long, 0).unwrap();
        let reader = thread::spawn(move || {
            let mut read = vec![0; expected.len()];
            peer.read_exact(&mut read).unwrap();
            assert!(read == expected);
        });
        let (buffer, result) = rig.sent(key(1));
        assert_eq!(result.unwrap(), buffer.len());
        reader.join().unwrap();
        rig.close(ours, key(1));
    });
}

fn a_send_to_nobody_fails_with_the_buffer() {
    each_config(|rig| {
        let (ours, peer) = pair();
        drop(peer);
        rig.driver.send(borrow(&ours), key(1), b"x".to_vec(), 0).unwrap();
        let (buffer, result) = rig.sent(key(1));
        assert_eq!(buffer, b"x");
        assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        rig.close(ours, key(1));
    });
}

fn an_echo_of_many_streams_mixes_nothing_up() {
    each_config(|rig| {
        const STREAMS: u32 = 20;
        let mut ours = Vec::new();
        let mut peers = Vec::new();
        for slot in 0..STREAMS {
            let (our, peer) = pair();
            rig.recv_start(&our, key(slot));
            ours.push(our);
            peers.push(peer);
        }
        for round in 0..5 {
            for (slot, peer) in peers.iter_mut().enumerate() {
                say(peer, &pattern(100 + 37 * slot, slot + round));
            }
            let mut got = vec![Vec::new(); STREAMS as usize];
            let mut sending = 0;
            let wanted = |slot: usize| 100 + 37 * slot;
            while (0..STREAMS as usize).any(|slot| got[slot].len() < wanted(slot)) || sending > 0 {
                match rig.next() {
                    Event::Data { key, chunk } => {
                        let slot = key.slot as usize;
                        got[slot].extend_from_slice(&chunk);
                        if got[slot].len() == wanted(slot) {
                            let echo = got[slot].clone();
                            rig.driver.send(borrow(&ours[slot]), key, echo, 0).unwrap();
                            sending += 1;
                        }
                    }
                    Event::Sent { result, .. } => {
                        result.unwrap();
                        sending -= 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            for (slot, peer) in peers.iter_mut().enumerate() {
                let expected = pattern(wanted(slot), slot + round);
                let mut read = vec![0; expected.len()];
                peer.read_exact(&mut read).unwrap();
                assert!(read == expected, "stream {slot} in round {round}");
            }
        }
        for (slot, our) in ours.into_iter().enumerate() {
            rig.close(our, key(slot as u32));
        }
        for peer in &mut peers {
            assert_eof(peer);
        }
    });
}

fn stopping_brings_what_was_received_and_then_the_end() {
    each_config(|rig| {
        let (ours, mut peer) = pair();
        rig.recv_start(&ours, key(1));
        say(&mut peer, b"before");
        assert_eq!(rig.bytes(key(1), 6), b"before");
        rig.driver.recv_stop(borrow(&ours), key(1));
        assert!(matches!(rig.recv_ended(key(1)), RecvEnd::Stopped));
        say(&mut peer, b"after");
        rig.silent();
        rig.recv_start(&ours, key(1));
        assert_eq!(rig.bytes(key(1), 5), b"after");
        rig.close(ours, key(1));
    });
}

fn nothing_is_lost_between_stop_and_start() {
    each_config(|rig| {
        let (ours, mut peer) = pair();
        rig.recv_start(&ours, key(1));
        rig.poll(Duration::ZERO);
        let expected = pattern(30_000, 3);
        let text = expected.clone();
        let writer = thread::spawn(move || {
            for piece in text.chunks(100) {
                peer.write_all(piece).unwrap();
            }
            peer
        });
        let mut got = Vec::new();
        let (mut stops, mut ends, mut turn) = (0, 0, 0);
        while got.len() < expected.len() || ends < stops {
            match rig.next() {
                Event::Data { chunk, .. } => {
                    got.extend_from_slice(&chunk);
                    turn += 1;
                    // At once, and while the stop is under way.
                    if turn % 3 == 0 {
                        rig.driver.recv_stop(borrow(&ours), key(1));
                        stops += 1;
                        rig.recv_start(&ours, key(1));
                    }
                    if turn % 7 == 0 {
                        rig.driver.recv_stop(borrow(&ours), key(1));
                        stops += 1;
                        rig.recv_start(&ours, key(1));
                    }
                }
                Event::RecvEnded { reason: RecvEnd::Stopped, .. } => ends += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(got == expected);
        assert_eq!(stops, ends);
        let peer = writer.join().unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert!(matches!(rig.recv_ended(key(1)), RecvEnd::Eof));
        rig.close(ours, key(1));
    });
}

fn starting_twice_and_stopping_nothing_are_harmless() {
    let mut rig = Rig::words("");
    let (ours, _peer) = pair();
    rig.driver.recv_stop(borrow(&ours), key(1));
    rig.recv_start(&ours, key(1));
    let twice = rig.driver.recv_start(borrow(&ours), key(1)).unwrap_err();
    assert_eq!(twice.kind(), std::io::ErrorKind::AlreadyExists);
    rig.driver.recv_stop(borrow(&ours), key(1));
    rig.driver.recv_stop(borrow(&ours), key(1));
    assert!(matches!(rig.recv_ended(key(1)), RecvEnd::Stopped));
    rig.silent();
    rig.close(ours, key(1));
}

fn receiving_from_what_is_no_socket_fails() {
    let mut rig = Rig::words("");
    let file = std::fs::File::open("/dev/null").unwrap();
    rig.recv_start(&file, key(1));
    let RecvEnd::Error(error) = rig.recv_ended(key(1)) else { panic!() };
    assert!(matches!(error.raw_os_error(), Some(libc::ENOTSOCK | libc::EBADFD)), "{error}");
    rig.close(file, key(1));
}

fn without_the_capability_the_engine_says_so() {
    let mut rig = Rig::words("no-recv,no-send,no-accept");
    let caps = rig.driver.caps();
    assert!(!caps.recv && !caps.send && !caps.accept);
    let (ours, _peer) = pair();
    let error = rig.driver.recv_start(borrow(&ours), key(1)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    let error = rig.driver.accept_start(borrow(&ours), key(1)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    assert_eq!(rig.driver.send(borrow(&ours), key(1), vec![1, 2], 0).unwrap_err(), [1, 2]);
    assert!(!Rig::words("no-buffer-ring").driver.caps().recv);
}

fn chunks_that_are_held_do_not_starve_other_streams() {
    each_config(|rig| {
        let (greedy, mut greedy_peer) = pair();
        let (modest, mut modest_peer) = pair();
        rig.recv_start(&greedy, key(1));
        rig.recv_start(&modest, key(2));
        let mut held = Vec::new();
        let mut expected = Vec::new();
        for round in 0..200 {
            let text = pattern(700, round);
            expected.extend_from_slice(&text);
            say(&mut greedy_peer, &text);
            let mut got = 0;
            while got < text.len() {
                match rig.next() {
                    Event::Data { chunk, .. } => {
                        got += chunk.len();
                        held.push(chunk);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        say(&mut modest_peer, b"me too");
        assert_eq!(rig.bytes(key(2), 6), b"me too");
        let whole: Vec<u8> = held.iter().flat_map(|chunk| chunk.iter().copied()).collect();
        assert!(whole == expected, "what is lent does not change");
        let line = rig.driver.describe();
        let tiny = line.contains("buffers of 16,") || line.contains("buffers of 1,");
        assert!(!tiny || !line.contains(" 0 copies"), "{line}");
        rig.close(greedy, key(1));
        rig.close(modest, key(2));
        assert!(held.iter().flat_map(|chunk| chunk.iter().copied()).eq(expected));
    });
}

fn chunks_outlive_the_driver() {
    each_config(|rig| {
        let (ours, mut peer) = pair();
        rig.recv_start(&ours, key(1));
        say(&mut peer, b"kept");
        let mut chunks = Vec::new();
        let mut count = 0;
        while count < 4 {
            let Event::Data { chunk, .. } = rig.next() else { panic!() };
            count += chunk.len();
            chunks.push(chunk);
        }
        rig.close(ours, key(1));
        rig.driver.shutdown();
        *rig = Rig::words("no-recv");
        assert!(chunks.iter().flat_map(|chunk| chunk.iter()).eq(b"kept"));
    });
}

fn more_streams_than_buffers_all_get_their_bytes() {
    for words in ["buffers=2,buffer-size=16,no-incremental", "buffers=2,buffer-size=16", ""] {
        let mut rig = Rig::words(words);
        const STREAMS: usize = 100;
        let mut ours = Vec::new();
        let mut peers = Vec::new();
        for slot in 0..STREAMS {
            let (our, mut peer) = pair();
            rig.recv_start(&our, key(slot as u32));
            rig.poll(Duration::ZERO);
            say(&mut peer, &pattern(48, slot));
            ours.push(our);
            peers.push(peer);
        }
        let mut got = vec![Vec::new(); STREAMS];
        while got.iter().any(|bytes| bytes.len() < 48) {
            let Event::Data { key, chunk } = rig.next() else { panic!() };
            got[key.slot as usize].extend_from_slice(&chunk);
        }
        for (slot, bytes) in got.iter().enumerate() {
            assert!(*bytes == pattern(48, slot), "stream {slot}");
        }
        for (slot, our) in ours.into_iter().enumerate() {
            rig.close(our, key(slot as u32));
        }
    }
}

/// A multishot receive that got data does not look again whether the peer is still there.
fn an_end_that_arrives_with_data_is_told() {
    each_config(|rig| {
        for armed in [false, true] {
            // The end of a Unix stream.
            let (ours, mut peer) = pair();
            if armed {
                rig.recv_start(&ours, key(1));
                rig.poll(Duration::ZERO);
            }
            say(&mut peer, b"last words");
            drop(peer);
            if !armed {
                rig.recv_start(&ours, key(1));
            }
            assert_eq!(rig.bytes(key(1), 10), b"last words");
            assert!(matches!(rig.recv_ended(key(1)), RecvEnd::Eof));
            rig.close(ours, key(1));

            // A half-close: the other direction goes on.
            let (ours, mut peer) = tcp_pair();
            if armed {
                rig.recv_start(&ours, key(2));
                rig.poll(Duration::ZERO);
            }
            say(&mut peer, b"last words");
            peer.shutdown(Shutdown::Write).unwrap();
            if !armed {
                rig.recv_start(&ours, key(2));
            }
            assert_eq!(rig.bytes(key(2), 10), b"last words");
            assert!(matches!(rig.recv_ended(key(2)), RecvEnd::Eof));
            rig.driver.send(borrow(&ours), key(2), b"answer".to_vec(), 0).unwrap();
            rig.sent(key(2)).1.unwrap();
            rig.close(ours, key(2));
            let mut answer = Vec::new();
            peer.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, b"answer");

            // A reset.
            let (ours, mut peer) = tcp_pair();
            if armed {
                rig.recv_start(&ours, key(3));
                rig.poll(Duration::ZERO);
            }
            say(&mut peer, b"last words");
            socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
            drop(peer);
            if !armed {
                rig.recv_start(&ours, key(3));
            }
            assert_eq!(rig.bytes(key(3), 10), b"last words");
            let RecvEnd::Error(error) = rig.recv_ended(key(3)) else { panic!("no error") };
            assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
            rig.close(ours, key(3));
            rig.silent();
        }
    });
}

trials! {
    bytes_arrive_in_order_until_the_end,
    data_and_the_end_at_once_are_both_told,
    a_send_gives_its_buffer_back,
    a_long_send_completes_once_and_whole,
    a_send_to_nobody_fails_with_the_buffer,
    an_echo_of_many_streams_mixes_nothing_up,
    stopping_brings_what_was_received_and_then_the_end,
    nothing_is_lost_between_stop_and_start,
    starting_twice_and_stopping_nothing_are_harmless,
    receiving_from_what_is_no_socket_fails,
    without_the_capability_the_engine_says_so,
    chunks_that_are_held_do_not_starve_other_streams,
    chunks_outlive_the_driver,
    more_streams_than_buffers_all_get_their_bytes,
    an_end_that_arrives_with_data_is_told,
}
