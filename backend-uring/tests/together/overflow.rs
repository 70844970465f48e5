//! Queues that are too small: slower, never wrong.

use crate::common::{Rig, key, pair, pattern, say};
use anyloop_core::driver::{Driver, Event, Interest};

fn completions_that_do_not_fit_are_brought_in_the_end() {
    for words in ["sq=2,cq=4", "sq=1,cq=1", "sq=2,cq=4,no-defer", "sq=2,cq=4,no-single-issuer"] {
        let mut rig = Rig::words(words);
        let mut streams = Vec::new();
        for slot in 0..64 {
            let (ours, peer) = pair();
            rig.recv_start(&ours, key(slot));
            streams.push((ours, peer));
        }
        rig.silent();
        let mut got = vec![Vec::new(); 64];
        for round in 0..10 {
            for (slot, (_, peer)) in streams.iter_mut().enumerate() {
                say(peer, &pattern(100, slot * round));
            }
            while got.iter().any(|bytes| bytes.len() < 100 * (round + 1)) {
                let Event::Data { key, chunk } = rig.next() else { panic!() };
                got[key.slot as usize].extend_from_slice(&chunk);
            }
        }
        for (slot, bytes) in got.iter().enumerate() {
            let expected: Vec<u8> = (0..10).flat_map(|round| pattern(100, slot * round)).collect();
            assert!(*bytes == expected, "stream {slot}, {words}");
        }
        let line = rig.driver.describe();
        assert!(!line.contains("cq overflown 0 times"), "{words}: {line}");
        assert!(rig.reported(" times (") > 0, "{words}: {line}");
        for (slot, (ours, _)) in streams.into_iter().enumerate() {
            rig.close(ours, key(slot as u32));
        }
        rig.silent();
        assert_eq!(rig.reported(" operations,"), 0);
    }
}

fn readiness_survives_an_overflow() {
    for words in ["sq=2,cq=4", "sq=1,cq=1"] {
        let mut rig = Rig::words(words);
        let mut pairs: Vec<_> = (0..50).map(|_| pair()).collect();
        for (slot, (ours, _)) in pairs.iter().enumerate() {
            rig.register(ours, key(slot as u32), Interest::READ).unwrap();
        }
        rig.silent();
        // Twice: polls that were ended by the overflow are armed again.
        for round in 0..2 {
            let mut told = [false; 50];
            for (_, peer) in &mut pairs {
                say(peer, b"x");
            }
            while told.contains(&false) {
                let Event::Ready { key, readiness } = rig.next() else { panic!() };
                assert!(readiness.readable, "round {round}");
                told[key.slot as usize] = true;
            }
            use std::io::Read;
            for (ours, _) in &mut pairs {
                let _ = ours.read(&mut [0; 8]);
            }
            rig.poll(crate::common::MOMENT);
            rig.poll(crate::common::MOMENT);
            rig.events.clear();
        }
        for (slot, (ours, _)) in pairs.into_iter().enumerate() {
            rig.close(ours, key(slot as u32));
        }
    }
}

fn a_wake_gets_through_an_overflow() {
    let mut rig = Rig::words("sq=1,cq=1");
    let mut pairs: Vec<_> = (0..20).map(|_| pair()).collect();
    for (slot, (ours, _)) in pairs.iter().enumerate() {
        rig.recv_start(ours, key(slot as u32));
    }
    rig.silent();
    for _ in 0..50 {
        for (_, peer) in &mut pairs {
            say(peer, b"x");
        }
        rig.driver.waker().wake();
        let mut got = 0;
        while got < 20 {
            let Event::Data { chunk, .. } = rig.next() else { panic!() };
            got += chunk.len();
        }
        let start = std::time::Instant::now();
        rig.driver.waker().wake();
        rig.poll(crate::common::PATIENCE);
        assert!(start.elapsed() < crate::common::PATIENCE / 2);
        rig.poll(std::time::Duration::ZERO);
    }
}

trials! {
    completions_that_do_not_fit_are_brought_in_the_end,
    readiness_survives_an_overflow,
    a_wake_gets_through_an_overflow,
}
