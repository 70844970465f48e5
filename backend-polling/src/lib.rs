//! The anyloop event loop over [polling](https://docs.rs/polling), the poller of the smol family: epoll on
//! Linux, kqueue on BSD and macOS, event ports or `poll(2)` elsewhere.
//!
//! # Some facts about polling
//!
//! * It is one-shot unless told otherwise. We register edge-triggered, once and for both directions,
//!   where the system can; else level-triggered ([`Caps::trigger`](anyloop_core::driver::Caps) says
//!   which). [`Config::level`] forces the latter.
//! * `Poller::add` is `unsafe`, because the poller cannot know who closes the descriptor. The contract
//!   between core and driver says who: see [`anyloop_core::polling_source`].
//! * An empty interest still reports `HUP` and `ERR`, and level-triggered it would do so in every
//!   poll. A silent registration ([`Interest::NONE`](anyloop_core::driver::Interest::NONE)) is therefore
//!   *parked*: out of the poller until `modify` puts it back.
//! * Interest in reading does not include `EPOLLRDHUP`, so an event does not tell that the stream ends
//!   behind the bytes it announces.
//! * The key is a `usize`. Ours is 56 bits, so this needs a 64-bit machine.
//! * `Poller::wait` is three system calls on Linux, and five with any timeout (it arms a timerfd, and
//!   the notifier is one-shot). `Poller::notify` coalesces.
//!
//! So on Linux we register through polling, and then do two things on its epoll descriptor: we add
//! `EPOLLRDHUP` (one more `epoll_ctl` per connection, which spares one `recv` per message), and we wait
//! with one `epoll_pwait2` (see [`anyloop_core::epoll`]), woken by an eventfd of our own. `Poller::wait`
//! and `Poller::notify` are what the other systems use; [`Config::portable_wait`] forces them.
//!
//! # Use
//!
//! ```
//! use anyloop_api::EventLoopExt;
//!
//! let lp = anyloop_polling::new_event_loop()?;
//! assert_eq!(lp.run_until_complete(async { 6 * 7 })?, 42);
//! lp.close()?;
//! # Ok::<(), anyloop_api::Error>(())
//! ```
//!
//! Or hand [`EventLoopPolicy`] to `anyloop::set_event_loop_policy`, or choose it at run time with
//! `ANYLOOP_BACKEND=polling`.
#![forbid(unsafe_code)]

mod config;
mod driver;
mod policy;
mod probe;
mod waker;

pub use config::{Config, ConfigError};
pub use driver::PollingDriver;
pub use policy::{DESCRIPTOR, EventLoopPolicy, new_event_loop, open};
pub use probe::probe;

/// The name of this backend, as in `ANYLOOP_BACKEND`.
pub const NAME: &str = "polling";
