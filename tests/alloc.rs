//! Blocking and unblocking allocate nothing: locks, condition-waits, notifications, sleeps, yields, deadlines, signals' ends
//! of waits aside from the payload itself. Nor do channels, but for the blocks of unbounded ones. A test binary of its own,
//! since it counts the whole process's allocations.

use selvedge::channel::{self, Select, SelectError};
use selvedge::{Condvar, LockError, Mutex, Participant, Runtime, sleep_until, yield_now};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

struct Counting;
static ON: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: System does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if ON.load(Relaxed) {
            COUNT.fetch_add(1, Relaxed);
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

struct S {
    m: Arc<Mutex>,
    c: Condvar<Arc<Mutex>>,
    turn: AtomicU64,
}

const ROUNDS: u64 = 300;

/// Waits for its turn, blocks in every other way as well, and gives the turn on.
fn rounds(s: &S, cx: &mut Participant, me: u64) {
    for n in 0..ROUNDS {
        s.m.acquire(cx).unwrap();
        while s.turn.load(Relaxed) % 2 != me {
            s.c.wait(cx).unwrap();
        }
        s.turn.fetch_add(1, Relaxed);
        s.c.notify_all(cx).unwrap();
        if n % 8 == 0 {
            // The other one blocks in `acquire` meanwhile, or times out.
            sleep_until(cx, Instant::now() + Duration::from_micros(200)).unwrap();
            let soon = Instant::now() + Duration::from_micros(50);
            let _ = s.c.wait_until(cx, soon);
        }
        s.m.release(cx).unwrap();
        match s.m.acquire_until(cx, Instant::now() + Duration::from_micros(20)) {
            Ok(_) => s.m.release(cx).unwrap(),
            Err(e) => assert_eq!(e, LockError::TimedOut),
        }
        yield_now(cx);
    }
}

fn in_mode(vm: Runtime) -> u64 {
    let mut cx = vm.attach("main").unwrap();
    let m = Arc::new(Mutex::named("m"));
    let s = Arc::new(S { c: Condvar::named(m.clone(), "c"), m, turn: AtomicU64::new(0) });
    let t = s.clone();
    let worker = vm.spawn("worker", move |cx| {
        rounds(&t, cx, 1);
        // Both are done before the thread's end, which may allocate.
        while ON.load(Relaxed) {
            yield_now(cx);
        }
        Ok::<_, ()>(())
    });
    let worker = worker.unwrap();
    // The worker blocks now, so that its start is over.
    while worker.blocker().is_none() {
        sleep_until(&mut cx, Instant::now() + Duration::from_millis(1)).unwrap();
    }
    COUNT.store(0, Relaxed);
    ON.store(true, Relaxed);
    rounds(&s, &mut cx, 0);
    while s.turn.load(Relaxed) < 2 * ROUNDS {
        yield_now(&mut cx);
    }
    let count = COUNT.load(Relaxed);
    ON.store(false, Relaxed);
    worker.join(&mut cx).unwrap();
    count
}

fn allocations(f: impl FnOnce()) -> u64 {
    COUNT.store(0, Relaxed);
    ON.store(true, Relaxed);
    f();
    ON.store(false, Relaxed);
    COUNT.load(Relaxed)
}

fn channels_allocate_blocks() {
    let (tx, rx) = channel::bounded(8);
    let through = |n| {
        for i in 0..n {
            tx.try_send(i).unwrap();
            assert_eq!(rx.try_recv(), Ok(i));
        }
    };
    assert_eq!(allocations(|| through(1_000)), 0, "bounded");

    let (tx, rx) = channel::unbounded();
    let pile = |n| (0..n).for_each(|i| tx.try_send(i).unwrap());
    let take = |n| (0..n).for_each(|i| assert_eq!(rx.try_recv(), Ok(i)));
    // 64 slots of 16 bytes, then twice as many each time until 1024.
    assert_eq!(allocations(|| pile(64 + 128 + 256 + 512 + 1024 + 1024)), 5);
    assert_eq!(allocations(|| take(3008)), 0);
    let waves = || (0..100).for_each(|_| (pile(500), take(500)).0);
    waves();
    assert_eq!(allocations(waves), 0, "used blocks do");
}

fn eight_arms_allocate_nothing() {
    let vm = Runtime::new();
    let mut cx = vm.attach("main").unwrap();
    let made: [_; 9] = std::array::from_fn(|_| channel::rendezvous::<u64>());
    let mut select = |n: usize| {
        let mut arms: [_; 9] = std::array::from_fn(|n| made[n].1.arm());
        allocations(|| {
            let all = arms[..n].iter_mut().fold(Select::new(), |select, arm| select.arm(arm));
            assert_eq!(all.until(Instant::now()).wait(&mut cx), Err(SelectError::TimedOut));
        })
    };
    select(8);
    assert_eq!(select(8), 0, "it waited, and was queued at each");
    assert!(select(9) > 0, "the counter sees a select");
}

/// One test: another one's thread would be counted too.
#[test]
fn blocking_allocates_nothing() {
    // The counter counts.
    ON.store(true, Relaxed);
    drop(Box::new([0u8; 64]));
    ON.store(false, Relaxed);
    assert!(COUNT.swap(0, Relaxed) > 0);
    assert_eq!(in_mode(Runtime::new()), 0, "in parallel");
    assert_eq!(in_mode(Runtime::builder().baton(true).build()), 0, "under the baton");
    channels_allocate_blocks();
    eight_arms_allocate_nothing();
}
