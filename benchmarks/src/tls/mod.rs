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
pub(crate) use servers::serve;

const WORK: [Encrypted; 4] = [
    Encrypted::echo("64x50", 64, 50),
    Encrypted::echo("16Kx50", 16 << 10, 50),
    Encrypted::echo("128Kx10", 128 << 10, 10),
    Encrypted { name: "handshake", size: 64, connections: 1, handshake: true },
];

/// Runs the suite and says what it found.
pub(crate) fn run(options: &Options) -> io::Result<Section> {
    let servers = servers::ALL.map(|(name, _)| name).to_vec();
    let (table, json) = compare("tls", servers, WORK.to_vec(), options)?;
    let text = format!(
        "µs of CPU time of the server per request, and its ratio to the first row. A message is sent on every \
         connection, then every answer is awaited, and so on. A handshake (TLS 1.3, nothing resumed) is that \
         of a new connection, with one message of 64 bytes and the close.\n\n{table}"
    );
    Ok(Section { name: "tls", title: "TLS", text, json, charts: Vec::new() })
}
