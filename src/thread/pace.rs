//! How a thread looks at what it waits for before it queues. Plain numbers of its own, which remember whether looking paid.
//!
//! A look steals the line that the other thread writes, so looks are coarse while values come in batches, and fine while
//! they come one by one. Looks that did not pay become rare, and a yield that took long says that a stranger has the CPU:
//! then the thread queues at once, for a while. Every look is bounded, and ends when the thread is asked for something, and
//! at the deadline of its operation: one that is past already looks at nothing. The clock is read once before, and then only
//! when the ticks say that some time has passed; a yield, and a few microseconds, may still go by.

use super::Participant;
use crate::shim;
use std::cell::Cell;
use std::time::Instant;

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
const FINE: u32 = many(20);
const COARSE: u32 = many(5);
const YIELDS: u32 = many(40);
/// So many times, as long as values pass.
const TURNS: u32 = many(16);
/// Looks, two pauses apart, where one value at a time fits.
const BRIEF: u32 = many(60);
/// Looks at the own wait, one pause apart.
const OWN: u32 = many(40);

/// Under the model checker one of each is as good.
const fn many(n: u32) -> u32 {
    if cfg!(selvedge_loom) { 1 } else { n }
}
/// A yield that takes longer than a millisecond or so, and for how many waits that counts.
const LONG: u64 = 3_000_000;
const CROWDED: u32 = 256;
/// Some ten microseconds: the clock is not read more often.
const WHILE: u64 = 30_000;

/// When a look is over.
struct Until {
    deadline: Option<Instant>,
    /// Ticks when the clock was last read.
    read: u64,
    past: bool,
}

impl Until {
    /// None: it is over.
    fn new(deadline: Option<Instant>) -> Option<Self> {
        if deadline.is_some_and(shim::expired) {
            return None;
        }
        let read = if deadline.is_some() { shim::ticks() } else { 0 };
        Some(Self { deadline, read, past: false })
    }
    fn is_past(&mut self, ticks: u64) -> bool {
        if let Some(deadline) = self.deadline
            && ticks.wrapping_sub(self.read) > WHILE
        {
            self.read = ticks;
            self.past = shim::expired(deadline);
        }
        self.past
    }
}

impl Participant {
    /// None: not at all.
    fn may_look(&self, deadline: Option<Instant>) -> Option<Until> {
        if self.runtime().schedule().looks == 0 { None } else { Until::new(deadline) }
    }
    fn is_quiet(&self) -> bool {
        self.record().gate().look().is_quiet()
    }

    /// Looks, between pauses and then yields; none: it is time to queue. `passed`: how many values have passed so far on
    /// this side. As long as some pass, others of the side were quicker; who queues then slows all down.
    pub(crate) fn look<R>(
        &self,
        deadline: Option<Instant>,
        passed: impl Fn() -> u64,
        mut look: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        let mut until = self.may_look(deadline)?;
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
            found = self.between_yields(&mut until, &mut look);
            let passed = now();
            let vain = passed == std::mem::replace(&mut before, passed);
            let crowded = self.pace().0.get().no_yields > 0;
            if vain || crowded || until.past || !self.is_quiet() {
                break;
            }
        }
        found
    }

    /// The same, for a channel of one value.
    pub(crate) fn look_briefly<R>(
        &self,
        deadline: Option<Instant>,
        mut look: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        self.may_look(deadline)?;
        self.between_pauses(self.budget(BRIEF), |_| 2, &mut look)
    }

    /// Looks, queued already, whether the wait is over: that is on a line of this thread's own.
    pub(crate) fn look_at_own_wait<R>(
        &self,
        deadline: Option<Instant>,
        mut look: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        let mut until = self.may_look(deadline)?;
        let found = self.between_pauses(self.budget(OWN), |_| 1, &mut look);
        found.or_else(|| self.between_yields(&mut until, &mut look))
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
            // There a pause lets the others go as far as they can: looks with less before them would not be seen.
            let pauses = if cfg!(selvedge_loom) { 0 } else { pauses(step) };
            for _ in 0..pauses {
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

    fn between_yields<R>(
        &self,
        until: &mut Until,
        look: &mut impl FnMut() -> Option<R>,
    ) -> Option<R> {
        let numbers = self.pace().0.get();
        if numbers.no_yields > 0 {
            self.pace().0.set(Numbers { no_yields: numbers.no_yields - 1, ..numbers });
            return look();
        }
        let mut before = shim::ticks();
        for _ in 0..YIELDS {
            if until.is_past(before) || !self.is_quiet() {
                return None;
            }
            shim::yield_now();
            let found = look();
            let now = shim::ticks();
            if now.wrapping_sub(before) > LONG {
                self.pace().0.set(Numbers { no_yields: CROWDED, ..numbers });
                return found;
            }
            if found.is_some() {
                return found;
            }
            before = now;
        }
        None
    }
}

#[cfg(all(test, not(any(selvedge_loom, selvedge_shuttle))))]
mod tests {
    use super::*;
    use crate::thread::{Runtime, Schedule};
    use std::time::Duration;

    fn me() -> Participant {
        Runtime::new().attach(()).unwrap()
    }
    /// The looks of one call, none of which finds anything.
    fn in_vain(look: impl FnOnce(&mut dyn FnMut() -> Option<()>) -> Option<()>) -> u32 {
        let mut looks = 0;
        let found = look(&mut || {
            looks += 1;
            None
        });
        assert!(found.is_none());
        looks
    }
    fn briefly(me: &Participant) -> u32 {
        in_vain(|look| me.look_briefly(None, look))
    }
    /// Values pass all the time.
    fn busy() -> impl Fn() -> u64 {
        let n = Cell::new(0);
        move || n.replace(n.get() + 1)
    }
    fn until(over: impl Fn() -> bool) {
        while !over() {
            std::hint::spin_loop();
        }
    }
    /// The first yield seems to take long.
    fn crowd(me: &Participant) -> u32 {
        let mut looks = 0;
        let found = me.look(None, busy(), || {
            looks += 1;
            if looks > FINE {
                let before = shim::ticks();
                until(|| shim::ticks().wrapping_sub(before) > LONG);
            }
            None::<()>
        });
        assert!(found.is_none());
        looks
    }

    #[test]
    fn a_look_finds() {
        let me = me();
        for nth in [1, FINE, FINE + 1] {
            let mut looks = 0;
            let found = me.look(
                None,
                || 0,
                || {
                    looks += 1;
                    (looks == nth).then_some(looks)
                },
            );
            assert_eq!(found, Some(nth));
        }
    }

    #[test]
    fn looks_are_bounded() {
        let me = me();
        let looks = in_vain(|look| me.look(None, busy(), look));
        assert!((FINE + 1..=FINE + TURNS * YIELDS).contains(&looks), "{looks}");
        let looks = in_vain(|look| me.look(None, || 0, look));
        assert!(looks <= FINE + YIELDS, "none pass: one turn, not {looks}");
        let looks = in_vain(|look| me.look_at_own_wait(None, look));
        assert!(looks <= OWN + YIELDS, "{looks}");
    }

    #[test]
    fn who_may_not_look_does_not() {
        let vm = Runtime::builder().schedule(Schedule::new().looks(0)).build();
        let me = vm.attach(()).unwrap();
        assert_eq!(in_vain(|look| me.look(None, busy(), look)), 0);
        assert_eq!(in_vain(|look| me.look_at_own_wait(None, look)), 0);
        assert_eq!(briefly(&me), 0);
    }

    #[test]
    fn a_deadline_that_is_past_leaves_nothing_to_look_for() {
        let (me, past) = (me(), Some(Instant::now()));
        assert_eq!(in_vain(|look| me.look(past, busy(), look)), 0);
        assert_eq!(in_vain(|look| me.look_briefly(past, look)), 0);
        assert_eq!(in_vain(|look| me.look_at_own_wait(past, look)), 0);
    }

    /// The deadline passes before the first yield; during one, which does not take long.
    #[test]
    fn a_look_ends_at_its_deadline() {
        for at in [FINE, FINE + 1] {
            let (me, deadline, mut looks) = (me(), Instant::now() + Duration::from_millis(2), 0);
            let nearly = deadline - Duration::from_micros(200);
            let found = me.look(Some(deadline), busy(), || {
                looks += 1;
                if looks == at {
                    // The clock is not read before.
                    let before = shim::ticks();
                    until(|| shim::ticks().wrapping_sub(before) > WHILE && shim::expired(deadline));
                } else if looks == FINE {
                    until(|| shim::expired(nearly));
                }
                None::<()>
            });
            assert!(found.is_none());
            assert!(looks <= at, "{looks} looks, the deadline was at {at}");
        }
        let (me, deadline, mut looks) = (me(), Instant::now() + Duration::from_millis(2), 0);
        let found = me.look_at_own_wait(Some(deadline), || {
            looks += 1;
            until(|| shim::expired(deadline));
            None::<()>
        });
        assert!(found.is_none() && looks <= OWN, "{looks}");
    }

    /// A signal comes: between pauses, between yields.
    #[test]
    fn a_look_ends_when_something_is_asked() {
        for at in [3, FINE, FINE + 1] {
            let (me, mut looks) = (me(), 0);
            let found = me.look(None, busy(), || {
                looks += 1;
                if looks == at {
                    me.thread().post(()).unwrap();
                }
                None::<()>
            });
            assert!(found.is_none() && me.take_signal().is_some());
            assert_eq!(looks, at);
        }
    }

    #[test]
    fn a_long_yield_makes_many_waits_go_without() {
        let me = me();
        assert_eq!(crowd(&me), FINE + 1);
        for n in 0..CROWDED {
            assert_eq!(me.pace().0.get().no_yields, CROWDED - n);
            let looks = in_vain(|look| me.look(None, || 0, look));
            assert!((1..=FINE + 1).contains(&looks), "wait {n}: {looks} looks");
        }
        assert_eq!(me.pace().0.get().no_yields, 0);
    }

    #[test]
    fn looks_in_vain_become_rare() {
        let me = me();
        for n in 0..2 * PROBE + 1 {
            let wanted = match n {
                0..ENOUGH => BRIEF,
                n if n % PROBE == 0 => BRIEF / 2,
                _ => 0,
            };
            assert_eq!(briefly(&me), wanted, "wait {n}");
        }
        while briefly(&me) == 0 {}
        me.pace().0.set(Numbers { in_vain: PROBE, ..Numbers::default() });
        assert_eq!(me.look_briefly(None, || Some(1)), Some(1), "a probe that finds");
        assert_eq!(briefly(&me), BRIEF);
    }

    /// Values came in a batch since the last wait.
    #[test]
    fn batches_are_looked_for_coarsely() {
        let me = me();
        crowd(&me);
        assert_eq!(in_vain(|look| me.look(None, || 1_000, look)), COARSE + 1);
        assert_eq!(in_vain(|look| me.look(None, || 1_002, look)), FINE + 1);
    }
}
