//! The shim of model builds: loom's types, repaired in one respect and made mutable in another.
//!
//! loom 0.7 forgets a load once the same thread stores to the same atomic, and then never tries the schedules in which
//! another thread's store comes before that load (tokio-rs/loom#166). Each load is therefore preceded by a store to a
//! companion (`twin`) that nobody reads. Every operation asks `site` whether this run weakens its call site.

use super::site::{Op, weaken};
pub(crate) use super::site::{planted, planting};
pub use loom::cell::UnsafeCell;
pub use loom::thread;
use std::sync::atomic::Ordering::{self, Relaxed};
use std::time::{Duration, Instant};

macro_rules! atomic {
    ($name:ident, [$($generic:tt)*], $t:ty, $cell:ty) => {
        /// loom's atomic with the companion store.
        #[derive(Debug)]
        pub struct $name $($generic)* {
            cell: $cell,
            twin: loom::sync::atomic::AtomicBool,
        }
        #[allow(missing_docs, dead_code)]
        impl $($generic)* $name $($generic)* {
            pub fn new(value: $t) -> Self {
                let twin = loom::sync::atomic::AtomicBool::new(false);
                Self { cell: <$cell>::new(value), twin }
            }
            #[track_caller]
            pub fn load(&self, o: Ordering) -> $t {
                self.twin.store(true, Relaxed);
                self.cell.load(weaken(Op::Load, o).unwrap())
            }
            #[track_caller]
            pub fn store(&self, value: $t, o: Ordering) {
                self.cell.store(value, weaken(Op::Store, o).unwrap());
            }
            #[track_caller]
            pub fn swap(&self, value: $t, o: Ordering) -> $t {
                self.cell.swap(value, weaken(Op::Rmw, o).unwrap())
            }
            #[track_caller]
            pub fn compare_exchange(&self, from: $t, to: $t, ok: Ordering, no: Ordering) -> Result<$t, $t> {
                let (ok, no) = (weaken(Op::Rmw, ok).unwrap(), weaken(Op::Fail, no).unwrap());
                self.cell.compare_exchange(from, to, ok, no)
            }
        }
    };
}
macro_rules! bits {
    ($name:ident, $t:ty) => {
        atomic!($name, [], $t, loom::sync::atomic::$name);
        #[allow(missing_docs, dead_code)]
        impl $name {
            #[track_caller]
            pub fn fetch_or(&self, value: $t, o: Ordering) -> $t {
                self.cell.fetch_or(value, weaken(Op::Rmw, o).unwrap())
            }
            #[track_caller]
            pub fn fetch_and(&self, value: $t, o: Ordering) -> $t {
                self.cell.fetch_and(value, weaken(Op::Rmw, o).unwrap())
            }
        }
    };
}
macro_rules! integer {
    ($name:ident, $t:ty) => {
        bits!($name, $t);
        #[allow(missing_docs, dead_code)]
        impl $name {
            #[track_caller]
            pub fn fetch_add(&self, value: $t, o: Ordering) -> $t {
                self.cell.fetch_add(value, weaken(Op::Rmw, o).unwrap())
            }
            #[track_caller]
            pub fn fetch_sub(&self, value: $t, o: Ordering) -> $t {
                self.cell.fetch_sub(value, weaken(Op::Rmw, o).unwrap())
            }
        }
    };
}
integer!(AtomicU32, u32);
integer!(AtomicU64, u64);
// For the models of a VM only.
bits!(AtomicBool, bool);
integer!(AtomicU8, u8);
integer!(AtomicUsize, usize);
integer!(AtomicIsize, isize);
atomic!(AtomicPtr, [<T>], *mut T, loom::sync::atomic::AtomicPtr<T>);

/// loom's fence, under the mutants.
#[track_caller]
pub fn fence(o: Ordering) {
    if let Some(o) = weaken(Op::Fence, o) {
        loom::sync::atomic::fence(o);
    }
}

/// What makes it cheap natively is nothing that a model can tell.
#[track_caller]
pub(crate) fn fence_after_rmw() {
    fence(Ordering::SeqCst);
}

/// The two halves of an asymmetric fence are full fences here: that is the promise they make to each other (two light
/// ones make none, which a model cannot tell).
#[track_caller]
pub(crate) fn light_fence() {
    fence(Ordering::SeqCst);
}
#[track_caller]
pub(crate) fn heavy_fence() {
    fence(Ordering::SeqCst);
}
pub(crate) fn has_heavy_fence() -> bool {
    true
}

/// loom's mutex.
#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);
pub(crate) type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}

/// Puts one thread to sleep; returns early once, so that the loop around it is tested.
#[derive(Debug)]
pub(crate) struct Parker(loom::sync::Notify);

impl Parker {
    pub(crate) fn new() -> Self {
        Self(loom::sync::Notify::new())
    }
    pub(crate) fn park(&self, deadline: Option<Instant>) {
        assert!(deadline.is_none(), "a deadline fires before the thread sleeps");
        self.0.wait();
    }
    #[track_caller]
    pub(crate) fn unpark(&self) {
        if weaken(Op::Unpark, Relaxed).is_some() {
            self.0.notify();
        }
    }
}

pub(crate) fn expired(_: Instant) -> bool {
    true
}
/// No model depends on the clock: no time at all has passed, any other has not.
pub(crate) fn is_past(_: Instant, time: Duration) -> bool {
    time.is_zero()
}
pub(crate) fn pause() {
    loom::thread::yield_now();
}
pub(crate) fn yield_now() {
    loom::thread::yield_now();
}
/// No time passes.
pub(crate) fn ticks() -> u64 {
    0
}
pub(crate) fn nap() {
    loom::thread::yield_now();
}
/// The model has failed: loom's state is gone, and a second panic would abort before the first one is told.
pub(crate) fn has_failed() -> bool {
    std::thread::panicking()
}

pub(crate) type OsThread = loom::thread::ThreadId;
pub(crate) fn os_thread() -> OsThread {
    loom::thread::current().id()
}
pub(crate) fn spawn(
    _name: Option<&str>,
    _stack: Option<usize>,
    f: impl FnOnce() + Send + 'static,
) -> std::io::Result<()> {
    drop(loom::thread::spawn(f));
    Ok(())
}

macro_rules! global {
    ($(#[$m:meta])* static $name:ident: $t:ty = $e:expr;) => {
        $(#[$m])*
        fn $name() -> &'static $t {
            loom::lazy_static! { static ref VALUE: $t = $e; }
            let value: *const $t = &*VALUE;
            // SAFETY: loom keeps the value until the execution ends, and every model thread ends before that.
            unsafe { &*value }
        }
    };
}
pub(crate) use global;
