//! The storage of a bounded channel: a ring of slots, each with a stamp that says which value it has or waits for.
//!
//! | `stamp`         | meaning                       | leaves by                                    |
//! |-----------------|-------------------------------|----------------------------------------------|
//! | 2 t             | free for value number t       | the holder of the tail -> 2 t + 1            |
//! | 2 t + 1         | has value number t            | the holder of the head -> 2 (t + capacity)   |
//!
//! I1. Only the holder of the tail writes an odd stamp, only the holder of the head an even one; each writes the stamp that
//!     the other waits for, so their stores do not race.
//! I2. `place` is the side's index modulo the capacity.
//! E1. 2 t + 1, Release -> Acquire: the value.
//! E2. 2 (t + capacity), Release -> Acquire: the value is out.
//!
//! E3. "Full" and "Empty" are said after a fence. Of a thread that put values in and then finds the ring full, and one that
//!     took some out and then finds it empty, the one whose fence is the later sees what the other did before its own.
//!
//! The index of the other side is never read: who waits for a slot touches only that slot. "Full" is true at the load of the
//! stamp: value t - capacity is still in. "Empty" likewise: nobody has put value t in, and what comes after it comes
//! after it under the same lock. (A ring whose places are taken by compare-exchange says "empty" behind a stalled sender.)
//! With E3 one order explains all answers: one that says what was not yet seen stands before it, never in a circle.

use super::side::{Held, Side};
use super::storage::Storage;
use crate::shim::{self, AtomicU64, Ordering::*, UnsafeCell, planted};
use std::mem::MaybeUninit;

pub(super) struct Array<T> {
    slots: Box<[Slot<T>]>,
}

struct Slot<T> {
    stamp: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a slot's value is that side's holder's whose turn its stamp says (E1, E2).
unsafe impl<T: Send> Sync for Array<T> {}
// SAFETY: values may move to other threads.
unsafe impl<T: Send> Send for Array<T> {}

/// The place of the side's next slot.
pub(super) struct Place(usize);

impl<T> Array<T> {
    /// Panics if there is no memory for so many slots.
    pub(super) fn new(capacity: usize) -> Self {
        let mut slots = Vec::new();
        if let Err(e) = slots.try_reserve_exact(capacity) {
            panic!("a channel with room for {capacity} values: {e}");
        }
        slots.extend((0..capacity).map(|t| Slot {
            stamp: AtomicU64::new(2 * t as u64),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }));
        Self { slots: slots.into() }
    }

    fn slot(&self, place: usize) -> &Slot<T> {
        // SAFETY: a place is below the capacity (I2).
        unsafe { self.slots.get_unchecked(place) }
    }
    fn after(&self, place: usize) -> usize {
        if place + 1 == self.slots.len() { 0 } else { place + 1 }
    }
    /// The stamp was not this: is it now, after all that this thread did before?
    #[cold]
    fn is_after_all(slot: &Slot<T>, stamp: u64) -> bool {
        // ORDERING: SeqCst, E3. The side's lock was the read-modify-write.
        shim::fence_after_rmw();
        // ORDERING: Acquire, E1 or E2.
        slot.stamp.load(Acquire) == stamp
    }
    /// Of whom does not hold a side.
    fn glance(&self, index: u64) -> u64 {
        let place = (index % self.slots.len() as u64) as usize;
        // ORDERING: Relaxed. A hint: who acts on it takes the lock.
        self.slots[place].stamp.load(Relaxed)
    }
}

impl<T> Storage<T> for Array<T> {
    type Tail = Place;
    type Head = Place;

    fn sides(&self) -> (Side<Place>, Side<Place>) {
        (Side::new(Place(0)), Side::new(Place(0)))
    }
    fn capacity(&self) -> Option<usize> {
        Some(self.slots.len())
    }

    #[inline(always)]
    fn push(&self, tail: &mut Held<'_, Place>, value: T) -> Result<(), T> {
        let (t, place) = (tail.index(), tail.part(|p| p.0));
        let slot = self.slot(place);
        // ORDERING: Acquire, E2.
        if slot.stamp.load(Acquire) != 2 * t && !Self::is_after_all(slot, 2 * t) {
            return Err(value);
        }
        // ORDERING: Release, E1.
        let say = || slot.stamp.store(2 * t + 1, Release);
        let early = planted("slot-shown-before-written");
        if early {
            say();
        }
        // SAFETY: the slot is this holder's (E2).
        slot.value.with_mut(|v| unsafe { (*v).write(value) });
        if !early {
            say();
        }
        tail.set_index(t + 1);
        tail.part(|p| p.0 = self.after(place));
        Ok(())
    }

    #[inline(always)]
    fn pop_into(&self, head: &mut Held<'_, Place>, into: &mut Option<T>) {
        let (h, place) = (head.index(), head.part(|p| p.0));
        let slot = self.slot(place);
        // ORDERING: Acquire, E1.
        if slot.stamp.load(Acquire) != 2 * h + 1 && !Self::is_after_all(slot, 2 * h + 1) {
            return;
        }
        // ORDERING: Release, E2.
        let free = || slot.stamp.store(2 * (h + self.slots.len() as u64), Release);
        let early = planted("slot-freed-before-read");
        if early {
            free();
        }
        // SAFETY: the slot is this holder's (E1).
        let value = slot.value.with(|v| unsafe { v.read() });
        // SAFETY: it has a value, which nobody reads again (E1).
        *into = Some(unsafe { value.assume_init() });
        if !early {
            free();
        }
        head.set_index(h + 1);
        head.part(|p| p.0 = self.after(place));
    }

    fn each(&self, (head, t): (&mut Held<'_, Place>, u64), f: &mut dyn FnMut(&mut T)) {
        let (mut h, mut place) = (head.index(), head.part(|p| p.0));
        while h < t {
            let slot = self.slot(place);
            // SAFETY: between head and tail, both of which are held, a slot has a value, and nobody else reaches it.
            slot.value.with_mut(|v| f(unsafe { &mut *v.cast::<T>() }));
            (h, place) = (h + 1, self.after(place));
        }
    }

    fn seems_full(&self, tail: &Side<Place>) -> bool {
        let t = tail.index();
        self.glance(t) != 2 * t
    }
    fn seems_empty(&self, head: &Side<Place>, _: &Side<Place>) -> bool {
        let h = head.index();
        self.glance(h) != 2 * h + 1
    }
}
