//! The contended half of the mutex: competing for it, queueing, waking, handing over. The table, the invariants and the
//! edges are those of `mutex`.

use super::guard::Stamp;
use super::word::{K, S, W, Word};
use super::{Guard, Mutex, Owner};
use crate::error::LockError;
use crate::id::ThreadId;
use crate::park::{Entry, Outcome, QueueGuard, Refusal};
use crate::shim::{self, Ordering::*, planted};
use crate::thread::{Blocker, BlockerKind, Context, Participant};
use crate::wait;
use std::time::Instant;

/// How `compete` waits.
pub(super) struct How<'a> {
    pub(super) interruptible: bool,
    pub(super) deadline: Option<Instant>,
    pub(super) on: &'a Blocker,
    /// A condition-wait takes its mutex back from whoever has it.
    pub(super) any_owner: bool,
}

/// How `compete` got the mutex.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Now,
    /// By a hook of this thread, which keeps it.
    ByHook,
}

/// `Free`: the mutex was free after all, nobody queued.
pub(super) enum Queued {
    Slept(Outcome),
    Free,
}

impl Mutex {
    /// A release took flags away that came between its look and its swap: what W and S stood for is restored. K was not
    /// among them: nobody sets it while there is an owner.
    #[cold]
    pub(super) fn restore(&self, old: Word) {
        if old.has(W) && !planted("restore-forgets-waiters") && self.demand(old.has(S)) {
            self.pass_on(self.queue.lock());
        }
    }

    /// Sets W, and S if `starving` and owned: a thread may wait. True: the mutex is free and nobody was on the way to it; K
    /// is the caller's now, to pass on.
    pub(super) fn demand(&self, starving: bool) -> bool {
        loop {
            // ORDERING: Relaxed. The compare-exchange decides.
            let w = Word(self.word.load(Relaxed));
            let idle = w.is_free() && !w.has(K);
            let to = match (idle, starving && !w.is_free()) {
                (true, _) => w.with(W | K),
                (false, true) => w.with(W | S),
                (false, false) => w.with(W),
            };
            // ORDERING: Relaxed twice. If there is an owner, its release finds W.
            if self.word.compare_exchange(w.0, to.0, Relaxed, Relaxed).is_ok() {
                return idle;
            }
        }
    }

    /// Frees the mutex. The caller owns it, at its first level.
    pub(super) fn free_contended(&self) {
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
    pub(super) fn pass_on(&self, mut queue: QueueGuard<'_>) {
        loop {
            // ORDERING: Relaxed. The compare-exchange decides, and sees an owner who came.
            let w = Word(self.word.load(Relaxed));
            if !w.is_free() || queue.is_empty() || planted("pass-on-only-clears-K") {
                let to = w.without(if queue.is_empty() { W | K | S } else { K });
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
    pub(super) fn hand_over(&self) {
        let mut queue = self.queue.lock();
        // ORDERING: Relaxed. K cannot change: who sets it needs owner 0, who takes it back the queue's lock. W and S may be
        // set by `demand` meanwhile; they are computed anew from the queue.
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
    pub(super) fn take(&self, id: ThreadId, woken: bool) -> bool {
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
    pub(super) fn look(&self, me: &Participant) -> bool {
        for n in 1..=me.runtime().schedule().looks {
            if self.take(me.id(), false) {
                return true;
            }
            for _ in 0..1u32 << n.min(6) {
                shim::pause();
            }
        }
        self.take(me.id(), false)
    }

    #[cold]
    pub(super) fn acquire_contended(
        &self,
        cx: &mut dyn Context,
        deadline: Option<Instant>,
    ) -> Result<(), LockError> {
        if self.is_owner(cx.me()) {
            return self.one_more(); // with flags in the word
        }
        if self.look(cx.me()) {
            return Ok(());
        }
        let on = Blocker::new(BlockerKind::Mutex, self.label.clone());
        wait::enter(cx, &on).map_err(|_| LockError::WouldBlock)?;
        let interruptible = !cx.me().mask().uninterruptible;
        let how = How { interruptible, deadline, on: &on, any_owner: false };
        let result = self.compete(cx, &how, false);
        let result = result.and_then(|taken| match taken {
            Taken::Now => Ok(()),
            Taken::ByHook => self.one_more(),
        });
        // A hook that panics must not leave a level behind that nobody gives back.
        let held = result.is_ok().then(|| Guard::new(self, Stamp::now(cx.me())));
        wait::leave(cx);
        std::mem::forget(held);
        result
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
                    self.mutex.pass_on(self.mutex.queue.lock());
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
            if self.take(me.id(), hand.has_k) {
                hand.has_k = false;
                return Ok(Taken::Now);
            }
            let outcome = match self.queue_up(me, how, hand.has_k, served)? {
                Queued::Slept(outcome) => outcome,
                Queued::Free => continue,
            };
            // Queueing gave K back.
            hand.has_k = outcome == Outcome::Woken;
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
    pub(super) fn queue_up(
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
    pub(super) fn announce(&self, woken: bool, starves: bool) -> bool {
        loop {
            // ORDERING: Relaxed. The compare-exchange decides.
            let w = Word(self.word.load(Relaxed));
            if w.is_free() && !planted("queue-on-free") {
                return false;
            }
            let to = w.with(if starves { W | S } else { W });
            let to = to.without(if woken && !planted("requeue-keeps-K") { K } else { 0 });
            // ORDERING: Relaxed twice. It fails if the owner leaves.
            if self.word.compare_exchange(w.0, to.0, Relaxed, Relaxed).is_ok() {
                return true;
            }
        }
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
