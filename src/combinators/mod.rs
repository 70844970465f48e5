//! Several things at once: gathering, waiting, and what turns one kind of thing into another.

mod as_completed;
mod cancel_walk;
mod child;
mod children;
mod convert;
mod gather;
mod ongoing;
mod output;
mod wait;
mod wait_for;

pub use as_completed::{AsCompleted, NextCompleted, as_completed};
pub use children::Children;
pub use convert::{IntoLoopFuture, ensure_future, run_coroutine_threadsafe, wrap_future};
pub use gather::{AllResults, AllValues, Collect, Gather, gather, gather_results, gather_vec};
pub use ongoing::Waitable;
pub use output::{Fate, PlainOutput, TaskOutput};
pub use wait::{ReturnWhen, Wait, Waited, wait};
pub use wait_for::wait_for;
