//! The gate: a thread's one word for running, safe, taken, asked. Its poll word at safe points as well.
//!
//! | phase             | meaning                                                        |
//! |-------------------|----------------------------------------------------------------|
//! | RUN               | the thread runs Lisp                                           |
//! | SAFE              | it sleeps or runs foreign code                                 |
//! | SAFE TAKEN        | a proxy carries out its requests                               |
//! | SAFE TAKEN COMING | the same, and the thread sleeps until it may come back         |
//! | SAFE COMING       | the proxy left while the thread said so; it comes back at once |
//!
//! Bits beside the phase: REQ (requests in the inbox, or a poke; cleared by who drains), SIGNAL (a signal is pending),
//! STOP (the runtime shuts down), POKED (a REQ was answered inside a wait; the next safe point reports it), MARK (somebody
//! wants to know whether the thread comes to safe points: it clears it there, and whenever it leaves SAFE). The steps are
//! those of `table.rs`, to which debug builds hold every one; a step that finds nothing to change is none.
//!
//! | step             | from                                      | to                                        | who                                      |
//! |------------------|-------------------------------------------|-------------------------------------------|------------------------------------------|
//! | EnterSafe        | RUN without REQ                           | SAFE                                      | the thread, to sleep                     |
//! | ForceSafe        | RUN                                       | SAFE                                      | the thread, to go outside                |
//! | LeaveSafe        | SAFE, SAFE COMING                         | RUN - MARK                                | the thread                               |
//! | Coming           | SAFE TAKEN                                | SAFE TAKEN COMING                         | the thread: the proxy must unpark        |
//! | Coming           | SAFE                                      | SAFE COMING                               | the thread; the proxy had just left      |
//! | Take             | SAFE                                      | SAFE TAKEN                                | a proxy                                  |
//! | Take             | SAFE COMING                               | SAFE TAKEN COMING                         | a proxy                                  |
//! | GiveBack         | SAFE TAKEN, SAFE TAKEN COMING without REQ | SAFE (+ REQ)                              | the proxy; REQ: some are left            |
//! | Ask              | any                                       | same + REQ                                | who pushed a request, or pokes           |
//! | Answer           | any                                       | same - REQ - POKED                        | the thread, which drains its inbox next  |
//! | Remember         | RUN                                       | same + POKED                              | the thread, which answered inside a wait |
//! | AnswerForAnother | SAFE TAKEN, SAFE TAKEN COMING             | same + POKED                              | the proxy, first                         |
//! | AnswerForAnother | SAFE TAKEN, SAFE TAKEN COMING             | same - REQ                                | the proxy, then                          |
//! | Signal           | any                                       | same + SIGNAL                             | a sender                                 |
//! | TakeSignal       | any                                       | same - SIGNAL                             | the thread, which took its last signal   |
//! | Stop             | any                                       | same + STOP                               | the runtime; never taken back            |
//! | Mark             | RUN                                       | same + MARK                               | who looks for laggards                   |
//! | ClearMark        | any                                       | same - MARK                               | the thread, at a safe point              |
//! | Renew            | RUN, SAFE                                 | SAFE - REQ - SIGNAL - STOP - POKED - MARK | the slab, for a new thread               |
//!
//! I1. A thread that is SAFE touches its claim word, its gate and its parker, and nothing else (G1).
//! I2. TAKEN has one holder; under it nothing polls, waits or locks a Lisp lock.
//! I3. REQ is cleared before the inbox is drained, so a request pushed later sets it again.
//! E1. `enter_safe`'s or `force_safe`'s Release -> `take`'s Acquire: what the thread did before it slept or went outside.
//! E2. `give_back`'s Release -> `leave_safe`'s Acquire: what the proxy did for it.
//!
//! The word is written by read-modify-writes only; every compare-exchange keeps the other bits.

use super::table::{GateStep, check};
use crate::shim::{AtomicU32, Ordering::*, const_fn, planted};

pub(super) const SAFE: u32 = 1;
pub(super) const TAKEN: u32 = 2;
pub(super) const REQ: u32 = 4;
pub(super) const COMING: u32 = 8;
pub(super) const SIGNAL: u32 = 16;
pub(super) const STOP: u32 = 32;
pub(super) const POKED: u32 = 64;
pub(super) const MARK: u32 = 128;
/// What a safe point looks for.
const POLL: u32 = REQ | SIGNAL | STOP | POKED | MARK;

/// A value of the word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen(u32);

impl Seen {
    pub(crate) fn is_quiet(self) -> bool {
        self.0 & POLL == 0
    }
    pub(crate) fn is_safe(self) -> bool {
        self.0 & SAFE != 0
    }
    pub(crate) fn asked(self) -> bool {
        self.0 & REQ != 0
    }
    pub(crate) fn signal(self) -> bool {
        self.0 & SIGNAL != 0
    }
    pub(crate) fn stop(self) -> bool {
        self.0 & STOP != 0
    }
    pub(crate) fn poked(self) -> bool {
        self.0 & (REQ | POKED) != 0
    }
    pub(crate) fn marked(self) -> bool {
        self.0 & MARK != 0
    }
    pub(crate) fn without_mark(self) -> Self {
        Self(self.0 & !MARK)
    }
    /// What was asked then, and what is pending now.
    pub(crate) fn with_state_of(self, now: Self) -> Self {
        Self(self.0 & (REQ | POKED) | now.0 & !(REQ | POKED))
    }
}

/// What a proxy finds when it is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum GiveBack {
    /// A new request came: drain again.
    Again,
    /// Given back; true: the thread sleeps on its way back and must be unparked.
    Done(bool),
}

/// See the module's table.
#[derive(Debug)]
pub(crate) struct Gate(AtomicU32);

impl Gate {
    const_fn! {
        /// The gate of a thread that does not run yet.
        pub(crate) fn new() -> Self {
            Self(AtomicU32::new(SAFE))
        }
    }

    /// For a new thread in the same record. The caller alone can reach it, but for late pokes.
    pub(crate) fn renew(&self) {
        // ORDERING: Relaxed. The registry's lock publishes the record.
        let w = self.0.swap(SAFE, Relaxed);
        check(GateStep::Renew, w, SAFE);
    }

    /// The poll of a safe point.
    #[inline(always)]
    pub(crate) fn look(&self) -> Seen {
        // ORDERING: Relaxed. A hint; what it points to is taken under the inbox's lock.
        Seen(self.0.load(Relaxed))
    }

    /// Clears REQ and the report of it; the caller drains the inbox next (I3).
    pub(crate) fn clear_request(&self) -> Seen {
        // ORDERING: Relaxed. The inbox's lock orders the requests: who pushes sets REQ while it holds that lock.
        let w = self.0.fetch_and(!(REQ | POKED), Relaxed);
        check(GateStep::Answer, w, w & !(REQ | POKED));
        Seen(w)
    }

    /// The same for a proxy: it cannot tell a poke from a request, so the thread's next safe point reports one.
    pub(crate) fn clear_request_for_another(&self) {
        // ORDERING: Relaxed twice. As above; POKED first, so that it is not missed.
        let w = self.0.fetch_or(POKED, Relaxed);
        check(GateStep::AnswerForAnother, w, w | POKED);
        let w = self.0.fetch_and(!REQ, Relaxed);
        check(GateStep::AnswerForAnother, w, w & !REQ);
    }

    /// The thread answered a request inside a wait: its next safe point reports it.
    pub(crate) fn remember_poke(&self) {
        // ORDERING: Relaxed. Own thread only.
        let w = self.0.fetch_or(POKED, Relaxed);
        check(GateStep::Remember, w, w | POKED);
    }

    /// RUN -> SAFE. False: there is a request, answer it first. Own thread only.
    pub(crate) fn enter_safe(&self) -> bool {
        loop {
            // ORDERING: Relaxed. The compare-exchange decides.
            let w = self.0.load(Relaxed);
            debug_assert!(w & SAFE == 0, "safe twice");
            if w & REQ != 0 && !planted("sleep-ignores-request") {
                return false;
            }
            // ORDERING: Release, E1; Relaxed on failure, where nothing happened.
            if self.0.compare_exchange(w, w | SAFE, Release, Relaxed).is_ok() {
                check(GateStep::EnterSafe, w, w | SAFE);
                return true;
            }
        }
    }

    /// RUN -> SAFE with requests or without. True: there are some. Own thread only.
    pub(crate) fn force_safe(&self) -> bool {
        // ORDERING: Release, E1.
        let w = self.0.fetch_or(SAFE, Release);
        check(GateStep::ForceSafe, w, w | SAFE);
        w & REQ != 0
    }

    /// SAFE -> RUN, or it runs already. False: a proxy is at work; it unparks this thread when it is done. Own thread only.
    pub(crate) fn leave_safe(&self) -> bool {
        loop {
            // ORDERING: Relaxed. The read-modify-writes decide. Only this thread leaves RUN.
            let w = self.0.load(Relaxed);
            if w & SAFE == 0 {
                return true;
            }
            if w & TAKEN != 0 && !planted("leave-ignores-taken") {
                // ORDERING: Relaxed. The proxy's compare-exchange fails on the new bit and sees it.
                let w = self.0.fetch_or(COMING, Relaxed);
                check(GateStep::Coming, w, w | COMING);
                if w & TAKEN != 0 {
                    return false;
                }
                continue;
            }
            // ORDERING: Acquire, E2; Relaxed on failure, where nothing happened.
            if self.0.compare_exchange(w, w & !(SAFE | COMING | MARK), Acquire, Relaxed).is_ok() {
                check(GateStep::LeaveSafe, w, w & !(SAFE | COMING | MARK));
                return true;
            }
        }
    }

    /// Asks the thread to drain its inbox. With the inbox's lock held, or as a poke.
    pub(crate) fn request(&self) -> Seen {
        // ORDERING: Relaxed. As `clear_request`.
        let w = self.0.fetch_or(REQ, Relaxed);
        check(GateStep::Ask, w, w | REQ);
        Seen(w)
    }

    /// Sets MARK if the thread runs. Did it stand already? None: the thread is SAFE.
    pub(super) fn mark(&self) -> Option<bool> {
        loop {
            // ORDERING: Relaxed. The compare-exchange decides.
            let w = self.0.load(Relaxed);
            if w & SAFE != 0 {
                return None;
            }
            // ORDERING: Relaxed twice. It tells of nothing but itself.
            if self.0.compare_exchange(w, w | MARK, Relaxed, Relaxed).is_ok() {
                check(GateStep::Mark, w, w | MARK);
                return Some(w & MARK != 0);
            }
        }
    }

    /// The thread is at a safe point.
    pub(crate) fn clear_mark(&self) {
        // ORDERING: Relaxed. As `mark`.
        let w = self.0.fetch_and(!MARK, Relaxed);
        check(GateStep::ClearMark, w, w & !MARK);
    }

    pub(crate) fn set_signal(&self) {
        // ORDERING: Relaxed. The inbox's lock orders the payloads.
        let w = self.0.fetch_or(SIGNAL, Relaxed);
        check(GateStep::Signal, w, w | SIGNAL);
    }

    pub(crate) fn clear_signal(&self) {
        // ORDERING: Relaxed. As above.
        let w = self.0.fetch_and(!SIGNAL, Relaxed);
        check(GateStep::TakeSignal, w, w & !SIGNAL);
    }

    pub(crate) fn set_stop(&self) {
        // ORDERING: Relaxed. A flag; nothing is published with it.
        let w = self.0.fetch_or(STOP, Relaxed);
        check(GateStep::Stop, w, w | STOP);
    }

    /// SAFE -> SAFE TAKEN. False: the thread runs and will see REQ, or another proxy does the work.
    pub(crate) fn take(&self) -> bool {
        loop {
            // ORDERING: Relaxed. The compare-exchange decides.
            let w = self.0.load(Relaxed);
            if w & (SAFE | TAKEN) != SAFE {
                return false;
            }
            // ORDERING: Acquire, E1; Relaxed on failure, where nothing happened.
            if self.0.compare_exchange(w, w | TAKEN, Acquire, Relaxed).is_ok() {
                check(GateStep::Take, w, w | TAKEN);
                return true;
            }
        }
    }

    /// SAFE TAKEN -> SAFE, unless a new request came. `unanswered`: requests are left that only the thread can answer.
    pub(crate) fn give_back(&self, unanswered: bool) -> GiveBack {
        loop {
            // ORDERING: Relaxed. The compare-exchange decides.
            let w = self.0.load(Relaxed);
            if w & REQ != 0 {
                return GiveBack::Again;
            }
            let to = w & !(TAKEN | COMING) | if unanswered { REQ } else { 0 };
            // ORDERING: Release, E2; Relaxed on failure, where nothing happened.
            if self.0.compare_exchange(w, to, Release, Relaxed).is_ok() {
                check(GateStep::GiveBack, w, to);
                return GiveBack::Done(w & COMING != 0);
            }
        }
    }
}
