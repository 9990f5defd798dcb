//! The claim word: one word per waiter that says whether it waits, for which time, and how the wait ended.
//!
//! `word` = epoch:48 | moved:1 | outcome:7 | phase:4 | flags:4 (SIG, NOINTR, PARKED, STOP)
//!
//! The table is that of `table.rs`, to which debug builds hold every step. DONE says how the wait ended, and in MOVED
//! whether it was MORPHED; a signal ends it as INTERRUPTED. A step that finds nothing to change is none.
//!
//! | step            | from                   | to                     | who                                                        |
//! |-----------------|------------------------|------------------------|------------------------------------------------------------|
//! | Begin           | IDLE without SIG, STOP | WAITING                | the waiter; next epoch                                     |
//! | Begin           | IDLE without STOP      | WAITING + NOINTR       | the waiter, uninterruptible; next epoch                    |
//! | Cancel          | WAITING                | IDLE - NOINTR - PARKED | the waiter, which got it before it slept                   |
//! | Morph           | WAITING                | MORPHED                | a notifier: to the mutex's queue                           |
//! | Sleep           | WAITING, MORPHED       | same + PARKED          | the waiter: who ends the wait must unpark                  |
//! | Ends(Granted)   | WAITING, MORPHED       | DONE - NOINTR - PARKED | who gives it what it waits for                             |
//! | Ends(Woken)     | WAITING, MORPHED       | DONE - NOINTR - PARKED | a release, or a leaver that passes on                      |
//! | Ends(Serve)     | WAITING, MORPHED       | DONE - NOINTR - PARKED | a proxy or the waiter: a request is the waiter's to answer |
//! | Ends(ShutDown)  | WAITING, MORPHED       | DONE - NOINTR - PARKED | the runtime                                                |
//! | Ends(Deadlock)  | WAITING, MORPHED       | DONE - NOINTR - PARKED | the detector, to one of the ring                           |
//! | Ends(OwnerDied) | WAITING, MORPHED       | DONE - NOINTR - PARKED | who finds that the owner is over                           |
//! | Ends(TimedOut)  | WAITING                | DONE - NOINTR - PARKED | the waiter or the baton                                    |
//! | Signal          | WAITING without NOINTR | DONE + SIG - PARKED    | a sender: the wait ends as INTERRUPTED                     |
//! | Signal          | WAITING with NOINTR    | same + SIG             | a sender: the signal stays pending                         |
//! | Signal          | IDLE, MORPHED, DONE    | same + SIG             | a sender: the same                                         |
//! | TakeSignal      | any                    | same - SIG             | the waiter, which took its last signal                     |
//! | End             | DONE                   | IDLE                   | the waiter, when its node is in no queue                   |
//! | Stop            | any                    | same + STOP            | the runtime; never taken back                              |
//! | Renew           | IDLE                   | same - SIG - STOP      | the slab, for a new thread                                 |
//!
//! I1. A wait ends by exactly one successful compare-exchange on the word; its loser does nothing to the waiter (R1).
//! I2. A claim names the epoch of the wait it means, so that a late one cannot end a later wait. 48 bits: nine years at
//!     one wait per microsecond. (Who claims from a queue keeps the wait from being over by the queue's lock as well; the
//!     epoch is for a claimer that holds no lock.)
//! I3. SIG and STOP survive every transition but their own.
//! E1. A claim's Release -> the waiter's Acquire in `outcome`: all that the claimer did, for GRANTED the critical section.
//!
//! The word is written by read-modify-writes only.

use super::table::{CLAIM, ClaimStep};
use crate::shim::{AtomicU64, Ordering::*, const_fn, planted};

/// Which wait of a waiter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Epoch(u64);

impl Epoch {
    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Outcome {
    /// The waiter has what it waited for.
    Granted = 1,
    /// The waiter may try; it carries the designated-waker flag of the mutex, if it waits for one.
    Woken,
    /// A signal ended the wait.
    Interrupted,
    /// The deadline ended the wait.
    TimedOut,
    /// A request that only the waiter can answer ended the wait; it begins again afterwards.
    Serve,
    /// The runtime shuts down.
    ShutDown,
    /// The waiter is part of a deadlock, and was chosen to end it.
    Deadlock,
    /// The owner of the mutex that it waits for is over.
    OwnerDied,
}

impl Outcome {
    /// By number.
    pub(crate) const ALL: [Outcome; 8] = [
        Outcome::Granted,
        Outcome::Woken,
        Outcome::Interrupted,
        Outcome::TimedOut,
        Outcome::Serve,
        Outcome::ShutDown,
        Outcome::Deadlock,
        Outcome::OwnerDied,
    ];

    /// May it end a wait that was moved to the mutex's queue?
    fn ends_morphed(self) -> bool {
        match self {
            Self::Granted | Self::Woken | Self::Serve => true,
            Self::ShutDown | Self::Deadlock | Self::OwnerDied => true,
            Self::Interrupted => false,
            Self::TimedOut => planted("timeout-ends-morphed"),
        }
    }
}

/// A wait that is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Waiting {
    pub(crate) epoch: Epoch,
    /// A notifier moved it to the mutex's queue.
    pub(crate) moved: bool,
}

/// Why a wait could not begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    Interrupted,
    ShutDown,
}

pub(super) const SIG: u64 = 1;
pub(super) const NOINTR: u64 = 2;
pub(super) const PARKED: u64 = 4;
pub(super) const STOP: u64 = 8;
/// The flags that outlive a wait (I3).
const KEPT: u64 = SIG | STOP;
const PHASE: u64 = 0xf0;
pub(super) const IDLE: u64 = 0;
pub(super) const WAITING: u64 = 0x10;
pub(super) const MORPHED: u64 = 0x20;
pub(super) const DONE: u64 = 0x30;
const OUTCOME_SHIFT: u32 = 8;
const OUTCOME: u64 = 0x7f << OUTCOME_SHIFT;
/// In DONE: the wait had been moved to the mutex's queue.
const MOVED: u64 = 0x8000;
const EPOCH_SHIFT: u32 = 16;
const EPOCH: u64 = u64::MAX << EPOCH_SHIFT;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

impl Word {
    fn phase(self) -> u64 {
        self.0 & PHASE
    }
    fn epoch(self) -> Epoch {
        Epoch(self.0 >> EPOCH_SHIFT)
    }
    fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }
    fn waits(self) -> bool {
        matches!(self.phase(), WAITING | MORPHED)
    }
    fn waiting(self) -> Option<Waiting> {
        let moved = self.phase() == MORPHED;
        self.waits().then(|| Waiting { epoch: self.epoch(), moved })
    }
    fn outcome(self) -> Outcome {
        let n = (self.0 >> OUTCOME_SHIFT & 0x7f) as usize;
        Outcome::ALL[n - 1]
    }
    fn begun(self, interruptible: bool) -> Self {
        let epoch = (self.0 & EPOCH).wrapping_add(1 << EPOCH_SHIFT);
        let mask = if interruptible { 0 } else { NOINTR };
        Word(epoch | self.0 & KEPT | WAITING | mask)
    }
    fn done(self, outcome: Outcome) -> Self {
        let kept = if planted("claim-drops-signal") { STOP } else { KEPT };
        let moved = if self.phase() == MORPHED { MOVED } else { 0 };
        Word(self.0 & (EPOCH | kept) | DONE | moved | (outcome as u64) << OUTCOME_SHIFT)
    }
    fn idle(self) -> Self {
        let kept = if planted("end-drops-signal") { STOP } else { KEPT };
        Word(self.0 & (EPOCH | kept))
    }
    /// What the table does not say of epoch, outcome and MOVED.
    pub(super) fn rest_of_step(step: ClaimStep, from: u64, to: u64) -> bool {
        let (from, to) = (Word(from), Word(to));
        let next = if step == ClaimStep::Begin { 1 << EPOCH_SHIFT } else { 0 };
        let how = match step {
            ClaimStep::Ends(outcome) => Some(outcome),
            ClaimStep::Signal if from.waits() && !to.waits() => Some(Outcome::Interrupted),
            _ => None,
        };
        let rest = match how {
            Some(outcome) => from.done(outcome).0,
            None if to.phase() == DONE => from.0,
            None => 0,
        };
        let same = |a: u64, b: u64, mask: u64| (a ^ b) & mask == 0;
        same(from.0.wrapping_add(next), to.0, EPOCH) && same(rest, to.0, OUTCOME | MOVED)
    }
}

/// See the module's table.
#[derive(Debug)]
pub(crate) struct Claim(AtomicU64);

impl Claim {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self(AtomicU64::new(IDLE))
        }
    }

    /// IDLE -> WAITING of the next epoch. Own thread only.
    pub(crate) fn begin(&self, interruptible: bool) -> Result<Epoch, Refusal> {
        loop {
            // ORDERING: Relaxed. Only this thread leaves IDLE; the queue's lock publishes the wait.
            let w = Word(self.0.load(Relaxed));
            assert!(w.phase() == IDLE, "a wait inside a wait");
            if w.has(STOP) {
                return Err(Refusal::ShutDown);
            }
            if interruptible && w.has(SIG) {
                return Err(Refusal::Interrupted);
            }
            let to = w.begun(interruptible);
            // ORDERING: Relaxed twice. As above.
            if self.0.compare_exchange(w.0, to.0, Relaxed, Relaxed).is_ok() {
                CLAIM.check(ClaimStep::Begin, w.0, to.0);
                return Ok(to.epoch());
            }
        }
    }

    /// WAITING -> IDLE: the waiter does not want to wait any more. False: somebody ended the wait first. Own thread only.
    pub(crate) fn cancel(&self) -> bool {
        loop {
            // ORDERING: Relaxed. The compare-exchange decides; nothing is published.
            let w = Word(self.0.load(Relaxed));
            if w.phase() != WAITING {
                return false;
            }
            // ORDERING: Relaxed twice. As above.
            if self.0.compare_exchange(w.0, w.idle().0, Relaxed, Relaxed).is_ok() {
                CLAIM.check(ClaimStep::Cancel, w.0, w.idle().0);
                return true;
            }
        }
    }

    /// DONE -> IDLE; the waiter's node is in no queue. Own thread only.
    pub(crate) fn end(&self) {
        let kept = Word(u64::MAX).idle().0;
        // ORDERING: Relaxed. Nothing is published.
        let w = self.0.fetch_and(kept, Relaxed);
        CLAIM.check(ClaimStep::End, w, w & kept);
    }

    /// Ends the wait `epoch`. The answer says whether its thread sleeps; none: somebody else was first.
    pub(crate) fn claim(&self, epoch: Epoch, outcome: Outcome) -> Option<bool> {
        self.claim_if(|w| w.epoch() == epoch, outcome)
    }

    /// Ends whatever wait there is. The caller keeps the waiter's thread from beginning another one unseen.
    pub(crate) fn claim_any(&self, outcome: Outcome) -> Option<bool> {
        self.claim_if(|_| true, outcome)
    }

    fn claim_if(&self, meant: impl Fn(Word) -> bool, outcome: Outcome) -> Option<bool> {
        loop {
            // ORDERING: Relaxed. The compare-exchange decides.
            let w = Word(self.0.load(Relaxed));
            let open = w.phase() == WAITING || w.phase() == MORPHED && outcome.ends_morphed();
            if !open || !meant(w) {
                return None;
            }
            // ORDERING: Release, E1; Relaxed on failure, where nothing happened.
            if self.0.compare_exchange(w.0, w.done(outcome).0, Release, Relaxed).is_ok() {
                CLAIM.check(ClaimStep::Ends(outcome), w.0, w.done(outcome).0);
                return Some(w.has(PARKED));
            }
        }
    }

    /// WAITING -> MORPHED: the waiter now waits for the mutex. False: the wait is over.
    pub(crate) fn morph(&self, epoch: Epoch) -> bool {
        loop {
            // ORDERING: Relaxed. The compare-exchange decides.
            let w = Word(self.0.load(Relaxed));
            if w.phase() != WAITING || w.epoch() != epoch {
                return false;
            }
            // ORDERING: Relaxed twice. The next claim is what the waiter acquires.
            let to = w.0 & !PHASE | MORPHED;
            if self.0.compare_exchange(w.0, to, Relaxed, Relaxed).is_ok() {
                CLAIM.check(ClaimStep::Morph, w.0, to);
                return true;
            }
        }
    }

    /// Sets SIG. If that ended an interruptible wait: whether its thread sleeps.
    pub(crate) fn interrupt(&self) -> Option<bool> {
        loop {
            // ORDERING: Relaxed. The compare-exchange decides.
            let w = Word(self.0.load(Relaxed));
            let hit = w.phase() == WAITING && !w.has(NOINTR);
            let to = if hit { w.done(Outcome::Interrupted) } else { w };
            // ORDERING: Relaxed twice. The payload passes under the inbox's lock.
            if self.0.compare_exchange(w.0, to.0 | SIG, Relaxed, Relaxed).is_ok() {
                CLAIM.check(ClaimStep::Signal, w.0, to.0 | SIG);
                return hit.then(|| w.has(PARKED));
            }
        }
    }

    /// Takes SIG back: no signal is left.
    pub(crate) fn clear_signal(&self) {
        // ORDERING: Relaxed. Under the inbox's lock, as `interrupt`.
        let w = self.0.fetch_and(!SIG, Relaxed);
        CLAIM.check(ClaimStep::TakeSignal, w, w & !SIG);
    }

    /// Sets STOP: from now on no wait begins.
    pub(crate) fn stop(&self) {
        // ORDERING: Relaxed. One word: a wait either began before, and `claim_any` ends it, or sees STOP.
        let w = self.0.fetch_or(STOP, Relaxed);
        CLAIM.check(ClaimStep::Stop, w, w | STOP);
    }

    /// Back to the state of a new waiter, but for the epoch, which late claims must not meet again. No wait is on.
    pub(crate) fn renew(&self) {
        // ORDERING: Relaxed. The slab's lock publishes it.
        let w = self.0.fetch_and(EPOCH, Relaxed);
        CLAIM.check(ClaimStep::Renew, w, w & EPOCH);
    }

    /// The end of the present wait, if it has one. Own thread only.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        // ORDERING: Acquire, E1.
        let w = Word(self.0.load(Acquire));
        (!w.waits()).then(|| w.outcome())
    }

    /// Is there a wait that was granted, and that its thread has not ended? In a stopped world.
    pub(crate) fn is_granted(&self) -> bool {
        // ORDERING: Relaxed. What stopped the world has told the caller of all that others did.
        let w = Word(self.0.load(Relaxed));
        w.phase() == DONE && w.outcome() == Outcome::Granted
    }

    /// Had the wait that is over been moved to the mutex's queue? Own thread only.
    pub(crate) fn was_moved(&self) -> bool {
        // ORDERING: Relaxed. Own thread only, after `outcome`.
        self.0.load(Relaxed) & MOVED != 0
    }

    /// May a deadline still end the wait? Own thread only.
    pub(crate) fn timeable(&self) -> bool {
        // ORDERING: Relaxed. A hint: the claim decides.
        Word(self.0.load(Relaxed)).phase() == WAITING || planted("timeout-ends-morphed")
    }

    /// Sets PARKED: who ends the wait from now on must unpark. False: it has ended. Own thread only.
    pub(crate) fn announce_sleep(&self) -> bool {
        loop {
            // ORDERING: Relaxed. The compare-exchange decides.
            let w = Word(self.0.load(Relaxed));
            if !w.waits() {
                return false;
            }
            // ORDERING: Relaxed twice. The flag carries no data.
            if w.has(PARKED) || self.0.compare_exchange(w.0, w.0 | PARKED, Relaxed, Relaxed).is_ok()
            {
                CLAIM.check(ClaimStep::Sleep, w.0, w.0 | PARKED);
                return true;
            }
        }
    }

    /// The wait that is on, for another thread: a snapshot.
    pub(crate) fn waiting(&self) -> Option<Waiting> {
        // ORDERING: Relaxed. A snapshot.
        Word(self.0.load(Relaxed)).waiting()
    }

    /// The wait that is on, for another thread: not an old value.
    pub(crate) fn waiting_now(&self) -> Option<Waiting> {
        // ORDERING: Relaxed. It changes nothing; as a read-modify-write it reads what was written last.
        Word(self.0.fetch_or(0, Relaxed)).waiting()
    }

    /// A snapshot, for tests and assertions.
    pub(crate) fn is_idle(&self) -> bool {
        // ORDERING: Relaxed. A snapshot.
        Word(self.0.load(Relaxed)).phase() == IDLE
    }
}

#[cfg(all(test, not(selvedge_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_late_claim_does_not_end_the_next_wait() {
        let c = Claim::new();
        let first = c.begin(true).unwrap();
        assert_eq!(c.claim(first, Outcome::TimedOut), Some(false));
        c.end();
        let second = c.begin(true).unwrap();
        assert_eq!(c.claim(first, Outcome::Granted), None);
        assert!(!c.morph(first));
        assert!(c.announce_sleep());
        assert_eq!(c.claim(second, Outcome::Granted), Some(true));
        assert_eq!(c.outcome(), Some(Outcome::Granted));
    }

    #[test]
    fn a_moved_wait_is_ended_by_no_signal_and_no_deadline() {
        let c = Claim::new();
        let e = c.begin(true).unwrap();
        assert!(c.morph(e) && !c.morph(e) && !c.timeable());
        assert_eq!(c.interrupt(), None);
        assert_eq!(c.claim(e, Outcome::TimedOut), None);
        assert_eq!(c.claim(e, Outcome::Interrupted), None);
        assert_eq!(c.claim_any(Outcome::ShutDown), Some(false));
        assert!(c.was_moved());
        c.end();
        assert_eq!(c.begin(true), Err(Refusal::Interrupted));
        c.clear_signal();
        c.stop();
        assert_eq!(c.begin(false), Err(Refusal::ShutDown));
    }
}
