//! Out of descriptors. In a process of its own, for the limit is the process's.

use std::fs::File;
use std::io::Read;
use std::net::TcpStream;

use crate::common::{PATIENCE, borrow, each_config, key, listener, say};
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

trials! {
    running_out_of_descriptors_ends_accepting_and_loses_no_connection,
}
