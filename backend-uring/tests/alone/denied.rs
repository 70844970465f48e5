//! What is said where io_uring is denied. A seccomp filter holds for the thread that installs it, so
//! each test runs in a thread of its own.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use anyloop_api::{BackendDescriptor, LoopConfig};
use anyloop_core::driver::Driver;
use anyloop_core::testing::{Call, deny, with_denied};
use anyloop_uring::{Config, DESCRIPTOR, UringDriver, probe};

use crate::common::{MOMENT, Rig, key, pair, say};

fn the_probe_says_who_denies() {
    for (errno, words) in [
        (libc::EPERM, "seccomp filter"),
        (libc::EACCES, "security module"),
        (libc::ENOSYS, "no io_uring"),
        (libc::EINVAL, "too old: 5.19 is needed"),
        (libc::EMFILE, "no descriptor is left"),
    ] {
        let reason =
            with_denied(Call::any(libc::SYS_io_uring_setup), errno, || probe().unwrap_err());
        assert!(reason.contains(words), "{reason}");
        assert!(reason.contains("this is Linux ") && reason.contains("io_uring_setup"), "{reason}");
    }
    probe().expect("only that thread was denied");
}

fn the_probe_tries_every_call_it_will_need() {
    let reason =
        with_denied(Call::any(libc::SYS_io_uring_enter), libc::EPERM, || probe().unwrap_err());
    assert!(reason.contains("seccomp filter"), "{reason}");
    let reason =
        with_denied(Call::any(libc::SYS_io_uring_register), libc::EPERM, || probe().unwrap_err());
    assert!(reason.contains("seccomp filter"), "{reason}");
}

fn a_driver_and_a_loop_fail_with_the_same_words() {
    let (driver, opened) = with_denied(Call::any(libc::SYS_io_uring_setup), libc::EPERM, || {
        let driver = UringDriver::new(&Config::new()).unwrap_err();
        let BackendDescriptor { open, .. } = DESCRIPTOR;
        (driver, open(&LoopConfig::default()).unwrap_err().to_string())
    });
    assert_eq!(driver.kind(), std::io::ErrorKind::PermissionDenied);
    assert!(opened.contains(&driver.to_string()), "{opened}");
}

/// Entries with one request are refused, as for want of memory, from the close of a connection on: its
/// number is nobody else's until its last request is submitted.
fn what_could_not_be_submitted_reaches_nobody_else() {
    let thread = thread::spawn(|| {
        let mut rig = Rig::words("");
        rig.poll(Duration::ZERO);
        rig.poll(Duration::ZERO);
        deny(Call::with(libc::SYS_io_uring_enter, 1, 1), libc::EAGAIN);
        let (ours, _peer) = pair();
        rig.send_lazily(&ours, key(1), b"for the first peer".to_vec(), 0);
        rig.close(ours, key(1));
        let (second, mut peer) = pair();
        rig.recv_start(&second, key(2));
        rig.poll(MOMENT);
        peer.set_nonblocking(true).unwrap();
        let read = peer.read(&mut [0; 64]).map_err(|error| error.kind());
        assert_eq!(read, Err(std::io::ErrorKind::WouldBlock));
    });
    thread.join().expect("the test");
}

/// As if memory were short for ever: the loop goes on trying, and leaves the processor to others.
fn what_cannot_be_submitted_is_tried_now_and_then() {
    const POLLS: u32 = 20;
    let thread = thread::spawn(|| {
        let mut rig = Rig::words("");
        let (ours, _peer) = pair();
        rig.recv_start(&ours, key(1));
        rig.poll(Duration::ZERO);
        deny(Call::any(libc::SYS_io_uring_enter), libc::EAGAIN);
        let begin = Instant::now();
        for _ in 0..POLLS {
            assert_eq!(rig.poll(MOMENT), 0);
        }
        // A rest is never shorter than it was to be.
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(1) * POLLS, "{POLLS} attempts within {took:?}");
        rig.close(ours, key(1));
    });
    thread.join().expect("the test");
}

/// As for want of memory: whoever watches the driver's descriptor is not told of completions any more.
fn a_foreign_loop_does_not_sleep_over_what_it_cannot_be_told() {
    const REGISTER_EVENTFD: u32 = 4;
    let thread = thread::spawn(|| {
        let mut rig = Rig::words("");
        let (ours, mut peer) = pair();
        rig.recv_start(&ours, key(1));
        rig.poll(Duration::ZERO);
        let fd = rig.driver.as_fd().expect("a descriptor").as_raw_fd();
        deny(Call::with(libc::SYS_io_uring_register, 1, REGISTER_EVENTFD), libc::ENOMEM);
        while rig.poll(Duration::ZERO) > 0 {}
        say(&mut peer, b"x");
        let mut watched = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: `watched` is on our stack, for the duration of the call.
        assert_eq!(unsafe { libc::poll(&raw mut watched, 1, MOMENT.as_millis() as i32) }, 1);
        assert_eq!(rig.bytes(key(1), 1), b"x");
        rig.close(ours, key(1));
    });
    thread.join().expect("the test");
}

trials! {
    a_foreign_loop_does_not_sleep_over_what_it_cannot_be_told,
    what_could_not_be_submitted_reaches_nobody_else,
    what_cannot_be_submitted_is_tried_now_and_then,
    the_probe_says_who_denies,
    the_probe_tries_every_call_it_will_need,
    a_driver_and_a_loop_fail_with_the_same_words,
}
