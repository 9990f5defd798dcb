//! Who is to be told, once both locks of a channel are given back.
//!
//! I1. The places from `told` to `len` have a `Tell`, the others none: of one value's way there are few, mostly none, and
//!     making this and dropping it then costs one number. `more` is made with the first one that finds no place: a select
//!     that queues by many arms at one channel has one for each. It allocates under the locks, which nothing else does
//!     there.

use super::super::node::Tell;
use std::mem::MaybeUninit;

/// See the module. Dropped with no internal lock held, it tells; which does not unwind (`Tell::now`).
pub(in super::super) struct Told<T> {
    told: usize,
    len: usize,
    places: [MaybeUninit<Tell<T>>; MOST],
    more: MaybeUninit<Vec<Tell<T>>>,
}

const MOST: usize = 4;

impl<T> Told<T> {
    #[inline(always)]
    pub(super) fn nobody() -> Self {
        let places = [const { MaybeUninit::uninit() }; MOST];
        Self { told: 0, len: 0, places, more: MaybeUninit::uninit() }
    }

    pub(super) fn add(&mut self, tell: Tell<T>) {
        match self.places.get_mut(self.len) {
            Some(place) => {
                place.write(tell);
            }
            None => self.add_more(tell),
        }
        self.len += 1;
    }

    #[cold]
    fn add_more(&mut self, tell: Tell<T>) {
        if self.len == MOST {
            self.more.write(Vec::new());
        }
        // SAFETY: made above, now or before (I1).
        unsafe { self.more.assume_init_mut() }.push(tell);
    }

    /// Tells them in their order.
    #[cold]
    fn all(&mut self) {
        while self.told < self.len.min(MOST) {
            let at = self.told;
            self.told += 1;
            // SAFETY: one of those, and read once (I1).
            unsafe { self.places[at].assume_init_read() }.now();
        }
        if self.told < self.len {
            self.told = self.len;
            // SAFETY: there are more than places, and it is read once (I1).
            let more = unsafe { self.more.assume_init_read() };
            more.into_iter().for_each(Tell::now);
        }
    }
}

impl<T> Drop for Told<T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.len > 0 {
            self.all();
        }
    }
}
