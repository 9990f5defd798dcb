#![doc = include_str!("../README.md")]

mod condvar;
mod error;
mod id;
mod join;
#[cfg(selvedge_loom)]
pub mod model;
mod mutex;
mod park;
mod shim;
mod spawn;
mod thread;
mod wait;

#[cfg(doc)]
#[doc = include_str!("../docs/GUIDE.md")]
pub mod guide {}

pub use condvar::Condvar;
pub use error::{
    AttachError, Dead, JoinError, JoinFailure, LockError, Loss, NotOwner, Panic, SignalError,
    SleepError, SpawnError, TryLockError, WaitError,
};
pub use id::{RuntimeId, ThreadId};
pub use mutex::{Guard, Mutex, MutexGuard, OwnedMutexGuard, Owner};
pub use thread::{
    Blocker, BlockerKind, Context, Delivery, Exit, Host, JoinHandle, Label, Name, Participant,
    Pick, Runtime, RuntimeBuilder, Schedule, Signal, SignalPolicy, Thread,
};
pub use wait::{
    Outside, Polled, no_blocking, outside, safe_point, sleep_until, uninterruptible, yield_now,
};
