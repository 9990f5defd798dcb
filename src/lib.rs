//! [guide]: crate::guide
//! [architecture]: https://docs.rs/crate/selvedge/latest/source/docs/ARCHITECTURE.md
//! [decisions]: https://docs.rs/crate/selvedge/latest/source/docs/decisions/
//! [mit]: https://docs.rs/crate/selvedge/latest/source/LICENSE-MIT
//! [apache]: https://docs.rs/crate/selvedge/latest/source/LICENSE-APACHE
// The first definition of a link counts: in the README the same ones lead to files.
#![doc = include_str!("../README.md")]

pub mod channel;
mod condvar;
mod deadlock;
mod error;
mod failure;
mod id;
pub mod isolate;
mod join;
#[cfg(selvedge_loom)]
pub mod model;
mod mutex;
mod park;
pub mod promise;
mod shim;
mod spawn;
mod thread;
mod wait;

/// [tiny]: https://docs.rs/crate/selvedge/latest/source/examples/tiny_vm.rs
/// [channels]: https://docs.rs/crate/selvedge/latest/source/examples/channels.rs
/// [lisp]: https://docs.rs/crate/selvedge/latest/source/examples/lisp/README.md
#[cfg(doc)]
#[doc = include_str!("../docs/GUIDE.md")]
pub mod guide {}

pub use condvar::Condvar;
pub use error::{
    AttachError, Dead, NotOwner, Panic, RecoverError, SignalError, SleepError, SpawnError,
    TryLockError,
};
pub use failure::{JoinError, JoinFailure, LockError, Loss, WaitError};
pub use id::{RuntimeId, ThreadId};
pub use mutex::{Acquired, Guard, Mutex, MutexGuard, OwnedMutexGuard, Owner};
pub use thread::{
    Blocker, BlockerKind, Context, Cycle, Delivery, Exit, Host, JoinHandle, Label, Lag, Laggard,
    Link, Name, OwnerDeath, Participant, Pick, Runtime, RuntimeBuilder, Schedule, Signal,
    SignalPolicy, Thread, WaitGraph, WaitRow,
};
pub use wait::{
    Outside, Polled, no_blocking, outside, safe_point, sleep_until, uninterruptible, yield_now,
};
