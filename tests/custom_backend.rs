//! The driver of the tutorial keeps what a driver promises.

#[path = "../examples/custom_backend.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is a program of its own")]
mod custom_backend;

anyloop_core::driver_tests!(|| custom_backend::PollDriver::new().expect("a driver"));
