//! Tier 1 under every configuration.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use crate::common::{Rig, assert_eof, borrow, each_config, key, listener, pair, say};
use anyloop_core::driver::{Driver, Interest, Trigger};

fn readable_is_told_when_bytes_come() {
    each_config(|rig| {
        let (ours, mut peer) = pair();
        rig.register(&ours, key(1), Interest::READ).unwrap();
        rig.silent();
        say(&mut peer, b"x");
        let readiness = rig.ready(key(1));
        assert!(readiness.readable && !readiness.closed, "{readiness:?}");
        rig.close(ours, key(1));
    });
}

fn a_condition_that_holds_already_is_told() {
    each_config(|rig| {
        let (ours, mut peer) = pair();
        say(&mut peer, b"x");
        rig.register(&ours, key(1), Interest::BOTH).unwrap();
        let readiness = rig.ready(key(1));
        assert!(readiness.readable && readiness.writable, "{readiness:?}");
        rig.close(ours, key(1));
    });
}

fn edges_come_once_and_levels_as_long_as_they_last() {
    each_config(|rig| {
        let (ours, mut peer) = pair();
        rig.register(&ours, key(1), Interest::READ).unwrap();
        for _ in 0..3 {
            say(&mut peer, b"x");
            assert!(rig.ready(key(1)).readable);
        }
        match rig.driver.caps().trigger {
            Trigger::Edge => rig.silent(),
            Trigger::Level => {
                rig.ready(key(1));
                rig.ready(key(1));
            }
        }
        rig.events.clear();
        (&ours).read_exact(&mut [0; 3]).unwrap();
        if rig.driver.caps().trigger == Trigger::Level {
            // One may be on its way.
            rig.poll(crate::common::MOMENT);
            rig.events.clear();
        }
        rig.silent();
        say(&mut peer, b"x");
        assert!(rig.ready(key(1)).readable);
        rig.close(ours, key(1));
    });
}

fn modify_tells_again_what_still_holds() {
    each_config(|rig| {
        let (ours, mut peer) = pair();
        say(&mut peer, b"x");
        rig.register(&ours, key(1), Interest::NONE).unwrap();
        rig.silent();
        for _ in 0..5 {
            rig.driver.modify(borrow(&ours), key(1), Interest::READ).unwrap();
            assert!(rig.ready(key(1)).readable);
        }
        rig.driver.modify(borrow(&ours), key(1), Interest::WRITE).unwrap();
        assert!(rig.ready(key(1)).writable);
        rig.driver.modify(borrow(&ours), key(1), Interest::NONE).unwrap();
        rig.silent();
        rig.driver.modify(borrow(&ours), key(1), Interest::NONE).unwrap();
        rig.driver.modify(borrow(&ours), key(1), Interest::BOTH).unwrap();
        assert!(rig.ready(key(1)).readable);
        rig.close(ours, key(1));
    });
}

fn the_end_and_the_half_close_are_told_as_closed() {
    each_config(|rig| {
        let (ours, peer) = pair();
        rig.register(&ours, key(1), Interest::READ).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let readiness = rig.ready(key(1));
        assert!(readiness.readable && readiness.closed, "{readiness:?}");
        drop(peer);
        rig.close(ours, key(1));
    });
}

fn a_broken_pipe_is_writable_so_that_the_write_tells() {
    each_config(|rig| {
        let (reader, writer) = std::io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        rig.register(&writer, key(1), Interest::WRITE).unwrap();
        assert!(rig.ready(key(1)).writable);
        drop(reader);
        rig.driver.modify(borrow(&writer), key(1), Interest::WRITE).unwrap();
        let readiness = rig.ready(key(1));
        assert!(readiness.writable, "{readiness:?}");
        rig.close(writer, key(1));
    });
}

fn a_writer_hears_of_room() {
    each_config(|rig| {
        let (ours, mut peer) = pair();
        let block = [0; 4096];
        while (&ours).write(&block).is_ok() {}
        rig.register(&ours, key(1), Interest::WRITE).unwrap();
        rig.silent();
        let mut buffer = vec![0; 1 << 20];
        let mut read = 0;
        while read < 100_000 {
            match peer.read(&mut buffer) {
                Ok(count) => read += count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted),
            }
        }
        assert!(rig.ready(key(1)).writable);
        rig.close(ours, key(1));
    });
}

fn a_deregistered_descriptor_is_free_at_once() {
    each_config(|rig| {
        for _ in 0..3 {
            let (ours, mut peer) = pair();
            rig.register(&ours, key(1), Interest::READ).unwrap();
            rig.poll(std::time::Duration::ZERO);
            rig.driver.deregister(borrow(&ours), key(1)).unwrap();
            let number = ours.as_raw_fd();
            drop(ours);
            assert_eof(&mut peer);
            // The same number, another file, another key.
            let (again, mut other) = pair();
            let again = if again.as_raw_fd() == number { again } else { continue };
            rig.register(&again, key(2), Interest::READ).unwrap();
            rig.silent();
            say(&mut other, b"x");
            assert!(rig.ready(key(2)).readable);
            rig.driver.deregister(borrow(&again), key(2)).unwrap();
            rig.silent();
        }
    });
}

fn an_event_of_a_deregistered_key_does_not_come() {
    each_config(|rig| {
        let (ours, mut peer) = pair();
        rig.register(&ours, key(1), Interest::READ).unwrap();
        rig.poll(std::time::Duration::ZERO);
        say(&mut peer, b"x");
        rig.driver.deregister(borrow(&ours), key(1)).unwrap();
        rig.silent();
        rig.driver.deregister(borrow(&ours), key(1)).unwrap();
        let error = rig.driver.modify(borrow(&ours), key(1), Interest::READ).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        rig.register(&ours, key(1), Interest::READ).unwrap();
        assert!(rig.ready(key(1)).readable);
        rig.close(ours, key(1));
    });
}

fn the_port_of_a_deregistered_listener_is_free_at_once() {
    each_config(|rig| {
        let first = listener();
        let address = first.local_addr().unwrap();
        rig.register(&first, key(1), Interest::READ).unwrap();
        rig.poll(std::time::Duration::ZERO);
        rig.driver.deregister(borrow(&first), key(1)).unwrap();
        drop(first);
        std::net::TcpListener::bind(address).unwrap();
    });
}

fn what_cannot_be_polled_is_refused() {
    let mut rig = Rig::words("");
    let refused = |rig: &mut Rig, file: File| {
        let error = rig.register(&file, key(1), Interest::READ).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    };
    refused(&mut rig, File::open("/proc/self/exe").unwrap());
    refused(&mut rig, File::open("/").unwrap());
    refused(&mut rig, File::open("/dev/null").unwrap());
    let (ours, _peer) = pair();
    rig.register(&ours, key(1), Interest::READ).unwrap();
    let error = rig.register(&ours, key(1), Interest::READ).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EEXIST));
    rig.close(ours, key(1));
}

fn duplicates_of_a_descriptor_are_apart() {
    each_config(|rig| {
        let (ours, mut peer) = pair();
        let twin: UnixStream = ours.try_clone().unwrap();
        rig.register(&ours, key(1), Interest::READ).unwrap();
        rig.register(&twin, key(2), Interest::READ).unwrap();
        rig.poll(std::time::Duration::ZERO);
        rig.driver.deregister(borrow(&ours), key(1)).unwrap();
        drop(ours);
        say(&mut peer, b"x");
        assert!(rig.ready(key(2)).readable);
        rig.close(twin, key(2));
        assert_eof(&mut peer);
    });
}

trials! {
    readable_is_told_when_bytes_come,
    a_condition_that_holds_already_is_told,
    edges_come_once_and_levels_as_long_as_they_last,
    modify_tells_again_what_still_holds,
    the_end_and_the_half_close_are_told_as_closed,
    a_broken_pipe_is_writable_so_that_the_write_tells,
    a_writer_hears_of_room,
    a_deregistered_descriptor_is_free_at_once,
    an_event_of_a_deregistered_key_does_not_come,
    the_port_of_a_deregistered_listener_is_free_at_once,
    what_cannot_be_polled_is_refused,
    duplicates_of_a_descriptor_are_apart,
}
