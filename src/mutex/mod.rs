//! The recursive mutex: a word for the owner, a queue of waiters, a depth that only the owner touches, and a mode that says
//! how the owner gives it back.
//!
//! | `mode` | the last release                                             | leaves by                                     |
//! |--------|--------------------------------------------------------------|-----------------------------------------------|
//! | PLAIN  | stores 0, then looks at `mode` once more                     | a waiter: CALLED, barrier of all threads, ARMED |
//! | STEADY | swaps 0 in, then looks at `mode` once more                   | a waiter: CALLED, ARMED, a read-modify-write of `owner` |
//! | QUEUE  | works under the queue's lock: hands over, or frees and wakes | releases in a row that found nobody           |
//!
//! QUEUE is CALLED, with ARMED (every release from now on sees CALLED), K (a woken waiter is on its way), the number of
//! waiters whose barrier is not over, and the number of idle releases. PLAIN and STEADY have none of these. A mutex is made
//! in QUEUE, one idle release from its first quiet mode: PLAIN where the machine has the barrier and the owner's runtime
//! wants it, else STEADY.
//!
//! I1. A waiter queues only while ARMED, under the queue's lock, after it saw an owner under that lock. The queue is not
//!     empty => ARMED.
//! I2. Either a waiter that called sees `owner` 0, or the owner's release sees CALLED, before or after it frees the mutex
//!     (E4, E5). A release that sees it afterwards (`release_late`) wakes the front, as one in QUEUE does.
//! I3. QUEUE, `owner` 0, and the queue not empty => K, or a release that is about to take the queue's lock. K says that at
//!     least one woken waiter is on its way; each of them takes K back when it owns the mutex, or queues or gives up while
//!     somebody else does, whose release then wakes the next; else it passes K on (R4).
//! I4. `more` is touched by the owner only. A thread whose id is in `owner`, and who is not in a wait, is the owner. `more`
//!     counts the levels above the first: it is 0 whenever the mutex is free, so that neither the first lock nor the last
//!     release writes it.
//! I5. A waiter is in `queue` only while it is in a wait; it holds the queue's lock once more before the wait is over,
//!     unless it was granted or woken.
//! I6. CALLED is taken back by an owner's release under the queue's lock, with the queue empty, ARMED, and no barrier under
//!     way. So a barrier that ends finds the CALLED that it began with, and may set ARMED.
//! I7. `mode` is written under the queue's lock, by plain stores. `owner` is taken by compare-exchange from 0, or from a
//!     dead owner, and given back or handed over by its owner alone, by plain stores but in STEADY or to a dead one; so no
//!     store races with a successful read-modify-write. The waiter's of E5 changes nothing, and is done under the queue's
//!     lock: an owner in STEADY swaps, and one that sees QUEUE stores under that lock.
//! E1. The release -> the next owner's acquiring compare-exchange: the critical section.
//! E2. A hand-over stores the owner relaxed; the new owner takes over by its claim (claim E1).
//! E3. A woken waiter takes over by its own acquiring compare-exchange, not by the claim.
//! E4. PLAIN: the owner stores 0, light fence, loads `mode`; the waiter stores CALLED, heavy fence, loads `owner`: one of
//!     them sees the other's store. The light fence costs no instruction (asymmetric fences: P1202).
//! E5. STEADY: the waiter's read-modify-write of `owner` (Release) comes after the owner's swap and sees 0, or before it,
//!     and the swap (Acquire) brings CALLED along.
//!
//! A newcomer may take a free mutex before the woken waiter (barging): that is what makes it fast; a waiter that was woken,
//! lost, and waited long queues as starving, and is handed the mutex.
//!
//! **lock**: own id in `owner`: one level more. Else compare-exchange 0 -> me. Else look a while, enter the wait, and
//! `compete`: take it if it is free, and give K back; or call, and queue (K back) under the queue's lock; sleep.
//! GRANTED: it is ours. WOKEN: K is ours: try once more, else queue at the front. Anything else: unlink, give up.
//!
//! **A dead owner**: its id stays in `owner`, but nobody waits for its release: it told the waiters (waits I2), and a
//! thread that meets a dead owner does not queue. `take_from` replaces the id, by a compare-exchange under the queue's
//! lock; `more` then belongs to the new owner, after all that the dead one did (record E2). A thread that inherited the
//! mutex, and whose hook panics before it is told so, leaves it to the dead one again, in the same way, and tells the
//! waiters anew.

use crate::error::{NotOwner, RecoverError, TryLockError};
use crate::failure::LockError;
use crate::id::{RuntimeId, ThreadId};
use crate::park::{Outcome, Queue, QueueGuard};
use crate::shim::{self, Arc, AtomicU32, AtomicU64, Ordering::*, UnsafeCell, const_fn, planted};
use crate::thread::record::{self, Record};
use crate::thread::waits::Owned;
use crate::thread::{Blocker, Context, Label, LabelRef, Participant};
use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::time::Instant;

mod contended;
mod guard;
mod mode;

use contended::{How, Taken};
use guard::Stamp;
pub use guard::{Guard, MutexGuard, OwnedMutexGuard};
use mode::Mode;

/// A recursive mutex of Lisp threads. It guards no data of its own: VM objects do not lie inside it.
///
/// The owner is the Lisp thread, not the OS thread. Each [`lock`](Self::lock) is one level; the last level given back frees
/// the mutex. A thread that ends leaves its mutexes locked: who waits for them is told, and [`recover`](Self::recover)
/// takes them, or the next locker does ([`OwnerDeath`](crate::OwnerDeath)). There is no poisoning: a guard gives its level
/// back while unwinding.
///
/// Newcomers may take a free mutex before a waiter that was woken for it; a waiter that has lost for 1 ms (see
/// [`Schedule`](crate::Schedule)) is handed the mutex at the next release. Waiters queue in order of arrival.
///
/// While nobody waits, the last release is a plain store; the first waiter pays for that with a barrier of all running
/// threads of the process (Linux on x86-64; elsewhere, and with [`Schedule::membarrier`](crate::Schedule::membarrier) off,
/// the release is an atomic swap and there is no barrier).
///
/// # Examples
/// ```
/// use selvedge::{Mutex, Runtime};
/// static M: Mutex = Mutex::new();
/// let vm = Runtime::new();
/// let mut cx = vm.attach("main")?;
/// let outer = M.lock(&mut cx)?;
/// {
///     let _inner = M.lock(&mut cx)?; // the guard does not borrow the context
///     assert_eq!(M.depth(&cx), 2);
/// }
/// drop(outer);
/// assert!(M.owner().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Mutex {
    /// The owner's id; 0: free.
    owner: AtomicU64,
    /// Levels above the first.
    more: UnsafeCell<u32>,
    mode: AtomicU32,
    pub(crate) queue: Queue,
    label: LabelRef,
}

// SAFETY: `more` is the owner's (I4), and owners change by E1 and E2; the rest synchronizes itself.
unsafe impl Sync for Mutex {}
// SAFETY: a mutex that can be moved is borrowed by no waiter.
unsafe impl Send for Mutex {}

/// Who owns a mutex: a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner(ThreadId);

impl Owner {
    /// The owner's identity.
    pub fn id(self) -> ThreadId {
        self.0
    }
    /// Does the owner live? `false` is final. `true` is a snapshot.
    pub fn is_alive(self) -> bool {
        !record::is_over(self.0)
    }
}

/// A mutex was locked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Acquired {
    /// The dead thread from which it was taken: what it protects may be half done.
    pub abandoned_by: Option<ThreadId>,
}

impl Mutex {
    const_fn! {
        /// A free mutex without a name.
        pub fn new() -> Self {
            Self {
                owner: AtomicU64::new(0),
                more: UnsafeCell::new(0),
                mode: AtomicU32::new(Mode::NEW.0),
                queue: Queue::new(),
                label: None,
            }
        }
    }

    /// A free mutex with a name.
    pub fn named(name: &str) -> Self {
        Self::with_label(Label::new(name))
    }
    /// A free mutex with a label.
    pub fn with_label(label: Label) -> Self {
        Self { label: Some(Arc::new(label)), ..Self::new() }
    }
    /// The name. Readable by anybody at any time.
    pub fn name(&self) -> Option<&str> {
        self.label.as_ref().and_then(|l| l.name())
    }
    /// The VM's tag; 0: none.
    pub fn tag(&self) -> u64 {
        self.label.as_ref().map_or(0, |l| l.get_tag())
    }

    /// Locks one level, waiting while another thread owns the mutex. The guard gives the level back.
    ///
    /// # Errors
    /// See [`LockError`]; the level is not taken.
    /// # Blocking
    /// Yes, between [`Context::before_block`] and [`Context::after_block`]; a safe point then. A signal ends the wait.
    /// Before it waits it looks at the mutex for some microseconds.
    /// # Ordering
    /// Everything that owners did before they freed the mutex happens-before the return.
    /// # Cost
    /// Free: two relaxed loads and a compare-exchange. Owned by the caller: the two loads, and the count of levels.
    #[inline]
    pub fn lock<C: Context>(&self, cx: &mut C) -> Result<MutexGuard<'_>, LockError> {
        Self::lock_inline(self, cx, None)
    }

    /// As [`lock`](Self::lock), until `deadline` at the latest.
    ///
    /// # Errors
    /// [`LockError::TimedOut`] as well.
    #[inline]
    pub fn lock_until<C: Context>(
        &self,
        cx: &mut C,
        deadline: Instant,
    ) -> Result<MutexGuard<'_>, LockError> {
        Self::lock_inline(self, cx, Some(deadline))
    }

    /// As [`lock`](Self::lock), for a mutex that is reached through the VM's own heap: the guard keeps the handle.
    ///
    /// # Errors
    /// See [`LockError`]; the level is not taken.
    #[inline]
    pub fn lock_owned<H: Deref<Target = Mutex>, C: Context>(
        this: H,
        cx: &mut C,
    ) -> Result<OwnedMutexGuard<H>, LockError> {
        Self::lock_inline(this, cx, None)
    }

    #[inline(always)]
    fn lock_inline<H: Deref<Target = Mutex>, C: Context>(
        this: H,
        cx: &mut C,
        deadline: Option<Instant>,
    ) -> Result<Guard<H>, LockError> {
        let mutex = &*this;
        // What the guard needs is read before the compare-exchange, which every later load waits for.
        let stamp = Stamp::now(cx.me());
        if mutex.acquire_now(cx.me()) {
            return Ok(Guard::new(this, stamp));
        }
        let Acquired { abandoned_by } = mutex.acquire_contended(cx, deadline)?;
        Ok(Guard::inherited(this, Stamp::now(cx.me()), abandoned_by))
    }

    /// Locks one level if that takes no wait.
    ///
    /// # Errors
    /// See [`TryLockError`]; the level is not taken.
    /// # Blocking
    /// No.
    /// # Ordering
    /// As [`lock`](Self::lock).
    /// # Cost
    /// As `lock`. Owned by another: a failed compare-exchange, and a look at the owner's record.
    #[inline]
    pub fn try_lock(&self, me: &Participant) -> Result<MutexGuard<'_>, TryLockError> {
        let mut abandoned_by = None;
        if self.is_owner(me) {
            self.one_more().map_err(|_| TryLockError::Overflow)?;
        } else if !self.take(me.id()) {
            abandoned_by = Some(self.try_inherit(me)?);
        }
        Ok(Guard::inherited(self, Stamp::now(me), abandoned_by))
    }

    /// Takes the mutex from its dead owner, at one level. For [`OwnerDeath::LeaveLocked`](crate::OwnerDeath::LeaveLocked);
    /// what the mutex protects may be half done.
    ///
    /// # Errors
    /// See [`RecoverError`]; nothing happens.
    /// # Blocking
    /// No.
    /// # Ordering
    /// Everything the dead owner did happens-before the return.
    pub fn recover(&self, me: &Participant) -> Result<MutexGuard<'_>, RecoverError> {
        loop {
            let Some(owner) = self.owner() else { return Err(RecoverError::Free) };
            let (mine, dead) = (me.runtime().id(), owner.id());
            if owner.is_alive() {
                return Err(RecoverError::NotDead { owner: dead });
            }
            if let Some((owner, theirs)) = owner.runtime().filter(|(_, r)| *r != mine) {
                return Err(RecoverError::ForeignRuntime { owner, mine, theirs });
            }
            if self.take_from(dead, me.id(), false) {
                return Ok(Guard::inherited(self, Stamp::now(me), Some(dead)));
            }
        }
    }

    /// The explicit form of [`lock`](Self::lock), for an interpreter whose `mutex-lock` and `mutex-unlock` are two calls: no
    /// guard; give the level back by [`release`](Self::release).
    ///
    /// # Errors
    /// See [`LockError`]; the level is not taken.
    #[inline]
    pub fn acquire<C: Context>(&self, cx: &mut C) -> Result<Acquired, LockError> {
        if self.acquire_now(cx.me()) {
            return Ok(Acquired::default());
        }
        self.acquire_contended(cx, None)
    }

    /// As [`acquire`](Self::acquire), until `deadline` at the latest.
    ///
    /// # Errors
    /// [`LockError::TimedOut`] as well.
    #[inline]
    pub fn acquire_until<C: Context>(
        &self,
        cx: &mut C,
        deadline: Instant,
    ) -> Result<Acquired, LockError> {
        if self.acquire_now(cx.me()) {
            return Ok(Acquired::default());
        }
        self.acquire_contended(cx, Some(deadline))
    }

    /// One level by one compare-exchange, or none at all.
    #[inline(always)]
    fn acquire_now(&self, me: &Participant) -> bool {
        // ORDERING: Relaxed. As `is_owner`; a guess for the compare-exchange.
        let owner = self.owner.load(Relaxed);
        if owner == me.id().get() {
            return self.one_more().is_ok();
        }
        owner == 0 && self.take(me.id())
    }

    /// Takes it if it is free.
    #[inline(always)]
    fn take(&self, id: ThreadId) -> bool {
        // ORDERING: Acquire, E1; Relaxed on failure, where nothing is taken over.
        self.owner.compare_exchange(0, id.get(), Acquire, Relaxed).is_ok()
    }

    /// Gives one level back; the last one frees the mutex.
    ///
    /// # Errors
    /// [`NotOwner`], with both identities; nothing happens.
    /// # Blocking
    /// No.
    /// # Ordering
    /// If it frees the mutex, everything before happens-before the next owner's lock returns.
    /// # Cost
    /// No read-modify-write; without the barrier, one for the last level. With waiters, and for a while afterwards, the last
    /// level takes a short internal lock; with a waiter also a wake-up.
    #[inline]
    pub fn release(&self, me: &Participant) -> Result<(), NotOwner> {
        if self.release_if(me.id(), || me.record(), || true) {
            Ok(())
        } else {
            Err(self.not_owner(me))
        }
    }

    /// Gives one level back if the thread `id`, whose record it is, owns it, and it is `valid`.
    #[inline(always)]
    fn release_if(
        &self,
        id: ThreadId,
        record: impl FnOnce() -> &'static Record,
        valid: impl FnOnce() -> bool,
    ) -> bool {
        // ORDERING: Relaxed. As `is_owner`.
        if self.owner.load(Relaxed) != id.get() || !valid() {
            return false;
        }
        let more = self.more();
        if more == 0 {
            self.release_last(record, false);
        } else {
            self.set_more(more - 1);
        }
        true
    }

    /// Frees the mutex. The caller owns it, at its first level. `to_wait`: for a condition-wait.
    #[inline(always)]
    fn release_last(&self, record: impl FnOnce() -> &'static Record, to_wait: bool) {
        if self.mode() != Mode::PLAIN {
            return self.release_slowly(record(), to_wait);
        }
        // ORDERING: Release, E1. A store: I7.
        self.owner.store(0, Release);
        // ORDERING: SeqCst against a heavy fence, the light half of E4.
        shim::light_fence();
        if self.mode() != Mode::PLAIN {
            self.release_late();
        }
    }

    #[inline(always)]
    fn mode(&self) -> Mode {
        // ORDERING: Relaxed. Under the queue's lock it is exact; the owner relies on E4 or E5, or on its own store.
        Mode(self.mode.load(Relaxed))
    }

    /// Does the calling thread own it?
    #[inline(always)]
    pub fn is_owner(&self, me: &Participant) -> bool {
        // ORDERING: Relaxed. Only I write my id, and only I take it out again (but for a hand-over to me, which my claim
        // word tells me of): a match is my own store, a mismatch, however stale, is a mismatch.
        self.owner.load(Relaxed) == me.id().get()
    }
    /// Who owns it. A snapshot.
    pub fn owner(&self) -> Option<Owner> {
        // ORDERING: Relaxed. A snapshot.
        ThreadId::from_bits(self.owner.load(Relaxed)).map(Owner)
    }
    /// How many levels the calling thread holds.
    pub fn depth(&self, me: &Participant) -> u32 {
        if self.is_owner(me) { self.more().saturating_add(1) } else { 0 }
    }
    /// How many threads queue for it. A snapshot.
    pub fn waiters(&self) -> usize {
        self.queue.lock().len()
    }

    #[inline(always)]
    pub(crate) fn check_owner(&self, me: &Participant) -> Result<(), NotOwner> {
        if self.is_owner(me) { Ok(()) } else { Err(self.not_owner(me)) }
    }

    #[cold]
    fn not_owner(&self, me: &Participant) -> NotOwner {
        NotOwner { caller: me.id(), owner: self.owner().map(Owner::id) }
    }

    /// The caller owns the mutex.
    #[inline(always)]
    fn more(&self) -> u32 {
        // SAFETY: the caller is the owner (I4).
        self.more.with(|m| unsafe { *m })
    }
    /// The caller owns the mutex.
    #[inline(always)]
    fn set_more(&self, more: u32) {
        // SAFETY: the caller is the owner (I4).
        self.more.with_mut(|m| unsafe { *m = more });
    }
    /// One level more. The caller owns the mutex.
    #[inline(always)]
    fn one_more(&self) -> Result<(), LockError> {
        // Not `checked_add`: the increment itself tells, a comparison before it is one instruction more.
        let more = self.more().wrapping_add(1);
        if more == 0 {
            std::hint::cold_path();
            return Err(LockError::Overflow);
        }
        self.set_more(more);
        Ok(())
    }

    /// For a condition-wait: gives all levels back. The caller owns the mutex.
    pub(crate) fn release_all(&self, record: &'static Record) -> SavedLevels {
        let more = self.more();
        if more != 0 {
            self.set_more(0);
        }
        self.release_last(|| record, true);
        SavedLevels(more)
    }

    /// For a condition-wait: takes the mutex back, unless it was granted. `woken`: the caller has K. `Err`: the caller holds
    /// nothing. `Ok`: the dead thread from which it was taken, if any.
    pub(crate) fn take_back(
        &self,
        cx: &mut dyn Context,
        outcome: Outcome,
        on: &Blocker,
        saved: SavedLevels,
    ) -> Result<Acquired, LockError> {
        let SavedLevels(mut more) = saved;
        let mut acquired = Acquired::default();
        if outcome != Outcome::Granted {
            let interruptible = planted("interruptible-reacquire");
            let since = Cell::new(None);
            let how = How { interruptible, deadline: None, on, any_owner: true, since };
            match self.compete(cx, &how, outcome == Outcome::Woken)? {
                Taken::Now => {}
                Taken::ByHook => more = more.saturating_add(self.more()).saturating_add(1),
                Taken::From(dead) => acquired.abandoned_by = Some(dead),
            }
        }
        self.set_more(more);
        Ok(acquired)
    }

    /// For a notifier that owns the mutex: waiters will come. No barrier: its own release sees what it stores itself.
    pub(crate) fn expect_waiters(&self) -> QueueGuard<'_> {
        let queue = self.queue.lock();
        if !planted("notify-without-arming") {
            self.set_mode(&queue, self.mode().armed().busy());
        }
        queue
    }

    /// For the edge of a wait.
    pub(crate) fn owned(&self) -> Owned {
        Owned::new(&self.owner, &self.label)
    }

    /// A snapshot, for tests: free, nobody queues or is on the way.
    #[cfg(any(test, selvedge_loom))]
    pub(crate) fn is_idle(&self) -> bool {
        self.owner().is_none() && self.queue.lock().is_empty() && self.mode().is_idle()
    }
}

/// The levels above the first that a condition-wait restores.
pub(crate) struct SavedLevels(u32);

impl Owner {
    fn runtime(self) -> Option<(ThreadId, RuntimeId)> {
        let runtime = record::find(self.0)?.runtime_of(self.0)?;
        Some((self.0, runtime))
    }
}

impl Default for Mutex {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows name, owner and whether the owner lives; never waits.
impl fmt::Debug for Mutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("name", &self.name()).field("owner", &self.owner()).finish()
    }
}

#[cfg(all(test, not(selvedge_loom)))]
mod tests {
    use super::*;
    use crate::thread::Runtime;

    #[test]
    fn depth_overflow_is_an_error_and_the_mutex_works_on() {
        let vm = Runtime::new();
        let mut cx = vm.attach("main").unwrap();
        let m = Mutex::new();
        m.acquire(&mut cx).unwrap();
        m.set_more(u32::MAX);
        assert_eq!(m.acquire(&mut cx), Err(LockError::Overflow));
        assert_eq!(m.try_lock(&cx).unwrap_err(), TryLockError::Overflow);
        assert_eq!(m.depth(&cx), u32::MAX);
        m.set_more(0);
        m.release(&cx).unwrap();
        assert!(m.is_idle());
    }
}
