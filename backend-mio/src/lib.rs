//! The anyloop event loop over [mio](https://docs.rs/mio): epoll on Linux, kqueue on BSD and macOS.
//!
//! # Some facts about mio
//!
//! * It is always edge-triggered, so a descriptor is registered once, for both directions, and the core
//!   remembers what is ready until a call says `EAGAIN`. A message then costs its `recv` and its
//!   `send` and nothing else.
//! * `register`, `reregister` and `deregister` are one `epoll_ctl` each. `reregister` looks at the
//!   descriptor again, so it re-arms.
//! * Interest in reading includes `EPOLLRDHUP`: the end of a stream shows in the event that brings its
//!   last bytes.
//! * There is no empty interest, and an interest always includes `HUP` and `ERR`. A silent
//!   registration ([`Interest::NONE`](anyloop_core::driver::Interest::NONE)) is therefore *parked*: out
//!   of the kernel's set until `modify` puts it back.
//! * A descriptor can be registered once (`EEXIST`), and a regular file not at all (`EPERM`).
//! * The token is a `usize`. Ours is the 56-bit key, so that an event names its registration and not
//!   merely a number that may have been reused; this needs a 64-bit machine.
//! * `mio::Waker` is an eventfd that nobody reads: with edge triggering each write is an event. It does
//!   not coalesce; the core does.
//! * `Poll::poll` waits in whole milliseconds. On Linux we register through mio and wait with our own
//!   `epoll_pwait2` on the same epoll descriptor (see [`anyloop_core::epoll`]), which also shows the
//!   raw bits. `Poll::poll` is what the other systems use; [`Config::portable_wait`] forces it.
//!
//! # Use
//!
//! ```
//! use anyloop_api::EventLoopExt;
//!
//! let lp = anyloop_mio::new_event_loop()?;
//! assert_eq!(lp.run_until_complete(async { 6 * 7 })?, 42);
//! lp.close()?;
//! # Ok::<(), anyloop_api::Error>(())
//! ```
//!
//! Or hand [`EventLoopPolicy`] to `anyloop::set_event_loop_policy`, or choose it at run time with
//! `ANYLOOP_BACKEND=mio`.
#![forbid(unsafe_code)]

mod config;
mod driver;
mod policy;
mod probe;
mod waker;

pub use config::{Config, ConfigError};
pub use driver::MioDriver;
pub use policy::{DESCRIPTOR, EventLoopPolicy, new_event_loop, open};
pub use probe::probe;

/// The name of this backend, as in `ANYLOOP_BACKEND`.
pub const NAME: &str = "mio";
