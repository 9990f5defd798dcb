//! How a wait ends: the claim word, the waiter and its node, the queue of waiters. Knows no thread and never sleeps.

mod claim;
mod queue;
pub(crate) mod table;
mod waiter;

pub(crate) use claim::{Epoch, Outcome, Refusal, Waiting};
#[cfg(selvedge_loom)]
pub(crate) use queue::SpinHead;
pub(crate) use queue::{Entry, Queue, QueueGuard, Ticket};
pub(crate) use waiter::{Ready, Waiter, Wake};
