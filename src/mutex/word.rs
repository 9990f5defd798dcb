//! The packed word of a mutex, read by name. What they mean is the table of `mutex`.

use crate::id::ThreadId;
use crate::thread::Participant;

/// A thread may wait.
pub(super) const W: u64 = 1;
/// A woken waiter is on its way.
pub(super) const K: u64 = 2;
/// The front waiter starves: hand over.
pub(super) const S: u64 = 4;
const OWNER_SHIFT: u32 = Participant::LOCK_WORD_SHIFT;

/// A value of `word`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    /// The caller owns it, without flags.
    #[inline(always)]
    pub(super) fn of(me: &Participant) -> Self {
        Self(me.lock_word())
    }
    #[inline(always)]
    pub(super) fn owned_by(id: ThreadId) -> Self {
        Self(id.get() << OWNER_SHIFT)
    }
    #[inline(always)]
    pub(super) fn owner(self) -> u64 {
        self.0 >> OWNER_SHIFT
    }
    pub(super) fn is_free(self) -> bool {
        self.owner() == 0
    }
    pub(super) fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }
    pub(super) fn with(self, flags: u64) -> Self {
        Self(self.0 | flags)
    }
    pub(super) fn without(self, flags: u64) -> Self {
        Self(self.0 & !flags)
    }
    /// The flags alone.
    pub(super) fn freed(self) -> Self {
        Self(self.0 & (W | K | S))
    }
}
