//! The harness that every model goes through, and what the models are compared with.
//!
//! `tests/ROOM.rs` holds the models of one room of selvedge, `tests/self_*.rs` the tests of the tools themselves.
//! Everything here exists only under `--cfg selvedge_loom`; `scripts/loom` sets it.

#[cfg(selvedge_loom)]
pub mod axioms;
#[cfg(selvedge_loom)]
mod harness;
#[cfg(selvedge_loom)]
pub mod history;

#[cfg(selvedge_loom)]
pub use harness::{Explored, apart, caught, check, check_with, explore, long};
