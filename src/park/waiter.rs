//! A waiter: what a claimer needs of a thread, and how it is told.
//!
//! Waiters live in the records of the process-wide slab and are never freed, so a late `unpark` meets a live parker;
//! at worst it wakes the slot's next thread, whose claim word says that nothing happened.
//!
//! I1. `ready` is written while the waiter is in no wait and reachable by no claimer; it is read before a claim, while
//!     the wait pins it.
//! E1. `grant_turn`'s Release -> `take_turn`'s Acquire: all that the scheduler's last thread did.

use super::claim::{Claim, Epoch, Outcome};
use super::queue::Node;
use crate::shim::{Arc, AtomicU32, Ordering::*, Parker, UnsafeCell, const_fn};

/// A scheduler that decides when a waiter whose wait has ended may run.
pub(crate) trait Ready: Send + Sync {
    /// The wait of `waiter` has ended; called once per wait that the scheduler was told of.
    fn ready(&self, waiter: &'static Waiter);
}

/// See the module. The address of a waiter is also that of its record.
pub(crate) struct Waiter {
    claim: Claim,
    parker: Parker,
    turn: AtomicU32,
    node: Node,
    ready: UnsafeCell<Option<Arc<dyn Ready>>>,
}

// SAFETY: `node` and `ready` are cells with rules of their own (queue I1, I1); the rest is atomic.
unsafe impl Sync for Waiter {}
// SAFETY: nothing in it is bound to an OS thread.
unsafe impl Send for Waiter {}

/// What is left to do after a claim, once all internal locks are released.
#[must_use = "the claimed thread sleeps until it is woken"]
pub(crate) struct Wake(How);

enum How {
    Nothing,
    Unpark(&'static Waiter),
    Ready(Arc<dyn Ready>, &'static Waiter),
}

impl Waiter {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                claim: Claim::new(),
                parker: Parker::new(),
                turn: AtomicU32::new(0),
                node: Node::new(),
                ready: UnsafeCell::new(None),
            }
        }
    }

    /// Prepares the waiter for a new thread. The caller alone can reach it.
    pub(crate) fn renew(&self, ready: Option<Arc<dyn Ready>>) {
        self.claim.renew();
        // SAFETY: nobody else can reach the waiter (I1).
        self.ready.with_mut(|r| unsafe { *r = ready });
    }

    pub(crate) fn state(&self) -> &Claim {
        &self.claim
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// Ends the wait `epoch`. The caller keeps the wait from being over: by the lock of the queue that links or linked
    /// the waiter, by a lock under which its thread must pass to end, or by being the waiter.
    pub(crate) fn claim(&'static self, epoch: Epoch, outcome: Outcome) -> Option<Wake> {
        self.ending(|c| c.claim(epoch, outcome))
    }

    /// Ends whatever wait there is; pinned as above.
    pub(crate) fn claim_any(&'static self, outcome: Outcome) -> Option<Wake> {
        self.ending(|c| c.claim_any(outcome))
    }

    /// Posts a signal; ends an interruptible wait; pinned as above.
    pub(crate) fn interrupt(&'static self) -> Option<Wake> {
        self.ending(Claim::interrupt)
    }

    fn ending(&'static self, claim: impl FnOnce(&Claim) -> Option<bool>) -> Option<Wake> {
        // Before the claim: afterwards the waiter may be another thread's.
        // SAFETY: the caller pins the waiter, so nobody writes (I1).
        let ready = self.ready.with(|r| unsafe { (*r).clone() });
        let parked = claim(&self.claim)?;
        Some(Wake(match ready {
            Some(ready) => How::Ready(ready, self),
            None if parked => How::Unpark(self),
            None => How::Nothing,
        }))
    }

    /// Was its wait granted, which it has not ended yet? In a stopped world.
    pub(crate) fn is_granted(&self) -> bool {
        self.claim.is_granted()
    }

    /// Sleeps until `unpark`, a turn, or the deadline; may return early. Own thread only; `wait` alone calls it.
    pub(crate) fn park(&self, deadline: Option<std::time::Instant>) {
        self.parker.park(deadline);
    }

    pub(crate) fn unpark(&self) {
        self.parker.unpark();
    }

    /// The scheduler lets this waiter's thread run.
    pub(crate) fn grant_turn(&self) {
        // ORDERING: Release, E1.
        self.turn.swap(1, Release);
    }

    /// Takes the turn if the scheduler gave it. Own thread only.
    pub(crate) fn take_turn(&self) -> bool {
        // ORDERING: Acquire, E1; the failed one takes nothing over.
        self.turn.compare_exchange(1, 0, Acquire, Relaxed).is_ok()
    }
}

impl Wake {
    /// Wakes the thread. With no internal lock held.
    #[inline]
    pub(crate) fn now(self) {
        match self.0 {
            How::Nothing => {}
            How::Unpark(waiter) => waiter.unpark(),
            How::Ready(ready, waiter) => ready.ready(waiter),
        }
    }
}
