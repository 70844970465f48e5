//! Out of descriptors. In a process of its own, for the limit is the process's.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use crate::common::{MOMENT, PATIENCE, Rig, borrow, each_config, key, listener, say};
use anyloop_core::driver::Driver;
use socket2::{Domain, Socket, Type};

fn running_out_of_descriptors_ends_accepting_and_loses_no_connection() {
    each_config(|rig| {
        let listener = listener();
        rig.driver.accept_start(borrow(&listener), key(1)).unwrap();
        rig.silent();
        let sockets: Vec<_> =
            (0..5).map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()).collect();
        let mut hoard = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            hoard.push(file);
        }
        let address = listener.local_addr().unwrap().into();
        let connected = sockets.into_iter().map(|socket| {
            socket.connect(&address).unwrap();
            TcpStream::from(socket)
        });
        let mut peers: Vec<_> = connected.collect();
        let error = rig.accept_ended(key(1)).expect("an error");
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        rig.silent();
        drop(hoard);
        rig.driver.accept_start(borrow(&listener), key(1)).unwrap();
        let mut taken = Vec::new();
        while taken.len() < peers.len() {
            taken.push(rig.accepted(key(1)));
        }
        for fd in taken {
            say(&mut TcpStream::from(fd), b"!");
        }
        for peer in &mut peers {
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            peer.read_exact(&mut [0]).unwrap();
        }
        rig.close(listener, key(1));
    });
}

/// An entry works off some twenty completions, and there are hundreds of times as many: the close of one
/// descriptor still waits for its own, and does nothing to the file, which has another descriptor.
fn a_close_in_a_flood_leaves_duplicates_alone() {
    const STREAMS: u32 = 3000;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is on our stack, for the duration of each call.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        let more = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const more), 0);
    }
    let mut rig = Rig::words("");
    let mut streams: Vec<_> = (0..STREAMS)
        .map_while(|slot| {
            let (ours, peer) = UnixStream::pair().ok()?;
            rig.recv_start(&ours, key(slot));
            Some((ours, peer))
        })
        .collect();
    rig.poll(MOMENT);
    rig.events.clear();
    for (_, peer) in &mut streams {
        say(peer, b"x");
    }
    let (ours, mut peer) = streams.pop().unwrap();
    let duplicate = ours.try_clone().unwrap();
    rig.close(ours, key(streams.len() as u32));
    peer.set_nonblocking(true).unwrap();
    let read = peer.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(read, Err(ErrorKind::WouldBlock), "the file was shut down");
    drop((duplicate, rig, streams));
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

trials! {
    a_close_in_a_flood_leaves_duplicates_alone,
    running_out_of_descriptors_ends_accepting_and_loses_no_connection,
}
