//! The contract as data: every clause with its id, level and a line of what it asks.
//!
//! One file per area, one table per family. A clause is a constant, so that a case can only name a
//! clause that exists: `TIMER_03` here is `TIMER-03` in the contract.

/// Declares one family: a constant per clause, and the family's table under the family's name.
macro_rules! family {
    ($family:ident $title:literal $($clause:ident $level:ident $statement:literal;)+) => {
        $(
            #[doc = $statement]
            pub const $clause: crate::Clause = {
                const ID: [u8; stringify!($clause).len()] =
                    crate::registry::dashed(stringify!($clause));
                crate::Clause::new(&ID, crate::Level::$level, $statement)
            };
        )+
        #[doc = concat!("The family of ", $title, ".")]
        pub const $family: crate::Family = crate::Family::new(
            stringify!($family),
            $title,
            &[$($clause),+],
        );
    };
}

mod combinators;
mod core;
mod descriptors;
mod endpoints;
mod environment;
mod processes;
mod reports;
mod streams;
mod sync;
mod tasks;
mod transfer;
mod transports;

pub use self::combinators::*;
pub use self::core::*;
pub use self::descriptors::*;
pub use self::endpoints::*;
pub use self::environment::*;
pub use self::processes::*;
pub use self::reports::*;
pub use self::streams::*;
pub use self::sync::*;
pub use self::tasks::*;
pub use self::transfer::*;
pub use self::transports::*;

/// All families, in the contract's order.
pub const FAMILIES: &[crate::Family] = &[
    LIFE, SCHED, THR, TIMER, FUT, TASK, CANCEL, EAGER, CTX, COMB, TMO, TG, RUN, LOCK, EVENT, COND,
    SEM, BAR, QUEUE, FD, SOCK, TR, FLOW, SRV, CONN, UDP, UNIX, PIPE, STREAM, SUB, SIG, EXEC, DNS,
    EXC, DBG, SENDFILE, TLS, POL, FORK, AGEN,
];
