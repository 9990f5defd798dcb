//! The harness that every model goes through, and what the models are compared with.
//!
//! `tests/ROOM.rs` holds the models of one room of selvedge, `tests/self_*.rs` the tests of the tools themselves.
//! A model is a scenario of two or three threads and one round. Its bound stands in the call, its name is the property,
//! and it returns its outcome:
//!
//! ```text
//! check("mutex.unlock_publishes_to_the_next_owner", Some(3), 3000, &["01", "10"], || { .. })
//! ```
//!
//! What only the long list can afford begins with `if !long() { return; }`, or takes its bound from [`long`].
//! Everything here exists only under `--cfg selvedge_loom`; `scripts/loom` sets it.

#[cfg(selvedge_loom)]
pub mod axioms;
#[cfg(selvedge_loom)]
pub mod choice;
#[cfg(selvedge_loom)]
mod harness;
#[cfg(selvedge_loom)]
pub mod history;

#[cfg(selvedge_loom)]
pub use harness::{Explored, apart, caught, check, check_with, explore, long};
#[cfg(selvedge_loom)]
pub mod scene;
