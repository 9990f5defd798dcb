//! The storage of an unbounded channel: blocks of slots, one after the other.
//!
//! | `full` | meaning                         | leaves by                        |
//! |--------|---------------------------------|----------------------------------|
//! | 0      | the slot waits for its value    | the holder of the tail -> 1      |
//! | 1      | it has it                       | the holder of the head -> 0      |
//!
//! I1. The tail's block is reached from the head's by `next`. Each side goes on to the next block when it has used up its
//!     own; the tail makes that, the head then gives the old one up: the tail has left it, for it has a `next`.
//! I2. A block that was given up has `full` 0 in every slot, no value, and one owner: a place of `spare`, who took it from
//!     there, or the allocator.
//! I3. `full` is written 1 by the holder of the tail and 0 by the holder of the head, each where the other waits for it or
//!     has left the block, so their stores do not race.
//! I4. A place of `spare` is filled by the holder of the head, who finds it free, and freed by the holder of the tail, who
//!     finds it filled; so their stores do not race, and no block is lost.
//! E1. `full` 1, Release -> Acquire: the value.
//! E2. `next`, Release -> Acquire: the block, empty.
//! E3. A block into `spare`, Release -> out of it, Acquire: what the head did with it.
//! E4. "Empty" is said after a fence: of two threads that each put a value somewhere, and then find empty where the other
//!     put its own, one is wrong, and the fences tell it so.
//!
//! A block is allocated under the tail's lock, if `spare` has none: once per `N` values, and less and less often where
//! values pile up, for then each is twice as large as the one before, up to `MOST`.

use super::side::{Held, Side};
use super::storage::Storage;
use crate::shim::{self, AtomicPtr, AtomicU32, Ordering::*, UnsafeCell, planted};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::MaybeUninit;
use std::ptr::null_mut;

pub(super) struct List<T> {
    spare: [AtomicPtr<Block<T>>; SPARE],
}

const SPARE: usize = if cfg!(selvedge_loom) { 1 } else { 4 };
/// A block has as many slots as fit into so many bytes, within bounds; a large one as many as into these.
const BYTES: usize = 8192;
const MANY_BYTES: usize = 16384;

/// The head of an allocation, whose slots follow.
#[repr(C)]
struct Block<T> {
    next: AtomicPtr<Block<T>>,
    /// How many slots. Never changes.
    size: usize,
    slots: [Slot<T>; 0],
}

struct Slot<T> {
    full: AtomicU32,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// Where a side stands: its block, the next slot in it, and how many it has.
pub(super) struct At<T> {
    block: *mut Block<T>,
    slot: usize,
    size: usize,
}

// SAFETY: blocks are reached by the holders of the sides (I1, I2), values by E1.
unsafe impl<T: Send> Sync for List<T> {}
// SAFETY: values may move to other threads.
unsafe impl<T: Send> Send for List<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for At<T> {}

impl<T> At<T> {
    /// # Safety
    /// The block lives.
    unsafe fn begin(block: *mut Block<T>) -> Self {
        // SAFETY: the caller's promise.
        let size = unsafe { (*block).size };
        Self { block, slot: 0, size }
    }
    /// # Safety
    /// The block lives, and is not used up.
    unsafe fn slot<'a>(&self) -> &'a Slot<T> {
        debug_assert!(self.slot < self.size, "a slot of the block");
        // SAFETY: the caller's promise.
        let slot = unsafe { Block::slot(self.block, self.slot) };
        // SAFETY: as above.
        unsafe { &*slot }
    }
}

impl<T> Block<T> {
    /// Models and shuttle meet its end often.
    const N: usize = if cfg!(any(selvedge_loom, selvedge_shuttle)) {
        2
    } else {
        match BYTES / size_of::<Slot<T>>() {
            ..8 => 8,
            n @ 8..64 => n,
            64.. => 64,
        }
    };

    /// Slots of the largest ones.
    const MOST: usize = if cfg!(any(selvedge_loom, selvedge_shuttle)) {
        Self::N
    } else {
        match MANY_BYTES / size_of::<Slot<T>>() {
            n if n > Self::N => n,
            _ => Self::N,
        }
    };

    fn layout(size: usize) -> Layout {
        let slots = Layout::array::<Slot<T>>(size);
        let all = slots.and_then(|slots| Layout::new::<Self>().extend(slots));
        match all {
            Ok((layout, _)) => layout,
            Err(e) => panic!("a channel of values of {} bytes: {e}", size_of::<T>()),
        }
    }

    /// The `n`-th slot.
    ///
    /// # Safety
    /// The block is allocated, and `n` below its size.
    unsafe fn slot(this: *mut Self, n: usize) -> *mut Slot<T> {
        // SAFETY: the caller's promise.
        let slots = unsafe { &raw mut (*this).slots };
        // SAFETY: they begin where the type has an empty array of them.
        unsafe { slots.cast::<Slot<T>>().add(n) }
    }

    fn make(size: usize) -> *mut Self {
        let layout = Self::layout(size);
        // SAFETY: a head is not of size 0.
        let block = unsafe { alloc(layout) }.cast::<Self>();
        if block.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: allocated, and nobody else's.
        unsafe { block.write(Self { next: AtomicPtr::new(null_mut()), size, slots: [] }) };
        for n in 0..size {
            let value = UnsafeCell::new(MaybeUninit::uninit());
            // SAFETY: as above.
            let slot = unsafe { Self::slot(block, n) };
            // SAFETY: as above.
            unsafe { slot.write(Slot { full: AtomicU32::new(0), value }) };
        }
        block
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// The block was made by `make`, nobody else has it, and no slot has a value.
    unsafe fn end(this: *mut Self) {
        // SAFETY: the caller's promise.
        let size = unsafe { (*this).size };
        for n in 0..size {
            // SAFETY: the caller's promise.
            let slot = unsafe { Self::slot(this, n) };
            // SAFETY: as above. The model checker's cells have something to drop.
            unsafe { slot.drop_in_place() };
        }
        // SAFETY: as above.
        unsafe { this.drop_in_place() };
        // SAFETY: as above.
        unsafe { dealloc(this.cast(), Self::layout(size)) };
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
            // ORDERING: Acquire, E3.
            let block = place.load(Acquire);
            if block.is_null() {
                return None;
            }
            // ORDERING: Relaxed. The place is free, which says nothing of what was there. A store: I4.
            place.store(null_mut(), Relaxed);
            Some(block)
        });
        tail.part(|at| {
            let block = taken.unwrap_or_else(|| Block::make((2 * at.size).min(Block::<T>::MOST)));
            // SAFETY: the tail's block lives (I1).
            let next = unsafe { &(*at.block).next };
            // ORDERING: Release, E2.
            next.store(block, Release);
            // SAFETY: as above, of the new one.
            *at = unsafe { At::begin(block) };
        });
    }

    /// The head's block is used up. False: there is no next one, and so no value.
    #[cold]
    fn shrink(&self, head: &mut Held<'_, At<T>>) -> bool {
        let old = head.part(|at| at.block);
        // SAFETY: the head's block lives (I1).
        let place = unsafe { &(*old).next };
        // ORDERING: Acquire, E2.
        let mut next = place.load(Acquire);
        if next.is_null() {
            // ORDERING: SeqCst, E4. The head's lock was the read-modify-write.
            shim::fence_after_rmw();
            // ORDERING: Acquire, E2.
            next = place.load(Acquire);
            if next.is_null() {
                return false;
            }
        }
        // SAFETY: the head's block lives (I1), which this is now.
        head.part(|at| *at = unsafe { At::begin(next) });
        if !planted("block-keeps-its-next") {
            // ORDERING: Relaxed. The block is ours alone (I1); E3 publishes it.
            place.store(null_mut(), Relaxed);
        }
        for place in &self.spare {
            // ORDERING: Relaxed. Free or not: what was there was taken by who had its use.
            if place.load(Relaxed).is_null() {
                // ORDERING: Release, E3. A store: I4.
                place.store(old, Release);
                return true;
            }
        }
        // SAFETY: made by `make`, and ours alone (I2).
        unsafe { Block::end(old) };
        true
    }
}

impl<T> Storage<T> for List<T> {
    type Tail = At<T>;
    type Head = At<T>;

    fn sides(&self) -> (Side<At<T>>, Side<At<T>>) {
        let (block, size) = (Block::make(Block::<T>::N), Block::<T>::N);
        (Side::new(At { block, slot: 0, size }), Side::new(At { block, slot: 0, size }))
    }
    fn capacity(&self) -> Option<usize> {
        None
    }

    #[inline(always)]
    fn push(&self, tail: &mut Held<'_, At<T>>, value: T) -> Result<(), T> {
        if tail.part(|at| at.slot == at.size) {
            self.grow(tail);
        }
        tail.part(|at| {
            // SAFETY: the tail's block lives (I1); a new one, if it was used up.
            let slot = unsafe { at.slot() };
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
    fn pop_into(&self, head: &mut Held<'_, At<T>>, into: &mut Option<T>) {
        if head.part(|at| at.slot == at.size) && !self.shrink(head) {
            return;
        }
        let found = head.part(|at| {
            // SAFETY: the head's block lives (I1); the next one, if it was used up.
            let slot = unsafe { at.slot() };
            // ORDERING: Acquire, E1.
            if slot.full.load(Acquire) == 0 && !Self::is_full_after_all(slot) {
                return false;
            }
            // SAFETY: the slot is this holder's (E1).
            let value = slot.value.with(|v| unsafe { v.read() });
            // SAFETY: it has a value, which nobody reads again (E1).
            *into = Some(unsafe { value.assume_init() });
            if !planted("block-keeps-its-marks") {
                // ORDERING: Relaxed. For when the block is used again: E3.
                slot.full.store(0, Relaxed);
            }
            at.slot += 1;
            true
        });
        if found {
            let h = head.index();
            head.set_index(h + 1);
        }
    }

    fn each(&self, (head, t): (&mut Held<'_, At<T>>, u64), f: &mut dyn FnMut(&mut T)) {
        let (mut at, mut h) = (head.part(|at| At { ..*at }), head.index());
        while h < t {
            if at.slot == at.size {
                // SAFETY: the head's block lives, and those that follow it (I1).
                let next = unsafe { &(*at.block).next };
                // ORDERING: Relaxed. Both sides are held, so the tail's last holder has published it (side E1).
                let next = next.load(Relaxed);
                // SAFETY: as above.
                at = unsafe { At::begin(next) };
            }
            // SAFETY: a block between head and tail, and a slot of it.
            let slot = unsafe { at.slot() };
            // SAFETY: between head and tail, both of which are held, a slot has a value, and nobody else reaches it.
            slot.value.with_mut(|v| f(unsafe { &mut *v.cast::<T>() }));
            (h, at.slot) = (h + 1, at.slot + 1);
        }
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
            // SAFETY: as below.
            let next = unsafe { &(*block).next };
            // ORDERING: Relaxed. Nobody else is left.
            let next = next.load(Relaxed);
            // SAFETY: made by `make`; nobody else is left, and no value.
            unsafe { Block::end(block) };
            block = next;
        }
        for place in &self.spare {
            // ORDERING: Relaxed. Nobody else is left.
            let block = place.load(Relaxed);
            if !block.is_null() {
                // SAFETY: as above.
                unsafe { Block::end(block) };
            }
        }
    }
}
