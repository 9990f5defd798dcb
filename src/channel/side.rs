//! One side of a channel: a small lock with flags in its word, and what only its holder touches.
//!
//! | `word`   | meaning                                        | leaves by                                   |
//! |----------|------------------------------------------------|---------------------------------------------|
//! | 0        | free, nothing to notice                        | who comes -> LOCKED                         |
//! | flags    | free; who comes notices them (`core`)          | who comes -> flags + LOCKED                 |
//! | + LOCKED | a thread works on the side                     | it -> whatever flags hold then              |
//!
//! I1. Flags, `index` and `part` are written by the holder only.
//! I2. Unlocking is a plain store: every successful compare-exchange starts from a word without LOCKED, so none races with
//!     it.
//! E1. Unlock's Release store -> the next Acquire compare-exchange: index, part, flags, and the queue that the side guards.
//!
//! Held for the time of one value's move. A thread that finds it taken pauses, then yields, then naps: a bounded back-off,
//! not a wait. Nothing of the VM runs under it; what allocates under it says so (`list`).

use crate::shim::{self, AtomicU32, AtomicU64, Ordering::*, UnsafeCell};

/// The other kind of thread queues at this side.
pub(super) const WAITERS: u32 = 2;
/// No value goes in any more. On the tail.
pub(super) const CLOSED: u32 = 4;
/// Places are kept free. On the tail.
pub(super) const PROMISED: u32 = 8;
/// A handle has left and is there still: of senders, on the tail; of receivers, on the head, or where there is one side
/// only.
pub(super) const LEFT: [u32; 2] = [16, 32];
/// What queued senders have is not received any more. On the tail.
pub(super) const ENDED: u32 = 64;
/// No value comes out any more. On the head, or where there is one side only.
pub(super) const SEALED: u32 = 128;

/// A side. Small: who has its lock has its line, and what else lies there (`core`).
pub(super) struct Side<P> {
    #[cfg(not(selvedge_loom))]
    lock: Lock,
    #[cfg(selvedge_loom)]
    lock: ModelLock,
    /// How many values have passed here. Read by anybody, as a snapshot.
    index: AtomicU64,
    /// What a storage keeps here.
    part: UnsafeCell<P>,
}

// SAFETY: `part` is the holder's (I1, E1); the rest synchronizes itself.
unsafe impl<P: Send> Sync for Side<P> {}
// SAFETY: nothing in it is bound to an OS thread.
unsafe impl<P: Send> Send for Side<P> {}

/// A side that is held.
pub(super) struct Held<'a, P> {
    side: &'a Side<P>,
    pub(super) flags: u32,
    #[cfg(selvedge_loom)]
    lock: crate::shim::MutexGuard<'a, u32>,
}

impl<P> Side<P> {
    pub(super) fn new(part: P) -> Self {
        #[cfg(not(selvedge_loom))]
        let lock = Lock::new();
        #[cfg(selvedge_loom)]
        let lock = ModelLock::new();
        Self { lock, index: AtomicU64::new(0), part: UnsafeCell::new(part) }
    }

    /// Takes the side if no flag is up, after whoever has it; none: there is something to notice.
    #[cold]
    pub(super) fn lock_quiet(&self) -> Option<Held<'_, P>> {
        #[cfg(not(selvedge_loom))]
        return self.lock.take_quiet_contended().then(|| Held { side: self, flags: 0 });
        #[cfg(selvedge_loom)]
        Some(self.lock()).filter(|held| held.flags == 0)
    }

    /// The same, if it takes one step; none: there is something to notice, or another thread has it.
    #[inline(always)]
    pub(super) fn try_lock_quiet(&self) -> Option<Held<'_, P>> {
        #[cfg(not(selvedge_loom))]
        return self.lock.take_quiet().then(|| Held { side: self, flags: 0 });
        #[cfg(selvedge_loom)]
        Some(self.lock()).filter(|held| held.flags == 0)
    }

    pub(super) fn lock(&self) -> Held<'_, P> {
        #[cfg(not(selvedge_loom))]
        return Held { side: self, flags: self.lock.take() };
        #[cfg(selvedge_loom)]
        {
            let lock = self.lock.bit.lock();
            Held { side: self, flags: *lock, lock }
        }
    }

    /// A snapshot.
    #[inline]
    pub(super) fn flags(&self) -> u32 {
        self.lock.flags()
    }

    /// A snapshot.
    #[inline(always)]
    pub(super) fn index(&self) -> u64 {
        // ORDERING: Relaxed. A snapshot; the holder reads its own.
        self.index.load(Relaxed)
    }
}

impl<P> Held<'_, P> {
    #[inline(always)]
    pub(super) fn index(&self) -> u64 {
        self.side.index()
    }
    #[inline(always)]
    pub(super) fn set_index(&mut self, index: u64) {
        // ORDERING: Relaxed. E1 publishes it to the next holder; for others it is a snapshot.
        self.side.index.store(index, Relaxed);
    }
    #[inline(always)]
    pub(super) fn part<R>(&mut self, f: impl FnOnce(&mut P) -> R) -> R {
        // SAFETY: the side is held (I1), and `f` has the only borrow.
        self.side.part.with_mut(|p| f(unsafe { &mut *p }))
    }
    pub(super) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
    pub(super) fn set(&mut self, flag: u32, up: bool) {
        self.flags = if up { self.flags | flag } else { self.flags & !flag };
    }
}

impl<P> Drop for Held<'_, P> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(not(selvedge_loom))]
        self.side.lock.give(self.flags);
        #[cfg(selvedge_loom)]
        if *self.lock != self.flags {
            *self.lock = self.flags;
            // ORDERING: Relaxed. For `flags`.
            self.side.lock.flags.store(self.flags, Relaxed);
        }
    }
}

/// loom's mutex stands for the lock bit, which has a model of its own.
#[cfg(selvedge_loom)]
struct ModelLock {
    bit: shim::Mutex<u32>,
    /// What a thread without the lock sees of the flags. Stored by the holder only.
    flags: AtomicU32,
}

#[cfg(selvedge_loom)]
impl ModelLock {
    fn new() -> Self {
        Self { bit: shim::Mutex::new(0), flags: AtomicU32::new(0) }
    }
    fn flags(&self) -> u32 {
        // ORDERING: Relaxed. As `Lock::flags`.
        self.flags.load(Relaxed)
    }
}

pub(super) struct Lock(AtomicU32);

const LOCKED: u32 = 1;

impl Lock {
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// A snapshot.
    #[inline]
    pub(super) fn flags(&self) -> u32 {
        // ORDERING: Relaxed. A hint: who acts on it takes the lock.
        self.0.load(Relaxed) & !LOCKED
    }

    /// Takes the lock if it is free and no flag is up.
    #[inline(always)]
    pub(super) fn take_quiet(&self) -> bool {
        // ORDERING: Acquire, E1; Relaxed on failure, where nothing is taken over.
        self.0.compare_exchange(0, LOCKED, Acquire, Relaxed).is_ok()
    }

    /// Takes the lock if no flag is up.
    #[cold]
    pub(super) fn take_quiet_contended(&self) -> bool {
        if self.flags() != 0 {
            return false;
        }
        let flags = self.take();
        if flags != 0 {
            self.give(flags);
        }
        flags == 0
    }

    /// The flags.
    #[inline]
    pub(super) fn take(&self) -> u32 {
        // ORDERING: Relaxed. A guess for the compare-exchange.
        let word = self.0.load(Relaxed);
        if word & LOCKED == 0 && self.take_from(word) { word } else { self.take_contended() }
    }

    fn take_from(&self, word: u32) -> bool {
        // ORDERING: Acquire, E1; Relaxed on failure, where nothing is taken over.
        self.0.compare_exchange(word, word | LOCKED, Acquire, Relaxed).is_ok()
    }

    #[cold]
    fn take_contended(&self) -> u32 {
        let mut tries = 0u32;
        loop {
            shim::back_off(tries, 16);
            tries = tries.saturating_add(1);
            // ORDERING: Relaxed. A guess for the compare-exchange.
            let word = self.0.load(Relaxed);
            if word & LOCKED == 0 && self.take_from(word) {
                return word;
            }
        }
    }

    #[inline(always)]
    pub(super) fn give(&self, flags: u32) {
        // ORDERING: Release, E1. A plain store: I2.
        self.0.store(flags, Release);
    }
}
