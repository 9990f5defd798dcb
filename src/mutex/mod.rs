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
//! I1. The queue is not empty => W. Both change under the queue's lock; W may outlive the queue (one slow release).
//! I2. W and owner 0 => K: somebody (a woken waiter, or an unlocker on its way to the queue) tries, or passes K on (R4).
//! I3. S => owner is not 0, and W.
//! I4. `levels` is touched by the owner only. A thread whose id is in `word`, and who is not in a wait, is the owner.
//! I5. A waiter is in `queue` only while it is in a wait; it holds the queue's lock once more before the wait is over,
//!     unless it was granted or woken.
//! E1. The releasing compare-exchange -> the next owner's acquiring one: the critical section.
//! E2. A hand-over stores the owner relaxed; the new owner takes over by its claim (claim E1).
//! E3. K's holder, when it passes K on, has the critical section of who released; so the claim WOKEN carries it, and the
//!     woken waiter's own acquiring compare-exchange does again.
//!
//! `word` is written by read-modify-writes only. A newcomer may take a free mutex before the woken waiter (barging): that
//! is what makes it fast; S bounds how long a waiter can lose.
//!
//! **lock**: own id in the word: one level more. Else compare-exchange 0 -> me. Else look a while, enter the wait, and
//! `compete`: take it if it is free; or, under the queue's lock, set W (and S if owed; K back) and queue; sleep.
//! GRANTED: it is ours. WOKEN: K is ours: try once more, else queue at the front. Anything else: unlink, give up.
//!
//! **release**: compare-exchange me -> 0. With W: to K, wake one (`pass_on`); with S: `hand_over`.

use crate::error::{LockError, NotOwner, TryLockError};
use crate::id::{RuntimeId, ThreadId};
use crate::park::{Entry, Outcome, Queue, QueueGuard, Refusal};
use crate::shim::{self, Arc, AtomicU64, Ordering::*, UnsafeCell, const_fn, planted};
use crate::thread::record;
use crate::thread::{Blocker, BlockerKind, Context, Label, LabelRef, Participant};
use crate::wait;
use std::fmt;
use std::ops::Deref;
use std::time::Instant;

mod guard;
mod word;

pub use guard::{Guard, MutexGuard, OwnedMutexGuard};
use word::{K, Levels, S, W, Word};

/// A recursive mutex of Lisp threads. It guards no data of its own: VM objects do not lie inside it.
///
/// The owner is the Lisp thread, not the OS thread. Each [`lock`](Self::lock) is one level; the last level given back frees
/// the mutex. A thread that ends leaves its mutexes locked, as in Emacs: their waiters can be signalled out, and
/// [`owner`](Self::owner) says that the owner is dead. There is no poisoning: a guard gives its level back while unwinding.
///
/// Newcomers may take a free mutex before a waiter that was woken for it; a waiter that has lost for 1 ms (see
/// [`Schedule`](crate::Schedule)) is handed the mutex at the next release. Waiters queue in order of arrival.
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
    levels: UnsafeCell<u64>,
    pub(crate) queue: Queue,
    label: LabelRef,
}

// SAFETY: `levels` is the owner's (I4), and owners change by E1 and E2; the rest synchronizes itself.
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

/// How `compete` waits.
struct How<'a> {
    interruptible: bool,
    deadline: Option<Instant>,
    on: &'a Blocker,
    /// A condition-wait takes its mutex back from whoever has it.
    any_owner: bool,
}

impl Mutex {
    const_fn! {
        /// A free mutex without a name.
        pub fn new() -> Self {
            Self {
                word: AtomicU64::new(0),
                levels: UnsafeCell::new(0),
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
        let stamp = self.acquire_stamped(cx, None)?;
        Ok(Guard::new(self, cx.me(), stamp))
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
        let stamp = self.acquire_stamped(cx, Some(deadline))?;
        Ok(Guard::new(self, cx.me(), stamp))
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
        let stamp = this.acquire_stamped(cx, None)?;
        Ok(Guard::new(this, cx.me(), stamp))
    }

    /// Locks one level if that takes no wait.
    ///
    /// # Errors
    /// See [`TryLockError`]; the level is not taken.
    #[inline]
    pub fn try_lock(&self, me: &Participant) -> Result<MutexGuard<'_>, TryLockError> {
        let stamp = if self.is_owner(me) {
            self.one_more().map_err(|_| TryLockError::Overflow)?
        } else if self.take(me.id(), false) {
            self.first_level(me)
        } else {
            return Err(TryLockError::Taken);
        };
        Ok(Guard::new(self, me, stamp))
    }

    /// The explicit form of [`lock`](Self::lock), for an interpreter whose `mutex-lock` and `mutex-unlock` are two calls: no
    /// guard; give the level back by [`release`](Self::release).
    ///
    /// # Errors
    /// See [`LockError`]; the level is not taken.
    #[inline]
    pub fn acquire<C: Context>(&self, cx: &mut C) -> Result<(), LockError> {
        self.acquire_stamped(cx, None).map(drop)
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
        self.acquire_stamped(cx, Some(deadline)).map(drop)
    }

    /// Locks one level; the stamp of a guard of it.
    #[inline(always)]
    fn acquire_stamped<C: Context>(
        &self,
        cx: &mut C,
        deadline: Option<Instant>,
    ) -> Result<u32, LockError> {
        let me = cx.me();
        if self.is_owner(me) {
            return self.one_more();
        }
        let mine = Word::owned_by(me.id());
        // ORDERING: Acquire, E1; Relaxed on failure, where nothing is taken over.
        if self.word.compare_exchange(0, mine.0, Acquire, Relaxed).is_ok() {
            return Ok(self.first_level(me));
        }
        self.acquire_contended(cx, deadline)
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
    /// One compare-exchange for the last level, none for others. With a waiter: a wake-up.
    #[inline]
    pub fn release(&self, me: &Participant) -> Result<(), NotOwner> {
        self.check_owner(me)?;
        self.give_back_level(Word::owned_by(me.id()));
        Ok(())
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
        if self.is_owner(me) { self.levels().depth() } else { 0 }
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

    /// The owner's books. The caller owns the mutex.
    #[inline(always)]
    fn levels(&self) -> Levels {
        // SAFETY: the caller is the owner (I4).
        Levels(self.levels.with(|l| unsafe { *l }))
    }
    #[inline(always)]
    fn set_levels(&self, levels: u64) {
        // SAFETY: the caller is the owner (I4).
        self.levels.with_mut(|l| unsafe { *l = levels });
    }
    #[inline(always)]
    fn first_level(&self, me: &Participant) -> u32 {
        let levels = me.record().first_level();
        self.set_levels(levels);
        Levels(levels).stamp()
    }
    /// One level more. The caller owns the mutex.
    #[inline(always)]
    fn one_more(&self) -> Result<u32, LockError> {
        let levels = self.levels();
        if levels.depth() == u32::MAX {
            return Err(LockError::Overflow);
        }
        self.set_levels(levels.0 + 1);
        Ok(levels.stamp())
    }
    /// One level less. The caller owns the mutex.
    #[inline(always)]
    fn give_back_level(&self, mine: Word) {
        let levels = self.levels();
        self.set_levels(levels.0 - 1);
        if levels.depth() == 1 {
            self.free(mine);
        }
    }

    /// Frees the mutex. The caller owns it.
    #[inline(always)]
    fn free(&self, mine: Word) {
        // ORDERING: Release, E1; Relaxed on failure, where nothing happened.
        if self.word.compare_exchange(mine.0, 0, Release, Relaxed).is_err() {
            self.free_contended();
        }
    }

    #[cold]
    fn free_contended(&self) {
        loop {
            // ORDERING: Relaxed. The compare-exchange decides.
            let w = Word(self.word.load(Relaxed));
            if w.has(S) {
                return self.hand_over();
            }
            let to = if w.has(W) { w.freed().with(K) } else { w.freed() };
            // ORDERING: Release, E1; Relaxed on failure, where nothing happened.
            if self.word.compare_exchange(w.0, to.0, Release, Relaxed).is_ok() {
                if w.has(W) && !w.has(K) {
                    // K is ours (I2).
                    self.pass_on(self.queue.lock());
                }
                return;
            }
        }
    }

    /// The caller holds K and does not want the mutex: the next waiter gets it, or nobody needs it.
    fn pass_on(&self, mut queue: QueueGuard<'_>) {
        loop {
            // ORDERING: Relaxed. Flags change under the queue's lock; the compare-exchange sees an owner who came.
            let w = Word(self.word.load(Relaxed));
            if !w.is_free() || queue.is_empty() || planted("pass-on-only-clears-K") {
                let to = w.without(if queue.is_empty() { W | K } else { K });
                // ORDERING: Relaxed twice. If there is an owner, its release finds W.
                if self.word.compare_exchange(w.0, to.0, Relaxed, Relaxed).is_ok() {
                    return;
                }
                continue;
            }
            let ticket = queue.pop().expect("the queue is not empty");
            if let Some(wake) = ticket.claim(Outcome::Woken) {
                drop(queue);
                return wake.now();
            }
        }
    }

    /// Gives the mutex to the front waiter. The caller owns it.
    #[cold]
    fn hand_over(&self) {
        let mut queue = self.queue.lock();
        // ORDERING: Relaxed. Only this thread writes the word now: lockers need owner 0, flags the queue's lock.
        let k = Word(self.word.load(Relaxed)).0 & K;
        while let Some(ticket) = queue.pop() {
            let flags = match (queue.is_empty(), queue.front_starves()) {
                (true, _) => k,
                (false, false) => k | W,
                (false, true) => k | W | S,
            };
            let early = planted("grant-before-owner").then(|| ticket.claim(Outcome::Granted));
            // ORDERING: Relaxed. The waiter takes over by its claim, E2.
            self.word.swap(Word::owned_by(ticket.entry().id).with(flags).0, Relaxed);
            if let Some(wake) = early.unwrap_or_else(|| ticket.claim(Outcome::Granted)) {
                drop(queue);
                return wake.now();
            }
            if planted("lost-claim-ends-hand-over") {
                break;
            }
        }
        // Nobody is left. Who holds K is on its way.
        // ORDERING: Release, E1.
        self.word.swap(k, Release);
    }

    /// Takes a free mutex; with K in hand, takes K back.
    fn take(&self, id: ThreadId, woken: bool) -> bool {
        loop {
            // ORDERING: Relaxed. The compare-exchange decides.
            let w = Word(self.word.load(Relaxed));
            if !w.is_free() {
                return false;
            }
            let flags = if woken { w.without(K) } else { w };
            let to = Word::owned_by(id).with(flags.0);
            // ORDERING: Acquire, E1; Relaxed on failure, where nothing is taken over.
            if self.word.compare_exchange(w.0, to.0, Acquire, Relaxed).is_ok() {
                return true;
            }
        }
    }

    /// Looks at the mutex for a while, ever more rarely: each look steals the line from the owner.
    fn look(&self, me: &Participant) -> bool {
        for n in 1..=me.runtime().schedule().looks {
            for _ in 0..1u32 << n.min(6) {
                shim::pause();
            }
            if self.take(me.id(), false) {
                return true;
            }
        }
        false
    }

    #[cold]
    fn acquire_contended(
        &self,
        cx: &mut dyn Context,
        deadline: Option<Instant>,
    ) -> Result<u32, LockError> {
        if self.look(cx.me()) {
            return Ok(self.first_level(cx.me()));
        }
        let on = Blocker::new(BlockerKind::Mutex, self.label.clone());
        wait::enter(cx, &on).map_err(|_| LockError::WouldBlock)?;
        let interruptible = !cx.me().mask().uninterruptible;
        let how = How { interruptible, deadline, on: &on, any_owner: false };
        let result = self.compete(cx, &how, false);
        let stamp = result.and_then(|taken| match taken {
            Taken::Now => Ok(self.first_level(cx.me())),
            Taken::ByHook => self.one_more(),
        });
        // A hook that panics must not leave a level behind that nobody gives back.
        let held = stamp.map(|stamp| Guard::new(self, cx.me(), stamp));
        wait::leave(cx);
        std::mem::forget(held);
        stamp
    }

    /// Takes the mutex, or queues for it, until it has it or may not wait any longer. Ends with or without the mutex, never
    /// with K. `woken`: the caller has K.
    fn compete(
        &self,
        cx: &mut dyn Context,
        how: &How,
        mut woken: bool,
    ) -> Result<Taken, LockError> {
        let mut served = false;
        loop {
            let me = cx.me();
            if self.is_owner(me) {
                return Ok(Taken::ByHook);
            }
            if self.take(me.id(), woken) {
                return Ok(Taken::Now);
            }
            let outcome = match self.queue_up(me, how, woken, served) {
                Ok(Queued::Slept(outcome)) => outcome,
                Ok(Queued::Free) => continue,
                Err(refused) => {
                    if woken {
                        self.pass_on(self.queue.lock());
                    }
                    return Err(refused);
                }
            };
            woken = outcome == Outcome::Woken;
            match outcome {
                Outcome::Granted => return Ok(Taken::Now),
                Outcome::Woken => {}
                Outcome::Serve => {
                    wait::serve(cx, how.on);
                    served = true;
                }
                Outcome::Interrupted => return Err(LockError::Interrupted),
                Outcome::TimedOut => return Err(LockError::TimedOut),
                Outcome::ShutDown => return Err(LockError::ShutDown),
            }
        }
    }

    /// Steps 2 to 4 of a wait. `Err`: no wait began, and K, if the caller has it, is still its own.
    fn queue_up(
        &self,
        me: &Participant,
        how: &How,
        woken: bool,
        served: bool,
    ) -> Result<Queued, LockError> {
        if !how.any_owner {
            self.check_owner_is_ours(me)?;
        }
        let (record, id) = (me.record(), me.id());
        let schedule = me.runtime().schedule();
        let owed =
            woken && schedule.hand_over_after.is_some_and(|t| shim::is_past(how.on.since(), t));
        let starves = owed || schedule.fair;
        let epoch =
            if how.interruptible { wait::begin(me) } else { wait::begin_uninterruptible(me) };
        let epoch = epoch.map_err(|refusal| match refusal {
            Refusal::Interrupted => LockError::Interrupted,
            Refusal::ShutDown => LockError::ShutDown,
        })?;
        let mut queue = self.queue.lock();
        if !self.announce(woken, starves) {
            drop(queue);
            return match wait::withdraw(me) {
                Some(Outcome::Interrupted) => Err(LockError::Interrupted),
                Some(Outcome::ShutDown) => Err(LockError::ShutDown),
                _ => Ok(Queued::Free),
            };
        }
        let entry = Entry { id, epoch, starves, object: 0 };
        if woken || served {
            queue.push_front(record.waiter(), entry);
        } else {
            queue.push_back(record.waiter(), entry);
        }
        drop(queue);
        let outcome = wait::publish(me, how.on, || wait::sleep(me, epoch, how.deadline));
        if !matches!(outcome, Outcome::Granted | Outcome::Woken) {
            // Always, linked or not: a claimer may still have the node in hand, or the word this id (I5).
            self.queue.lock().remove(record.waiter());
        }
        record.waiter().state().end();
        Ok(Queued::Slept(outcome))
    }

    /// Sets W, and S if a hand-over is owed; gives K back. Under the queue's lock. False: the mutex is free.
    fn announce(&self, woken: bool, starves: bool) -> bool {
        loop {
            // ORDERING: Relaxed. The compare-exchange decides.
            let w = Word(self.word.load(Relaxed));
            if w.is_free() && !planted("queue-on-free") {
                return false;
            }
            let to = w.with(if starves { W | S } else { W });
            let to = to.without(if woken && !planted("requeue-keeps-K") { K } else { 0 });
            // ORDERING: Relaxed twice. Flags change under the queue's lock; it fails if the owner leaves.
            if self.word.compare_exchange(w.0, to.0, Relaxed, Relaxed).is_ok() {
                return true;
            }
        }
    }

    /// Two runtimes do not wait for each other.
    fn check_owner_is_ours(&self, me: &Participant) -> Result<(), LockError> {
        let mine = me.runtime().id();
        match self.owner().and_then(Owner::runtime) {
            Some((owner, theirs)) if theirs != mine => {
                Err(LockError::ForeignRuntime { owner, mine, theirs })
            }
            _ => Ok(()),
        }
    }

    /// For a condition-wait: gives all levels back. The caller owns the mutex.
    pub(crate) fn release_all(&self, me: &Participant) -> SavedLevels {
        let saved = self.levels().0;
        self.free(Word::owned_by(me.id()));
        SavedLevels(saved)
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
        let mut levels = saved.0;
        if outcome != Outcome::Granted {
            let interruptible = planted("interruptible-reacquire");
            let how = How { interruptible, deadline: None, on, any_owner: true };
            if self.compete(cx, &how, outcome == Outcome::Woken)? == Taken::ByHook {
                levels += u64::from(self.levels().depth());
            }
        }
        self.set_levels(levels);
        Ok(())
    }

    /// For a notifier that owns the mutex and has the queue's lock: waiters will come.
    pub(crate) fn expect_waiters(&self) {
        if !planted("notify-without-W") {
            // ORDERING: Relaxed. Flags change under the queue's lock; the caller's own release sees it.
            self.word.fetch_or(W, Relaxed);
        }
    }

    /// For who queued a waiter and owns nothing: sets W; a free mutex that nobody is on his way to needs a wake-up too.
    pub(crate) fn admit(&self, queue: QueueGuard<'_>) {
        loop {
            // ORDERING: Relaxed. The compare-exchange decides.
            let w = Word(self.word.load(Relaxed));
            let idle = w.is_free() && !w.has(K);
            let to = w.with(if idle { W | K } else { W });
            // ORDERING: Relaxed twice. Flags change under the queue's lock.
            if self.word.compare_exchange(w.0, to.0, Relaxed, Relaxed).is_ok() {
                if idle {
                    self.pass_on(queue);
                }
                return;
            }
        }
    }

    /// A snapshot, for tests: free, no flags, nobody queues.
    #[cfg(any(test, selvedge_loom))]
    pub(crate) fn is_idle(&self) -> bool {
        // ORDERING: Relaxed. A snapshot.
        self.word.load(Relaxed) == 0 && self.queue.lock().is_empty()
    }
}

/// The depth and stamp that a condition-wait restores.
pub(crate) struct SavedLevels(u64);

/// How `compete` got the mutex.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Now,
    /// By a hook of this thread, which keeps it.
    ByHook,
}

/// `Free`: the mutex was free after all, nobody queued.
enum Queued {
    Slept(Outcome),
    Free,
}

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
        m.set_levels(u64::from(u32::MAX));
        assert_eq!(m.acquire(&mut cx), Err(LockError::Overflow));
        assert_eq!(m.try_lock(&cx).unwrap_err(), TryLockError::Overflow);
        assert_eq!(m.depth(&cx), u32::MAX);
        m.set_levels(1);
        m.release(&cx).unwrap();
        assert!(m.is_idle());
    }
}
