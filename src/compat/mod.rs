//! Adapters for other people's traits, each behind a feature of its own, each following the version of
//! the crate that it is for.

#[cfg(feature = "hyper")]
pub mod hyper;
