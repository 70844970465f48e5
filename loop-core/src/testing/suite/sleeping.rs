//! Sleeping and being woken, time, foreign loops.

#![allow(clippy::missing_panics_doc, reason = "panicking is how a case fails")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::tools::*;
use super::{NOW, PATIENCE};
use crate::driver::{Driver, Interest};
use crate::testing::Harness;
use crate::testing::signal::interrupted;

/// A wake before the sleep ends it; the sleep after that is a whole one.
pub fn a_wake_ends_the_next_sleep_and_only_that<D: Driver>(make: impl Fn() -> D) {
    let mut harness = harness(&make);
    let waker = harness.driver().waker();
    for _ in 0..3 {
        for _ in 0..5 {
            waker.wake();
        }
        let start = Instant::now();
        assert_eq!(poll(&mut harness, Some(PATIENCE)), []);
        assert!(start.elapsed() < PATIENCE, "the wake was lost");

        let start = Instant::now();
        let timeout = Duration::from_millis(3);
        poll(&mut harness, Some(timeout));
        assert!(start.elapsed() >= timeout, "woken by nothing");
    }
    // A sleep without an end, or with one beyond all clocks, can be ended.
    waker.wake();
    poll(&mut harness, None);
    waker.wake();
    poll(&mut harness, Some(Duration::MAX));
}

/// A waker may be used when the driver is gone.
pub fn a_waker_outlives_its_driver<D: Driver>(make: impl Fn() -> D) {
    let harness = harness(&make);
    let waker = harness.driver().waker();
    drop(harness);
    waker.wake();
    waker.wake();
}

/// Question and answer between two threads: each wake finds a driver that is about to sleep, asleep, or
/// about to return, and must not be lost.
pub fn no_wake_is_lost<D: Driver>(make: impl Fn() -> D) {
    const ROUNDS: usize = 5_000;
    let mut harness = harness(&make);
    let waker = harness.driver().waker();
    let (asked, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                asked.store(round, Ordering::SeqCst);
                waker.wake();
                while answered.load(Ordering::SeqCst) < round {
                    // Sometimes ask at once, sometimes when the other side has gone to sleep.
                    if round % 3 == 0 { thread::yield_now() } else { std::hint::spin_loop() }
                }
            }
        });
        for round in 1..=ROUNDS {
            let start = Instant::now();
            while asked.load(Ordering::SeqCst) < round {
                poll(&mut harness, Some(PATIENCE));
                if start.elapsed() >= PATIENCE {
                    // Lets the other thread end, so that the failure is seen.
                    answered.store(usize::MAX, Ordering::SeqCst);
                    panic!("wake {round} was lost");
                }
            }
            answered.store(round, Ordering::SeqCst);
        }
    });
}

/// The same with several threads at once that do not wait for an answer.
pub fn many_wakers_lose_no_wake<D: Driver>(make: impl Fn() -> D) {
    const THREADS: usize = 4;
    const ROUNDS: usize = 5_000;
    let mut harness = harness(&make);
    let waker = harness.driver().waker();
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    done.fetch_add(1, Ordering::SeqCst);
                    waker.wake();
                }
            });
        }
        while done.load(Ordering::SeqCst) < THREADS * ROUNDS {
            let start = Instant::now();
            poll(&mut harness, Some(PATIENCE));
            assert!(start.elapsed() < PATIENCE, "a wake was lost");
        }
    });
}

/// A signal may end a poll, but is no error; and the sleep can still be ended by a wake.
pub fn a_signal_is_not_an_error<D: Driver>(make: impl Fn() -> D) {
    let mut harness = harness(&make);
    let waker = harness.driver().waker();
    let done = AtomicBool::new(false);
    let finish = || {
        done.store(true, Ordering::SeqCst);
        waker.wake();
    };
    interrupted(200, finish, || {
        let start = Instant::now();
        while !done.load(Ordering::SeqCst) {
            assert_eq!(poll(&mut harness, Some(PATIENCE)), []);
            assert!(start.elapsed() < PATIENCE, "the wake was lost");
        }
    });
}

/// One poll is enough for a timeout: it is not early, so nobody has to poll again for the rest.
pub fn timeouts_are_not_early<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, _key, _peer) = watched(&make, Interest::READ);
    poll(&mut harness, NOW);
    for nanos in [0, 1, 999, 10_000, 150_000, 999_999, 1_000_000, 1_000_001, 2_500_000, 7_654_321] {
        for _ in 0..3 {
            let timeout = Duration::from_nanos(nanos);
            let start = Instant::now();
            assert_eq!(poll(&mut harness, Some(timeout)), []);
            let slept = start.elapsed();
            assert!(slept >= timeout, "{timeout:?} ended after {slept:?}");
        }
    }
}

/// The descriptor that a driver shows becomes readable when there is something that the last poll has not
/// reported.
pub fn the_poller_is_readable_when_it_has_events<D: Driver>(make: impl Fn() -> D) {
    use rustix::event::{PollFd, PollFlags, Timespec};
    let (mut harness, key, mut peer) = watched(&make, Interest::READ);
    assert_eq!(poll(&mut harness, NOW), []);
    let readable = |harness: &Harness<D>| {
        let fd = harness.driver().as_fd()?;
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        Some(rustix::event::poll(&mut fds, Some(&Timespec::default())) == Ok(1))
    };
    if readable(&harness).is_none() {
        return;
    }
    assert_eq!(readable(&harness), Some(false));
    write(&mut peer, b"x");
    assert_eq!(readable(&harness), Some(true));
    until(&mut harness, key, |r| r.readable);
    drain(harness.fd(key));
    harness.driver().waker().wake();
    assert_eq!(readable(&harness), Some(true));
}
