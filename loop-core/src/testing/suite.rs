//! What a readiness driver must do: one function per case, each given a maker of drivers.
//!
//! [`driver_tests!`](crate::driver_tests) makes a `#[test]` of each. A case fails by panicking.
//! No case sleeps and hopes: what must happen is waited for (for [`PATIENCE`] at most, which only a
//! broken driver uses up), and what must not happen is looked for after an event that would have come
//! later.

#![allow(clippy::missing_panics_doc, reason = "panicking is how a case fails")]

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pipe::pipe;

use super::Harness;
use super::echo;
use super::signal::interrupted;
use crate::driver::{Driver, Interest, Key, Readiness, Trigger};

/// How long a case waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

const NOW: Option<Duration> = Some(Duration::ZERO);

/// Makes one `#[test]` for each case of the [suite](crate::testing::suite), on the drivers that the
/// given closure makes; or, for a test program with a `main` of its own, `trials: closure` is a vector of
/// the cases' names and of boxed functions.
#[macro_export]
macro_rules! driver_tests {
    (trials: $make:expr) => {
        $crate::driver_tests! { @cases [trials $make] }
    };
    ($make:expr) => {
        $crate::driver_tests! { @cases [tests $make] }
    };
    (@cases [$($what:tt)*]) => {
        $crate::driver_tests! { @$($what)*;
            a_closed_peer_is_readable_and_closed
            a_closed_reader_ends_a_pipe_for_its_writer
            a_descriptor_is_registered_once
            a_duplicate_does_not_keep_a_registration_alive
            a_file_that_cannot_be_polled_is_refused
            a_full_socket_is_writable_again_when_drained
            a_listener_and_its_connection_become_ready
            a_loop_over_it_carries_every_byte
            a_new_socket_is_writable
            a_number_replaced_behind_our_back_belongs_to_its_new_key
            a_pending_event_does_not_outlive_deregistration
            a_registration_repeats_as_the_driver_says
            a_reset_connection_is_closed
            a_reused_number_has_only_the_new_key
            a_signal_is_not_an_error
            a_small_buffer_loses_no_event
            a_wake_ends_the_next_sleep_and_only_that
            a_waker_outlives_its_driver
            an_eventfd_announces_each_write
            closing_tells_the_peer
            data_is_announced
            data_that_was_there_is_announced
            data_with_the_end_behind_it_is_marked
            modifying_announces_what_holds
            many_wakers_lose_no_wake
            no_interest_is_silent
            no_wake_is_lost
            only_what_is_wanted_ends_a_sleep
            the_poller_is_readable_when_it_has_events
            timeouts_are_not_early
        }
    };
    (@tests $make:expr; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::testing::suite::$case($make);
            }
        )*
    };
    (@trials $make:expr; $($case:ident)*) => {
        vec![$((
            stringify!($case),
            Box::new(|| $crate::testing::suite::$case($make)) as Box<dyn FnOnce() + Send>,
        )),*]
    };
}

// --- what is announced ---

/// Bytes that arrive make the descriptor readable.
pub fn data_is_announced<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::READ);
    assert_eq!(poll(&mut harness, NOW), []);
    write(&mut peer, b"x");
    assert!(until(&mut harness, key, |r| r.readable).readable);
}

/// Bytes that came before the registration are announced, too.
pub fn data_that_was_there_is_announced<D: Driver>(make: impl Fn() -> D) {
    let mut harness = harness(&make);
    let (ours, mut peer) = pair();
    write(&mut peer, b"x");
    let key = register(&mut harness, ours, Interest::READ);
    until(&mut harness, key, |r| r.readable);
}

/// A socket with room is writable from the start.
pub fn a_new_socket_is_writable<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, _peer) = watched(&make, Interest::BOTH);
    let seen = until(&mut harness, key, |r| r.writable);
    assert!(!seen.closed);
}

/// A full socket is silent; room made by the peer is announced.
pub fn a_full_socket_is_writable_again_when_drained<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::WRITE);
    until(&mut harness, key, |r| r.writable);
    let sent = fill(harness.fd(key));
    settle(&mut harness);
    assert_eq!(poll(&mut harness, NOW), []);
    peer.read_exact(&mut vec![0; sent]).expect("what was sent");
    until(&mut harness, key, |r| r.writable);
}

/// The end of a stream is readable, and marked.
pub fn a_closed_peer_is_readable_and_closed<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, peer) = watched(&make, Interest::READ);
    drop(peer);
    until(&mut harness, key, |r| r.readable && r.closed);
}

/// Last bytes and end of stream in one event: the event must say that a short read is not the last one.
/// (Edge-triggered; else the next poll tells again.)
pub fn data_with_the_end_behind_it_is_marked<D: Driver>(make: impl Fn() -> D) {
    let mut harness = harness(&make);
    let (ours, mut peer) = tcp_pair();
    let key = register(&mut harness, ours, Interest::BOTH);
    write(&mut peer, b"bye");
    peer.shutdown(std::net::Shutdown::Write).expect("half-close");
    // Only now is the event taken, so it is one event, if the driver makes one of it.
    let level = is_level(&harness);
    until(&mut harness, key, |r| r.readable && (r.closed || level));
    let mut buffer = [0; 16];
    assert_eq!(rustix::io::read(harness.fd(key), &mut buffer), Ok(3));
    assert_eq!(rustix::io::read(harness.fd(key), &mut buffer), Ok(0));
}

/// A connection that was reset is ready for both sides, and marked.
pub fn a_reset_connection_is_closed<D: Driver>(make: impl Fn() -> D) {
    let mut harness = harness(&make);
    let (ours, peer) = tcp_pair();
    rustix::io::write(&ours, b"never read").expect("room");
    let key = register(&mut harness, ours, Interest::BOTH);
    // Closing with bytes unread resets. They are there when the peer can see them.
    peer.set_nonblocking(false).expect("fcntl");
    assert_eq!(peer.peek(&mut [0; 1]).expect("a byte"), 1);
    drop(peer);
    let seen = until(&mut harness, key, |r| r.readable && r.writable && r.closed);
    assert!(seen.closed);
    let error = rustix::io::read(harness.fd(key), &mut [0; 1]).expect_err("a reset");
    assert_eq!(error, Errno::CONNRESET);
}

/// A connection makes the listener readable and the connecting socket writable.
pub fn a_listener_and_its_connection_become_ready<D: Driver>(make: impl Fn() -> D) {
    let mut harness = harness(&make);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("fcntl");
    let accepting = register(&mut harness, listener, Interest::READ);
    assert_eq!(poll(&mut harness, NOW), []);

    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket =
        socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).expect("a socket");
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(e) => panic!("connect: {e}"),
    }
    let connecting = register(&mut harness, socket, Interest::BOTH);
    let mut waiting = HashSet::from([accepting, connecting]);
    while !waiting.is_empty() {
        for (key, seen) in wait(&mut harness) {
            if (key == accepting && seen.readable) || (key == connecting && seen.writable) {
                waiting.remove(&key);
            }
        }
    }
    rustix::net::accept(harness.fd(accepting)).expect("the connection");
    assert_eq!(rustix::net::sockopt::socket_error(harness.fd(connecting)), Ok(Ok(())));
}

/// A writer learns that nobody reads its pipe any more.
pub fn a_closed_reader_ends_a_pipe_for_its_writer<D: Driver>(make: impl Fn() -> D) {
    let mut harness = harness(&make);
    let (reader, writer) = pipe().expect("a pipe");
    let key = register(&mut harness, writer, Interest::WRITE);
    until(&mut harness, key, |r| r.writable);
    drop(reader);
    until(&mut harness, key, |r| r.writable && r.closed);
}

/// An eventfd (what wakers and children are watched with) becomes readable.
pub fn an_eventfd_announces_each_write<D: Driver>(make: impl Fn() -> D) {
    use rustix::event::{EventfdFlags, eventfd};
    let mut harness = harness(&make);
    let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("an eventfd");
    let ours = fd.try_clone().expect("dup");
    let key = register(&mut harness, ours, Interest::READ);
    for _ in 0..3 {
        assert_eq!(poll(&mut harness, NOW), []);
        rustix::io::write(&fd, &1_u64.to_ne_bytes()).expect("eventfd");
        until(&mut harness, key, |r| r.readable);
        rustix::io::read(&fd, &mut [0; 8]).expect("eventfd");
    }
}

/// What a driver repeats is what its [`Caps`](crate::driver::Caps) say: nothing until something new
/// happens, or everything that holds.
pub fn a_registration_repeats_as_the_driver_says<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::READ);
    write(&mut peer, b"x");
    until(&mut harness, key, |r| r.readable);
    for _ in 0..3 {
        let again = poll(&mut harness, NOW);
        match harness.driver().caps().trigger {
            Trigger::Edge => assert_eq!(again, []),
            Trigger::Level => assert!(again.iter().any(|(k, r)| *k == key && r.readable)),
        }
    }
    drain(harness.fd(key));
    assert_eq!(poll(&mut harness, NOW), []);
    write(&mut peer, b"y");
    until(&mut harness, key, |r| r.readable);
}

/// `modify` tells again what holds, whether or not it changes the interest.
pub fn modifying_announces_what_holds<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::BOTH);
    write(&mut peer, b"x");
    until(&mut harness, key, |r| r.readable);
    settle(&mut harness);
    for interest in [Interest::BOTH, Interest::READ, Interest::READ, Interest::BOTH] {
        harness.modify(key, interest).expect("modify");
        until(&mut harness, key, |r| r.readable);
        settle(&mut harness);
    }
    harness.modify(key, Interest::WRITE).expect("modify");
    until(&mut harness, key, |r| r.writable);
}

/// Nothing but what is wanted (and the end of everything) ends a sleep.
pub fn only_what_is_wanted_ends_a_sleep<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::READ);
    assert_eq!(poll(&mut harness, NOW), [], "writable, but nobody asked");
    harness.modify(key, Interest::WRITE).expect("modify");
    fill(harness.fd(key));
    settle(&mut harness);
    write(&mut peer, b"x");
    assert_eq!(poll(&mut harness, NOW), [], "readable, but nobody asked");
    harness.modify(key, Interest::READ).expect("modify");
    until(&mut harness, key, |r| r.readable);
}

/// [`Interest::NONE`] is silent whatever happens; an interest afterwards tells what holds.
pub fn no_interest_is_silent<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::BOTH);
    harness.modify(key, Interest::NONE).expect("modify");
    harness.modify(key, Interest::NONE).expect("modify, again");
    write(&mut peer, b"x");
    assert_eq!(poll(&mut harness, NOW), []);
    harness.modify(key, Interest::READ).expect("modify");
    until(&mut harness, key, |r| r.readable);

    harness.modify(key, Interest::NONE).expect("modify");
    drop(peer);
    assert_eq!(poll(&mut harness, NOW), [], "not even the end of the stream");
    harness.modify(key, Interest::READ).expect("modify");
    until(&mut harness, key, |r| r.readable && r.closed);
    harness.deregister(key).expect("deregister");

    // Silent from the start, and given up while silent.
    let (ours, mut peer) = pair();
    let key = register(&mut harness, ours, Interest::NONE);
    write(&mut peer, b"x");
    assert_eq!(poll(&mut harness, NOW), []);
    harness.deregister(key).expect("deregister");
}

// --- whose descriptor it is ---

/// Regular files are always ready and are refused, as `epoll` does.
pub fn a_file_that_cannot_be_polled_is_refused<D: Driver>(make: impl Fn() -> D) {
    let mut harness = harness(&make);
    let path = std::env::current_exe().expect("a path");
    for interest in [Interest::READ, Interest::BOTH, Interest::NONE] {
        let file = File::open(&path).expect("this program");
        let error = harness.register(file, interest).expect_err("a regular file");
        assert_eq!(Errno::from_io_error(&error), Some(Errno::PERM));
    }
    assert_eq!(poll(&mut harness, NOW), []);
}

/// A second registration of the same descriptor is refused and changes nothing.
pub fn a_descriptor_is_registered_once<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::READ);
    let error = harness.register_again(key, Interest::BOTH).expect_err("registered already");
    assert_eq!(Errno::from_io_error(&error), Some(Errno::EXIST));
    write(&mut peer, b"x");
    until(&mut harness, key, |r| r.readable);
}

/// What was seen but not yet told is not told after `deregister`.
pub fn a_pending_event_does_not_outlive_deregistration<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::BOTH);
    write(&mut peer, b"x");
    let ours = harness.deregister(key).expect("deregister");
    assert_eq!(poll(&mut harness, NOW), []);
    // The descriptor is untouched, and can come back.
    let key = register(&mut harness, ours, Interest::READ);
    until(&mut harness, key, |r| r.readable);
}

/// A number that is closed and used again has the events of its new registration only.
pub fn a_reused_number_has_only_the_new_key<D: Driver>(make: impl Fn() -> D) {
    let mut harness = harness(&make);
    for round in 0..20 {
        let (ours, mut old_peer) = pair();
        let old = register(&mut harness, ours, Interest::BOTH);
        write(&mut old_peer, b"old");
        if round % 2 == 0 {
            until(&mut harness, old, |r| r.readable);
            drop(harness.deregister(old).expect("deregister"));
        } else {
            harness.close(old);
        }
        let (ours, mut peer) = pair();
        let new = register(&mut harness, ours, Interest::READ);
        assert_eq!(poll(&mut harness, NOW), []);
        write(&mut peer, b"new");
        assert_eq!(only_key(&wait(&mut harness)), new);
        harness.close(new);
    }
}

/// `close` closes: the peer sees the end at once.
pub fn closing_tells_the_peer<D: Driver>(make: impl Fn() -> D) {
    for interest in [Interest::NONE, Interest::READ, Interest::BOTH] {
        let (mut harness, key, mut peer) = watched(&make, interest);
        harness.close(key);
        assert_eq!(peer.read(&mut [0; 1]).expect("the end"), 0);
        assert_eq!(poll(&mut harness, NOW), []);

        // With no poll between a change of the interest and the end.
        let (mut harness, key, mut peer) = watched(&make, interest);
        poll(&mut harness, NOW);
        harness.modify(key, Interest::READ).expect("modify");
        harness.close(key);
        assert_eq!(peer.read(&mut [0; 1]).expect("the end"), 0);
    }
}

/// A file that is open elsewhere (a child has it) is not watched after `close`.
pub fn a_duplicate_does_not_keep_a_registration_alive<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::READ);
    let duplicate = harness.fd(key).try_clone_to_owned().expect("dup");
    harness.close(key);
    write(&mut peer, b"x");
    assert_eq!(poll(&mut harness, NOW), []);
    drop(duplicate);
}

/// A descriptor closed behind our back: taking it back is no error, and does not hit the descriptor that
/// has the number now.
pub fn a_number_replaced_behind_our_back_belongs_to_its_new_key<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, old, old_peer) = watched(&make, Interest::READ);
    let (ours, _peer) = pair();
    harness.replace(old, ours.as_fd()).expect("dup2");
    drop((ours, old_peer));
    harness.deregister(old).map(drop).expect("no error for what is gone");

    let (mut harness, old, old_peer) = watched(&make, Interest::READ);
    let (ours, mut peer) = pair();
    harness.replace(old, ours.as_fd()).expect("dup2");
    drop((ours, old_peer));
    match harness.register_again(old, Interest::READ) {
        Ok(new) => {
            harness.deregister_stale(new, old).expect("no error for what is gone");
            write(&mut peer, b"x");
            until(&mut harness, new, |r| r.readable);
        }
        // A driver that only knows numbers cannot tell that it is another file.
        Err(e) => assert_eq!(Errno::from_io_error(&e), Some(Errno::EXIST)),
    }
}

// --- how many at once ---

/// A poll that fills its buffer leaves the rest to the next one: everything is told. (Perhaps twice: a
/// driver whose queue overflowed may have to arm again.)
pub fn a_small_buffer_loses_no_event<D: Driver>(make: impl Fn() -> D) {
    const COUNT: usize = 50;
    let mut harness = harness(&make);
    let mut peers = Vec::new();
    let mut keys = HashSet::new();
    for _ in 0..COUNT {
        let (ours, mut peer) = pair();
        keys.insert(register(&mut harness, ours, Interest::READ));
        write(&mut peer, b"x");
        peers.push(peer);
    }
    let mut told = HashSet::new();
    let mut polls = 0;
    while told.len() < COUNT {
        for (key, seen) in wait(&mut harness) {
            assert!(keys.contains(&key) && seen.readable);
            told.insert(key);
        }
        polls += 1;
        assert!(polls <= COUNT * COUNT, "a descriptor starves");
    }
}

// --- waking ---

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

// --- time ---

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

// --- foreign loops ---

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

// --- a whole loop ---

/// [`BaseLoop`](crate::BaseLoop) over the driver: twenty clients, megabytes both ways at once, a half-close,
/// and answers from other threads.
pub fn a_loop_over_it_carries_every_byte<D: Driver>(make: impl Fn() -> D) {
    echo::run(make());
}

// --- not part of `driver_tests!`: for drivers that can tell ---

/// An event that merely brings data says that a short read is the last one.
pub fn plain_data_is_not_marked<D: Driver>(make: impl Fn() -> D) {
    let (mut harness, key, mut peer) = watched(&make, Interest::BOTH);
    write(&mut peer, b"x");
    assert!(!until(&mut harness, key, |r| r.readable).closed);
}

// --- helpers ---

fn harness<D: Driver>(make: &impl Fn() -> D) -> Harness<D> {
    Harness::new(make()).expect("a driver")
}

fn watched<D: Driver>(make: &impl Fn() -> D, interest: Interest) -> (Harness<D>, Key, UnixStream) {
    let mut harness = harness(make);
    let (ours, peer) = pair();
    let key = register(&mut harness, ours, interest);
    (harness, key, peer)
}

fn register<D: Driver>(
    harness: &mut Harness<D>,
    fd: impl Into<OwnedFd>,
    interest: Interest,
) -> Key {
    harness.register(fd, interest).expect("register")
}

/// Our end does not block; the other does.
fn pair() -> (OwnedFd, UnixStream) {
    let (ours, peer) = UnixStream::pair().expect("a socket pair");
    ours.set_nonblocking(true).expect("fcntl");
    peer.set_read_timeout(Some(PATIENCE)).expect("setsockopt");
    (ours.into(), peer)
}

fn tcp_pair() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let ours = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
    let (peer, _) = listener.accept().expect("accept");
    ours.set_nonblocking(true).expect("fcntl");
    (ours.into(), peer)
}

fn poll<D: Driver>(harness: &mut Harness<D>, timeout: Option<Duration>) -> Vec<(Key, Readiness)> {
    harness.ready(timeout).expect("poll")
}

/// Polls until there are events.
fn wait<D: Driver>(harness: &mut Harness<D>) -> Vec<(Key, Readiness)> {
    let start = Instant::now();
    loop {
        let events = poll(harness, Some(PATIENCE));
        if !events.is_empty() {
            return events;
        }
        assert!(start.elapsed() < PATIENCE, "no event came");
    }
}

/// Polls until `key`, and no other, was seen with what is `wanted`, perhaps over several events.
fn until<D: Driver>(
    harness: &mut Harness<D>,
    key: Key,
    wanted: impl Fn(Readiness) -> bool,
) -> Readiness {
    let start = Instant::now();
    let mut seen = Readiness::default();
    while !wanted(seen) {
        for (other, more) in wait(harness) {
            assert_eq!(other, key, "an event of another registration");
            seen.readable |= more.readable;
            seen.writable |= more.writable;
            seen.closed |= more.closed;
        }
        assert!(start.elapsed() < PATIENCE, "only {seen:?} came");
    }
    seen
}

/// Takes events that may still be on their way, edge-triggered.
fn settle<D: Driver>(harness: &mut Harness<D>) {
    if !is_level(harness) {
        while !poll(harness, NOW).is_empty() {}
    }
}

fn only_key(events: &[(Key, Readiness)]) -> Key {
    assert_eq!(events.len(), 1, "{events:?}");
    events[0].0
}

fn is_level<D: Driver>(harness: &Harness<D>) -> bool {
    harness.driver().caps().trigger == Trigger::Level
}

fn write(to: &mut impl Write, bytes: &[u8]) {
    to.write_all(bytes).expect("room");
}

fn fill(fd: impl AsFd) -> usize {
    let mut sent = 0;
    loop {
        match rustix::io::write(&fd, &[0; 4096]) {
            Ok(count) => sent += count,
            Err(Errno::AGAIN) => return sent,
            Err(e) => panic!("write: {e}"),
        }
    }
}

fn drain(fd: impl AsFd) {
    loop {
        match rustix::io::read(&fd, &mut [0; 4096]) {
            Ok(1..) => {}
            Ok(_) | Err(Errno::AGAIN) => return,
            Err(e) => panic!("read: {e}"),
        }
    }
}
