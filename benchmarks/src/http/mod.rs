//! The HTTP suite: the same hyper, with the same service, on tokio and on our loops.

mod load;
mod servers;

use std::io;

use crate::cli::Options;
use crate::lockstep::compare;
use crate::report::Section;

use load::Get;
pub(crate) use servers::SERVERS;

const WORK: [Get; 4] = [
    Get { name: "64x1", size: 64, connections: 1, close: false },
    Get { name: "64x50", size: 64, connections: 50, close: false },
    Get { name: "16Kx50", size: 16 << 10, connections: 50, close: false },
    Get { name: "churn", size: 64, connections: 1, close: true },
];

/// Runs the suite and says what it found.
pub(crate) fn run(options: &Options) -> io::Result<Section> {
    let what = "A GET is sent on every connection, then every response is awaited, and so on; its body is as long as \
                the name of the column says. `churn` is a new connection for each request.";
    compare("http", "HTTP", what, &SERVERS, &WORK, options)
}
