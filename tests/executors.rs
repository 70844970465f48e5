//! `examples/executors.rs` on every backend.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

#[path = "../examples/executors.rs"]
#[allow(dead_code, reason = "the example's own main")]
mod executors;

use anyloop::Result;

on_every_backend! {
    fn jobs_run_in_the_pools_that_were_given(backend) {
        let (sum, computed_by, waited_by) = executors::run(backend)?;
        assert_eq!(sum, 500_500);
        // rayon's threads have no names, blocking's have.
        assert_eq!(computed_by, None);
        assert!(waited_by.is_some_and(|name| name.starts_with("blocking-")));
        Ok(())
    }
}
