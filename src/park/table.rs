//! The legal transitions of a word, as data; and those of the claim word.
//!
//! A table is the single source of three things. Its text stands in the header of the file that owns the word (a unit
//! test compares them). Debug builds hold every transition to it, so that models, Miri and the stress tests check it at
//! no cost to a release. And the search in `thread/states.rs` takes no step that is not a row.
//!
//! A row is a step, the phases and flags it starts from, and what it changes; all other bits stay. Several rows may
//! belong to one step; at most one of them fits a pair of words.

use super::claim::{DONE, IDLE, MORPHED, NOINTR, Outcome, PARKED, SIG, STOP, WAITING, Word};
use crate::shim::planting;
use std::fmt::Debug;

/// One way from word to word.
pub(crate) struct Row<S: 'static> {
    pub(crate) step: S,
    /// Phases.
    pub(crate) from: &'static [u64],
    /// Flags that must be set, and clear, before it.
    pub(crate) need: u64,
    pub(crate) refuse: u64,
    /// The phase after it; none: the same.
    pub(crate) to: Option<u64>,
    /// Flags that are set after it, that may be, and that are clear.
    pub(crate) sets: u64,
    pub(crate) may_set: u64,
    pub(crate) clears: u64,
    /// Who does it, when.
    pub(crate) who: &'static str,
}

impl<S> Row<S> {
    /// A row that changes no flag.
    pub(crate) const fn new(
        step: S,
        from: &'static [u64],
        to: Option<u64>,
        who: &'static str,
    ) -> Self {
        Self { step, from, need: 0, refuse: 0, to, sets: 0, may_set: 0, clears: 0, who }
    }
    pub(crate) const fn need(mut self, flags: u64) -> Self {
        self.need = flags;
        self
    }
    pub(crate) const fn refuse(mut self, flags: u64) -> Self {
        self.refuse = flags;
        self
    }
    pub(crate) const fn sets(mut self, flags: u64) -> Self {
        self.sets = flags;
        self
    }
    pub(crate) const fn may_set(mut self, flags: u64) -> Self {
        self.may_set = flags;
        self
    }
    pub(crate) const fn clears(mut self, flags: u64) -> Self {
        self.clears = flags;
        self
    }
}

/// All ways of one word.
pub(crate) struct Table<S: 'static> {
    pub(crate) phases: &'static [(&'static str, u64)],
    pub(crate) phase_mask: u64,
    pub(crate) flags: &'static [(&'static str, u64)],
    pub(crate) flag_mask: u64,
    pub(crate) rows: &'static [Row<S>],
    /// The rule for the bits that are neither phase nor flag.
    pub(crate) rest: fn(S, u64, u64) -> bool,
}

impl<S: Copy + PartialEq + Debug> Table<S> {
    /// Debug builds: `step` took the word from `from` to `to`, and that is a row. A planted fault is left to the models.
    #[inline(always)]
    pub(crate) fn check(&self, step: S, from: u64, to: u64) {
        if cfg!(debug_assertions) && from != to && self.row(step, from, to).is_none() && !planting()
        {
            self.refuse(step, from, to);
        }
    }

    /// The row that allows it.
    pub(crate) fn row(&self, step: S, from: u64, to: u64) -> Option<usize> {
        self.rows.iter().position(|row| row.step == step && self.fits(row, from, to))
    }

    fn fits(&self, row: &Row<S>, from: u64, to: u64) -> bool {
        let phase = from & self.phase_mask;
        let kept = self.flag_mask & !(row.sets | row.may_set | row.clears);
        row.from.contains(&phase)
            && from & row.need == row.need
            && from & row.refuse == 0
            && to & self.phase_mask == row.to.unwrap_or(phase)
            && to & row.sets == row.sets
            && to & row.clears == 0
            && (from ^ to) & kept == 0
            && from & row.may_set & !to == 0
            && (self.rest)(row.step, from, to)
    }

    #[cold]
    fn refuse(&self, step: S, from: u64, to: u64) -> ! {
        let (from, to) = (self.show(from), self.show(to));
        let who: Vec<_> = self.rows.iter().filter(|r| r.step == step).map(|r| r.who).collect();
        panic!("{step:?} from {from} to {to} is no row of the table; by: {who:?}")
    }

    /// The word by name.
    fn show(&self, word: u64) -> String {
        let phase = self.phases.iter().find(|(_, p)| *p == word & self.phase_mask);
        let mut text = phase.map_or("no phase", |&(name, _)| name).to_string();
        for (name, _) in self.flags.iter().filter(|(_, flag)| word & flag != 0) {
            text += &format!(" + {name}");
        }
        text + &format!(" ({word:#x})")
    }
}

/// What changes the claim word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClaimStep {
    Begin,
    Cancel,
    Morph,
    Sleep,
    Ends(Outcome),
    End,
    Signal,
    TakeSignal,
    Stop,
    Renew,
}

use ClaimStep as C;

/// A wait that was moved is ended by these as well. What ends only a wait that was not is below.
const fn ends(outcome: Outcome, who: &'static str) -> Row<C> {
    Row::new(C::Ends(outcome), &[WAITING, MORPHED], Some(DONE), who).clears(PARKED | NOINTR)
}

pub(crate) static CLAIM: Table<C> = Table {
    phases: &[("IDLE", IDLE), ("WAITING", WAITING), ("MORPHED", MORPHED), ("DONE", DONE)],
    phase_mask: IDLE | WAITING | MORPHED | DONE,
    flags: &[("SIG", SIG), ("NOINTR", NOINTR), ("PARKED", PARKED), ("STOP", STOP)],
    flag_mask: SIG | NOINTR | PARKED | STOP,
    rows: &[
        Row::new(C::Begin, &[IDLE], Some(WAITING), "the waiter; next epoch").refuse(SIG | STOP),
        Row::new(C::Begin, &[IDLE], Some(WAITING), "the waiter, uninterruptible; next epoch")
            .refuse(STOP)
            .sets(NOINTR),
        Row::new(C::Cancel, &[WAITING], Some(IDLE), "the waiter, which got it before it slept")
            .clears(PARKED | NOINTR),
        Row::new(C::Morph, &[WAITING], Some(MORPHED), "a notifier: to the mutex's queue"),
        Row::new(C::Sleep, &[WAITING, MORPHED], None, "the waiter: who ends the wait must unpark")
            .sets(PARKED),
        ends(Outcome::Granted, "who gives it what it waits for"),
        ends(Outcome::Woken, "a release, or a leaver that passes on"),
        ends(Outcome::Serve, "a proxy or the waiter: a request is the waiter's to answer"),
        ends(Outcome::ShutDown, "the runtime"),
        ends(Outcome::Deadlock, "the detector, to one of the ring"),
        ends(Outcome::OwnerDied, "who finds that the owner is over"),
        Row::new(C::Ends(Outcome::TimedOut), &[WAITING], Some(DONE), "the waiter or the baton")
            .clears(PARKED | NOINTR),
        Row::new(C::Signal, &[WAITING], Some(DONE), "a sender: the wait ends as INTERRUPTED")
            .refuse(NOINTR)
            .sets(SIG)
            .clears(PARKED),
        Row::new(C::Signal, &[WAITING], None, "a sender: the signal stays pending")
            .need(NOINTR)
            .sets(SIG),
        Row::new(C::Signal, &[IDLE, MORPHED, DONE], None, "a sender: the same").sets(SIG),
        Row::new(C::TakeSignal, ANY, None, "the waiter, which took its last signal").clears(SIG),
        Row::new(C::End, &[DONE], Some(IDLE), "the waiter, when its node is in no queue"),
        Row::new(C::Stop, ANY, None, "the runtime; never taken back").sets(STOP),
        Row::new(C::Renew, &[IDLE], None, "the slab, for a new thread").clears(SIG | STOP),
    ],
    rest: Word::rest_of_step,
};

const ANY: &[u64] = &[IDLE, WAITING, MORPHED, DONE];

/// Tables as text.
#[cfg(all(test, not(selvedge_loom)))]
pub(crate) mod text {
    use super::*;

    fn names(all: &[(&'static str, u64)], mask: u64) -> Vec<&'static str> {
        all.iter().filter(|(_, bit)| mask & bit != 0).map(|&(name, _)| name).collect()
    }

    impl<S: Copy + PartialEq + Debug> Table<S> {
        /// The table as it stands in the header.
        pub(crate) fn text(&self, word: &str) -> String {
            let mut rows = vec![[word, "from", "to", "who"].map(String::from)];
            rows.extend(self.rows.iter().map(|row| {
                let step = format!("{:?}", row.step);
                [step, self.before(row), self.after(row), row.who.into()]
            }));
            let wide = |i: usize| rows.iter().map(|r| r[i].len()).max().unwrap_or(0);
            let wide = [wide(0), wide(1), wide(2), wide(3)];
            let rule = wide.map(|n| "-".repeat(n));
            rows.insert(1, rule);
            let lines = rows.iter().enumerate().map(|(i, row)| {
                let [a, b, c, d] = std::array::from_fn(|j| format!("{:<1$}", row[j], wide[j]));
                match i {
                    1 => format!("//! |-{a}-|-{b}-|-{c}-|-{d}-|\n"),
                    _ => format!("//! | {a} | {b} | {c} | {d} |\n"),
                }
            });
            lines.collect()
        }

        fn before(&self, row: &Row<S>) -> String {
            let all = row.from.len() == self.phases.len();
            let phases = self.phases.iter().filter(|(_, p)| row.from.contains(p));
            let phases: Vec<_> = phases.map(|&(name, _)| name).collect();
            let mut text = if all { "any".into() } else { phases.join(", ") };
            for flag in names(self.flags, row.need) {
                text += &format!(" with {flag}");
            }
            let refused = names(self.flags, row.refuse);
            if !refused.is_empty() {
                text += &format!(" without {}", refused.join(", "));
            }
            text
        }

        fn after(&self, row: &Row<S>) -> String {
            let phase = self.phases.iter().find(|&&(_, p)| Some(p) == row.to);
            let mut text = phase.map_or("same", |&(name, _)| name).to_string();
            for flag in names(self.flags, row.sets) {
                text += &format!(" + {flag}");
            }
            for flag in names(self.flags, row.may_set) {
                text += &format!(" (+ {flag})");
            }
            for flag in names(self.flags, row.clears) {
                text += &format!(" - {flag}");
            }
            text
        }

        /// Panics unless `source` has the table in its header.
        pub(crate) fn must_stand_in(&self, source: &str, word: &str) {
            let text = self.text(word);
            assert!(source.contains(&text), "the header's table should be:\n{text}");
        }

        /// Every pair of words that differs in phase and flags alone is taken by one row of a step at most.
        pub(crate) fn must_be_unambiguous(&self) {
            let mask = self.flag_mask;
            let flags: Vec<u64> = (0..=mask).filter(|w| w & !mask == 0).collect();
            let word = |phase: u64| flags.iter().map(move |f| phase | f);
            let all: Vec<u64> = self.phases.iter().flat_map(|&(_, p)| word(p)).collect();
            for (i, a) in self.rows.iter().enumerate() {
                for b in &self.rows[i + 1..] {
                    let both = |f: u64, t: u64| self.fits(a, f, t) && self.fits(b, f, t);
                    let twice = |f: u64| all.iter().any(|&t| t != f && both(f, t));
                    assert!(a.step != b.step || !all.iter().any(|&f| twice(f)), "{:?}", a.step);
                }
            }
        }
    }

    #[test]
    fn the_header_of_the_claim_word_has_its_table() {
        CLAIM.must_stand_in(include_str!("claim.rs"), "step");
        CLAIM.must_be_unambiguous();
    }

    #[test]
    fn what_is_no_row_is_refused() {
        let sleeping = WAITING | PARKED;
        assert!(CLAIM.row(C::Ends(Outcome::TimedOut), sleeping, MORPHED).is_none());
        assert!(CLAIM.row(C::Morph, sleeping, MORPHED | PARKED).is_some());
        // PARKED is not lost on the way to the mutex's queue.
        assert!(CLAIM.row(C::Morph, sleeping, MORPHED).is_none());
        assert!(CLAIM.row(C::TakeSignal, SIG | STOP, 0).is_none());
    }
}
