//! Random scripts of everything at once, on every configuration. What a stream brings must be what its
//! peer sent, in order, whatever is paused, closed, held or reused around it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::common::{MOMENT, PATIENCE, Rig, borrow, configs, pair};
use anyloop_core::driver::{Chunk, Driver, Event, Interest, Key, RecvEnd};
use fastrand::Rng;

const SLOTS: usize = 8;
const STEPS: usize = 1000;

/// The endless text of one direction of one connection.
#[derive(Clone, Copy)]
struct Text {
    seed: u64,
    at: usize,
}

impl Text {
    fn next(&mut self, count: usize) -> Vec<u8> {
        let bytes = (0..count).map(|index| {
            let place = (self.at + index) as u64;
            (place.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(self.seed) >> 56) as u8
        });
        let bytes = bytes.collect();
        self.at += count;
        bytes
    }

    fn check(&mut self, bytes: &[u8], what: &str) {
        assert!(self.next(bytes.len()) == bytes, "{what}, before byte {}", self.at);
    }
}

struct Connection {
    key: Key,
    ours: UnixStream,
    peer: UnixStream,
    /// What the peer says, as far as said, and as far as it arrived.
    said: Text,
    heard: Text,
    /// The same in the other direction.
    sent: Text,
    echoed: Text,
    sending: usize,
    receiving: bool,
    stops: usize,
    peer_closed: bool,
    /// Registered for readiness instead.
    watched: bool,
}

struct Script {
    rig: Rig,
    rng: Rng,
    slots: Vec<Option<Connection>>,
    generation: u32,
    held: VecDeque<(Chunk, Vec<u8>)>,
}

impl Script {
    fn new(rig: Rig, seed: u64) -> Self {
        let slots = (0..SLOTS).map(|_| None).collect();
        Self { rig, rng: Rng::with_seed(seed), slots, generation: 0, held: VecDeque::new() }
    }

    fn step(&mut self) {
        let slot = self.rng.usize(..SLOTS);
        match self.slots[slot].take() {
            None => self.slots[slot] = Some(self.open(slot)),
            Some(connection) => self.slots[slot] = self.touch(connection),
        }
        match self.rng.usize(..6) {
            0 => {
                self.rig.driver.waker().wake();
                self.rig.poll(PATIENCE);
            }
            1 | 2 => {
                self.rig.poll(Duration::ZERO);
            }
            _ => {}
        }
        self.drain();
        if self.held.len() > 40 || (self.rng.usize(..10) == 0 && !self.held.is_empty()) {
            let which = self.rng.usize(..self.held.len());
            let (chunk, copy) = self.held.remove(which).unwrap();
            assert!(*chunk == *copy, "what is lent does not change");
        }
    }

    fn open(&mut self, slot: usize) -> Connection {
        let (ours, peer) = pair();
        peer.set_nonblocking(true).unwrap();
        self.generation += 1;
        let key = Key { slot: slot as u32, generation: self.generation };
        let seed = u64::from(self.generation) << 32;
        let said = Text { seed, at: 0 };
        let sent = Text { seed: !seed, at: 0 };
        let watched = self.rng.usize(..5) == 0;
        if watched {
            self.rig.register(&ours, key, Interest::BOTH).unwrap();
        } else {
            self.rig.recv_start(&ours, key);
        }
        Connection {
            key,
            ours,
            peer,
            said,
            heard: said,
            sent,
            echoed: sent,
            sending: 0,
            receiving: !watched,
            stops: 0,
            peer_closed: false,
            watched,
        }
    }

    fn touch(&mut self, mut it: Connection) -> Option<Connection> {
        match self.rng.usize(..20) {
            0 => {
                self.rig.close(it.ours, it.key);
                return None;
            }
            1 if !it.peer_closed => {
                it.peer.shutdown(std::net::Shutdown::Write).unwrap();
                it.peer_closed = true;
            }
            2..=5 if it.receiving => {
                self.rig.driver.recv_stop(borrow(&it.ours), it.key);
                it.stops += 1;
                it.receiving = false;
            }
            2..=5 if !it.watched => {
                self.rig.recv_start(&it.ours, it.key);
                it.receiving = true;
            }
            6 if it.watched => {
                let interest = [Interest::READ, Interest::WRITE, Interest::BOTH, Interest::NONE];
                let interest = interest[self.rng.usize(..4)];
                self.rig.driver.modify(borrow(&it.ours), it.key, interest).unwrap();
            }
            7 if it.watched && it.sending == 0 => {
                self.rig.driver.deregister(borrow(&it.ours), it.key).unwrap();
                return None;
            }
            8..=11 if it.sending == 0 => {
                let count = 1 + self.rng.usize(..3000);
                let buffer = it.sent.next(count);
                if self.rng.usize(..3) > 0 {
                    self.rig.send_lazily(&it.ours, it.key, buffer, 0);
                } else {
                    self.rig.driver.send(borrow(&it.ours), it.key, buffer, 0).unwrap();
                }
                it.sending = count;
            }
            12..=17 if !it.peer_closed => {
                let count = 1 + self.rng.usize(..2000);
                let before = it.said;
                let bytes = it.said.next(count);
                let written = match it.peer.write(&bytes) {
                    Ok(written) => written,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        0
                    }
                };
                it.said = Text { at: before.at + written, ..before };
            }
            _ => hear(&mut it),
        }
        Some(it)
    }

    /// Looks at the events so far.
    fn drain(&mut self) {
        while let Some(event) = self.rig.events.pop_front() {
            let key = event.key();
            let hold = self.rng.usize(..4) == 0;
            let Some(it) =
                self.slots[key.slot as usize].as_mut().filter(|connection| connection.key == key)
            else {
                panic!("an event of {key:?}, which is gone");
            };
            match event {
                Event::Data { chunk, .. } => {
                    it.heard.check(&chunk, "received");
                    if hold {
                        let copy = chunk.to_vec();
                        self.held.push_back((chunk, copy));
                    }
                }
                Event::RecvEnded { reason: RecvEnd::Stopped, .. } => {
                    assert!(it.stops > 0);
                    it.stops -= 1;
                }
                Event::RecvEnded { reason: RecvEnd::Eof, .. } => {
                    assert!(it.peer_closed);
                    assert_eq!(it.heard.at, it.said.at, "all of it came before the end");
                    // The end takes the place of a stop that was under way.
                    it.stops = 0;
                    it.receiving = false;
                }
                Event::Sent { result, buffer, .. } => {
                    let sent = result.unwrap();
                    it.sending -= sent;
                    if it.sending > 0 {
                        let offset = buffer.len() - it.sending;
                        self.rig.driver.send(borrow(&it.ours), it.key, buffer, offset).unwrap();
                    }
                }
                Event::Ready { .. } => assert!(it.watched),
                other => panic!("{other:?}"),
            }
        }
    }

    fn report(&self) -> String {
        let slots = self.slots.iter().flatten().map(|it| {
            format!(
                "{:?} heard {} of {}, sending {}, receiving {}, peer closed {}\n",
                it.key, it.heard.at, it.said.at, it.sending, it.receiving, it.peer_closed
            )
        });
        format!("{}\n{}", self.rig.driver.describe(), slots.collect::<String>())
    }

    /// Everything that was said arrives, and everything is given back.
    fn finish(mut self) {
        self.held.clear();
        for slot in 0..SLOTS {
            let Some(it) = &mut self.slots[slot] else { continue };
            if it.watched || it.receiving {
                continue;
            }
            if it.heard.at < it.said.at {
                it.receiving = true;
                let (fd, key) = (borrow(&it.ours), it.key);
                self.rig.driver.recv_start(fd, key).unwrap();
            }
        }
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE, "stuck: {}", self.report());
            let slots = self.slots.iter_mut().flatten();
            let open: Vec<_> = slots.filter(|it| it.receiving || it.sending > 0).collect();
            let mut behind = 0;
            for it in open {
                hear(it);
                behind += usize::from(it.sending > 0);
                let all = it.heard.at == it.said.at && !it.peer_closed;
                behind += usize::from(it.receiving && !all);
            }
            if behind == 0 {
                break;
            }
            // Not for long: the end of a lazy send comes when the wait is over.
            self.rig.poll(MOMENT);
            self.drain();
        }
        for it in self.slots.iter_mut().filter_map(Option::take) {
            self.rig.close(it.ours, it.key);
        }
        self.rig.poll(Duration::ZERO);
        self.rig.events.clear();
        self.rig.silent();
        let line = self.rig.driver.describe();
        assert!(line.contains("; 0 operations, 0 in the kernel "), "{line}");
    }
}

/// The peer reads what has come.
fn hear(it: &mut Connection) {
    let mut buffer = [0; 8192];
    match it.peer.read(&mut buffer) {
        Ok(count) => it.echoed.check(&buffer[..count], "sent"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
}

fn random_scripts_lose_and_mix_up_nothing() {
    let rounds = std::env::var("ANYLOOP_TEST_ROUNDS").map_or(1, |text| text.parse().unwrap());
    for round in 1..=rounds {
        for (index, (words, config)) in configs().into_iter().enumerate() {
            let seed = round * 1000 + index as u64;
            eprintln!("config {words:?}, seed {seed}");
            let mut script = Script::new(Rig::new(&config), seed);
            for _ in 0..STEPS {
                script.step();
            }
            script.finish();
        }
    }
}

trials! {
    random_scripts_lose_and_mix_up_nothing,
}
