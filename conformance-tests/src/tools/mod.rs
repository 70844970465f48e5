//! What cases are made of: logs, counters and sockets to watch a loop with.

#[macro_use]
mod types;

mod author;
mod branches;
mod changes;
mod datagrams;
mod inside;
mod interleaving;
mod memory;
mod network;
mod pipes;
mod play;
mod probe;
mod protocols;
mod reports;
mod running;
mod scripts;
mod signals;
mod sockets;
mod temporary;
mod tls;
mod trace;

pub use self::author::{Act, Author};
pub use self::branches::{Gate, both, both_when_woken, first};
pub use self::datagrams::Post;
pub use self::inside::poll_inside;
pub use self::interleaving::{Interleaving, interleavings, settle_tasks};
pub use self::memory::resident_memory;
pub use self::network::{
    CloggedTcp, Stalled, available, bound, clogged_tcp_pair, collect, free_port, pattern, reset,
    settle, socket_view, stalled_listener, stalled_listener_at,
};
pub use self::pipes::{clog, drain, fifo, is_nonblocking, pipe, replace_descriptor, terminal};
pub use self::play::{Deed, Play};
pub use self::probe::{Counter, OnDrop, Token};
pub use self::protocols::{Record, Script};
pub use self::reports::{Reports, Seen};
pub use self::running::{
    block_for, count_iterations, cpu_time, every_iteration, join, one_in_each_run, rest, run_for,
    run_once, run_times, sleeps, stop_after, wait_until,
};
pub use self::scripts::{Step, one_of, random_scripts};
pub use self::signals::{Dispositions, SIGCHLD, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, raise};
pub use self::sockets::{
    Clogged, clogged_pair, on_readable, or_nothing, pair_with_number, socket_pair, tcp_pair,
};
pub use self::temporary::TempDir;
pub use self::tls::{Authority, Blocking, BlockingClient, BlockingServer, SERVER};
pub use self::trace::Trace;
