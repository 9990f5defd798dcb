//! What the objects weigh, and what making and using them allocates. A test binary of its own, with one test, since it
//! replaces the allocator; it counts what its own thread allocates. `cargo test --test sizes -- --nocapture` prints the report.
//!
//! The bounds are promises: a VM has a mutex in many of its objects, and a guard in registers.

use selvedge::{
    Blocker, Condvar, Mutex, MutexGuard, OwnedMutexGuard, Participant, Runtime, Thread,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};

struct Counting;
thread_local! {
    /// Of this thread only: the test's runner has threads of its own.
    static ON: Cell<bool> = const { Cell::new(false) };
}
static COUNT: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: System does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if ON.get() {
            COUNT.fetch_add(1, Relaxed);
            BYTES.fetch_add(layout.size(), Relaxed);
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The allocations of `f`.
fn counted<R>(f: impl FnOnce() -> R) -> (usize, usize, R) {
    COUNT.store(0, Relaxed);
    BYTES.store(0, Relaxed);
    ON.set(true);
    let r = f();
    ON.set(false);
    (COUNT.load(Relaxed), BYTES.load(Relaxed), r)
}

fn size(what: &str, bytes: usize, most: usize) {
    println!("{what:44} {bytes:6} bytes, at most {most}");
    assert!(bytes <= most, "{what}: {bytes} bytes, at most {most}");
}

fn allocations<R>(what: &str, most: usize, f: impl FnOnce() -> R) -> R {
    let (count, bytes, r) = counted(f);
    println!("{what:44} {count:6} allocations, {bytes} bytes, at most {most} allocations");
    assert!(count <= most, "{what}: {count} allocations, at most {most}");
    r
}

#[test]
fn objects_are_small_and_their_use_allocates_nothing() {
    assert_eq!(counted(|| Box::new(0u64)).0, 1, "the counter counts");

    size("Mutex", size_of::<Mutex>(), 32);
    size("Condvar<&Mutex>", size_of::<Condvar<&Mutex>>(), 24);
    size("Condvar<Arc<Mutex>>", size_of::<Condvar<Arc<Mutex>>>(), 24);
    size("MutexGuard", size_of::<MutexGuard>(), 40);
    size("OwnedMutexGuard<Arc<Mutex>>", size_of::<OwnedMutexGuard<Arc<Mutex>>>(), 40);
    size("Participant", size_of::<Participant>(), 96);
    size("Thread", size_of::<Thread>(), 8);
    size("Runtime", size_of::<Runtime>(), 8);
    size("Blocker", size_of::<Blocker>(), 40);

    let vm = Runtime::new();
    let mut cx = allocations("first attach in the process", 8, || vm.attach("main").unwrap());
    let mutex = allocations("Mutex::new", 0, Mutex::new);
    let condvar = allocations("Condvar::new", 0, || Condvar::new(&mutex));
    allocations("Mutex::named", 2, || drop(Mutex::named("m")));
    allocations("lock, one level more, unlock", 0, || {
        let outer = mutex.lock(&mut cx).unwrap();
        drop((mutex.lock(&mut cx).unwrap(), outer));
    });
    allocations("acquire, notify nobody, release", 0, || {
        mutex.acquire(&mut cx).unwrap();
        assert_eq!(condvar.notify_all(&cx), Ok(0));
        mutex.release(&cx).unwrap();
    });
    allocations("try_lock", 0, || drop(mutex.try_lock(&cx).unwrap()));
    allocations("safe point", 0, || assert!(selvedge::safe_point(&mut cx).is_quiet()));
    drop(cx);
    allocations("attach and detach, when a record is free", 4, || {
        drop(vm.attach("again").unwrap())
    });
    let mut cx = vm.attach("main").unwrap();
    allocations("spawn and join, std's thread included", 16, || {
        vm.spawn((), |_| Ok::<(), ()>(())).unwrap().join(&mut cx).unwrap();
    });
}
