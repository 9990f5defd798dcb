//! Who is to be told, once both locks of a channel are given back.
//!
//! I1. The places from `told` to `len` have a `Tell`, the others none: of one value's way there are few, mostly none, and making this and
//!     dropping it then costs one number.

use super::super::node::Tell;
use std::mem::MaybeUninit;

/// See the module. Dropped with no internal lock held, it tells: if a waker or an executor panics, the others all the same.
pub(in super::super) struct Told<T> {
    told: usize,
    len: usize,
    places: [MaybeUninit<Tell<T>>; MOST],
}

const MOST: usize = 4;

impl<T> Told<T> {
    #[inline(always)]
    pub(super) fn nobody() -> Self {
        Self { told: 0, len: 0, places: [const { MaybeUninit::uninit() }; MOST] }
    }

    pub(super) fn add(&mut self, tell: Tell<T>) {
        self.places.get_mut(self.len).expect("a value's way meets few").write(tell);
        self.len += 1;
    }

    /// Tells those that are left, in their order.
    #[cold]
    fn all(&mut self) {
        struct Rest<'a, T>(&'a mut Told<T>);
        impl<T> Drop for Rest<'_, T> {
            fn drop(&mut self) {
                self.0.each();
            }
        }
        Rest(self).0.each();
    }

    fn each(&mut self) {
        while self.told < self.len {
            let at = self.told;
            self.told += 1;
            // SAFETY: one of those, and read once (I1).
            unsafe { self.places[at].assume_init_read() }.now();
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
