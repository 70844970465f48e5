//! What the bare io_uring server and the load generator share: a ring and its receive buffers.

mod buffers;
mod ring;

pub(crate) use buffers::{Buffers, Chunk};
pub(crate) use ring::Ring;
