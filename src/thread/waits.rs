//! What a thread waits for, as it shows it to others: the blocker, and the edge to whoever holds it up.
//!
//! I1. An entry stands from after the thread queued until its wait is over; it is set, changed and taken under the record's
//!     lock. Who holds that lock and finds an entry keeps the thread from leaving the wait, and so alive what the entry
//!     points to: the thread's handle, the blocker, the mutex.
//! I2. Whoever could end a wait by what it finds in the entry and whoever publishes one look under that lock: a thread that
//!     ends looks at all entries after it is marked over (record E2), a waiter at its owner after it published, so that one
//!     of the two sees the other.
//! I3. A thread that shows an entry neither takes nor gives back anything while its wait lasts.

use super::record::Record;
use super::{Blocker, BlockerKind, Cycle, LabelRef, Thread};
use crate::id::ThreadId;
use crate::park::{Epoch, Outcome, Waiting, Wake};
use crate::shim::{AtomicU64, Ordering::*, planted};
use std::ptr::NonNull;

/// Whose end, or whose release, a wait waits for.
pub(crate) enum Edge {
    /// Nobody's in particular.
    None,
    /// The owner's of a mutex.
    Owner(Owned),
    /// The same, once a notifier has moved the waiter to the mutex's queue.
    OwnerOnceMoved(Owned),
    /// This thread's.
    Thread(ThreadId),
}

/// A mutex as an edge sees it. Valid while the entry stands (I1).
pub(crate) struct Owned {
    word: NonNull<AtomicU64>,
    label: NonNull<LabelRef>,
}

impl Owned {
    /// The owner's word and the label of one mutex, which the caller borrows for as long as its wait lasts.
    pub(crate) fn new(word: &AtomicU64, label: &LabelRef) -> Self {
        Self { word: word.into(), label: label.into() }
    }
}

/// The owner that a mutex's word names. The only place outside `mutex` that knows the layout.
pub(crate) fn owner_of(word: u64) -> Option<ThreadId> {
    ThreadId::from_bits(word)
}

/// What another thread found out about a wait that it ended.
pub(crate) enum Report {
    Deadlock(Cycle),
    OwnerDied(ThreadId),
}

/// An entry. All by I1.
pub(crate) struct Waits {
    thread: NonNull<Thread>,
    on: NonNull<Blocker>,
    edge: Edge,
    pub(crate) epoch: Epoch,
    /// A deadline ends the wait unless it is moved.
    timed: bool,
    /// Deadlocks that this wait closes are looked for.
    pub(crate) detect: bool,
    /// Written before the claim that makes it true.
    pub(crate) report: Option<Report>,
}

impl Waits {
    /// All but the numbers is borrowed for as long as the entry stands: to publish costs no clone.
    pub(crate) fn new(
        (thread, on): (&Thread, &Blocker),
        edge: Edge,
        epoch: Epoch,
        timed: bool,
        detect: bool,
    ) -> Self {
        Self { thread: thread.into(), on: on.into(), edge, epoch, timed, detect, report: None }
    }

    /// Who waits.
    pub(crate) fn thread(&self) -> &Thread {
        // SAFETY: the entry stands (I1).
        unsafe { self.thread.as_ref() }
    }
    /// What it said that it waits for.
    pub(crate) fn on(&self) -> &Blocker {
        // SAFETY: the entry stands (I1).
        unsafe { self.on.as_ref() }
    }

    /// Who holds the thread up, given the state of its wait; none: nobody in particular.
    pub(crate) fn held_up_by(&self, state: Waiting) -> Option<ThreadId> {
        if state.epoch != self.epoch {
            return None;
        }
        match &self.edge {
            Edge::None => None,
            Edge::Owner(owned) => owned.owner(),
            Edge::OwnerOnceMoved(owned) if state.moved && !planted("moved-waits-have-no-edge") => {
                owned.owner()
            }
            Edge::OwnerOnceMoved(_) => None,
            Edge::Thread(id) => Some(*id),
        }
    }

    /// The owner of the mutex that it waits for.
    fn owner(&self, state: Waiting) -> Option<ThreadId> {
        match self.edge {
            Edge::Thread(_) => None,
            _ => self.held_up_by(state),
        }
    }

    /// The same, if no deadline will end the wait.
    pub(crate) fn held_up_for_ever_by(&self, state: Waiting) -> Option<ThreadId> {
        if self.timed && !state.moved { None } else { self.held_up_by(state) }
    }

    /// The address of the mutex that it waits for, which is good for comparisons.
    pub(super) fn mutex(&self, state: Waiting) -> Option<usize> {
        match &self.edge {
            Edge::Owner(owned) => Some(owned.word.addr().get()),
            Edge::OwnerOnceMoved(owned) if state.moved => Some(owned.word.addr().get()),
            _ => None,
        }
    }

    /// What it waits for there: a condition-wait that takes its mutex back waits for the mutex.
    pub(crate) fn awaited(&self, moved: bool) -> Blocker {
        match &self.edge {
            Edge::OwnerOnceMoved(_) if !moved => self.on().clone(),
            Edge::Owner(owned) | Edge::OwnerOnceMoved(owned)
                if self.on().kind() != BlockerKind::Mutex =>
            {
                // SAFETY: the entry stands (I1).
                let label = unsafe { owned.label.as_ref() };
                self.on().as_mutex(label.clone())
            }
            _ => self.on().clone(),
        }
    }
}

impl Waits {
    /// Ends the wait of `record`, which shows this entry, with a report; or the report comes back.
    pub(crate) fn end(
        &mut self,
        record: &'static Record,
        outcome: Outcome,
        report: Report,
    ) -> Result<Wake, Option<Report>> {
        if self.report.is_some() {
            // Of who ended it before: the waiter has not fetched it yet.
            return Err(Some(report));
        }
        self.report = Some(report);
        // The lock of the entry pins the wait (I1).
        record.waiter().claim(self.epoch, outcome).ok_or_else(|| self.report.take())
    }

    /// Ends the wait if its mutex belongs to a thread that `is_over`.
    pub(crate) fn end_if_orphaned(
        &mut self,
        record: &'static Record,
        is_over: impl FnOnce(ThreadId) -> bool,
    ) -> Option<Wake> {
        let state = record.waiter().state().waiting()?;
        let dead = self.owner(state)?;
        // Twice: it may have freed the mutex before it ended, between the two looks (record E2).
        if !is_over(dead) || self.owner(state) != Some(dead) {
            return None;
        }
        self.end(record, Outcome::OwnerDied, Report::OwnerDied(dead)).ok()
    }
}

/// The thread `dead` is over: ends the wait of `record` if it is for a mutex of that.
pub(super) fn orphan(record: &'static Record, dead: ThreadId) -> Option<Wake> {
    record.with_waits(|w| w.as_mut()?.end_if_orphaned(record, |id| id == dead))
}

impl Owned {
    fn owner(&self) -> Option<ThreadId> {
        // SAFETY: the entry stands (I1).
        let word = unsafe { self.word.as_ref() };
        // ORDERING: Relaxed. Who draws conclusions says why in its header (`deadlock`, `mutex`).
        owner_of(word.load(Relaxed))
    }
}

#[cfg(all(test, not(selvedge_loom)))]
mod tests {
    use super::*;
    use crate::thread::Runtime;

    #[test]
    fn a_wait_that_is_over_keeps_its_report() {
        let vm = Runtime::new();
        let me = vm.attach("main").unwrap();
        let record = me.record();
        let epoch = record.waiter().state().begin(true).unwrap();
        let on = Blocker::new(BlockerKind::Mutex, None);
        let mut w = Waits::new((me.thread(), &on), Edge::None, epoch, false, true);
        let died = Report::OwnerDied(me.id());
        assert!(w.end(record, Outcome::OwnerDied, died).is_ok());
        let late = Report::Deadlock(Cycle::new(Vec::new()));
        assert!(matches!(w.end(record, Outcome::Deadlock, late), Err(Some(Report::Deadlock(_)))));
        assert!(matches!(w.report, Some(Report::OwnerDied(dead)) if dead == me.id()));
        record.waiter().state().end();
    }
}
