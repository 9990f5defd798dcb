//! The shim of shuttle builds: random schedules of many threads, sequentially consistent.
//!
//! Orderings mean nothing here: what is looked for is faults of the protocols. Time is a draw: a deadline may have
//! passed whenever somebody looks, and a sleep may end early. Every draw is shuttle's, so that a schedule can be replayed.

pub(crate) use super::site::{planted, planting};
use shuttle::rand::RngCore;
use shuttle::sync::PoisonError;
pub(crate) use shuttle::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::time::{Duration, Instant};

fn one_in(n: u32) -> bool {
    shuttle::rand::thread_rng().next_u32().is_multiple_of(n)
}

/// Counts who is inside; lets other threads run there, so that an overlap is met.
#[derive(Debug)]
pub(crate) struct UnsafeCell<T> {
    value: std::cell::UnsafeCell<T>,
    /// Readers; -1: a writer. Not modelled: it only watches.
    inside: AtomicI32,
}

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { value: std::cell::UnsafeCell::new(value), inside: AtomicI32::new(0) }
    }
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        // ORDERING: Relaxed. All threads of an execution run on one thread of the system.
        assert!(self.inside.fetch_add(1, Relaxed) >= 0, "a cell is read while it is written");
        shuttle::thread::yield_now();
        let r = f(self.value.get());
        // ORDERING: as above.
        self.inside.fetch_sub(1, Relaxed);
        r
    }
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        // ORDERING: Relaxed, as above.
        assert_eq!(self.inside.swap(-1, Relaxed), 0, "a cell is written while it is used");
        shuttle::thread::yield_now();
        let r = f(self.value.get());
        // ORDERING: as above.
        self.inside.store(0, Relaxed);
        r
    }
}

/// shuttle's mutex.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);
pub(crate) type MutexGuard<'a, T> = shuttle::sync::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts one thread to sleep; now and then returns early. A sleep with a deadline always does: its end is a draw of the
/// loop around it.
#[derive(Debug)]
pub(crate) struct Parker {
    token: shuttle::sync::Mutex<bool>,
    told: shuttle::sync::Condvar,
}

impl Parker {
    pub(crate) const fn new() -> Self {
        Self { token: shuttle::sync::Mutex::new(false), told: shuttle::sync::Condvar::new() }
    }
    pub(crate) fn park(&self, deadline: Option<Instant>) {
        if deadline.is_some() || one_in(8) {
            shuttle::thread::yield_now();
            *self.token.lock().unwrap_or_else(PoisonError::into_inner) = false;
            return;
        }
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        while !*token {
            token = self.told.wait(token).unwrap_or_else(PoisonError::into_inner);
        }
        *token = false;
    }
    pub(crate) fn unpark(&self) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.told.notify_one();
    }
}

pub(crate) fn expired(_: Instant) -> bool {
    one_in(4)
}
/// No schedule depends on the clock: no time at all has passed, any other has not.
pub(crate) fn is_past(_: Instant, time: Duration) -> bool {
    time.is_zero()
}
pub(crate) fn pause() {
    shuttle::thread::yield_now();
}
pub(crate) fn yield_now() {
    shuttle::thread::yield_now();
}
/// No time passes.
pub(crate) fn ticks() -> u64 {
    0
}
pub(crate) fn nap() {
    shuttle::thread::yield_now();
}

/// Each access is seen by all at once: there is nothing left for fences to do.
pub(crate) fn light_fence() {}
pub(crate) fn fence_after_rmw() {}
pub(crate) fn heavy_fence() {}
pub(crate) fn has_heavy_fence() -> bool {
    true
}
/// The schedule has failed: shuttle's state is gone, and a second panic would abort before the first one is told.
pub(crate) fn has_failed() -> bool {
    std::thread::panicking()
}

pub(crate) type OsThread = shuttle::thread::ThreadId;
pub(crate) fn os_thread() -> OsThread {
    shuttle::thread::current().id()
}
/// An execution ends when every thread has: one that sleeps for ever is a deadlock.
pub(crate) fn spawn(
    _name: Option<&str>,
    _stack: Option<usize>,
    f: impl FnOnce() + Send + 'static,
) -> std::io::Result<()> {
    drop(shuttle::thread::spawn(f));
    Ok(())
}

macro_rules! global {
    ($(#[$m:meta])* static $name:ident: $t:ty = $e:expr;) => {
        $(#[$m])*
        fn $name() -> &'static $t {
            shuttle::lazy_static! { static ref VALUE: $t = $e; }
            let value: *const $t = &*VALUE;
            // SAFETY: shuttle keeps the value until the execution ends, and every thread ends before that.
            unsafe { &*value }
        }
    };
}
pub(crate) use global;
