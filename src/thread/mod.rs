//! Threads as the rest of the crate and the VM see them: records, gates, handles, participants, runtimes, the baton.
//!
//! | file          | the protocol or the plain data in it                                        |
//! |---------------|-----------------------------------------------------------------------------|
//! | `record`      | the slab of records: identities, what others reach without consent          |
//! | `gate`        | running, safe, taken, asked: one word                                       |
//! | `table`       | the legal transitions of the gate, as data                                  |
//! | `states`      | a search through the states of claim words and gates; tests only             |
//! | `life`        | the handle `Thread`: signals, requests, alive or dead                       |
//! | `graph`       | who waits for whom, who keeps others waiting: snapshots                     |
//! | `exit`        | how a thread ended, and who waits for that                                  |
//! | `pace`        | how a thread looks before it queues at a channel                            |
//! | `hand`        | what a thread has in its hands while it waits: for who enumerates values    |
//! | `participant` | the current thread's token, and the trait `Context`                         |
//! | `runtime`     | what the threads of one VM share: the registry, shutdown                    |
//! | `baton`       | one thread at a time: who holds it, who is ready, whose deadline is next    |
//! | `schedule`    | the numbers and choices that a VM or a test may set                         |
//! | `blocker`     | names, labels, what a thread waits for                                      |
//! | `waits`       | what a waiting thread shows to others: blocker, edge, report                |
//! | `cycle`       | a deadlock, as its victim is told                                           |
//! | `host`        | what a VM answers for no thread in particular                               |
//!
//! Nothing here sleeps: `wait` does.

pub(crate) mod baton;
mod blocker;
mod cycle;
mod exit;
pub(crate) mod gate;
mod graph;
pub(crate) mod hand;
mod host;
mod life;
mod pace;
mod participant;
pub(crate) mod record;
mod runtime;
mod schedule;
#[cfg(all(test, not(selvedge_loom)))]
mod states;
mod table;
pub(crate) mod waits;

pub(crate) use blocker::LabelRef;
pub use blocker::{Blocker, BlockerKind, Label, Name};
pub use cycle::{Cycle, Link};
pub(crate) use exit::{AtEnd, Finish, Slot};
pub use exit::{Exit, JoinHandle};
pub use graph::{Lag, Laggard, WaitGraph, WaitRow};
pub use hand::Hands;
pub use host::Host;
pub use life::{Delivery, Signal, Thread};
pub(crate) use life::{drop_quietly, quietly};
pub(crate) use participant::Mask;
pub use participant::{Context, Participant};
pub(crate) use runtime::Participation;
pub use runtime::{OwnerDeath, Runtime, RuntimeBuilder, SignalPolicy};
pub use schedule::{Pick, Schedule};
