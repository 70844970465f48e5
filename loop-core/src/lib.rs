//! Everything of an anyloop event loop that does not depend on the kernel interface.
//!
//! A backend crate implements [`driver::Driver`]; this crate makes a whole event loop out of it.

mod chunk;
pub mod driver;
#[cfg(target_os = "linux")]
pub mod epoll;
#[cfg(feature = "polling")]
pub mod polling_source;
pub mod registrations;
pub mod switches;
#[cfg(feature = "testing")]
pub mod testing;
