//! Guides: longer explanations, with programs that compile.
//!
//! | guide | for |
//! | --- | --- |
//! | [`first_program`] | whoever begins: a server, a client, tasks, an error |
//! | [`choosing_a_backend`] | mio, io_uring or polling, and who decides |
//! | [`many_cores`] | servers on more than one core: a loop each, and who gets which connection |
//! | [`embedding`] | programs that have a loop already: a GUI's, another runtime's |
//! | [`from_asyncio`] | Python programmers: every name of asyncio and its name here |
//! | [`from_tokio`] | tokio programmers: what is the same, what is not |
//! | [`cancellation`] | what a cancelled task sees, and how to clean up |
//! | [`writing_a_backend`] | authors of loops: a driver, or the whole trait, and the proof |
//! | [`debugging`] | a loop that is stuck, slow, or loses tasks |

#[doc = include_str!("first_program.md")]
pub mod first_program {}

#[doc = include_str!("choosing_a_backend.md")]
pub mod choosing_a_backend {}

#[doc = include_str!("many_cores.md")]
pub mod many_cores {}

#[doc = include_str!("embedding.md")]
pub mod embedding {}

#[doc = include_str!("from_asyncio.md")]
pub mod from_asyncio {}

#[doc = include_str!("from_tokio.md")]
pub mod from_tokio {}

#[doc = include_str!("cancellation.md")]
pub mod cancellation {}

#[doc = include_str!("writing_a_backend.md")]
pub mod writing_a_backend {}

#[doc = include_str!("debugging.md")]
pub mod debugging {}
