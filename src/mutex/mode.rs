//! The packed mode of a mutex, read by name. What the modes mean is the table of `mutex`.

use crate::shim::planted;

/// A value of `mode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mode(pub(super) u32);

/// A thread queues, or is about to.
const CALLED: u32 = 1;
/// Every release from now on sees CALLED.
const ARMED: u32 = 2;
/// A woken waiter is on its way.
const K: u32 = 4;
/// Releases are read-modify-writes.
const STEADY: u32 = 8;
/// Counts the threads between setting CALLED and their barrier's end.
const CALLER: u32 = 0x10;
const CALLERS: u32 = 0xff * CALLER;
/// Counts releases in a row that found nobody.
const IDLE: u32 = 0x1000;
/// So many, and the mutex is quiet again. A switch costs a waiter a barrier, such a release some nanoseconds.
const ENOUGH: u32 = if cfg!(any(selvedge_loom, selvedge_shuttle)) { 1 } else { 1000 };

impl Mode {
    pub(super) const PLAIN: Self = Self(0);
    pub(super) const STEADY: Self = Self(STEADY);
    /// QUEUE: the next release that finds nobody chooses between PLAIN and STEADY.
    pub(super) const NEW: Self = Self(CALLED | ARMED | ((ENOUGH - 1) * IDLE));

    pub(super) fn is_armed(self) -> bool {
        self.0 & ARMED != 0
    }
    pub(super) fn has_k(self) -> bool {
        self.0 & K != 0
    }
    pub(super) fn with_k(self) -> Self {
        Self(self.0 | K)
    }
    pub(super) fn without_k(self) -> Self {
        Self(self.0 & !K)
    }
    /// QUEUE, whatever it was; nobody needs a barrier.
    pub(super) fn armed(self) -> Self {
        Self(self.0 & !STEADY | CALLED | ARMED)
    }
    /// QUEUE, and the caller is about to issue its barrier. None: too many are.
    pub(super) fn called(self) -> Option<Self> {
        (self.0 & CALLERS != CALLERS).then_some(Self((self.0 | CALLED) + CALLER))
    }
    /// The caller's barrier is over.
    pub(super) fn answered(self) -> Self {
        Self((self.0 | ARMED) - CALLER)
    }
    /// A waiter queues.
    pub(super) fn busy(self) -> Self {
        Self(self.0 & (IDLE - 1))
    }
    /// A release in QUEUE found nobody in the queue.
    pub(super) fn idler(self, quiet: Self) -> Self {
        // Not before the last barrier is over: it is what ARMED rests on.
        let watched = ARMED | K | if planted("idle-ignores-callers") { 0 } else { CALLERS };
        match self.0 & watched == ARMED {
            true if self.0 / IDLE + 1 >= ENOUGH => quiet,
            true => Self(self.0 + IDLE),
            false => self,
        }
    }
    /// A snapshot, for tests: nobody is on the way.
    #[cfg(any(test, selvedge_loom))]
    pub(super) fn is_idle(self) -> bool {
        self.0 & (K | CALLERS) == 0
    }
}
