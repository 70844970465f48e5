//! Sleeping exactly as long as asked, and no wake is ever lost.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{MOMENT, PATIENCE, Rig, borrow, each_config, key, pair, pattern, say};
use anyloop_core::driver::{Driver, Event};
use anyloop_uring::UringDriver;

fn a_wait_is_as_long_as_asked_and_no_shorter() {
    each_config(|rig| {
        for micros in [0, 1, 50, 500, 3000] {
            let asked = Duration::from_micros(micros);
            let start = Instant::now();
            assert_eq!(rig.poll(asked), 0);
            let took = start.elapsed();
            assert!(took >= asked, "asked {asked:?}, took {took:?}");
        }
    });
}

fn completions_of_our_own_do_not_shorten_a_wait() {
    each_config(|rig| {
        let (ours, _peer) = pair();
        let start = Instant::now();
        // Cancelled things complete, but nobody is told.
        rig.recv_start(&ours, key(1));
        rig.poll(Duration::ZERO);
        rig.close(ours, key(1));
        assert_eq!(rig.poll(MOMENT), 0);
        assert!(start.elapsed() >= MOMENT);
    });
}

fn absurd_timeouts_are_long_ones() {
    each_config(|rig| {
        let waker = rig.driver.waker();
        waker.wake();
        assert_eq!(rig.poll(Duration::MAX), 0);
        waker.wake();
        let mut events = Vec::new();
        rig.driver.poll(None, &mut events).unwrap();
        assert!(events.is_empty());
    });
}

fn a_wake_ends_the_next_wait_even_before_the_first_run() {
    for (_, config) in crate::common::configs() {
        let driver = UringDriver::new(&config).unwrap();
        driver.waker().wake();
        let mut rig = Rig::over(driver);
        let start = Instant::now();
        rig.poll(PATIENCE);
        for _ in 0..20 {
            rig.driver.waker().wake();
            rig.driver.waker().wake();
            rig.poll(PATIENCE);
            // A second wake may end one more.
            rig.poll(Duration::ZERO);
        }
        assert!(start.elapsed() < PATIENCE);
    }
}

fn a_wake_during_a_close_is_kept() {
    each_config(|rig| {
        let start = Instant::now();
        for round in 0..20 {
            let (ours, _peer) = pair();
            rig.recv_start(&ours, key(round));
            rig.poll(Duration::ZERO);
            rig.driver.waker().wake();
            rig.close(ours, key(round));
            rig.poll(PATIENCE);
        }
        assert!(start.elapsed() < PATIENCE);
    });
}

fn no_wake_from_another_thread_is_lost() {
    each_config(|rig| {
        const ROUNDS: u32 = 2000;
        let waker = rig.driver.waker();
        let turn = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&turn);
        // The other thread wakes once per turn and waits for the next; a lost wake is a wait of ten
        // seconds.
        let thread = thread::spawn(move || {
            for round in 0..ROUNDS {
                while theirs.load(Ordering::Acquire) != 2 * round + 1 {
                    std::hint::spin_loop();
                    thread::yield_now();
                }
                theirs.store(2 * round + 2, Ordering::Release);
                waker.wake();
            }
        });
        let start = Instant::now();
        for round in 0..ROUNDS {
            turn.store(2 * round + 1, Ordering::Release);
            while turn.load(Ordering::Acquire) != 2 * round + 2 {
                assert_eq!(rig.poll(PATIENCE), 0);
            }
        }
        assert!(start.elapsed() < PATIENCE, "a wake was lost");
        thread.join().unwrap();
    });
}

fn the_descriptor_of_the_driver_is_readable_when_there_is_something() {
    each_config(|rig| {
        let (ours, mut peer) = pair();
        rig.recv_start(&ours, key(1));
        let fd = rig.driver.as_fd().expect("a descriptor").as_raw_fd();
        for round in 0..20 {
            // What a foreign loop does: poll until nothing comes, then watch.
            while rig.poll(Duration::ZERO) > 0 {
                rig.events.clear();
            }
            while readable(fd, Duration::ZERO) {
                rig.poll(Duration::ZERO);
            }
            assert!(rig.events.is_empty());
            if round % 2 == 0 {
                say(&mut peer, b"x");
            } else {
                rig.driver.waker().wake();
            }
            assert!(readable(fd, PATIENCE), "round {round}");
            rig.poll(Duration::ZERO);
            let data = matches!(rig.events.pop_front(), Some(Event::Data { .. }));
            assert_eq!(data, round % 2 == 0);
        }
        rig.close(ours, key(1));
    });
}

fn readable(fd: i32, timeout: Duration) -> bool {
    let mut fds = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one `pollfd` on our stack.
    unsafe { libc::poll(&raw mut fds, 1, timeout.as_millis() as i32) == 1 }
}

fn a_driver_stays_on_its_thread() {
    struct Carried(UringDriver);
    // SAFETY: the point of the test: the driver must notice. Nothing of it is shared while it moves.
    unsafe impl Send for Carried {}

    for (words, config) in crate::common::configs() {
        let driver = UringDriver::new(&config).unwrap();
        let carried = Carried(driver);
        // Made here, first run there: that thread is the owner.
        let carried = thread::spawn(move || {
            let mut carried = carried;
            carried.0.attach().unwrap();
            carried.0.attach().unwrap();
            carried.0.poll(Some(Duration::ZERO), &mut Vec::new()).unwrap();
            // Another thread is refused, with words.
            thread::spawn(move || {
                let mut carried = carried;
                let error = carried.0.poll(Some(Duration::ZERO), &mut Vec::new()).unwrap_err();
                assert!(error.to_string().contains("belongs to another thread"), "{error}");
                if !words.contains("no-single-issuer") {
                    let error = carried.0.attach().unwrap_err();
                    assert!(error.to_string().contains("belongs to another thread"), "{error}");
                }
                carried
            })
            .join()
            .unwrap()
        })
        .join()
        .unwrap();
        // Shut down on the wrong thread: slow at worst, never wrong.
        drop(carried);
    }
}

/// A foreign loop polls once more, and then sleeps on the descriptor.
fn what_a_poll_only_queues_does_not_wait_with_a_foreign_loop() {
    each_config(|rig| {
        let ((ours, mut peer), (other, _peer)) = (pair(), pair());
        let fd = rig.driver.as_fd().expect("a descriptor").as_raw_fd();
        rig.recv_start(&other, key(2));
        let rest = |rig: &mut Rig| while rig.poll(Duration::ZERO) > 0 || readable(fd, MOMENT) {};
        rest(rig);
        // More than there is room for. The close submits it, and the next poll finds what came of it.
        rig.driver.send(borrow(&ours), key(1), pattern(1 << 20, 1), 0).unwrap();
        rig.close(other, key(2));
        rest(rig);
        peer.set_nonblocking(true).unwrap();
        while peer.read(&mut [0; 1 << 16]).is_ok() {}
        assert!(readable(fd, PATIENCE), "there is room, and nobody tells");
        rig.close(ours, key(1));
    });
}

/// Two streams and one buffer: who finds none is armed again by the next poll.
fn a_stream_without_a_buffer_does_not_wait_with_a_foreign_loop() {
    let mut rig = Rig::words("buffers=1,no-incremental");
    let fd = rig.driver.as_fd().expect("a descriptor").as_raw_fd();
    let mut ends = [pair(), pair()];
    for (slot, (ours, peer)) in ends.iter_mut().enumerate() {
        say(peer, b"hello");
        rig.recv_start(ours, key(slot as u32));
    }
    let mut received = 0;
    while received < 10 {
        rig.poll(Duration::ZERO);
        for event in rig.events.drain(..) {
            let Event::Data { chunk, .. } = event else { panic!("{event:?}") };
            received += chunk.len();
        }
        assert!(received == 10 || readable(fd, PATIENCE), "{received} bytes, and then a sleep");
    }
}

trials! {
    a_stream_without_a_buffer_does_not_wait_with_a_foreign_loop,
    what_a_poll_only_queues_does_not_wait_with_a_foreign_loop,
    a_wait_is_as_long_as_asked_and_no_shorter,
    completions_of_our_own_do_not_shorten_a_wait,
    absurd_timeouts_are_long_ones,
    a_wake_ends_the_next_wait_even_before_the_first_run,
    a_wake_during_a_close_is_kept,
    no_wake_from_another_thread_is_lost,
    the_descriptor_of_the_driver_is_readable_when_there_is_something,
    a_driver_stays_on_its_thread,
}
