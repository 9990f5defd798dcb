//! The scoped form of a level.
//!
//! I1. A guard gives back one level, once; or none, if its level is gone. It knows by two comparisons: the mutex is owned
//!     by the thread that lives in the guard's record, and the owner has lost no mutex between the guard and the lock
//!     that the mutex is held by now (`Record::count_loss`). The handle is followed once per operation: it may lie.

use super::{Mutex, Word};
use crate::id::ThreadId;
use crate::shim::Ordering::*;
use crate::thread::Participant;
use crate::thread::record::Record;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// One level of a mutex, given back when it drops. Made by [`Mutex::lock`].
///
/// If the level is gone by then (given back by [`Mutex::release`], the thread detached, the mutex lost in a
/// condition-wait), dropping the guard does nothing.
///
/// ```compile_fail
/// # let vm = selvedge::Runtime::new();
/// # let mut cx = vm.attach("main").unwrap();
/// static M: selvedge::Mutex = selvedge::Mutex::new();
/// let guard = M.lock(&mut cx).unwrap();
/// std::thread::spawn(move || drop(guard)); // not `Send`
/// ```
/// ```
/// # let vm = selvedge::Runtime::new();
/// # let mut cx = vm.attach("main").unwrap();
/// static M: selvedge::Mutex = selvedge::Mutex::new();
/// let guard = M.lock(&mut cx).unwrap();
/// drop(guard);
/// ```
pub type MutexGuard<'a> = Guard<&'a Mutex>;

/// As [`MutexGuard`], with the handle through which the mutex is reached. Made by [`Mutex::lock_owned`].
pub type OwnedMutexGuard<H> = Guard<H>;

/// See [`MutexGuard`] and [`OwnedMutexGuard`].
#[must_use = "dropping the guard gives the level back"]
pub struct Guard<H: Deref<Target = Mutex>> {
    mutex: H,
    record: &'static Record,
    id: ThreadId,
    stamp: u32,
    not_send: PhantomData<*const ()>,
}

impl<H: Deref<Target = Mutex>> Guard<H> {
    /// The caller has just taken a level, with this stamp.
    #[inline(always)]
    pub(super) fn new(mutex: H, me: &Participant, stamp: u32) -> Self {
        Self { mutex, record: me.record(), id: me.id(), stamp, not_send: PhantomData }
    }
    /// The mutex.
    pub fn mutex(&self) -> &Mutex {
        &self.mutex
    }
}

impl<H: Deref<Target = Mutex>> Drop for Guard<H> {
    #[inline]
    fn drop(&mut self) {
        let mutex = &*self.mutex;
        // ORDERING: Relaxed. As `is_owner`: the guard is on the thread that made it.
        let w = Word(mutex.word.load(Relaxed));
        // The record has another identity, or none, once the thread has detached: then a dead thread owns the mutex.
        if w.owner() == self.id.get()
            && self.record.id_bits() == self.id.get()
            && mutex.levels().stamp() == self.stamp
        {
            mutex.give_back_level(Word::owned_by(self.id));
        }
    }
}

impl<H: Deref<Target = Mutex>> fmt::Debug for Guard<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MutexGuard").field(&*self.mutex).finish()
    }
}
