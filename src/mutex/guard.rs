//! The scoped form of a level.
//!
//! I1. A guard gives back one level, once; or none, if its level is gone. The thread's record counts what makes levels go
//!     without their guards: the mutexes that the thread lost, and its end (`Record::losses`). While the count is what it
//!     was, one comparison tells; else the record knows which mutex was lost when, or that the thread is over.
//! I2. The handle is followed once per operation: it may lie.

use super::Mutex;
use crate::id::ThreadId;
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
    stamp: Stamp,
    abandoned_by: Option<ThreadId>,
    not_send: PhantomData<*const ()>,
}

/// Whose guard, and since when.
#[derive(Clone, Copy)]
pub(super) struct Stamp {
    record: &'static Record,
    id: ThreadId,
    losses: u64,
}

impl Stamp {
    #[inline(always)]
    pub(super) fn now(me: &Participant) -> Self {
        let record = me.record();
        Self { record, id: me.id(), losses: record.losses() }
    }
}

impl<H: Deref<Target = Mutex>> Guard<H> {
    /// The caller has just taken a level.
    #[inline(always)]
    pub(super) fn new(mutex: H, stamp: Stamp) -> Self {
        Self { mutex, stamp, abandoned_by: None, not_send: PhantomData }
    }
    /// The same, of a mutex that a dead thread may have left.
    #[inline(always)]
    pub(super) fn inherited(mutex: H, stamp: Stamp, abandoned_by: Option<ThreadId>) -> Self {
        Self { mutex, stamp, abandoned_by, not_send: PhantomData }
    }
    /// The dead thread from which this level was taken: what the mutex protects may be half done. Told once, to who took it.
    pub fn abandoned_by(&self) -> Option<ThreadId> {
        self.abandoned_by
    }
    /// The mutex.
    pub fn mutex(&self) -> &Mutex {
        &self.mutex
    }
}

/// A level that may be gone. Single values: a stamp by reference would be stored before each free.
#[cold]
fn give_back(mutex: &Mutex, record: &'static Record, id: ThreadId, losses: u64) {
    // On the thread that made the guard, if that lives at all: then nobody else changes whether it owns the mutex.
    let lives = record.id_bits() == id.get();
    mutex.release_if(
        id,
        || record,
        || lives && !record.lost_since(std::ptr::from_ref(mutex).addr(), losses),
    );
}

impl<H: Deref<Target = Mutex>> Drop for Guard<H> {
    #[inline]
    fn drop(&mut self) {
        let (mutex, Stamp { record, id, losses }) = (&*self.mutex, self.stamp);
        if !mutex.release_if(id, || record, || record.losses() == losses) {
            give_back(mutex, record, id, losses);
        }
    }
}

impl<H: Deref<Target = Mutex>> fmt::Debug for Guard<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MutexGuard").field(&*self.mutex).finish()
    }
}
