//! Accepting, under every configuration.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use crate::common::{PATIENCE, Rig, assert_eof, borrow, each_config, key, listener, say};
use anyloop_core::driver::{Driver, Event};

fn connect(to: &TcpListener) -> TcpStream {
    let stream = TcpStream::connect(to.local_addr().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn fd_flags(fd: &impl AsFd, command: i32) -> i32 {
    // SAFETY: the descriptor is open; these commands take no argument.
    unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), command) }
}

fn connections_come_non_blocking_and_close_on_exec() {
    each_config(|rig| {
        let listener = listener();
        rig.driver.accept_start(borrow(&listener), key(1)).unwrap();
        rig.silent();
        for _ in 0..30 {
            let mut peer = connect(&listener);
            let fd = rig.accepted(key(1));
            assert_ne!(fd_flags(&fd, libc::F_GETFL) & libc::O_NONBLOCK, 0);
            assert_ne!(fd_flags(&fd, libc::F_GETFD) & libc::FD_CLOEXEC, 0);
            say(&mut TcpStream::from(fd), b"hi");
            peer.read_exact(&mut [0; 2]).unwrap();
        }
        rig.close(listener, key(1));
    });
}

fn a_crowd_is_taken_whole() {
    each_config(|rig| {
        let listener = listener();
        let peers: Vec<_> = (0..100).map(|_| connect(&listener)).collect();
        rig.driver.accept_start(borrow(&listener), key(1)).unwrap();
        let taken: Vec<_> = peers.iter().map(|_| rig.accepted(key(1))).collect();
        assert_eq!(taken.len(), 100);
        rig.silent();
        rig.close(listener, key(1));
    });
}

fn stopping_ends_it_and_leaves_the_rest_in_the_backlog() {
    each_config(|rig| {
        let listener = listener();
        rig.driver.accept_start(borrow(&listener), key(1)).unwrap();
        rig.silent();
        rig.driver.accept_stop(borrow(&listener), key(1));
        assert!(rig.accept_ended(key(1)).is_none());
        let mut peer = connect(&listener);
        rig.silent();
        rig.driver.accept_start(borrow(&listener), key(1)).unwrap();
        say(&mut TcpStream::from(rig.accepted(key(1))), b"hi");
        peer.read_exact(&mut [0; 2]).unwrap();
        // Stopped and started in one breath: an end, and then connections again.
        rig.driver.accept_stop(borrow(&listener), key(1));
        rig.driver.accept_start(borrow(&listener), key(1)).unwrap();
        assert!(rig.accept_ended(key(1)).is_none());
        let _peer = connect(&listener);
        rig.accepted(key(1));
        rig.close(listener, key(1));
    });
}

fn no_connection_is_lost_or_leaked_by_stopping() {
    each_config(|rig| {
        let listener = listener();
        let mut peers = Vec::new();
        let (mut taken, mut ends) = (Vec::new(), 0);
        for round in 0..50 {
            rig.driver.accept_start(borrow(&listener), key(1)).unwrap();
            if round % 2 == 0 {
                rig.poll(Duration::ZERO);
            }
            peers.push(connect(&listener));
            rig.driver.accept_stop(borrow(&listener), key(1));
            while ends <= round {
                match rig.next() {
                    Event::Accepted { fd, .. } => taken.push(fd),
                    Event::AcceptEnded { error: None, .. } => ends += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        rig.driver.accept_start(borrow(&listener), key(1)).unwrap();
        while taken.len() < peers.len() {
            taken.push(rig.accepted(key(1)));
        }
        for fd in taken {
            say(&mut TcpStream::from(fd), b"!");
        }
        for peer in &mut peers {
            peer.read_exact(&mut [0]).unwrap();
        }
        rig.close(listener, key(1));
    });
}

fn a_closed_listener_frees_its_port_and_its_late_connections() {
    each_config(|rig| {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        rig.driver.accept_start(borrow(&listener), key(1)).unwrap();
        rig.poll(Duration::ZERO);
        let mut peer = connect(&listener);
        rig.close(listener, key(1));
        let again = TcpListener::bind(address).unwrap();
        rig.silent();
        assert_eof(&mut peer);
        drop(again);
    });
}

fn what_is_no_listener_is_an_error() {
    each_config(|rig| {
        let ours = idle_socket();
        rig.driver.accept_start(borrow(&ours), key(1)).unwrap();
        let error = rig.accept_ended(key(1)).expect("an error");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
        rig.silent();
        rig.close(ours, key(1));
    });
}

fn what_one_ring_accepts_another_serves() {
    each_config(|rig| {
        let listener = listener();
        rig.driver.accept_start(borrow(&listener), key(1)).unwrap();
        let mut peer = connect(&listener);
        let ours = rig.accepted(key(1));
        // A ring belongs to a thread, as a loop does.
        let serving = thread::spawn(move || {
            let mut other = Rig::words("");
            other.recv_start(&ours, key(1));
            assert_eq!(other.bytes(key(1), 4), b"ping");
            other.driver.send(borrow(&ours), key(1), b"pong".to_vec(), 0).unwrap();
            assert_eq!(other.sent(key(1)).1.unwrap(), 4);
            other.close(ours, key(1));
            other.driver.shutdown();
        });
        say(&mut peer, b"ping");
        let mut answer = [0; 4];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"pong");
        assert_eof(&mut peer);
        serving.join().unwrap();
        // The first ring has nothing to do with it any more.
        rig.silent();
        rig.close(listener, key(1));
    });
}

/// A TCP socket that neither listens nor is connected.
fn idle_socket() -> OwnedFd {
    // SAFETY: the call takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0);
    // SAFETY: the kernel has just made `fd` for us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

trials! {
    connections_come_non_blocking_and_close_on_exec,
    a_crowd_is_taken_whole,
    stopping_ends_it_and_leaves_the_rest_in_the_backlog,
    no_connection_is_lost_or_leaked_by_stopping,
    a_closed_listener_frees_its_port_and_its_late_connections,
    what_is_no_listener_is_an_error,
    what_one_ring_accepts_another_serves,
}
