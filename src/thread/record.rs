//! Records: the part of a thread that others reach without its consent. Slots of one process-wide slab, used again,
//! never freed.
//!
//! | `id`     | meaning                              | leaves by                                    |
//! |----------|--------------------------------------|----------------------------------------------|
//! | 0        | free                                 | `allocate`, under the slab's lock            |
//! | identity | a thread lives here                  | `release`: its end                           |
//!
//! I1. An identity is given out once: it carries the slot and the slot's count of lives; a slot whose count is used up
//!     stays empty.
//! I2. The record in a thread's slot has its identity in `id` as long as the thread lives; afterwards never again.
//! I3. `ended` only grows: who reads an old value takes a dead thread for a living one, never the other way round.
//! E1. `segments`' Release -> Acquire: the records of the segment.
//! E2. `ended`'s Release -> `is_over`'s Acquire: all that the dead thread did, for who takes a mutex from it.

use super::gate::Gate;
use super::hand::Link;
use super::waits::Waits;
use super::{Blocker, Cycle};
use crate::id::{RuntimeId, ThreadId};
use crate::park::{Ready, Waiter};
use crate::shim::{self, Arc, AtomicPtr, AtomicU32, AtomicU64, Mutex, Ordering::*, UnsafeCell};
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

/// See the module.
// Aligned: a waker writes its waiter's record, and shall not meet the one beside it there.
#[repr(C, align(128))]
pub(crate) struct Record {
    waiter: Waiter,
    gate: Gate,
    id: AtomicU64,
    /// The last life of the slot that is over; 0: none is.
    ended: AtomicU32,
    /// `runtime:32 | life:32`: one word, so that the runtime of one life is never taken for another's.
    home: AtomicU64,
    /// Do the releases of this thread's runtime keep off the barrier? 0 or 1; written by who has the slot.
    steady: AtomicU32,
    /// What the thread waits for, and who holds it up: see `waits`.
    waits: Mutex<Option<Waits>>,
    mark: Mark,
    /// What the thread holds while it waits: see `hand`.
    hand: UnsafeCell<*const Link<'static>>,
    /// Reports that nobody got, to be dropped where a VM's destructors may run. Own thread only.
    attic: UnsafeCell<Vec<Cycle>>,
    /// Since when the gate's MARK stands, for which thread. Written by who marks.
    marked: Mutex<Option<(ThreadId, Instant)>>,
    /// How often a thread of this slot lost a mutex, or ended. Written by the own thread, or by who has the slot.
    losses: AtomicU64,
    /// The mutexes that the thread lost, by address, and the count afterwards. Own thread only.
    lost: UnsafeCell<Vec<(usize, u64)>>,
    /// How often the slot was given out. Under the slab's lock.
    lives: UnsafeCell<u32>,
    slot: u32,
}

/// The record's place in the list of those that the detector of deadlocks shall look at: see `deadlock`.
pub(crate) struct Mark {
    pub(crate) set: AtomicU32,
    pub(crate) next: AtomicPtr<Record>,
}

// SAFETY: the cells are the own thread's, or the slab lock's; what an entry of `waits` points to is read under its lock
// only (waits I1); the rest synchronizes itself.
unsafe impl Sync for Record {}
// SAFETY: nothing in it is bound to an OS thread.
unsafe impl Send for Record {}

impl Record {
    fn new(slot: u32) -> Self {
        Self {
            waiter: Waiter::new(),
            gate: Gate::new(),
            id: AtomicU64::new(0),
            ended: AtomicU32::new(0),
            home: AtomicU64::new(0),
            steady: AtomicU32::new(0),
            waits: Mutex::new(None),
            mark: Mark { set: AtomicU32::new(0), next: AtomicPtr::new(null_mut()) },
            hand: UnsafeCell::new(null()),
            attic: UnsafeCell::new(Vec::new()),
            marked: Mutex::new(None),
            losses: AtomicU64::new(0),
            lost: UnsafeCell::new(Vec::new()),
            lives: UnsafeCell::new(0),
            slot,
        }
    }

    #[inline(always)]
    pub(crate) fn waiter(&self) -> &Waiter {
        &self.waiter
    }
    #[inline(always)]
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The identity of the thread that lives here now; 0: none.
    #[inline(always)]
    pub(crate) fn id_bits(&self) -> u64 {
        // ORDERING: Relaxed. The own thread reads its own; for others an identity that still stands here, or does not, is
        // a snapshot (I2).
        self.id.load(Relaxed)
    }

    /// Which runtime the thread `id` belongs to; none: it lives here no more.
    pub(crate) fn runtime_of(&self, id: ThreadId) -> Option<RuntimeId> {
        // ORDERING: Relaxed. One word: a stale one shows another life.
        let home = self.home.load(Relaxed);
        (home as u32 == id.life()).then(|| RuntimeId::new(home >> 32))
    }

    /// Must the mutexes that this thread frees do without the barrier? Own thread only, or one of its guards.
    pub(crate) fn steady(&self) -> bool {
        // ORDERING: Relaxed. Each answer is a sound one.
        self.steady.load(Relaxed) != 0
    }

    /// Is the thread `id`, which lived here, over? True is final.
    pub(crate) fn is_over(&self, id: ThreadId) -> bool {
        // ORDERING: Acquire, E2.
        self.ended.load(Acquire) >= id.life()
    }

    /// How often levels went without their guards: see `mutex/guard`.
    #[inline(always)]
    pub(crate) fn losses(&self) -> u64 {
        // ORDERING: Relaxed. The own thread reads its own. A guard that is left over from an earlier thread of the slot is on
        // the OS thread that ended that thread, and so sees at least that end counted.
        self.losses.load(Relaxed)
    }

    /// The thread `id` lost the mutex at this address: guards of it that were made before are void. On that thread only;
    /// if its token is gone by now, so are its guards.
    pub(crate) fn count_loss(&self, id: ThreadId, mutex: usize) {
        if self.id_bits() != id.get() {
            return;
        }
        // ORDERING: Relaxed. As `losses`.
        let n = self.losses.fetch_add(1, Relaxed) + 1;
        self.lost.with_mut(|lost| {
            // SAFETY: own thread only.
            let lost = unsafe { &mut *lost };
            lost.retain(|(other, _)| *other != mutex);
            lost.push((mutex, n));
        });
    }

    /// Has the thread lost this mutex since its losses were `then`? Own thread only.
    pub(crate) fn lost_since(&self, mutex: usize, then: u64) -> bool {
        self.lost.with(|lost| {
            // SAFETY: own thread only.
            let lost = unsafe { &*lost };
            lost.iter().any(|(other, n)| *other == mutex && *n > then)
        })
    }

    /// Under the lock of the entry that says what the thread of this record waits for; no other lock is taken under it.
    pub(crate) fn with_waits<R>(&self, f: impl FnOnce(&mut Option<Waits>) -> R) -> R {
        f(&mut self.waits.lock())
    }

    /// What the thread `id` waits for.
    pub(crate) fn blocker(&self, id: ThreadId) -> Option<Blocker> {
        self.with_waits(|w| w.as_ref().filter(|w| w.thread().id() == id).map(|w| w.on().clone()))
    }

    /// Marks the thread `id` if it runs. Since when it has been marked and at no safe point, if that is `than` or longer.
    pub(super) fn mark_run(&self, id: ThreadId, than: Duration) -> Option<Instant> {
        let mut marked = self.marked.lock();
        let stands = self.gate.mark()?;
        match *marked {
            Some((of, since)) if stands && of == id => {
                (self.id_bits() == id.get() && shim::is_past(since, than)).then_some(since)
            }
            _ => {
                *marked = Some((id, Instant::now()));
                None
            }
        }
    }

    pub(crate) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// The first entry of what the thread holds. Own thread, or in a stopped world.
    pub(crate) fn hand(&self) -> *const Link<'static> {
        // SAFETY: nobody writes meanwhile (hand I1, I3).
        self.hand.with(|h| unsafe { *h })
    }
    /// Own thread only.
    pub(crate) fn set_hand(&self, first: *const Link<'static>) {
        // SAFETY: own thread only, and the world is not stopped (hand I1, I3).
        self.hand.with_mut(|h| unsafe { *h = first });
    }

    /// Keeps a report that nobody got. Own thread only.
    pub(crate) fn keep(&self, cycle: Cycle) {
        // SAFETY: own thread only.
        self.attic.with_mut(|a| unsafe { &mut *a }.push(cycle));
    }
    /// The reports that nobody got. Own thread only.
    pub(crate) fn take_kept(&self) -> Vec<Cycle> {
        // SAFETY: own thread only.
        self.attic.with_mut(|a| std::mem::take(unsafe { &mut *a }))
    }
}

/// Slots of the first segment; each further one has twice as many.
const FIRST: u32 = if cfg!(any(selvedge_loom, selvedge_shuttle)) { 4 } else { 64 };
const SEGMENTS: usize = (ThreadId::SLOT_BITS - FIRST.trailing_zeros()) as usize + 1;

/// The process-wide slab.
pub(crate) struct Slab {
    segments: [AtomicPtr<Record>; SEGMENTS],
    free: Mutex<Free>,
}

struct Free {
    slots: Vec<u32>,
    used: u32,
}

shim::global! {
    static slab: Slab = Slab::new();
}

/// The segment of a slot, and its place in it.
fn place(slot: u32) -> (usize, usize) {
    let n = slot / FIRST + 1;
    let segment = n.ilog2();
    (segment as usize, (slot - FIRST * ((1 << segment) - 1)) as usize)
}

impl Slab {
    shim::const_fn! {
        fn new() -> Self {
            Self {
                #[cfg(not(selvedge_loom))]
                segments: [const { AtomicPtr::new(null_mut()) }; SEGMENTS],
                #[cfg(selvedge_loom)]
                segments: std::array::from_fn(|_| AtomicPtr::new(null_mut())),
                free: Mutex::new(Free { slots: Vec::new(), used: 0 }),
            }
        }
    }

    fn get(&self, slot: u32) -> Option<&'static Record> {
        let (segment, at) = place(slot);
        // ORDERING: Acquire, E1.
        let records = self.segments.get(segment)?.load(Acquire);
        if records.is_null() {
            return None;
        }
        // SAFETY: the segment has FIRST << segment records, and `at` is below that.
        let record = unsafe { records.add(at) };
        // SAFETY: a segment is never freed, and its records are only borrowed shared.
        Some(unsafe { &*record })
    }
}

#[cfg(any(selvedge_loom, selvedge_shuttle))]
impl Drop for Slab {
    /// loom and shuttle make a slab per execution.
    fn drop(&mut self) {
        if shim::has_failed() {
            return;
        }
        for (i, s) in self.segments.iter().enumerate() {
            // ORDERING: Relaxed. Nobody else is left.
            let records = s.load(Relaxed);
            if !records.is_null() {
                let records = std::ptr::slice_from_raw_parts_mut(records, (FIRST << i) as usize);
                // SAFETY: made from a box of this length by `allocate`; no model thread is left.
                drop(unsafe { Box::from_raw(records) });
            }
        }
    }
}

/// A record for a new thread, with its identity. None: 2^24 threads live, or every slot's lives are used up.
pub(crate) fn allocate(
    runtime: RuntimeId,
    steady: bool,
    ready: Option<Arc<dyn Ready>>,
) -> Option<(&'static Record, ThreadId)> {
    let slab = slab();
    let mut free = slab.free.lock();
    let slot = match free.slots.pop() {
        Some(slot) => slot,
        None => {
            let slot = free.used;
            if slot >> ThreadId::SLOT_BITS != 0 {
                return None;
            }
            let (segment, at) = place(slot);
            if at == 0 {
                let size = FIRST << segment;
                let records: Box<[Record]> = (slot..slot + size).map(Record::new).collect();
                // ORDERING: Release, E1. A swap, as every write of the word.
                slab.segments[segment].swap(Box::into_raw(records).cast(), Release);
            }
            free.used += 1;
            slot
        }
    };
    let record = slab.get(slot).expect("a slot that was given out has a segment");
    let life = record.lives.with_mut(|l| {
        // SAFETY: under the slab's lock.
        let l = unsafe { &mut *l };
        *l += 1;
        *l
    });
    let id = ThreadId::new(slot, life);
    record.waiter.renew(ready);
    record.gate.renew();
    record.lost.with_mut(|lost| {
        // SAFETY: the slot is nobody's but the caller's.
        let lost = unsafe { &mut *lost };
        lost.clear();
    });
    // ORDERING: Relaxed, all three. The registry's lock publishes the thread.
    record.home.swap(runtime.get() << 32 | u64::from(life), Relaxed);
    record.steady.swap(steady.into(), Relaxed);
    record.id.swap(id.get(), Relaxed);
    Some((record, id))
}

/// The thread is over: nobody can reach the record through it any more, but for late unparks and pokes.
pub(crate) fn release(record: &'static Record) {
    debug_assert!(record.waiter.state().is_idle());
    // ORDERING: Relaxed. Who compares identities gets a snapshot (I2).
    record.id.swap(0, Relaxed);
    // ORDERING: Relaxed. As `losses`: guards that are left over are void.
    record.losses.fetch_add(1, Relaxed);
    record.waiter.renew(None);
    if !record.hand().is_null() {
        // It ends in a hook of a wait (hand I2).
        record.set_hand(null());
    }
    let mut free = slab().free.lock();
    // SAFETY: under the slab's lock.
    let lives = record.lives.with(|l| unsafe { *l });
    // ORDERING: Release, E2.
    record.ended.swap(lives, Release);
    if lives < u32::MAX {
        free.slots.push(record.slot);
    }
}

/// The record in which the thread `id` lives or lived.
pub(crate) fn find(id: ThreadId) -> Option<&'static Record> {
    slab().get(id.slot())
}

/// Is the thread `id` over? True is final.
pub(crate) fn is_over(id: ThreadId) -> bool {
    // No record: its segment is too new for this thread to see.
    find(id).is_some_and(|r| r.is_over(id))
}

/// All records that were given out, but those that home `runtime`. A thread that gets one later finds over who was marked
/// over before the call.
pub(crate) fn of_others(runtime: RuntimeId) -> impl Iterator<Item = &'static Record> {
    let slab = slab();
    let used = slab.free.lock().used;
    // ORDERING: Relaxed. The slab's lock publishes it; who comes later is as above.
    let home = |r: &Record| r.home.load(Relaxed) >> 32;
    (0..used).filter_map(|slot| slab.get(slot)).filter(move |r| home(r) != runtime.get())
}

/// All records that were given out.
pub(crate) fn all() -> impl Iterator<Item = &'static Record> {
    let slab = slab();
    let used = slab.free.lock().used;
    (0..used).filter_map(|slot| slab.get(slot))
}

/// Records in use, in the whole process.
pub(crate) fn in_use() -> usize {
    let free = slab().free.lock();
    free.used as usize - free.slots.len()
}

#[cfg(all(test, not(selvedge_loom)))]
mod size_tests {
    use super::*;

    #[test]
    fn a_record_is_a_few_cache_lines() {
        println!("Record {} bytes, Waiter {}", size_of::<Record>(), size_of::<Waiter>());
        assert!(size_of::<Record>() <= 6 * 64);
    }
}
