//! Everything of an anyloop event loop that does not depend on the kernel interface.
//!
//! A backend crate implements [`driver::Driver`]; this crate makes a whole event loop out of it.

mod base;
mod begin;
mod chunk;
mod clock;
mod connect;
mod datagram;
mod debug;
mod descriptor;
pub mod driver;
mod embed;
#[cfg(target_os = "linux")]
pub mod epoll;
mod executor;
mod file_id;
mod flow;
mod fork;
mod inbox;
mod lend;
mod lookup;
mod pipe;
#[cfg(feature = "polling")]
pub mod polling_source;
mod pread;
mod ready;
mod recvmmsg;
pub mod registrations;
mod resolve;
pub mod returns;
mod scratch;
mod sendfile;
mod server;
mod signals;
mod sock;
mod sockaddr;
mod sockets;
mod sources;
mod spin;
mod stream;
mod subprocess;
pub mod switches;
#[cfg(feature = "testing")]
pub mod testing;
mod timers;
mod voice;
mod watcher;

pub use base::BaseLoop;
pub use clock::{Clock, MonotonicClock};
pub use executor::ThreadPool;
