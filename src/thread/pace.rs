//! How a thread looks at what it waits for before it queues. Plain numbers of its own, which remember whether looking paid.
//!
//! A look steals the line that the other thread writes, so looks are coarse while values come in batches, and fine while they
//! come one by one. Looks that did not pay become rare, and a yield that took long says that a stranger has the CPU:
//! then the thread queues at once, for a while. Every look is bounded, and ends when the thread is asked for something.

use super::Participant;
use crate::shim;
use std::cell::Cell;

/// See the module.
#[derive(Default)]
pub(super) struct Pace(Cell<Numbers>);

#[derive(Clone, Copy, Default)]
struct Numbers {
    /// Waits in a row in which looking between pauses was in vain.
    in_vain: u32,
    /// Waits that are to come without yields.
    no_yields: u32,
    /// How many values had passed at the last wait.
    last: u64,
}

/// As many waits in vain, and looking stops, but for one in `PROBE`.
const ENOUGH: u32 = 3;
const PROBE: u32 = 64;
/// Looks: fine ones (2 pauses apart), coarse ones (8, 16, 32, 64, 64 pauses apart), yields.
const FINE: u32 = 20;
const COARSE: u32 = 5;
const YIELDS: u32 = 40;
/// So many times, as long as values pass.
const TURNS: u32 = 16;
/// Looks, two pauses apart, where one value at a time fits.
const BRIEF: u32 = 60;
/// Looks at the own wait, one pause apart.
const OWN: u32 = 40;
/// A yield that takes longer than a millisecond or so, and for how many waits that counts.
const LONG: u64 = 3_000_000;
const CROWDED: u32 = 256;

impl Participant {
    fn may_look(&self) -> bool {
        self.runtime().schedule().looks != 0
    }
    fn is_quiet(&self) -> bool {
        self.record().gate().look().is_quiet()
    }

    /// Looks, between pauses and then yields; none: it is time to queue. `passed`: how many values have passed so far on this
    /// side. As long as some pass, others of the side were quicker; who queues then slows all down.
    pub(crate) fn look<R>(
        &self,
        passed: impl Fn() -> u64,
        mut look: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        if !self.may_look() {
            return None;
        }
        let (passed, now) = (passed(), passed);
        let numbers = self.pace().0.get();
        let fine = passed.wrapping_sub(numbers.last) <= 2;
        self.pace().0.set(Numbers { last: passed, ..numbers });
        let pauses = |n: u32| if fine { 2 } else { 8 << n.min(3) };
        let steps = self.budget(if fine { FINE } else { COARSE });
        let mut before = passed;
        let mut found = self.between_pauses(steps, pauses, &mut look);
        for _ in 0..TURNS {
            if found.is_some() {
                return found;
            }
            found = self.between_yields(&mut look);
            let passed = now();
            let crowded = self.pace().0.get().no_yields > 0;
            if passed == std::mem::replace(&mut before, passed) || crowded || !self.is_quiet() {
                break;
            }
        }
        found
    }

    /// The same, for a channel of one value.
    pub(crate) fn look_briefly<R>(&self, mut look: impl FnMut() -> Option<R>) -> Option<R> {
        if !self.may_look() {
            return None;
        }
        self.between_pauses(self.budget(BRIEF), |_| 2, &mut look)
    }

    /// Looks, queued already, whether the wait is over: that is on a line of this thread's own.
    pub(crate) fn look_at_own_wait<R>(&self, mut look: impl FnMut() -> Option<R>) -> Option<R> {
        if !self.may_look() {
            return None;
        }
        let found = self.between_pauses(self.budget(OWN), |_| 1, &mut look);
        found.or_else(|| self.between_yields(&mut look))
    }

    fn budget(&self, full: u32) -> u32 {
        match self.pace().0.get().in_vain {
            0..ENOUGH => full,
            n if n % PROBE == 0 => full / 2,
            _ => 0,
        }
    }

    fn between_pauses<R>(
        &self,
        steps: u32,
        pauses: impl Fn(u32) -> u32,
        look: &mut impl FnMut() -> Option<R>,
    ) -> Option<R> {
        let numbers = self.pace().0.get();
        for step in 0..steps {
            for _ in 0..pauses(step) {
                shim::pause();
            }
            if let Some(r) = look() {
                self.pace().0.set(Numbers { in_vain: 0, ..numbers });
                return Some(r);
            }
            if !self.is_quiet() {
                return None;
            }
        }
        self.pace().0.set(Numbers { in_vain: numbers.in_vain.wrapping_add(1), ..numbers });
        None
    }

    fn between_yields<R>(&self, look: &mut impl FnMut() -> Option<R>) -> Option<R> {
        let numbers = self.pace().0.get();
        if numbers.no_yields > 0 {
            self.pace().0.set(Numbers { no_yields: numbers.no_yields - 1, ..numbers });
            return look();
        }
        let mut before = shim::ticks();
        for _ in 0..YIELDS {
            shim::yield_now();
            let found = look();
            let now = shim::ticks();
            if now.wrapping_sub(before) > LONG {
                self.pace().0.set(Numbers { no_yields: CROWDED, ..numbers });
                return found;
            }
            if found.is_some() || !self.is_quiet() {
                return found;
            }
            before = now;
        }
        None
    }
}
