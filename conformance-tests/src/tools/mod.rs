//! What cases are made of: logs, counters and sockets to watch a loop with.

mod probe;
mod sockets;
mod trace;

pub use self::probe::{Counter, Token};
pub use self::sockets::{Clogged, clogged_pair, socket_pair, tcp_pair};
pub use self::trace::Trace;
