//! The contended half of the mutex: competing for it, queueing, waking, handing over. The table, the invariants and the
//! edges are those of `mutex`.

use super::guard::Stamp;
use super::mode::Mode;
use super::{Acquired, Guard, Mutex, Owner};
use crate::error::TryLockError;
use crate::failure::LockError;
use crate::id::ThreadId;
use crate::park::{Entry, Outcome, QueueGuard, Refusal};
use crate::shim::{self, Ordering::*, planted};
use crate::thread::record::{self, Record};
use crate::thread::waits::Edge;
use crate::thread::{Blocker, BlockerKind, Context, OwnerDeath, Participant};
use crate::wait::{self, Plan, Slept};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

/// How `compete` waits.
pub(super) struct How<'a> {
    pub(super) interruptible: bool,
    pub(super) deadline: Option<Instant>,
    pub(super) on: &'a Blocker,
    /// A condition-wait takes its mutex back from whoever has it.
    pub(super) any_owner: bool,
    /// When it began to wait for the mutex; none: when it first finds it taken.
    pub(super) since: Cell<Option<Instant>>,
}

/// How `compete` got the mutex.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Now,
    /// By a hook of this thread, which keeps it.
    ByHook,
    /// From this dead owner.
    From(ThreadId),
}

/// `Free`: the mutex was free after all, nobody queued.
pub(super) enum Queued {
    Slept(Slept),
    Free,
}

/// Looks at a taken mutex that come after pauses of the CPU; those after them let other threads run first.
const PAUSED_LOOKS: u32 = 3;

impl Mutex {
    pub(super) fn set_mode(&self, _locked: &QueueGuard<'_>, mode: Mode) {
        // ORDERING: Relaxed. A plain store: I7. What it tells is ordered by the queue's lock, E1, E4 and E5.
        self.mode.store(mode.0, Relaxed);
    }

    /// Every release sees, from now on, that somebody queues: with the queue's lock, which it may give back meanwhile.
    pub(crate) fn call(&self) -> QueueGuard<'_> {
        loop {
            let queue = self.queue.lock();
            let mode = self.mode();
            if mode.is_armed() {
                return queue;
            }
            if mode == Mode::STEADY {
                self.set_mode(&queue, mode.armed());
                // A compare-exchange: of an unused `fetch_or(0)` the compiler makes no instruction on x86-64.
                // ORDERING: Relaxed. A guess for the compare-exchange.
                let mut owner = self.owner.load(Relaxed);
                // ORDERING: Release, E5; Relaxed on failure, where it is tried again.
                while let Err(now) = self.owner.compare_exchange(owner, owner, Release, Relaxed) {
                    owner = now;
                }
                return queue;
            }
            let Some(called) = mode.called() else {
                drop(queue);
                shim::yield_now();
                continue;
            };
            self.set_mode(&queue, called);
            drop(queue);
            if !planted("no-barrier") {
                // ORDERING: SeqCst, the heavy half of E4.
                shim::heavy_fence();
            }
            let queue = self.queue.lock();
            self.set_mode(&queue, self.mode().answered());
            return queue;
        }
    }

    /// Frees the mutex, which is in STEADY or QUEUE. The caller owns it, at its first level.
    /// `to_wait`: it will not bar the thread that it wakes, so it wakes one more if another is on its way: the delays of
    /// their wake-ups then overlap.
    #[cold]
    pub(super) fn release_slowly(&self, record: &'static Record, to_wait: bool) {
        if self.mode() == Mode::STEADY {
            // ORDERING: Release, E1; Acquire, E5.
            self.owner.swap(0, AcqRel);
            if self.mode() != Mode::STEADY {
                self.release_late();
            }
            return;
        }
        let mut queue = self.queue.lock();
        while queue.front_starves() {
            let ticket = queue.pop().expect("a front that starves");
            let early = planted("grant-before-owner").then(|| ticket.claim(Outcome::Granted));
            // ORDERING: Relaxed. The waiter takes over by its claim, E2.
            self.owner.store(ticket.entry().id.get(), Relaxed);
            if let Some(wake) = early.unwrap_or_else(|| ticket.claim(Outcome::Granted)) {
                drop(queue);
                return wake.now();
            }
            if planted("lost-claim-ends-hand-over") {
                return;
            }
        }
        if queue.is_empty() {
            let quiet = if record.steady() { Mode::STEADY } else { Mode::PLAIN };
            self.set_mode(&queue, self.mode().idler(quiet));
        }
        // ORDERING: Release, E1.
        self.owner.store(0, Release);
        if to_wait {
            self.wake_front(queue);
        } else {
            self.wake(queue);
        }
    }

    /// The caller freed the mutex, and saw afterwards that somebody had called (I2).
    #[cold]
    pub(super) fn release_late(&self) {
        if !planted("late-release-leaves") {
            self.wake(self.queue.lock());
        }
    }

    /// Wakes the front waiter if the mutex is free and nobody is on the way to it.
    pub(crate) fn wake(&self, queue: QueueGuard<'_>) {
        // Its release will look at the queue; or who holds K sees to the rest.
        if !self.mode().has_k() && !self.is_taken() {
            self.wake_front(queue);
        }
    }

    fn wake_front(&self, mut queue: QueueGuard<'_>) {
        while let Some(ticket) = queue.pop() {
            if let Some(wake) = ticket.claim(Outcome::Woken) {
                self.set_mode(&queue, self.mode().with_k());
                drop(queue);
                return wake.now();
            }
        }
    }

    /// The caller holds K and does not want the mutex: the next waiter gets it, or nobody needs it.
    pub(super) fn pass_on(&self) {
        let queue = self.queue.lock();
        self.set_mode(&queue, self.mode().without_k());
        if !planted("pass-on-only-clears-K") {
            self.wake(queue);
        }
    }

    fn is_taken(&self) -> bool {
        // ORDERING: Relaxed. A hint to a lock; under the queue's lock, I2.
        self.owner.load(Relaxed) != 0
    }

    /// Looks at the mutex for a while, ever more rarely: each look steals the line from the owner. Ends if the thread is
    /// asked for something, which it answers on its way to sleep.
    pub(super) fn look(&self, me: &Participant) -> bool {
        for n in 1..=me.runtime().schedule().looks {
            if !self.is_taken() && self.take(me.id()) {
                return true;
            }
            if n <= PAUSED_LOOKS {
                for _ in 0..1u32 << n {
                    shim::pause();
                }
            } else if me.record().gate().look().is_quiet() {
                shim::yield_now();
            } else {
                break;
            }
        }
        !self.is_taken() && self.take(me.id())
    }

    #[cold]
    pub(super) fn acquire_contended(
        &self,
        cx: &mut dyn Context,
        deadline: Option<Instant>,
    ) -> Result<Acquired, LockError> {
        if self.is_owner(cx.me()) {
            return self.one_more().map(|()| Acquired::default());
        }
        if self.look(cx.me()) {
            return Ok(Acquired::default());
        }
        self.check_owner_is_ours(cx.me())?;
        if let Some(dead) = self.inherit(cx.me(), false)? {
            return Ok(Acquired { abandoned_by: Some(dead) });
        }
        let on = Blocker::new(BlockerKind::Mutex, self.label.clone());
        wait::enter(cx, &on).map_err(|_| LockError::WouldBlock)?;
        let interruptible = !cx.me().mask().uninterruptible;
        let how = How {
            interruptible,
            deadline,
            on: &on,
            any_owner: false,
            since: Cell::new(Some(on.since())),
        };
        let result = self.compete(cx, &how, false);
        let result = result.and_then(|taken| match taken {
            Taken::Now => Ok(Acquired::default()),
            Taken::ByHook => self.one_more().map(|()| Acquired::default()),
            Taken::From(dead) => Ok(Acquired { abandoned_by: Some(dead) }),
        });
        // A hook that panics must not leave a level behind that nobody gives back.
        let held = result.is_ok().then(|| Guard::new(self, Stamp::now(cx.me())));
        match result {
            Ok(Acquired { abandoned_by: Some(dead) }) => self.leave(cx, dead),
            _ => wait::leave(cx),
        }
        std::mem::forget(held);
        result
    }

    /// The end of a wait in which the caller took the mutex from `dead`. A hook that panics would keep that from the caller:
    /// then the mutex is that thread's again, and the next one is told.
    pub(crate) fn leave(&self, cx: &mut dyn Context, dead: ThreadId) {
        // Before the hook, which may put another token in the place of this one.
        let (record, id) = (cx.me().record(), cx.me().id());
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| wait::leave(cx))) {
            if self.leave_to(dead, record, id) && !planted("left-without-telling") {
                // Who queued meanwhile waits for this thread's release. Any runtime tells them all.
                cx.me().runtime().tell_orphans(dead);
            }
            resume_unwind(panic);
        }
    }

    /// Gives all levels of the calling thread back to the dead one from which it took the mutex. False: it has them no more;
    /// if it is over itself, the next one is told of it.
    #[cold]
    fn leave_to(&self, dead: ThreadId, record: &'static Record, id: ThreadId) -> bool {
        // On the thread `id`, if that lives at all: then nobody else changes whether it owns the mutex.
        if record.id_bits() != id.get() || self.owner().map(Owner::id) != Some(id) {
            return false;
        }
        record.count_loss(id, std::ptr::from_ref(self).addr());
        self.set_more(0);
        self.change_owner(id, dead).is_some()
    }

    /// Takes the mutex, or queues for it, until it has it or may not wait any longer. Ends with or without the mutex, never
    /// with K. `woken`: the caller has K.
    pub(super) fn compete(
        &self,
        cx: &mut dyn Context,
        how: &How,
        woken: bool,
    ) -> Result<Taken, LockError> {
        /// K in hand: passed on if this ends in an error, or in a panic of the VM's `Context::me`.
        struct Hand<'a> {
            mutex: &'a Mutex,
            has_k: bool,
        }
        impl Drop for Hand<'_> {
            fn drop(&mut self) {
                if self.has_k {
                    self.mutex.pass_on();
                }
            }
        }
        let mut hand = Hand { mutex: self, has_k: woken };
        let mut served = false;
        loop {
            let me = cx.me();
            if self.is_owner(me) {
                return Ok(Taken::ByHook);
            }
            if !self.is_taken() && self.take(me.id()) {
                if std::mem::take(&mut hand.has_k) {
                    let queue = self.queue.lock();
                    self.set_mode(&queue, self.mode().without_k());
                }
                return Ok(Taken::Now);
            }
            if !how.any_owner {
                self.check_owner_is_ours(me)?;
            }
            if let Some(dead) = self.inherit(me, hand.has_k)? {
                hand.has_k = false;
                return Ok(Taken::From(dead));
            }
            let slept = match self.queue_up(me, how, &mut hand.has_k, served)? {
                Queued::Slept(slept) => slept,
                Queued::Free => continue,
            };
            hand.has_k = slept.outcome == Outcome::Woken;
            match slept.outcome {
                Outcome::Granted => return Ok(Taken::Now),
                Outcome::Woken => {}
                Outcome::Serve => {
                    wait::serve(cx, how.on);
                    served = true;
                }
                Outcome::Interrupted => return Err(LockError::Interrupted),
                Outcome::TimedOut => return Err(LockError::TimedOut),
                Outcome::ShutDown => return Err(LockError::ShutDown),
                Outcome::Deadlock => return Err(LockError::Deadlock(slept.into_cycle())),
                Outcome::OwnerDied => match cx.me().runtime().owner_death() {
                    OwnerDeath::LeaveLocked => return Err(LockError::OwnerDied(slept.into_dead())),
                    OwnerDeath::Abandon => served = true,
                },
            }
        }
    }

    /// Steps 2 to 4 of a wait. Who queues gives K back, as does who may not wait: there is an owner, whose release will look
    /// at the queue.
    pub(super) fn queue_up(
        &self,
        me: &Participant,
        how: &How,
        has_k: &mut bool,
        served: bool,
    ) -> Result<Queued, LockError> {
        let (record, id) = (me.record(), me.id());
        let schedule = me.runtime().schedule();
        let woken = *has_k;
        let since = how.since.get().unwrap_or_else(Instant::now);
        how.since.set(Some(since));
        let owed = woken && schedule.hand_over_after.is_some_and(|t| shim::is_past(since, t));
        let starves = owed || schedule.fair;
        let mut queue = self.call();
        if !self.is_taken() && !planted("queue-on-free") {
            return Ok(Queued::Free);
        }
        if std::mem::take(has_k) && !planted("requeue-keeps-K") {
            self.set_mode(&queue, self.mode().without_k());
        }
        let epoch =
            if how.interruptible { wait::begin(me) } else { wait::begin_uninterruptible(me) };
        let epoch = epoch.map_err(|refusal| match refusal {
            Refusal::Interrupted => LockError::Interrupted,
            Refusal::ShutDown => LockError::ShutDown,
        })?;
        self.set_mode(&queue, self.mode().busy());
        let entry = Entry { id, epoch, starves, object: 0 };
        if woken || served {
            queue.push_front(record.waiter(), entry);
        } else {
            queue.push_back(record.waiter(), entry);
        }
        drop(queue);
        let edge = Edge::Owner(self.owned());
        let slept =
            wait::sleep(me, Plan { on: how.on, edge, epoch, deadline: how.deadline, looks: false });
        if !matches!(slept.outcome, Outcome::Granted | Outcome::Woken) {
            // Always, linked or not: a claimer may still have the node in hand, or the word this id (I5).
            self.queue.lock().remove(record.waiter());
        }
        record.waiter().state().end();
        Ok(Queued::Slept(slept))
    }

    /// What `me` gets from a dead owner: the mutex, or an error; none: the owner is not dead. `woken`: the caller has K.
    fn inherit(&self, me: &Participant, woken: bool) -> Result<Option<ThreadId>, LockError> {
        let dead = self.owner().filter(|owner| !owner.is_alive());
        // It may have freed the mutex before it ended, between the two looks: then a third one shows that (record E2).
        match dead.filter(|dead| self.owner() == Some(*dead)).map(Owner::id) {
            None => Ok(None),
            Some(dead) if me.runtime().owner_death() == OwnerDeath::LeaveLocked => {
                Err(LockError::OwnerDied(dead))
            }
            Some(dead) => Ok(self.take_from(dead, me.id(), woken).then_some(dead)),
        }
    }

    /// The same for who does not wait.
    #[cold]
    pub(super) fn try_inherit(&self, me: &Participant) -> Result<ThreadId, TryLockError> {
        if let Err(LockError::ForeignRuntime { owner, mine, theirs }) = self.check_owner_is_ours(me)
        {
            // It may have freed the mutex before it ended: as in `inherit`.
            let is_left = record::is_over(owner) && self.owner() == Some(Owner(owner));
            return Err(match is_left {
                true => TryLockError::ForeignRuntime { owner, mine, theirs },
                false => TryLockError::Taken,
            });
        }
        match self.inherit(me, false) {
            Ok(Some(dead)) => Ok(dead),
            Err(LockError::OwnerDied(dead)) => Err(TryLockError::OwnerDied(dead)),
            _ => Err(TryLockError::Taken),
        }
    }

    /// Takes the mutex from its owner, who is over; with K in hand, gives K back. False: that owner has it no more.
    pub(super) fn take_from(&self, dead: ThreadId, id: ThreadId, woken: bool) -> bool {
        let Some(queue) = self.change_owner(dead, id) else { return false };
        if woken {
            self.set_mode(&queue, self.mode().without_k());
        }
        drop(queue);
        self.set_more(0);
        true
    }

    /// From a dead thread to the caller, or back. None: `from` does not own it.
    fn change_owner(&self, from: ThreadId, to: ThreadId) -> Option<QueueGuard<'_>> {
        let queue = self.queue.lock();
        // ORDERING: Relaxed twice. What the dead owner did is taken over from the mark that it is over (record E2), and what
        // somebody did who left the mutex to it, from the queue's lock.
        self.owner.compare_exchange(from.get(), to.get(), Relaxed, Relaxed).is_ok().then_some(queue)
    }

    /// Two runtimes do not wait for each other.
    pub(super) fn check_owner_is_ours(&self, me: &Participant) -> Result<(), LockError> {
        let mine = me.runtime().id();
        match self.owner().and_then(Owner::runtime) {
            Some((owner, theirs)) if theirs != mine => {
                Err(LockError::ForeignRuntime { owner, mine, theirs })
            }
            _ => Ok(()),
        }
    }
}
