//! The memory cells of the Lisp. Lisp threads share all of memory, so each cell (half of a
//! cons, vector slot, value of a symbol, binding of a closure) has a small lock of its own.
//!
//! This is the only file that names std's locks. They guard single loads and stores and are
//! never held while Lisp runs; everything a Lisp program can *wait* for is selvedge's.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// One cell.
#[derive(Default)]
pub struct Slot<T>(Mutex<T>);

impl<T> Slot<T> {
    pub const fn new(value: T) -> Slot<T> {
        Slot(Mutex::new(value))
    }

    /// Runs `f` with the cell locked. `f` must not run Lisp, nor drop a Lisp value.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stores `value` and returns the old one.
    pub fn replace(&self, value: T) -> T {
        self.with(|v| std::mem::replace(v, value))
    }

    /// Stores `value`. The old one is dropped after the lock is gone.
    pub fn set(&self, value: T) {
        drop(self.replace(value));
    }

    /// The content, for the only owner.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Slot<T> {
    pub fn get(&self) -> T {
        self.with(|v| v.clone())
    }
}

/// A yes or no that any thread may set and read.
pub struct Flag(AtomicBool);

impl Flag {
    pub const fn new(on: bool) -> Flag {
        Flag(AtomicBool::new(on))
    }

    pub fn is_set(&self) -> bool {
        // ORDERING: Relaxed. A hint about the cells, which have locks of their own.
        self.0.load(Relaxed)
    }

    pub fn set(&self, on: bool) {
        // ORDERING: Relaxed, as in `is_set`.
        self.0.store(on, Relaxed);
    }
}

/// Hands out numbers from 1, each once.
pub struct Counter(AtomicU64);

impl Counter {
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    pub fn next(&self) -> u64 {
        // ORDERING: Relaxed. Only the numbers matter, and an RMW never hands one out twice.
        self.0.fetch_add(1, Relaxed) + 1
    }
}
