//! The detector of deadlocks: it walks from a thread that is about to sleep along who waits for whom, and ends one wait of a
//! ring.
//!
//! | `word`         | meaning                                                  | leaves by                                       |
//! |----------------|----------------------------------------------------------|-------------------------------------------------|
//! | FREE           | nobody looks                                             | who comes -> BUSY, and looks                    |
//! | BUSY           | one thread looks, for all runtimes of the process        | it -> FREE; who comes pushes a record -> list   |
//! | list of records| the same, and it is to look from these as well           | it -> BUSY, takes the list                      |
//!
//! Nobody waits for it: a thread that finds it BUSY leaves its record and goes to sleep, so that it can be granted what it
//! waits for. The list ends in BUSY; `Mark::set` keeps a record from being in it twice and is cleared before the look.
//!
//! **A walk** goes from a record over the edge of its entry (`waits`) to the record of whoever holds it up. It stops at a
//! thread that does not wait, at a wait that a deadline will end (unless it was moved), at an entry of another wait, at
//! a thread that holds itself up (a hand-over in flight: the word names a thread whose claim has not come yet), and at
//! a ring that does not lead back to the start (Brent's rule: its members look for themselves).
//! First walks only tell whether it closes, and allocate nothing; one more lists, and the last confirms: each record in the
//! same wait again.
//!
//! I1. Looks are totally ordered by happens-before: within one turn by the program, between turns by E1.
//! I2. Every published entry is followed by a look from its record that it happens-before: the publisher's own, or by E2, or
//!     by E3 if the record was marked already. A notifier that owns the mutex and moves a waiter needs none: the ring would
//!     have to lead through the notifier, which publishes later. One that does not own it looks for the waiter.
//! I3. A thread leaves a wait, and does anything else, only after it took its entry away under its record's lock. A wait
//!     that is on does not begin before all that its thread did before, which that lock publishes with the entry.
//! E1. BUSY -> FREE, Release -> FREE -> BUSY, Acquire.
//! E2. The push, Release -> the take of the list, Acquire.
//! E3. Setting `Mark::set`, Release -> clearing it, Acquire. And back: the holder has read `next` before it is written
//!     again.
//!
//! **Complete**: let a ring stand for good, and take the last look from one of its members (I1). All members' entries
//! happen-before it, each having happened before its own look (I2). So it finds each entry; each owner's word, which the
//! owner wrote before it waited, or who handed the mutex to it before the grant it took over; each claim word past its
//! beginning, and no later value exists. It closes. For a wait that was moved: the mover wrote the claim word before its
//! own look; if it had the record's lock before the entry was there, the waiter sees itself moved when it publishes, and
//! looks.
//!
//! **Sound**: all records are in the same wait in the walk that lists and in the one that confirms, where the claim words
//! are read by read-modify-writes. So take the moment between the walks: each thread was in its wait then. The owner's word
//! that the last walk read for it names the next thread, whose record the walk before had locked; so what that thread did
//! before its wait, its releases among it, happens-before the read, which therefore shows what the thread holds now (I3),
//! and a thread that waits neither takes nor gives back. Its own mutex may be handed to it meanwhile, which is the edge to
//! itself. So no member could go on but by a signal, a request or a shutdown, and one of these ends the victim's wait by a
//! claim of its own: the detector's then fails, being for exactly that wait, and takes its report back.
//!
//! The victim is the thread from which the look starts: in a ring of threads that look for themselves, the last one.

use crate::id::ThreadId;
use crate::park::{Epoch, Outcome, Waiting};
use crate::shim::{self, AtomicPtr, Ordering::*, planted};
use crate::thread::record::{self, Record};
use crate::thread::waits::{Report, Waits};
use crate::thread::{Blocker, Cycle, Link, Thread};
use std::ptr::{null_mut, without_provenance_mut};

shim::global! {
    static word: AtomicPtr<Record> = AtomicPtr::new(FREE);
}

const FREE: *mut Record = null_mut();
/// Also the end of the list.
const BUSY: *mut Record = without_provenance_mut(1);

/// Under the model checker the first use of a static is ordered after all that other threads did before, which would hide E1:
/// models use the word before their threads start.
#[cfg(selvedge_loom)]
pub(crate) fn touch() {
    word();
}

/// Looks for a deadlock from `record`, and ends it; or leaves that to the thread that looks at the moment. Wakes the victim,
/// so: with no internal lock held. `kept` gets the reports whose victim was quicker.
pub(crate) fn look_from(record: &'static Record, mut kept: impl FnMut(Cycle)) {
    if planted("everybody-looks") {
        return scan(record, &mut kept);
    }
    // ORDERING: Acquire, E1; Relaxed on failure, where nothing is taken over.
    if word().compare_exchange(FREE, BUSY, Acquire, Relaxed).is_ok() {
        scan(record, &mut kept);
    } else {
        // ORDERING: AcqRel, E3 both ways.
        if record.mark().set.swap(1, AcqRel) != 0 || !push(record) {
            return;
        }
        look_from_marked(record, &mut kept);
    }
    loop {
        // ORDERING: Release, E1; Relaxed on failure, where the list is still to be taken.
        if word().compare_exchange(BUSY, FREE, Release, Relaxed).is_ok() {
            return;
        }
        // ORDERING: Acquire, E2.
        let mut at = word().swap(BUSY, Acquire);
        if planted("detector-forgets-the-list") {
            continue;
        }
        while at != BUSY {
            // SAFETY: who pushed it had a `&'static`.
            let next: &'static Record = unsafe { &*at };
            // ORDERING: Relaxed. E2 publishes it; E3 keeps it until the mark is cleared.
            at = next.mark().next.load(Relaxed);
            look_from_marked(next, &mut kept);
        }
    }
}

/// Leaves a marked record to the holder. True: there is none any more, and the caller is it now.
fn push(record: &'static Record) -> bool {
    let this = std::ptr::from_ref(record).cast_mut();
    loop {
        // ORDERING: Relaxed. The compare-exchange decides.
        let head = word().load(Relaxed);
        if head == FREE {
            // ORDERING: Acquire, E1; Relaxed on failure, where nothing is taken over.
            if word().compare_exchange(FREE, BUSY, Acquire, Relaxed).is_ok() {
                return true;
            }
            continue;
        }
        // ORDERING: Relaxed. E2 publishes it. Only who set the mark writes it.
        record.mark().next.store(head, Relaxed);
        // ORDERING: Release, E2; Relaxed on failure, where nothing happened.
        if word().compare_exchange(head, this, Release, Relaxed).is_ok() {
            return false;
        }
    }
}

fn look_from_marked(record: &'static Record, kept: &mut impl FnMut(Cycle)) {
    // ORDERING: AcqRel, E3 both ways.
    record.mark().set.swap(0, AcqRel);
    scan(record, kept);
}

/// One wait of a walk.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Step {
    thread: ThreadId,
    epoch: Epoch,
    next: ThreadId,
}

/// The walks, and the claim.
fn scan(start: &'static Record, kept: &mut impl FnMut(Cycle)) {
    if planted("nothing-confirmed") {
        return believe(start, kept);
    }
    let Some(closed) = closes(start, glance) else { return };
    // A hand-over in the midst of a walk can close it: that comes often enough not to allocate for it.
    if closes(start, glance) != Some(closed) {
        return;
    }
    let length = closed.length;
    let mut steps = Vec::with_capacity(length);
    let listed = walk(start, length, |at| {
        let step = glance(at)?;
        steps.push(step);
        Some(step)
    });
    if !listed {
        return;
    }
    let mut members = Vec::with_capacity(length);
    let mut expected = steps.iter();
    let confirmed = walk(start, length, |at| {
        let (step, member) = step(
            at,
            |r| r.waiter().state().waiting_now(),
            |w| (w.thread().clone(), w.awaited(true)),
        )?;
        members.push(member);
        (expected.next() == Some(&step)).then_some(step)
    });
    let cycle = ring(&members);
    // Before the victim can drop the report: the last handle of a thread drops where the VM may run.
    drop(members);
    if confirmed {
        end(start, steps[0], cycle, kept);
    } else {
        kept(cycle);
    }
}

/// A planted fault: one walk, whatever its members did meanwhile.
fn believe(start: &'static Record, kept: &mut impl FnMut(Cycle)) {
    let (mut first, mut members) = (None, Vec::new());
    let closed = closes(start, |at| {
        let (step, member) = step(at, snapshot, |w| (w.thread().clone(), w.awaited(true)))?;
        members.push(member);
        first.get_or_insert(step);
        Some(step)
    });
    if let (Some(_), Some(first)) = (closed, first) {
        let cycle = ring(&members);
        drop(members);
        end(start, first, cycle, kept);
    }
}

/// A ring, without a list of its members.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Closed {
    length: usize,
    /// Of their waits.
    sum: u64,
}

/// The ring that leads from `start` back to it, if there is one.
fn closes(
    start: &'static Record,
    mut step: impl FnMut(&'static Record) -> Option<Step>,
) -> Option<Closed> {
    let mut sum = 0u64;
    // Brent: the mark on the path moves up after 2, 4, 8 .. steps.
    let (mut at, mut mark, mut limit) = (start, start, 2);
    for length in 1.. {
        let step = step(at)?;
        sum = sum.rotate_left(7) ^ step.thread.get() ^ step.epoch.get().rotate_left(32);
        at = record::find(step.next)?;
        if std::ptr::eq(at, start) {
            return Some(Closed { length, sum });
        }
        if std::ptr::eq(at, mark) {
            return None;
        }
        if length == limit {
            (mark, limit) = (at, 2 * limit);
        }
    }
    None
}

/// Goes `length` steps from `start`, each to the thread that the one before named. Is it back there?
fn walk(
    start: &'static Record,
    length: usize,
    mut step: impl FnMut(&'static Record) -> Option<Step>,
) -> bool {
    let Some(first) = step(start) else { return false };
    let mut next = first.next;
    for _ in 1..length {
        match record::find(next).and_then(&mut step) {
            Some(step) if step.thread == next => next = step.next,
            _ => return false,
        }
    }
    next == first.thread
}

/// What each walk but the last looks at.
fn glance(at: &'static Record) -> Option<Step> {
    step(at, snapshot, |_| ()).map(|(step, ())| step)
}

fn snapshot(record: &'static Record) -> Option<Waiting> {
    record.waiter().state().waiting()
}

/// The edge that leads on from this record, if it counts.
fn step<R>(
    at: &'static Record,
    state: impl FnOnce(&'static Record) -> Option<Waiting>,
    more: impl FnOnce(&Waits) -> R,
) -> Option<(Step, R)> {
    // A look before the lock: most walks end at a thread that runs. An old value is past (Complete).
    if snapshot(at).is_none() && !planted("an-entry-will-do") {
        return None;
    }
    at.with_waits(|w| {
        let w = w.as_ref()?;
        let mut state = state(at);
        if planted("an-entry-will-do") {
            state = Some(Waiting { epoch: w.epoch, moved: false });
        }
        let (thread, next) = (w.thread().id(), w.held_up_for_ever_by(state?)?);
        let step = Step { thread, epoch: w.epoch, next };
        (thread != next || planted("a-hand-over-is-a-ring")).then(|| (step, more(w)))
    })
}

/// The report: each thread holds what the one before it waits for.
fn ring(members: &[(Thread, Blocker)]) -> Cycle {
    let before = members.iter().cycle().skip(members.len().saturating_sub(1));
    let links = members.iter().zip(before).map(|((thread, waits_for), (_, holds))| Link {
        thread: thread.clone(),
        waits_for: waits_for.clone(),
        holds: holds.clone(),
    });
    Cycle::new(links.collect())
}

/// Ends the wait of `victim`, unless that is over.
fn end(victim: &'static Record, wait: Step, cycle: Cycle, kept: &mut impl FnMut(Cycle)) {
    let ended = victim.with_waits(|w| match w {
        Some(w) if w.thread().id() == wait.thread && w.epoch == wait.epoch => {
            w.end(victim, Outcome::Deadlock, Report::Deadlock(cycle))
        }
        _ => Err(Some(Report::Deadlock(cycle))),
    });
    match ended {
        Ok(wake) => wake.now(),
        Err(Some(Report::Deadlock(cycle))) => kept(cycle),
        Err(_) => {}
    }
}
