//! anyloop on io_uring.

mod config;

pub use config::Config;

mod accept;
mod buffers;
mod close;
mod driver;
mod poll;
mod probe;
mod recv;
mod ring;
mod send;
mod setup;
mod slot;
mod waker;

pub use driver::UringDriver;
pub use probe::probe;
