//! The TLS suite: what an echo and a handshake cost where every byte is encrypted.
//!
//! The line is rustls on bare epoll; everybody here has the same rustls and the same provider, so that
//! what differs is how the bytes get to it and back.

mod line;
mod load;
mod servers;

use std::io;

use crate::cli::Options;
use crate::lockstep::compare;
use crate::report::Section;

use load::Encrypted;
pub(crate) use servers::SERVERS;

const WORK: [Encrypted; 4] = [
    Encrypted::echo("64x50", 64, 50),
    Encrypted::echo("16Kx50", 16 << 10, 50),
    Encrypted::echo("128Kx10", 128 << 10, 10),
    Encrypted { name: "handshake", size: 64, connections: 1, handshake: true },
];

/// Runs the suite and says what it found.
pub(crate) fn run(options: &Options) -> io::Result<Section> {
    let what = "A message is sent on every connection, then every answer is awaited, and so on. A handshake (TLS 1.3, \
                nothing resumed) is that of a new connection, with one message of 64 bytes and the close.";
    compare("tls", "TLS", what, &SERVERS, &WORK, options)
}
