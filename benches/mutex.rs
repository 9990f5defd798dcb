//! The recursive mutex beside the locks that a VM could take instead.

mod harness;

use harness::locks::{Hooked, Lock, PthreadRecursive, Selvedge};
use harness::{Cell, Line, Sample, Steps, cpu_time, multiply, race, stay_on_cpu};
use selvedge::{Participant, Runtime, Schedule};
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering::*, compiler_fence};

fn main() {
    harness::run(vec![
        lock_unlock(),
        lock_unlock_steady(),
        acquire_release(),
        relock(),
        reacquire(),
        contended("mutex/contended/2_short", 2, SHORT, 4_000_000),
        contended("mutex/contended/2_medium", 2, MEDIUM, 400_000),
        contended("mutex/contended/8_short", 8, SHORT, 4_000_000),
        contended("mutex/contended/8_medium", 8, MEDIUM, 400_000),
        block_unblock("mutex/block_unblock/with_hooks", false),
        block_unblock("mutex/block_unblock/with_hooks_1_cpu", true),
    ]);
}

// -- Nobody else wants it

/// Lock and unlock, through a mutex and a context that the compiler knows nothing of. The fence makes it read them anew
/// each time, as after anything that a VM does in between; it costs no instruction.
#[inline(always)]
fn pairs<L: Lock>(lock: &L, me: &mut L::Me, n: u64) {
    let (lock, me) = (black_box(lock), black_box(me));
    for _ in 0..n {
        let held = lock.lock(me);
        compiler_fence(SeqCst);
        drop(held);
        compiler_fence(SeqCst);
    }
}

fn uncontended<L: Lock>(lock: L) -> impl FnMut(u64) -> std::time::Duration {
    let lock = Box::new(Line(lock));
    let mut me = lock.0.attach();
    move |n| cpu_time(|| pairs(&lock.0, &mut me, n))
}

fn reentrant<L: Lock>(lock: L) -> impl FnMut(u64) -> std::time::Duration {
    let lock = Box::new(Line(lock));
    let mut me = lock.0.attach();
    move |n| {
        let _outer = lock.0.lock(&mut me);
        cpu_time(|| pairs(&lock.0, &mut me, n))
    }
}

/// Lock and unlock by guard. Decides whether a VM pays for recursion, signals and blockers where nobody waits: it shall
/// not, by parking_lot's reentrant mutex, and be below pthread's recursive one.
fn lock_unlock() -> Cell {
    Cell::new("mutex/lock_unlock/uncontended", 1_000_000)
        .entrant("selvedge", uncontended(Selvedge::<Participant>::of(&Runtime::new())))
        .entrant("std", uncontended(std::sync::Mutex::new(())))
        .entrant("parking_lot", uncontended(parking_lot::Mutex::new(())))
        .entrant("parking_lot_reentrant", uncontended(parking_lot::ReentrantMutex::new(())))
        .entrant("pthread_recursive", uncontended(PthreadRecursive::new()))
}

/// The same in a runtime without the barrier: the release is a swap. Decides what real time costs.
fn lock_unlock_steady() -> Cell {
    let vm = Runtime::builder().schedule(Schedule::new().membarrier(false)).build();
    Cell::new("mutex/lock_unlock/without_barrier", 1_000_000)
        .entrant("selvedge", uncontended(Selvedge::<Participant>::of(&vm)))
        .entrant("std", uncontended(std::sync::Mutex::new(())))
        .entrant("parking_lot", uncontended(parking_lot::Mutex::new(())))
        .entrant("parking_lot_reentrant", uncontended(parking_lot::ReentrantMutex::new(())))
}

/// The same by the explicit calls. Decides whether an interpreter's `mutex-lock` can be a call of its own.
fn acquire_release() -> Cell {
    Cell::new("mutex/acquire_release/uncontended", 1_000_000)
        .entrant("selvedge", explicit(false))
        .entrant("std", uncontended(std::sync::Mutex::new(())))
        .entrant("parking_lot", uncontended(parking_lot::Mutex::new(())))
        .entrant("parking_lot_reentrant", uncontended(parking_lot::ReentrantMutex::new(())))
        .entrant("pthread_recursive", uncontended(PthreadRecursive::new()))
}

/// A second level taken and given back. Decides whether library code may lock what its caller holds already.
fn relock() -> Cell {
    Cell::new("mutex/relock/depth_1", 4_000_000)
        .entrant("selvedge", reentrant(Selvedge::<Participant>::of(&Runtime::new())))
        .entrant("parking_lot_reentrant", reentrant(parking_lot::ReentrantMutex::new(())))
        .entrant("pthread_recursive", reentrant(PthreadRecursive::new()))
}

/// The same by the explicit calls.
fn reacquire() -> Cell {
    Cell::new("mutex/reacquire/depth_1", 4_000_000)
        .entrant("selvedge", explicit(true))
        .entrant("parking_lot_reentrant", reentrant(parking_lot::ReentrantMutex::new(())))
        .entrant("pthread_recursive", reentrant(PthreadRecursive::new()))
}

fn explicit(owned: bool) -> impl FnMut(u64) -> std::time::Duration {
    let lock = Box::new(Line(Selvedge::<Participant>::of(&Runtime::new())));
    let mut me = lock.0.attach();
    move |n| {
        let _outer = owned.then(|| lock.0.lock(&mut me));
        cpu_time(|| {
            let (mutex, me) = (black_box(&lock.0.mutex), black_box(&mut me));
            for _ in 0..n {
                mutex.acquire(me).unwrap();
                compiler_fence(SeqCst);
                mutex.release(me).unwrap();
                compiler_fence(SeqCst);
            }
        })
    }
}

// -- Everybody wants it

/// Multiplications inside and outside of the critical section.
#[derive(Clone, Copy)]
struct Load {
    inside: u32,
    outside: u32,
}
const SHORT: Load = Load { inside: 4, outside: 12 };
const MEDIUM: Load = Load { inside: 160, outside: 160 };

/// A lock, and beside it what it guards.
struct Shared<L> {
    lock: L,
    guarded: UnsafeCell<Guarded>,
}
struct Guarded {
    x: u64,
    left: u64,
}
// SAFETY: `guarded` is reached by who holds the lock.
unsafe impl<L: Sync> Sync for Shared<L> {}

/// `n` critical sections, whoever comes. Returns beside the time the slowest thread's share of the fastest one's.
fn crowd<L: Lock>(make: impl Fn() -> L, threads: usize, load: Load) -> impl FnMut(u64) -> Sample {
    move |n| {
        let guarded = UnsafeCell::new(Guarded { x: 1, left: n });
        let shared = Line(Shared { lock: make(), guarded });
        let shared = &shared.0;
        let (time, done) = race(threads, |i, gate| {
            stay_on_cpu(i);
            let mut me = shared.lock.attach();
            let (mut done, mut x) = (0u64, 1);
            gate.pass();
            loop {
                let held = shared.lock.lock(&mut me);
                // SAFETY: the lock is held.
                let guarded = unsafe { &mut *shared.guarded.get() };
                if guarded.left == 0 {
                    break;
                }
                guarded.left -= 1;
                multiply(load.inside, &mut guarded.x);
                drop(held);
                multiply(load.outside, &mut x);
                done += 1;
            }
            done
        });
        let (least, most) = (*done.iter().min().unwrap(), *done.iter().max().unwrap());
        Sample::from(time).also(least as f64 / most as f64)
    }
}

/// Threads that do nothing but lock. Decides the policy (looks, barging, hand-over): throughput, and the slowest thread's
/// share of the fastest one's.
fn contended(id: &'static str, threads: usize, load: Load, n: u64) -> Cell {
    let selvedge = || Selvedge::<Participant>::of(&Runtime::new());
    Cell::new(id, n)
        .time_is("ns_per_op")
        .also("share", "ratio", "higher")
        .entrant("selvedge", crowd(selvedge, threads, load))
        .entrant("std", crowd(|| std::sync::Mutex::new(()), threads, load))
        .entrant("parking_lot", crowd(|| parking_lot::Mutex::new(()), threads, load))
        .entrant(
            "parking_lot_reentrant",
            crowd(|| parking_lot::ReentrantMutex::new(()), threads, load),
        )
        .entrant("pthread_recursive", crowd(PthreadRecursive::new, threads, load))
}

// -- One blocks, the other unblocks it

/// Two threads walk around a ring of three locks, each taking the next before it frees the last: every step blocks, and
/// unblocks the other.
fn ring<L: Lock>(make: impl Fn() -> [L; 3], one_cpu: bool) -> impl FnMut(u64) -> Sample {
    move |n| {
        let ring = make().map(Line);
        let (time, steps) = race(2, |i, gate| {
            if one_cpu {
                stay_on_cpu(0);
            }
            let mut me = ring[0].0.attach();
            let mut steps = Steps::new(n);
            let mut held = ring[i].0.lock(&mut me);
            gate.pass();
            steps.begin();
            for step in 1..=n.div_ceil(2) as usize {
                let next = ring[(i + step) % 3].0.lock(&mut me);
                drop(std::mem::replace(&mut held, next));
                steps.end();
            }
            steps
        });
        Sample::from(time).also(Steps::p99(steps))
    }
}

/// The same exchange by nothing but the system's calls: the floor.
fn futexes(one_cpu: bool) -> impl FnMut(u64) -> Sample {
    move |n| {
        let turn = [Line(AtomicU32::new(1)), Line(AtomicU32::new(0))];
        let (time, steps) = race(2, |i, gate| {
            if one_cpu {
                stay_on_cpu(0);
            }
            let (mine, theirs) = (&turn[i].0, &turn[1 - i].0);
            let mut steps = Steps::new(n);
            gate.pass();
            steps.begin();
            for _ in 0..n.div_ceil(2) {
                while mine.load(Acquire) == 0 {
                    futex(mine, libc::FUTEX_WAIT, 0);
                }
                mine.store(0, Relaxed);
                theirs.store(1, Release);
                futex(theirs, libc::FUTEX_WAKE, 1);
                steps.end();
            }
            steps
        });
        Sample::from(time).also(Steps::p99(steps))
    }
}

fn futex(word: &AtomicU32, operation: i32, value: u32) {
    let operation = operation | libc::FUTEX_PRIVATE_FLAG;
    let forever = std::ptr::null::<libc::timespec>();
    // SAFETY: the word lives across the call, and the kernel only reads it.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, forever) };
}

/// The same exchange by a mutex and a condition variable for each side.
fn std_condvars(one_cpu: bool) -> impl FnMut(u64) -> Sample {
    move |n| {
        let turn = std::sync::Mutex::new(0);
        let come = [const { std::sync::Condvar::new() }; 2];
        let (time, steps) = race(2, |i, gate| {
            if one_cpu {
                stay_on_cpu(0);
            }
            let mut steps = Steps::new(n);
            gate.pass();
            steps.begin();
            for _ in 0..n.div_ceil(2) {
                let held = turn.lock().unwrap();
                let mut held = come[i].wait_while(held, |turn| *turn != i).unwrap();
                *held = 1 - i;
                drop(held);
                come[1 - i].notify_one();
                steps.end();
            }
            steps
        });
        Sample::from(time).also(Steps::p99(steps))
    }
}

/// One full block and one unblock, with the interpreter's hooks. Decides what a wait costs beside the system calls in it.
fn block_unblock(id: &'static str, one_cpu: bool) -> Cell {
    let selvedge = || {
        // Nobody looks before it queues: every step blocks.
        let vm = Runtime::builder().schedule(Schedule::new().looks(0)).build();
        [(); 3].map(|()| Selvedge::<Hooked>::of(&vm))
    };
    Cell::new(id, 4_000)
        .also("p99", "ns", "lower")
        .entrant("selvedge", ring(selvedge, one_cpu))
        .entrant("futex", futexes(one_cpu))
        .entrant("std_condvar", std_condvars(one_cpu))
        .entrant("pthread_recursive", ring(|| [(); 3].map(|()| PthreadRecursive::new()), one_cpu))
}
