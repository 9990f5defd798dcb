//! The recursive mutex: one word for owner and flags, a queue of waiters, a depth that only the owner touches.
//!
//! `word` = owner:56 | W (a thread may wait) | K (a woken waiter is on its way) | S (the front waiter starves: hand over)
//!
//! | owner | flags  | meaning                                    | leaves by                                              |
//! |-------|--------|--------------------------------------------|--------------------------------------------------------|
//! | 0     | -      | free                                       | any locker                                             |
//! | A     | -      | A holds it, nobody waits                   | A; a waiter sets W                                     |
//! | A     | W      | A holds it, a thread may wait              | A releases with K, then wakes one                      |
//! | 0     | K, W?  | free, a woken waiter is on its way         | it, or a locker that is quicker; else K is passed on   |
//! | A     | K, W?  | taken before the woken waiter came         | A just releases: K's holder sees to the rest           |
//! | A     | S W K? | the front waiter was woken and lost too long | A hands over to it                                     |
//!
//! I1. The queue is not empty => W, or a releaser whose swap took W away is about to restore it. W and S are set under the
//!     queue's lock or by that releaser, and cleared under the lock; W may outlive the queue (one slow release).
//! I2. W and owner 0 => K, or such a releaser: somebody (a woken waiter, or an unlocker on its way to the queue) tries, or
//!     passes K on (R4). K has one holder whenever it is set; it is set only while the mutex is free.
//! I3. S => owner is not 0, and W.
//! I4. `more` is touched by the owner only. A thread whose id is in `word`, and who is not in a wait, is the owner. `more`
//!     counts the levels above the first: it is 0 whenever the mutex is free, so that neither the first lock nor the last
//!     release writes it.
//! I5. A waiter is in `queue` only while it is in a wait; it holds the queue's lock once more before the wait is over,
//!     unless it was granted or woken.
//! E1. The release (swap or compare-exchange) -> the next owner's acquiring compare-exchange: the critical section.
//! E2. A hand-over stores the owner relaxed; the new owner takes over by its claim (claim E1).
//! E3. A woken waiter takes over by its own acquiring compare-exchange, not by the claim.
//!
//! `word` is written by read-modify-writes only. A newcomer may take a free mutex before the woken waiter (barging): that
//! is what makes it fast; S bounds how long a waiter can lose.
//!
//! **lock**: own id in the word: one level more. Else compare-exchange 0 -> me. Else look a while, enter the wait, and
//! `compete`: take it if it is free; or, under the queue's lock, set W (and S if owed; K back) and queue; sleep.
//! GRANTED: it is ours. WOKEN: K is ours: try once more, else queue at the front. Anything else: unlink, give up.
//!
//! **release**: no flags: swap to 0, which is cheaper than a compare-exchange, and `restore` what flags came in between.
//! With W: to K, and wake one (`pass_on`); with S: `hand_over`.

use crate::error::{LockError, NotOwner, TryLockError};
use crate::id::{RuntimeId, ThreadId};
use crate::park::{Outcome, Queue, QueueGuard};
use crate::shim::{Arc, AtomicU64, Ordering::*, UnsafeCell, const_fn, planted};
use crate::thread::record;
use crate::thread::{Blocker, Context, Label, LabelRef, Participant};
use std::fmt;
use std::ops::Deref;
use std::time::Instant;

mod contended;
mod guard;
mod word;

use contended::{How, Taken};
use guard::Stamp;
pub use guard::{Guard, MutexGuard, OwnedMutexGuard};
use word::{W, Word};

/// A recursive mutex of Lisp threads. It guards no data of its own: VM objects do not lie inside it.
///
/// The owner is the Lisp thread, not the OS thread. Each [`lock`](Self::lock) is one level; the last level given back frees
/// the mutex. A thread that ends leaves its mutexes locked, as in Emacs: their waiters can be signalled out, and
/// [`owner`](Self::owner) says that the owner is dead. There is no poisoning: a guard gives its level back while unwinding.
///
/// Newcomers may take a free mutex before a waiter that was woken for it; a waiter that has lost for 1 ms (see
/// [`Schedule`](crate::Schedule)) is handed the mutex at the next release (at the one after it, if it
/// asks in the middle of a release). Waiters queue in order of arrival.
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
    word: AtomicU64,
    /// Levels above the first.
    more: UnsafeCell<u32>,
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
    /// Does the owner live? `false` is final: the mutex stays locked. `true` is a snapshot.
    pub fn is_alive(self) -> bool {
        // No record: its segment is too new for this thread to see.
        record::find(self.0).is_none_or(|r| !r.is_over(self.0))
    }
}

impl Mutex {
    const_fn! {
        /// A free mutex without a name.
        pub fn new() -> Self {
            Self {
                word: AtomicU64::new(0),
                more: UnsafeCell::new(0),
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
    /// Yes, between [`Context::before_block`] and [`Context::after_block`]; a safe point then. A signal ends the wait. Before
    /// it waits it looks at the mutex for some microseconds.
    /// # Ordering
    /// Everything that owners did before they freed the mutex happens-before the return.
    /// # Cost
    /// Free: one compare-exchange. Owned by the caller: one relaxed load.
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
        match mutex.acquire_now(cx.me()) {
            Some(Ok(())) => Ok(Guard::new(this, stamp)),
            Some(Err(e)) => Err(e),
            None => {
                mutex.acquire_contended(cx, deadline)?;
                Ok(Guard::new(this, Stamp::now(cx.me())))
            }
        }
    }

    /// Locks one level if that takes no wait.
    ///
    /// # Errors
    /// See [`TryLockError`]; the level is not taken.
    #[inline]
    pub fn try_lock(&self, me: &Participant) -> Result<MutexGuard<'_>, TryLockError> {
        if self.is_owner(me) {
            self.one_more().map_err(|_| TryLockError::Overflow)?;
        } else if !self.take(me.id(), false) {
            return Err(TryLockError::Taken);
        }
        Ok(Guard::new(self, Stamp::now(me)))
    }

    /// The explicit form of [`lock`](Self::lock), for an interpreter whose `mutex-lock` and `mutex-unlock` are two calls: no
    /// guard; give the level back by [`release`](Self::release).
    ///
    /// # Errors
    /// See [`LockError`]; the level is not taken.
    #[inline]
    pub fn acquire<C: Context>(&self, cx: &mut C) -> Result<(), LockError> {
        match self.acquire_now(cx.me()) {
            Some(result) => result,
            None => self.acquire_contended(cx, None),
        }
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
    ) -> Result<(), LockError> {
        match self.acquire_now(cx.me()) {
            Some(result) => result,
            None => self.acquire_contended(cx, Some(deadline)),
        }
    }

    /// None: it takes more than one compare-exchange.
    #[inline(always)]
    fn acquire_now(&self, me: &Participant) -> Option<Result<(), LockError>> {
        let mine = Word::of(me);
        // ORDERING: Relaxed. As `is_owner`; a guess for the compare-exchange.
        let w = Word(self.word.load(Relaxed));
        if w == mine {
            return Some(self.one_more());
        }
        // ORDERING: Acquire, E1; Relaxed on failure, where nothing is taken over.
        let free = w.0 == 0 && self.word.compare_exchange(0, mine.0, Acquire, Relaxed).is_ok();
        free.then_some(Ok(()))
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
    /// One swap for the last level, no read-modify-write for others. With a waiter: a wake-up.
    #[inline]
    pub fn release(&self, me: &Participant) -> Result<(), NotOwner> {
        if !self.try_release_if(Word::of(me), || true) {
            self.check_owner(me)?;
            self.release_flagged();
        }
        Ok(())
    }

    /// Gives one level back if that is simple and `valid`. False: the word has flags, or the caller does not own the mutex.
    #[inline(always)]
    fn try_release_if(&self, mine: Word, valid: impl FnOnce() -> bool) -> bool {
        // ORDERING: Relaxed. As `is_owner`.
        if Word(self.word.load(Relaxed)) != mine {
            return false;
        }
        let more = self.more();
        if more != 0 {
            if !valid() {
                return false;
            }
            self.set_more(more - 1);
            return true;
        }
        if !valid() {
            return false;
        }
        // ORDERING: Release, E1.
        let old = Word(self.word.swap(0, Release));
        if old != mine {
            self.restore(old);
        }
        true
    }

    /// The same when the word has flags. The caller owns the mutex.
    #[cold]
    fn release_flagged(&self) {
        match self.more() {
            0 => self.free_contended(),
            more => self.set_more(more - 1),
        }
    }

    /// Does the calling thread own it?
    #[inline(always)]
    pub fn is_owner(&self, me: &Participant) -> bool {
        // ORDERING: Relaxed. Only I write my id, and only I take it out again (but for a hand-over to me, which my claim
        // word tells me of): a match is my own store, a mismatch, however stale, is a mismatch.
        Word(self.word.load(Relaxed)).owner() == me.id().get()
    }
    /// Who owns it. A snapshot.
    pub fn owner(&self) -> Option<Owner> {
        // ORDERING: Relaxed. A snapshot.
        let owner = Word(self.word.load(Relaxed)).owner();
        ThreadId::from_bits(owner).map(Owner)
    }
    /// How many levels the calling thread holds.
    pub fn depth(&self, me: &Participant) -> u32 {
        if self.is_owner(me) { self.more() + 1 } else { 0 }
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
        let more = self.more();
        if more >= u32::MAX - 1 {
            return Err(LockError::Overflow);
        }
        self.set_more(more + 1);
        Ok(())
    }

    /// For a condition-wait: gives all levels back. The caller owns the mutex.
    pub(crate) fn release_all(&self) -> SavedLevels {
        let more = self.more();
        self.set_more(0);
        self.free_contended();
        SavedLevels(more)
    }

    /// For a condition-wait: takes the mutex back, unless it was granted. `woken`: the caller has K. `Err`: the runtime
    /// shuts down, and the caller holds nothing.
    pub(crate) fn take_back(
        &self,
        cx: &mut dyn Context,
        outcome: Outcome,
        on: &Blocker,
        saved: SavedLevels,
    ) -> Result<(), LockError> {
        let SavedLevels(mut more) = saved;
        if outcome != Outcome::Granted {
            let interruptible = planted("interruptible-reacquire");
            let how = How { interruptible, deadline: None, on, any_owner: true };
            if self.compete(cx, &how, outcome == Outcome::Woken)? == Taken::ByHook {
                more = more.saturating_add(self.more() + 1);
            }
        }
        self.set_more(more);
        Ok(())
    }

    /// For a notifier that owns the mutex and has the queue's lock: waiters will come.
    pub(crate) fn expect_waiters(&self) {
        if !planted("notify-without-W") {
            // ORDERING: Relaxed. Flags change under the queue's lock; the caller's own release sees it.
            self.word.fetch_or(W, Relaxed);
        }
    }

    /// For who queued a waiter and owns nothing.
    pub(crate) fn admit(&self, queue: QueueGuard<'_>) {
        if self.demand(queue.front_starves()) {
            self.pass_on(queue);
        }
    }

    /// A snapshot, for tests: free, no flags, nobody queues.
    #[cfg(any(test, selvedge_loom))]
    pub(crate) fn is_idle(&self) -> bool {
        // ORDERING: Relaxed. A snapshot.
        self.word.load(Relaxed) == 0 && self.queue.lock().is_empty()
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
        m.set_more(u32::MAX - 1);
        assert_eq!(m.acquire(&mut cx), Err(LockError::Overflow));
        assert_eq!(m.try_lock(&cx).unwrap_err(), TryLockError::Overflow);
        assert_eq!(m.depth(&cx), u32::MAX);
        m.set_more(0);
        m.release(&cx).unwrap();
        assert!(m.is_idle());
    }
}
