//! The storage of an unbounded channel: blocks of slots, one after the other.
//!
//! | `full` | meaning                         | leaves by                        |
//! |--------|---------------------------------|----------------------------------|
//! | 0      | the slot waits for its value    | the holder of the tail -> 1      |
//! | 1      | it has it                       | the holder of the head -> 0      |
//!
//! I1. The tail's block is reached from the head's by `next`. Each side goes on to the next block when it has used up its own;
//!     the tail makes that, the head then gives the old one up: the tail has left it, for it has a `next`.
//! I2. A block that was given up has `full` 0 in every slot, no value, and one owner: a place of `spare`, who took it from there,
//!     or the allocator.
//! I3. `full` is written 1 by the holder of the tail and 0 by the holder of the head, each where the other waits for it or has
//!     left the block, so their stores do not race.
//! E1. `full` 1, Release -> Acquire: the value.
//! E2. `next`, Release -> Acquire: the block, empty.
//! E3. A block into `spare`, Release -> out of it, Acquire: what the head did with it.
//! E4. "Empty" is said after a fence: of two threads that each put a value somewhere, and then find empty where the other put
//!     its own, one is wrong, and the fences tell it so.
//!
//! A block is allocated under the tail's lock, once per `N` values, if `spare` has none.

use super::side::{Held, Side};
use super::storage::Storage;
use crate::shim::{self, AtomicPtr, AtomicU32, Ordering::*, UnsafeCell, planted};
use std::mem::MaybeUninit;
use std::ptr::null_mut;

pub(super) struct List<T> {
    spare: [AtomicPtr<Block<T>>; SPARE],
}

const SPARE: usize = if cfg!(selvedge_loom) { 1 } else { 4 };
/// Slots of a block. Models and shuttle meet its end often.
const N: usize = if cfg!(any(selvedge_loom, selvedge_shuttle)) { 2 } else { 31 };

struct Block<T> {
    next: AtomicPtr<Block<T>>,
    slots: [Slot<T>; N],
}

struct Slot<T> {
    full: AtomicU32,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// Where a side stands: its block, and the next slot in it.
pub(super) struct At<T> {
    block: *mut Block<T>,
    slot: usize,
}

// SAFETY: blocks are reached by the holders of the sides (I1, I2), values by E1.
unsafe impl<T: Send> Sync for List<T> {}
// SAFETY: values may move to other threads.
unsafe impl<T: Send> Send for List<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for At<T> {}

impl<T> Block<T> {
    fn make() -> *mut Self {
        let mut block = Box::<Self>::new_uninit();
        let at = block.as_mut_ptr();
        // SAFETY: `at` is valid for a block.
        let next = unsafe { &raw mut (*at).next };
        // SAFETY: as above.
        unsafe { next.write(AtomicPtr::new(null_mut())) };
        // One slot after the other: a block of large values does not fit on a stack.
        for i in 0..N {
            let (full, value) = (AtomicU32::new(0), UnsafeCell::new(MaybeUninit::uninit()));
            // SAFETY: as above, and it has slot `i`.
            let slot = unsafe { &raw mut (*at).slots[i] };
            // SAFETY: as above.
            unsafe { slot.write(Slot { full, value }) };
        }
        // SAFETY: all of it was written; a slot's value need not be.
        Box::into_raw(unsafe { block.assume_init() })
    }
}

impl<T> List<T> {
    pub(super) fn new() -> Self {
        Self { spare: std::array::from_fn(|_| AtomicPtr::new(null_mut())) }
    }

    /// The slot was empty: is it still, after all that this thread did before?
    #[cold]
    fn is_full_after_all(slot: &Slot<T>) -> bool {
        // ORDERING: SeqCst, E4. The head's lock was the read-modify-write.
        shim::fence_after_rmw();
        // ORDERING: Acquire, E1.
        slot.full.load(Acquire) != 0
    }

    /// The tail's block is used up: an empty one follows it.
    #[cold]
    fn grow(&self, tail: &mut Held<'_, At<T>>) {
        let taken = self.spare.iter().find_map(|place| {
            // ORDERING: Relaxed. A hint for the swap, which is dear.
            let there = !place.load(Relaxed).is_null();
            // ORDERING: Acquire, E3.
            let block = if there { place.swap(null_mut(), Acquire) } else { null_mut() };
            (!block.is_null()).then_some(block)
        });
        let block = taken.unwrap_or_else(Block::make);
        tail.part(|at| {
            // SAFETY: the tail's block lives (I1).
            let old = unsafe { &*at.block };
            // ORDERING: Release, E2. A swap: the head may look at the same time.
            old.next.swap(block, Release);
            *at = At { block, slot: 0 };
        });
    }

    /// The head's block is used up. False: there is no next one, and so no value.
    #[cold]
    fn shrink(&self, head: &mut Held<'_, At<T>>) -> bool {
        let old = head.part(|at| at.block);
        // SAFETY: the head's block lives (I1).
        let block = unsafe { &*old };
        // ORDERING: Acquire, E2.
        let mut next = block.next.load(Acquire);
        if next.is_null() {
            // ORDERING: SeqCst, E4. The head's lock was the read-modify-write.
            shim::fence_after_rmw();
            // ORDERING: Acquire, E2.
            next = block.next.load(Acquire);
            if next.is_null() {
                return false;
            }
        }
        head.part(|at| *at = At { block: next, slot: 0 });
        if !planted("block-keeps-its-next") {
            // ORDERING: Relaxed. The block is ours alone (I1); E3 publishes it.
            block.next.swap(null_mut(), Relaxed);
        }
        for place in &self.spare {
            // ORDERING: Relaxed. A hint for the compare-exchange, which is dear.
            let free = place.load(Relaxed).is_null();
            // ORDERING: Release, E3; Relaxed on failure, where nothing happened.
            if free && place.compare_exchange(null_mut(), old, Release, Relaxed).is_ok() {
                return true;
            }
        }
        // SAFETY: made by `make`, and ours alone (I2).
        drop(unsafe { Box::from_raw(old) });
        true
    }
}

impl<T> Storage<T> for List<T> {
    type Tail = At<T>;
    type Head = At<T>;

    fn sides(&self) -> (Side<At<T>>, Side<At<T>>) {
        let block = Block::make();
        (Side::new(At { block, slot: 0 }), Side::new(At { block, slot: 0 }))
    }
    fn capacity(&self) -> Option<usize> {
        None
    }

    #[inline(always)]
    fn push(&self, tail: &mut Held<'_, At<T>>, value: T) -> Result<(), T> {
        if tail.part(|at| at.slot) == N {
            self.grow(tail);
        }
        tail.part(|at| {
            // SAFETY: the tail's block lives (I1).
            let slot = unsafe { &(&(*at.block).slots)[at.slot] };
            // SAFETY: no value, and nobody else's before `full` (I3).
            slot.value.with_mut(|v| unsafe { (*v).write(value) });
            // ORDERING: Release, E1.
            slot.full.store(1, Release);
            at.slot += 1;
        });
        let t = tail.index();
        tail.set_index(t + 1);
        Ok(())
    }

    #[inline(always)]
    fn pop(&self, head: &mut Held<'_, At<T>>) -> Option<T> {
        if head.part(|at| at.slot) == N && !self.shrink(head) {
            return None;
        }
        let value = head.part(|at| {
            // SAFETY: the head's block lives (I1).
            let slot = unsafe { &(&(*at.block).slots)[at.slot] };
            // ORDERING: Acquire, E1.
            if slot.full.load(Acquire) == 0 && !Self::is_full_after_all(slot) {
                return None;
            }
            // SAFETY: the slot is this holder's (E1).
            let value = slot.value.with(|v| unsafe { v.read() });
            // SAFETY: it has a value, which nobody reads again (E1).
            let value = unsafe { value.assume_init() };
            if !planted("block-keeps-its-marks") {
                // ORDERING: Relaxed. For when the block is used again: E3.
                slot.full.store(0, Relaxed);
            }
            at.slot += 1;
            Some(value)
        })?;
        let h = head.index();
        head.set_index(h + 1);
        Some(value)
    }

    fn seems_full(&self, _: &Side<At<T>>) -> bool {
        false
    }
    fn seems_empty(&self, head: &Side<At<T>>, tail: &Side<At<T>>) -> bool {
        head.index() == tail.index()
    }

    fn end(&mut self, head: &mut Held<'_, At<T>>) {
        let mut block = head.part(|at| at.block);
        while !block.is_null() {
            // SAFETY: made by `make`; nobody else is left.
            let last = unsafe { Box::from_raw(block) };
            // ORDERING: Relaxed. Nobody else is left.
            block = last.next.load(Relaxed);
        }
        for place in &self.spare {
            // ORDERING: Relaxed. Nobody else is left.
            let block = place.load(Relaxed);
            if !block.is_null() {
                // SAFETY: as above.
                drop(unsafe { Box::from_raw(block) });
            }
        }
    }
}
